"""Find image files: expand the folders and patterns of a command line.

Patterns are expanded here, too, because the shells of Windows leave that to the program, and so
that a pattern in quotes may match more files than fit into a command line.
"""

import glob
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from mnist_cli.data.pictures.limits import ENDINGS, FORMAT_NAMES
from mnist_cli.errors import DataError

_TABLE_ENDINGS = (".csv", ".tsv", ".npy", ".npz", "-ubyte", ".idx")


@dataclass(frozen=True)
class ImageFile:
    """A file to read; or, with an error, a name for which there is none."""

    path: str
    error: DataError | None = None


def find_image_files(names: Iterable[str]) -> Iterator[ImageFile]:
    """Yield the files that names stand for, in order.

    A folder stands for the images in it, sorted by name; hidden files and those in folders within
    it are left out. A name with *, ? or [ that is not a file is a shell pattern, in which ** stands
    for any number of folders, links to folders excepted. It stands for the images among its
    matches, or for all matches if none is an image, each once. Any other name stands for itself,
    `-` and missing files included.
    """
    for name in names:
        if _is_pattern(name):
            expanded = (file for match in sorted(_matches(name)) for file in _expand(match))
            files = list(dict.fromkeys(expanded))
            images = [f for f in files if not f.error and f.path.lower().endswith(ENDINGS)]
            yield from images or files or [_no_match(name)]
        else:
            yield from _expand(name)


def is_table(path: str) -> bool:
    """Return True if a file is a table or an array of images, by the ending of its name."""
    return re.sub(r"\.(gz|zip)$", "", path.lower()).endswith(_TABLE_ENDINGS)


def _is_pattern(name: str) -> bool:
    try:
        return glob.has_magic(name) and not os.path.lexists(name)
    except ValueError:  # a zero byte
        return False


def _no_match(pattern: str) -> ImageFile:
    advice = "write [ as [[], or give the path" if "[" in pattern else "give the path of an image"
    reason = f"no such file, and no file matches it as a pattern; {advice}"
    return ImageFile(pattern, DataError(f"cannot read {pattern!r}: {reason}"))


def _matches(pattern: str) -> Iterator[str]:
    """Yield the files and folders that match a pattern."""
    parts = Path(pattern).parts
    if "**" not in parts:
        yield from glob.glob(pattern)  # noqa: PTH207 (a Path would match hidden files)
        return
    # glob's ** follows links, and never ends if two of them lead back to their folder.
    first = parts.index("**")
    head = os.path.join("", *parts[:first])  # noqa: PTH118
    named = [part if part == "**" else re.sub(r"\*+", "*", part) for part in parts[first:]]
    for base in glob.glob(head) if head else [""]:  # noqa: PTH207
        for match in Path(base).glob("/".join(named)):
            found = set(match.relative_to(base).parts)
            hidden = any(part.startswith(".") for part in found.difference(named))
            if not hidden and not (match.is_symlink() and match.is_dir()):
                yield str(match)


def _expand(name: str) -> Iterator[ImageFile]:
    """Yield a file, or the images in a folder."""
    if name == "-" or not os.path.isdir(name):  # noqa: PTH112 (a Path would take '' for a folder)
        yield ImageFile(name)
        return
    try:
        with os.scandir(name) as entries:
            found = [entry.name for entry in entries if _is_image(entry)]
    except OSError as error:
        reason = f"{error.strerror}; make it readable, or name others"
        yield ImageFile(name, DataError(f"cannot read the folder {name!r}: {reason}"))
        return
    if not found:
        reason = f"it has no image in it, by the names of its files: {FORMAT_NAMES}"
        yield ImageFile(name, DataError(f"cannot read the folder {name!r}: {reason}"))
    for file in sorted(found):
        yield ImageFile(os.path.join(name, file))  # noqa: PTH118 (a Path would drop './')


def _is_image(entry: "os.DirEntry[str]") -> bool:
    name = entry.name.lower()
    is_image = name.endswith(ENDINGS) and not name.startswith(".")
    return is_image and os.path.isfile(entry.path)  # noqa: PTH113 (False for a link to itself)
