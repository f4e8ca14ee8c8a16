"""Output files: locked against other programs, and written atomically."""

import contextlib
import errno
import io
import logging
import os
import re
import select
import stat
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from mnist_cli.config.quoting import printable
from mnist_cli.errors import OutputError, ReaderGoneError, UsageError

try:
    import fcntl
except ImportError:  # Windows has no flock: two programs may write one output, the last one wins
    fcntl = None  # type: ignore[assignment]

_log = logging.getLogger(__name__)
_NOTICE_AFTER = 1.0  # seconds of waiting for a lock
_POLL_SECONDS = 0.05  # between two looks for the reader of a FIFO
_NONBLOCK = getattr(os, "O_NONBLOCK", 0)  # Windows has no FIFOs
# O_EXCL: never write through a link that somebody else put there. O_BINARY: Windows line ends.
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
# Errors of folders that cannot be synced: Windows, network drives, no permission to read.
_NO_SYNC = {errno.EACCES, errno.EPERM, errno.EINVAL, errno.ENOTSUP, errno.EBADF, errno.EISDIR}
_ADVICE = {
    errno.ENOSPC: "free some space, or choose another place",
    errno.EDQUOT: "free some space, or choose another place",
    errno.ENOENT: "make the folder first, or choose another place",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.EFBIG: "raise the limit of the size of files (ulimit -f), or choose another place",
    errno.EMFILE: "raise the limit of open files (ulimit -n)",
    errno.ENFILE: "close other programs",
}


class OutputLockedError(OutputError):
    """Another program is writing the file."""


class NoReaderError(OutputError):
    """Nobody reads the FIFO."""


class OutputLock:
    """An exclusive lock on an output file, which is written atomically while the lock is held.

    The lock is a `flock` on the empty file `.NAME.lock` beside the output. The system releases it
    when the process ends, however it ends. The contents are written to the temporary file
    `.NAME.RANDOM.tmp`, synced and renamed. `close` removes both files; the next lock removes what a
    killed program left.

    A symbolic link stays, and its target is replaced. A device, a FIFO or the shell's `>(...)` is
    written to directly, since it cannot be replaced.

    `filelock` was tried instead of `flock`: on Unix it leaves the lock file behind; where there is
    no flock its marker file outlives a killed process; and importing it takes 60 ms, a lock 1 ms
    (version 4.3.1, 2 cores).
    """

    def __init__(self, path: Path, *, wait: bool = False) -> None:
        """Lock `path`; with `wait`, wait until no other program holds the lock.

        Raises:
            OutputLockedError: another program holds the lock.
            OutputError: the file could not be written.

        """
        self.path = path
        self._lock_handle: int | None = None
        try:
            self.is_special = is_special(path)
            if self.is_special:
                _check_special(path)
                return
            self.target = path.resolve()
            name = self.target.name
            self._lock_path = self.target.with_name(f".{name}.lock")
            self._temp = self.target.with_name(f".{name}.{os.urandom(8).hex()}.tmp")
            try:
                if self._acquire(path if wait else None):
                    self._remove_stale()
            except BaseException:  # perhaps a signal, which may come between any two steps
                self._close_handle()
                _remove_if_unlocked(self._lock_path)
                raise
        except BlockingIOError:
            raise OutputLockedError(
                f"{printable(path)} is being written by another program; name another --output, "
                "or wait for it"
            ) from None
        except OSError as error:
            raise OutputError(_message(path, error)) from error

    def __enter__(self) -> "OutputLock":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def check_disk_space(self, size: int) -> None:
        """Raise OutputError if `size` bytes cannot be written to the disk now."""
        if self.is_special:
            return
        try:
            self._write_temp(bytes(size), sync=False)
        except OSError as error:
            raise OutputError(_message(self.path, error)) from error
        finally:
            _remove(self._temp)

    def write(self, data: bytes | bytearray, *, wait: bool = True) -> None:
        """Replace the contents of the file: a reader sees all of the old ones or all of the new.

        The new contents are on the disk when this returns. A FIFO waits for its reader.

        Raises:
            OutputError: the file could not be written; an earlier one is unchanged.
            NoReaderError: with `wait=False`, nobody reads the FIFO.

        """
        try:
            if self.is_special:
                _write_special(self.path, data, wait=wait)
                return
            try:
                self._write_temp(data, sync=True)
                os.replace(self._temp, self.target)  # noqa: PTH105
            except BaseException:
                _remove(self._temp)
                raise
            _sync_folder(self.target.parent)
        except OSError as error:
            raise OutputError(_message(self.path, error)) from error

    def close(self) -> None:
        """Remove the temporary files and release the lock."""
        if self._lock_handle is None:
            return
        try:
            self._remove_files(self._lock_handle)
        except BaseException:  # a signal: once more, to the end
            self._remove_files(self._lock_handle)
            raise
        finally:
            self._close_handle()

    def _acquire(self, waiting_for: Path | None) -> bool:
        """Open the lock file and lock it; return False if the file system has no locks.

        `waiting_for` names the output that a notice mentions while another program holds the lock.

        Raises:
            BlockingIOError: another program holds the lock, and `waiting_for` is None.

        """
        while True:
            self._lock_handle = os.open(self._lock_path, os.O_RDWR | os.O_CREAT, 0o666)
            if not _lock_open_file(self._lock_handle, waiting_for):
                return False
            if _is_at(self._lock_handle, self._lock_path):
                return True
            self._close_handle()  # the program that held it removed the file; lock the new one

    def _remove_files(self, handle: int) -> None:
        _remove(self._temp)
        if _is_at(handle, self._lock_path):
            _remove(self._lock_path)  # before the release: then nobody else holds it

    def _close_handle(self) -> None:
        handle, self._lock_handle = self._lock_handle, None
        if handle is not None:
            os.close(handle)

    def _remove_stale(self) -> None:
        """Remove the temporary files of killed programs."""
        start = f".{self.target.name}."
        with contextlib.suppress(OSError):  # the folder may not be readable
            for name in os.listdir(self.target.parent):  # noqa: PTH208
                middle = name.removeprefix(start).removesuffix(".tmp")
                if name == f"{start}{middle}.tmp" and re.fullmatch("[0-9a-f]{1,16}", middle):
                    _remove(self.target.with_name(name))

    def _write_temp(self, data: bytes | bytearray, *, sync: bool) -> None:
        """Write `data` to the temporary file, with the mode of the file that it will replace."""
        mode = _mode_of(self.target)
        handle = os.open(self._temp, _NEW_FILE, 0o666 if mode is None else mode)
        try:
            if mode is not None:
                os.chmod(self._temp, mode)  # noqa: PTH101
            write_all(handle, data)
            if sync:
                os.fsync(handle)
        finally:
            os.close(handle)


def write_atomic(path: Path, data: bytes) -> None:
    """Write `data` to `path` atomically, once no other program is writing it.

    Raises:
        OutputError: the file could not be written; an earlier one is unchanged.

    """
    with OutputLock(path, wait=True) as lock:
        lock.write(data)


def write_output(path: str, data: bytes) -> None:
    """Write `data` to standard output if `path` is `-`, else to the file, atomically.

    Raises:
        OutputError, ReaderGoneError: see `write_atomic` and `write_standard_output`.

    """
    if path == "-":
        write_standard_output(data)
    else:
        write_atomic(Path(path), data)


@contextlib.contextmanager
def open_output(output: str, *, no_clobber: bool) -> Iterator[Callable[[bytes], None]]:
    """Yield a function that writes OUTPUT: a file, whole or not at all, or standard output for `-`.

    No other program writes the file meanwhile.

    Raises:
        OutputError: it cannot be written, or exists and `no_clobber` keeps it.
        UsageError: standard output is a terminal.

    """
    if output == "-":
        if is_standard_output_closed():
            raise OutputError("cannot write to - : standard output is closed")
        if sys.stdout.isatty():
            raise UsageError("- as OUTPUT would write a file to the terminal; redirect stdout")
        yield write_standard_output
        return
    if not output or output.endswith("/"):
        raise OutputError(f"OUTPUT '{output}' is not the name of a file")
    path = Path(output)
    with OutputLock(path, wait=True) as lock:
        if no_clobber and path.exists():
            raise OutputError(f"{path} exists, and --no-clobber keeps it; choose another OUTPUT")
        yield lock.write


def check_writable(path: Path) -> None:
    """Raise OutputError if `write_atomic` could not write to `path` now."""
    OutputLock(path, wait=True).close()


def is_special(path: Path) -> bool:
    """Return True if `path` is there and is not a regular file; links are followed.

    The path is not resolved before: `/dev/fd/63` would become `pipe:[1234]`, which does not exist.
    """
    try:
        return not stat.S_ISREG(path.stat().st_mode)
    except FileNotFoundError:
        return False


@dataclass(frozen=True)
class FileVersion:
    """A path together with the identity of the file that was there when it was read."""

    path: Path
    number: tuple[int, int, int]

    @classmethod
    def of(cls, path: Path, status: os.stat_result) -> "FileVersion":
        """Return the version that `status` describes."""
        return cls(path, (status.st_dev, status.st_ino, status.st_mtime_ns))

    def is_at(self, target: Path) -> bool:
        """Return True if the path, links followed, is `target`."""
        return self.path.resolve() == target

    def was_replaced(self) -> bool:
        """Return True if the path now holds another file, or the file was written to."""
        try:
            return FileVersion.of(self.path, self.path.stat()) != self
        except FileNotFoundError:
            return True


def check_distinct(outputs: Mapping[str, str | None], others: Mapping[str, str | None]) -> None:
    """Raise UsageError if an output is one of the other files, symbolic links followed.

    The keys are the names of options. Devices and pipes may be shared.
    """
    for option, path in outputs.items():
        for other, name in others.items():
            if not path or not name or "-" in (path, name):
                continue
            if os.path.realpath(path) == os.path.realpath(name) and not _is_shared(path):
                raise UsageError(
                    f"{option} {printable(path)} is what {other} names; choose another"
                )


def _is_shared(path: str) -> bool:
    """Return True if a path is a device or a pipe, or out of reach, as opening it will say."""
    try:
        return is_special(Path(path))
    except OSError:
        return True


def write_standard_output(data: str | bytes) -> None:
    """Write text or bytes to standard output and flush it.

    Raises:
        ReaderGoneError: the reader of the pipe went away.
        OutputError: it could not be written.

    """
    if data and is_standard_output_closed():
        raise OutputError("cannot write standard output: it is closed; redirect it")
    try:
        sys.stdout.flush()
        handle = _descriptor(sys.stdout)
        if handle is not None:
            encoding, errors = sys.stdout.encoding, sys.stdout.errors or "strict"
            write_all(handle, data.encode(encoding, errors) if isinstance(data, str) else data)
        elif isinstance(data, str):
            sys.stdout.write(data)
        else:
            sys.stdout.buffer.write(data)
        sys.stdout.flush()
    except BrokenPipeError:
        raise ReaderGoneError from None
    except OSError as error:
        raise OutputError(f"cannot write standard output: {error.strerror or error}") from error


def is_standard_output_closed() -> bool:
    """Return True if it was closed when the program started, and the null device stands for it."""
    return getattr(sys.stdout, "name", "") == os.devnull


def _descriptor(stream: TextIO) -> int | None:
    """Return the file descriptor of a stream, or None if it has none, as in a notebook.

    On Windows the stream itself has to encode what it writes.
    """
    if os.name == "nt" or not isinstance(stream, io.TextIOWrapper):
        return None
    try:
        return stream.fileno()
    except (OSError, ValueError):
        return None


def can_write(handle: int | TextIO, timeout: float | None = 0.0) -> bool:
    """Return True if a write need not wait, such as for the reader of a pipe that is full.

    Up to `timeout` seconds are waited for that; None is no limit.
    """
    try:
        return os.name == "nt" or bool(select.select([], [handle], [], timeout)[1])
    except (OSError, TypeError, ValueError):  # it is no file, such as one in memory
        return True


def write_all(handle: int, data: bytes | bytearray) -> None:
    """Write all of the data, however little the system takes at a time, and though it may wait.

    Python's own streams write a part and say so in their result where they are unbuffered
    (PYTHONUNBUFFERED), and lose the rest where they do not block.
    """
    rest = memoryview(data)
    while rest:
        try:
            rest = rest[os.write(handle, rest) :]
        except BlockingIOError:
            select.select([], [handle], [], _POLL_SECONDS)


def _remove_if_unlocked(path: Path) -> None:
    """Remove a lock file that nobody holds."""
    if fcntl is None:
        return
    with contextlib.suppress(OSError):  # it is not there, or somebody holds it
        handle = os.open(path, os.O_RDWR)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_at(handle, path):
                _remove(path)
        finally:
            os.close(handle)


def try_lock(handle: int) -> bool:
    """Lock an open file exclusively until it is closed; return False if another program has it."""
    try:
        _lock_open_file(handle, None)
    except BlockingIOError:
        return False
    return True


def _lock_open_file(handle: int, waiting_for: Path | None) -> bool:
    """Lock an open file exclusively; return False if its file system has no locks."""
    if fcntl is None:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        if waiting_for is None:
            raise
        _wait_for_lock(handle, waiting_for)
    except OSError:
        return False
    return True


def _wait_for_lock(handle: int, path: Path) -> None:
    """Wait until another program releases the lock, and say so if that takes a while.

    A call that waits by itself would not see a signal that arrives just before it.
    """
    began, said = time.monotonic(), False
    while True:
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        time.sleep(_POLL_SECONDS)
        if not said and time.monotonic() - began > _NOTICE_AFTER:
            said = True
            _log.info("Waiting for another program that is writing %s", printable(path))


def _check_special(path: Path) -> None:
    """Raise OutputError if a path that is not a regular file cannot be written to."""
    if path.is_dir():
        raise OutputError(f"{printable(path)} is a folder; name a file in it")
    if path.is_socket():
        raise OutputError(f"{printable(path)} is a socket; name a file")
    if not os.access(path, os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))


def _write_special(path: Path, data: bytes | bytearray, *, wait: bool) -> None:
    """Write to a device or a FIFO.

    No system call waits for its reader: a signal just before that call would not interrupt it.
    """
    handle = _open_special(path, wait=wait)
    try:
        write_all(handle, data)
    finally:
        os.close(handle)


def _open_special(path: Path, *, wait: bool) -> int:
    """Open a device or a FIFO for writing without blocking, once the latter has a reader."""
    while True:
        try:
            return os.open(path, os.O_WRONLY | os.O_TRUNC | _NONBLOCK)
        except OSError as error:
            if error.errno != errno.ENXIO or not stat.S_ISFIFO(path.stat().st_mode):
                raise
            if not wait:
                raise NoReaderError(f"nobody reads {printable(path)}") from None
        time.sleep(_POLL_SECONDS)


def _is_at(handle: int, path: Path) -> bool:
    """Return True if an open file is the one at `path`."""
    try:
        return os.path.samestat(os.fstat(handle), os.stat(path))  # noqa: PTH116
    except FileNotFoundError:
        return False


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):  # not there, or the folder became read-only: no harm
        os.unlink(path)  # noqa: PTH108


def _mode_of(target: Path) -> int | None:
    """Return the mode of a file, or None if it does not exist."""
    try:
        return stat.S_IMODE(os.stat(target).st_mode)  # noqa: PTH116
    except FileNotFoundError:
        return None


def _sync_folder(folder: Path) -> None:
    """Sync a folder, so that a rename in it survives a power cut; do nothing where that fails."""
    try:
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
    except OSError as error:  # the file is in place already
        if error.errno not in _NO_SYNC:
            raise


def _message(path: Path, error: OSError) -> str:
    """Return the message for an error of the system: what failed, why, and what to do."""
    reason = error.strerror or str(error)
    advice = _ADVICE.get(error.errno or 0, "make this place writable, or choose another")
    return f"cannot write {printable(path)}: {reason}; {advice}"
