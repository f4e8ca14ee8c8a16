"""Read a file, a FIFO or standard input whole, up to a limit."""

import os
import select
import stat
import sys
from pathlib import Path

_POLL_SECONDS = 0.05
_CHUNK = 1 << 20
# On other systems a FIFO that nobody writes to yet would look like one that is at its end.
_NONBLOCK = os.O_NONBLOCK if sys.platform == "linux" else 0


def expand_home(path: str | Path) -> str:
    """Return a path with the home folder in place of a leading `~`; others as they are."""
    # A Path would drop a final slash, and raises for unknown users.
    return os.path.expanduser(path)  # noqa: PTH111


def is_pipe(path: str) -> bool:
    """Return True if a path names a pipe, whose bytes are there only once, or `-`."""
    try:
        return path == "-" or Path(expand_home(path)).is_fifo()
    except (OSError, ValueError):  # what reads it tells what is wrong
        return False


def read_input(name: str | Path, most: int) -> tuple[bytes, os.stat_result | None]:
    """Return the first `most` bytes of a file, or of standard input for `-`, and its status.

    A signal that arrives just before a system call is seen only when that returns. So no call here
    waits for long: not for a writer to open a FIFO, and not for the next bytes.

    Raises:
        OSError, ValueError: it cannot be opened or read.

    """
    if str(name) == "-":
        try:
            handle = sys.stdin.fileno()
        except (AttributeError, OSError, ValueError):  # such as that of a notebook
            return sys.stdin.buffer.read(most), None
        return _read(handle, most), os.fstat(handle)
    handle = os.open(name, os.O_RDONLY | _NONBLOCK | getattr(os, "O_BINARY", 0))
    try:
        return _read(handle, most), os.fstat(handle)
    finally:
        os.close(handle)


def _read(handle: int, most: int) -> bytes:
    if stat.S_ISREG(os.fstat(handle).st_mode) or os.name == "nt":
        with open(handle, "rb", closefd=False) as file:
            return file.read(most)
    parts: list[bytes] = []
    while most:
        if not select.select([handle], [], [], _POLL_SECONDS)[0]:
            continue
        try:
            part = os.read(handle, min(most, _CHUNK))
        except BlockingIOError:  # somebody else has read it
            continue
        if not part:
            break
        parts.append(part)
        most -= len(part)
    return b"".join(parts)
