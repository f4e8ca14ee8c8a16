"""Files that are written whole or not at all."""

import contextlib
import os
import stat
import sys
import tempfile
from pathlib import Path

from mnist_cli.errors import OutputError, ReaderGoneError


def write_whole(path: Path, data: bytes) -> None:
    """Write `data` to `path` so that a reader sees the old file or the new one, never a part.

    A symbolic link keeps pointing where it does: its target is replaced. A device, a FIFO or a
    pipe of the shell's `>(...)` is written to directly, since it cannot be replaced.

    Raises:
        OutputError: the file could not be written; an earlier file is as it was.

    """
    try:
        if is_special(path):
            path.write_bytes(data)
        else:
            _replace(path.resolve(), data)
    except OSError as error:
        raise OutputError(_words(path, error)) from error


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


def check_writable(path: Path) -> None:
    """Raise OutputError now if `write_whole` could not write to `path` later."""
    try:
        if path.is_dir():
            raise OutputError(f"{path} is a folder; name a file in it with --output")
        if not is_special(path):
            target = path.resolve()
            handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
            os.close(handle)
            Path(name).unlink()
    except OSError as error:
        raise OutputError(_words(path, error)) from error


def is_special(path: Path) -> bool:
    """Tell whether something other than a regular file is there, links followed.

    Asked of the path as it was given: `/dev/fd/63` resolved to `pipe:[1234]` exists no more.
    """
    try:
        return not stat.S_ISREG(path.stat().st_mode)
    except FileNotFoundError:
        return False


def _replace(target: Path, data: bytes) -> None:
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(_mode_of(target))
        temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync_folder(target.parent)


def _mode_of(target: Path) -> int:
    """Return the mode of the file to be replaced, or the one that a new file would get."""
    if target.exists():
        return stat.S_IMODE(target.stat().st_mode)
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask


def _sync_folder(folder: Path) -> None:
    """Let the new name outlive a power cut, where the system can: the file is in place already."""
    with contextlib.suppress(OSError):  # Windows, network drives, folders without read permission
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _words(path: Path, error: OSError) -> str:
    reason = error.strerror or str(error)
    return f"cannot write {path}: {reason}; choose another place or make this one writable"
