"""What is named on a command line to files: folders and patterns to the images in them."""

import glob
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from mnist_cli.errors import DataError

ENDINGS = (
    *(".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".dib", ".gif", ".tif", ".tiff"),
    *(".webp", ".pgm", ".ppm", ".pbm", ".pnm"),
)


@dataclass(frozen=True)
class Named:
    """A file to read, or, with a problem, a name that stands for none."""

    path: str
    problem: DataError | None = None


def gather(names: Iterable[str]) -> Iterator[Named]:
    """Yield the files that names stand for, in order.

    A folder stands for the images in it, by their endings and sorted by name, but not for those in
    folders within it, nor for hidden ones. A name that is none of a file but has *, ? or [ in it is
    a pattern as of a shell, in which ** stands for any folders; its matches are taken as if they
    had been named. All else stands for itself, `-` and what does not exist included.
    """
    for name in names:
        if _is_pattern(name):
            matches = sorted(glob.glob(name, recursive=True))  # noqa: PTH207 (any bytes, and **)
            for match in matches:
                yield from _opened(match)
            if not matches:
                reason = "no such file, and as a pattern it fits none; give the path of an image"
                yield Named(name, DataError(f"cannot read {name!r}: {reason}"))
        else:
            yield from _opened(name)


def _is_pattern(name: str) -> bool:
    try:
        return glob.has_magic(name) and not os.path.lexists(name)
    except ValueError:  # a zero byte
        return False


def _opened(name: str) -> Iterator[Named]:
    """Yield a file, or the images in a folder."""
    if name == "-" or not os.path.isdir(name):  # noqa: PTH112 (a Path would take '' for a folder)
        yield Named(name)
        return
    try:
        with os.scandir(name) as entries:
            found = [entry.name for entry in entries if _is_image(entry)]
    except OSError as error:
        yield Named(name, DataError(f"cannot read the folder {name!r}: {error.strerror}"))
        return
    if not found:
        kinds = "PNG, JPEG, BMP, GIF, TIFF, WebP or PGM"
        reason = f"it has no image in it, by the names of its files: {kinds}"
        yield Named(name, DataError(f"cannot read the folder {name!r}: {reason}"))
    for file in sorted(found):
        yield Named(os.path.join(name, file))  # noqa: PTH118 (a Path would drop './')


def _is_image(entry: "os.DirEntry[str]") -> bool:
    name = entry.name.lower()
    return name.endswith(ENDINGS) and not name.startswith(".") and entry.is_file()
