"""What is named on a command line to files: folders and patterns to the images in them."""

import glob
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass

from mnist_cli.errors import DataError

ENDINGS = (
    *(".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".dib", ".gif", ".tif", ".tiff"),
    *(".webp", ".pgm", ".ppm", ".pbm", ".pnm"),
)
_SLASH = re.escape(os.sep) + "/"
_ANY_FOLDERS = re.compile(rf"(?<![^{_SLASH}])\*\*(?:[{_SLASH}]+|$)")
KINDS = "PNG, JPEG, BMP, GIF, TIFF, WebP or PGM"


@dataclass(frozen=True)
class Named:
    """A file to read, or, with a problem, a name that stands for none."""

    path: str
    problem: DataError | None = None


def gather(names: Iterable[str]) -> Iterator[Named]:
    """Yield the files that names stand for, in order.

    A folder stands for the images in it, by their endings and sorted by name, but not for those in
    folders within it, nor for hidden ones. A name that is none of a file but has *, ? or [ in it is
    a pattern as of a shell, in which ** stands for any folders but those behind links; it stands
    for the images among its matches, or, where there are none, for all of these, and each but
    once. All else stands for itself, `-` and what does not exist included.
    """
    for name in names:
        if _is_pattern(name):
            opened = (named for match in sorted(_matches(name)) for named in _opened(match))
            found = list(dict.fromkeys(opened))
            images = [n for n in found if not n.problem and n.path.lower().endswith(ENDINGS)]
            yield from images or found or [_nothing_fits(name)]
        else:
            yield from _opened(name)


def _is_pattern(name: str) -> bool:
    try:
        return glob.has_magic(name) and not os.path.lexists(name)
    except ValueError:  # a zero byte
        return False


def _nothing_fits(pattern: str) -> Named:
    advice = "write [ as [[], or give the path" if "[" in pattern else "give the path of an image"
    reason = f"no such file, and as a pattern it fits none; {advice}"
    return Named(pattern, DataError(f"cannot read {pattern!r}: {reason}"))


def _matches(pattern: str) -> Iterator[str]:
    """Yield what fits a pattern; behind ** no link to a folder does."""
    stars = _ANY_FOLDERS.search(pattern)
    if not stars:
        yield from glob.glob(pattern)  # noqa: PTH207 (names may be any bytes)
        return
    head, tail = pattern[: stars.start()], pattern[stars.end() :]
    for base in glob.glob(head) if head else [""]:  # noqa: PTH207
        for folder in _folders(base):
            if not tail:
                yield folder or os.curdir
                continue
            for match in _matches(glob.escape(folder) + tail):
                if not (os.path.islink(match) and os.path.isdir(match)):  # noqa: PTH112, PTH114
                    yield match


def _folders(base: str) -> Iterator[str]:
    """Yield a folder and those in it, as '' or with a slash; not hidden ones, nor links."""
    waiting = [base]
    while waiting:
        folder = waiting.pop()
        yield folder
        with suppress(OSError), os.scandir(folder or os.curdir) as entries:
            for entry in entries:
                if not entry.name.startswith(".") and entry.is_dir(follow_symlinks=False):
                    waiting.append(f"{folder}{entry.name}/")


def _opened(name: str) -> Iterator[Named]:
    """Yield a file, or the images in a folder."""
    if name == "-" or not os.path.isdir(name):  # noqa: PTH112 (a Path would take '' for a folder)
        yield Named(name)
        return
    try:
        with os.scandir(name) as entries:
            found = [entry.name for entry in entries if _is_image(entry)]
    except OSError as error:
        reason = f"{error.strerror}; make it readable, or name others"
        yield Named(name, DataError(f"cannot read the folder {name!r}: {reason}"))
        return
    if not found:
        reason = f"it has no image in it, by the names of its files: {KINDS}"
        yield Named(name, DataError(f"cannot read the folder {name!r}: {reason}"))
    for file in sorted(found):
        yield Named(os.path.join(name, file))  # noqa: PTH118 (a Path would drop './')


def _is_image(entry: "os.DirEntry[str]") -> bool:
    name = entry.name.lower()
    is_image = name.endswith(ENDINGS) and not name.startswith(".")
    return is_image and os.path.isfile(entry.path)  # noqa: PTH113 (a link to itself is none)
