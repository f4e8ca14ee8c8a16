"""Data of one's own: `--dataset PATH` names a file or a folder.

A training that has begun, and its checkpoint, have `NAME@CLASSES-DIGEST` instead of the path: the
number of classes, and the SHA-256 of the samples.
"""

import os
import re
from dataclasses import dataclass
from pathlib import Path

from mnist_cli.config.reading import expand_home

MAX_CLASSES = 62  # as EMNIST has: digits, capitals and small letters
MAX_NAME = 100  # characters of a class's name
_MAX_NAME_OF_FILE = 60
_BEGUN = re.compile(r"(?P<name>[^@]{1,60})@(?P<classes>[1-9][0-9]?)-[0-9a-f]{64}")


@dataclass(frozen=True)
class DataOrigin:
    """Where the data of a checkpoint were, the names of their classes, and their polarity."""

    path: str
    classes: tuple[str, ...]
    light_ground: bool = False


def is_data_path(dataset: str) -> bool:
    """Return True if a value of `--dataset` that is no name of a data set looks like a path."""
    if is_begun_data(dataset):
        return False
    return any(sign in dataset for sign in (os.sep, "/", ".")) or os.path.exists(  # noqa: PTH110 (a Path would raise for a name too long)
        expand_home(dataset)
    )


def is_begun_data(dataset: str) -> bool:
    """Return True if this is the name of one's own data, in a training that has begun."""
    return _BEGUN.fullmatch(dataset) is not None


def begun_name(path: str | Path, classes: int, sha256: str) -> str:
    """Return the name of data in a training that has begun."""
    name = "".join(each for each in Path(path).name if each.isprintable() and each != "@")
    return f"{name[:_MAX_NAME_OF_FILE] or 'data'}@{classes}-{sha256}"


def shown_data(dataset: str) -> str:
    """Return the name of a data set for people: without the digest of its samples."""
    return dataset.partition("@")[0] if is_begun_data(dataset) else dataset


def are_same_data(one: str, other: str) -> bool:
    """Return True if two names are of the same samples, whatever their files are called."""
    if is_begun_data(one) and is_begun_data(other):
        return one.partition("@")[2] == other.partition("@")[2]
    return one == other


def number_of_classes(begun: str) -> int:
    """Return the number of classes in the name of data, in a training that has begun."""
    found = _BEGUN.fullmatch(begun)
    if found is None:
        raise ValueError(f"{begun!r} is not the name of data in a training that has begun")
    return int(found["classes"])
