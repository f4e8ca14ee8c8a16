"""Files that are written whole or not at all, and standard output."""

import os
import sys
from dataclasses import dataclass
from pathlib import Path

from mnist_cli.claim import Claim
from mnist_cli.errors import OutputError, ReaderGoneError


@dataclass(frozen=True)
class Origin:
    """A file, and which of the files that ever had this name."""

    path: Path
    number: tuple[int, int, int]

    @classmethod
    def of(cls, path: Path, status: os.stat_result) -> "Origin":
        """Return the one that `status` tells of."""
        return cls(path, (status.st_dev, status.st_ino, status.st_mtime_ns))

    def is_at(self, target: Path) -> bool:
        """Tell whether its name stands for the file at `target`, links followed."""
        return self.path.resolve() == target

    def was_replaced(self) -> bool:
        """Tell whether the name now stands for another file, or the file was written to."""
        try:
            return Origin.of(self.path, self.path.stat()) != self
        except FileNotFoundError:
            return True


def write_whole(path: Path, data: bytes) -> None:
    """Write `data` to `path` whole or not at all, once no other program is writing it.

    Raises:
        OutputError: the file could not be written; an earlier one is as it was.

    """
    with Claim(path, wait=True) as claim:
        claim.write(data)


def check_writable(path: Path) -> None:
    """Raise OutputError now if `write_whole` could not write to `path` later."""
    Claim(path, wait=True).close()


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
