"""A file that one program at a time may write, and that others see whole."""

import contextlib
import errno
import os
import stat
import sys
from dataclasses import dataclass
from pathlib import Path

from mnist_cli.errors import OutputError, ReaderGoneError

try:
    import fcntl
except ImportError:  # Windows: programs are not kept apart there
    fcntl = None  # type: ignore[assignment]

# Never through a link that somebody put there; on Windows, without changing ends of lines.
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
# What a folder that cannot be synced says: Windows, network drives, no permission to read it.
_NO_SYNC = {errno.EACCES, errno.EPERM, errno.EINVAL, errno.ENOTSUP, errno.EBADF, errno.EISDIR}
_ADVICE = {
    errno.ENOSPC: "free some space, or choose another place",
    errno.EDQUOT: "free some space, or choose another place",
    errno.ENOENT: "make the folder first, or choose another place",
    errno.ENAMETOOLONG: "choose a shorter name",
}


class OutputLockedError(OutputError):
    """Another program has claimed the file."""


class OutputLock:
    """A file that this program alone may write until it is closed; others see it whole.

    The lock is a lock on the empty file `.NAME.lock` beside it, which the system gives up with
    the program, however that ends; the contents are gathered in `.NAME.PROCESS.part`. Both are gone
    when the lock is closed; a killed program may leave them, and the next lock removes them.

    A symbolic link keeps pointing where it does: its target is replaced. A device, a FIFO or a
    pipe of the shell's `>(...)` is written to directly, since it cannot be replaced.
    """

    def __init__(self, path: Path, *, wait: bool = False) -> None:
        """Lock `path`, or wait for the program that has it.

        Raises:
            OutputError: the file could not be written, or another program has claimed it.

        """
        self.path = path
        self._lock: int | None = None
        try:
            self.is_special = is_special(path)
            if self.is_special:
                _check_special(path)
                return
            self.target = path.resolve()
            name = self.target.name
            self._lock_path = self.target.with_name(f".{name}.lock")
            self._part = self.target.with_name(f".{name}.{os.getpid()}.part")
            self._lock, is_locked = _lock(self._lock_path, wait=wait)
            try:
                if is_locked:
                    self._remove_stale()
            except BaseException:
                self.close()
                raise
        except BlockingIOError:
            raise OutputLockedError(
                f"{_shown(path)} is being written by another program; name another --output, or "
                "wait for it"
            ) from None
        except OSError as error:
            raise OutputError(_words(path, error)) from error

    def __enter__(self) -> "OutputLock":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def check_disk_space(self, size: int) -> None:
        """Raise OutputError now if there is no room for `size` bytes more."""
        if self.is_special:
            return
        try:
            self._write_temp(bytes(size), sync=False)
        except OSError as error:
            raise OutputError(_words(self.path, error)) from error
        finally:
            _remove(self._part)

    def write(self, data: bytes | bytearray) -> None:
        """Replace the file's contents so that a reader sees the old ones or the new.

        They are on the disk when this returns.

        Raises:
            OutputError: the file could not be written; an earlier one is as it was.

        """
        try:
            if self.is_special:
                self.path.write_bytes(data)
                return
            try:
                self._write_temp(data, sync=True)
                os.replace(self._part, self.target)  # noqa: PTH105
            except BaseException:
                _remove(self._part)
                raise
            _sync_folder(self.target.parent)
        except OSError as error:
            raise OutputError(_words(self.path, error)) from error

    def close(self) -> None:
        """Give the lock up."""
        if self._lock is not None:
            try:
                _remove(self._part)
                if _is_at(self._lock, self._lock_path):
                    _remove(self._lock_path)  # first, while nobody else can have it
            finally:
                os.close(self._lock)
                self._lock = None

    def _remove_stale(self) -> None:
        """Remove what killed programs left."""
        start = f".{self.target.name}."
        with contextlib.suppress(OSError):  # it may be forbidden to look into the folder
            for name in os.listdir(self.target.parent):  # noqa: PTH208
                middle = name.removeprefix(start).removesuffix(".part")
                if name == f"{start}{middle}.part" and middle.isdecimal():
                    _remove(self.target.with_name(name))

    def _write_temp(self, data: bytes | bytearray, *, sync: bool) -> None:
        """Write `data` to a file of the mode that the target has or would get."""
        mode = _mode_of(self.target)
        handle = os.open(self._part, _NEW, 0o666 if mode is None else mode)
        try:
            if mode is not None:
                os.chmod(self._part, mode)  # noqa: PTH101
            rest = memoryview(data)
            while rest:
                rest = rest[os.write(handle, rest) :]
            if sync:
                os.fsync(handle)
        finally:
            os.close(handle)


def is_special(path: Path) -> bool:
    """Tell whether something other than a regular file is there, links followed.

    Asked of the path as it was given: `/dev/fd/63` resolved to `pipe:[1234]` exists no more.
    """
    try:
        return not stat.S_ISREG(path.stat().st_mode)
    except FileNotFoundError:
        return False


def _lock(path: Path, *, wait: bool) -> tuple[int, bool]:
    """Return the handle of a file, made if need be, and whether it could be locked at all.

    Raises:
        BlockingIOError: another program has locked it.

    """
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            if not _try_lock(handle, wait=wait):
                return handle, False
            if _is_at(handle, path):
                return handle, True
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)  # whoever had it removed it meanwhile


def _try_lock(handle: int, *, wait: bool) -> bool:
    """Lock a file; return whether its file system has locks."""
    if fcntl is None:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        raise
    except OSError:
        return False
    return True


def _check_special(path: Path) -> None:
    """Raise OutputError if what is there cannot be written to."""
    if path.is_dir():
        raise OutputError(f"{_shown(path)} is a folder; name a file in it")
    if path.is_socket():
        raise OutputError(f"{_shown(path)} is a socket; name a file")
    if not os.access(path, os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))


def _is_at(handle: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), os.stat(path))  # noqa: PTH116
    except FileNotFoundError:
        return False


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):  # not there, or the folder became read-only: no harm
        os.unlink(path)  # noqa: PTH108


def _mode_of(target: Path) -> int | None:
    """Return the mode of the file to be replaced, if there is one."""
    try:
        return stat.S_IMODE(os.stat(target).st_mode)  # noqa: PTH116
    except FileNotFoundError:
        return None


def _sync_folder(folder: Path) -> None:
    """Let the new name outlive a power cut, where the system can."""
    try:
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
    except OSError as error:  # the file is in place already
        if error.errno not in _NO_SYNC:
            raise


def _words(path: Path, error: OSError) -> str:
    reason = error.strerror or str(error)
    advice = _ADVICE.get(error.errno or 0, "make this place writable, or choose another")
    return f"cannot write {_shown(path)}: {reason}; {advice}"


def _shown(path: Path) -> str:
    """Return a path in which nothing steers a terminal or ends a line."""
    return str(path) if str(path).isprintable() else repr(str(path))


@dataclass(frozen=True)
class FileVersion:
    """A file, and which of the files that ever had this name."""

    path: Path
    number: tuple[int, int, int]

    @classmethod
    def of(cls, path: Path, status: os.stat_result) -> "FileVersion":
        """Return the one that `status` tells of."""
        return cls(path, (status.st_dev, status.st_ino, status.st_mtime_ns))

    def is_at(self, target: Path) -> bool:
        """Tell whether its name stands for the file at `target`, links followed."""
        return self.path.resolve() == target

    def was_replaced(self) -> bool:
        """Tell whether the name now stands for another file, or the file was written to."""
        try:
            return FileVersion.of(self.path, self.path.stat()) != self
        except FileNotFoundError:
            return True


def write_whole(path: Path, data: bytes) -> None:
    """Write `data` to `path` whole or not at all, once no other program is writing it.

    Raises:
        OutputError: the file could not be written; an earlier one is as it was.

    """
    with OutputLock(path, wait=True) as lock:
        lock.write(data)


def check_writable(path: Path) -> None:
    """Raise OutputError now if `write_whole` could not write to `path` later."""
    OutputLock(path, wait=True).close()


def write_standard_output(data: str | bytes) -> None:
    """Write a text or bytes to standard output, at once.

    Raises:
        ReaderGoneError: the reader of the pipe went away.
        OutputError: it could not be written.

    """
    try:
        if isinstance(data, str):
            sys.stdout.write(data)
        else:
            sys.stdout.buffer.write(data)
        sys.stdout.flush()
    except BrokenPipeError:
        raise ReaderGoneError from None
    except OSError as error:
        raise OutputError(f"cannot write standard output: {error.strerror or error}") from error
