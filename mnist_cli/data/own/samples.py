"""Samples from files of one's own: as they are found, and as a training takes them."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mnist_cli.config.own_data import MAX_CLASSES, MAX_NAME
from mnist_cli.config.quoting import quote
from mnist_cli.errors import DataError

Images = NDArray[np.uint8]
Values = NDArray[Any]

MIN_CLASSES = 2
MAX_SAMPLES = 1_000_000
MAX_BYTES = 1 << 30  # of a file, packed or not, and of its numbers in memory
MIN_SIDE, MAX_SIDE = 7, 256  # pixels of an image in a table or an array


@dataclass(frozen=True)
class ReadOptions:
    """What the data do not tell by themselves.

    Attributes:
        label_column: the column of the labels in a table: its name in the header, or its number
            from 1; -1 is the last.
        max_value: the value that stands for full ink, for data whose scale is open.
        transposed: rows and columns of each image are exchanged, as in EMNIST's files.

    """

    label_column: str | None = None
    max_value: float | None = None
    transposed: bool = False


@dataclass(frozen=True)
class Samples:
    """Images `uint8 [N, 28, 28]`, light on dark, and labels `uint8 [N]`, which index the classes.

    Without labels these are None.
    """

    images: Images
    labels: Images | None

    def __len__(self) -> int:
        return len(self.images)


@dataclass(frozen=True)
class OwnData:
    """A data set from files of one's own.

    Attributes:
        train: the training samples; all samples if the data are not divided.
        test: the test samples, or None if the data are not divided.
        classes: the names of the classes, 2 to 62, in natural order: `10` after `9`.
        summary: what was found, in lines to be shown before a training.
        light_ground: the images had a light ground, and were inverted.

    """

    train: Samples
    test: Samples | None
    classes: tuple[str, ...]
    summary: tuple[str, ...]
    light_ground: bool = False


@dataclass(frozen=True)
class Labels:
    """The label of each sample, `numbers [N]`, as an index of the distinct `names`."""

    names: tuple[str, ...]
    numbers: NDArray[np.intp]


@dataclass(frozen=True)
class Part:
    """The samples of one file, or of one half of a data set, as they are found.

    Attributes:
        place: the file or folder, for messages.
        pixels: `[N, height, width]`, of any scale.
        labels: None if there are none.

    """

    place: str
    pixels: Values
    labels: Labels | None


@dataclass(frozen=True)
class Parts:
    """The training samples, the test samples if there are any, and what to tell about them."""

    train: Part
    test: Part | None
    notes: tuple[str, ...]


def side_of(pixels: int) -> int | None:
    """Return the side of a square image of so many pixels; None if there is no such image."""
    side = math.isqrt(max(pixels, 0))
    return side if side * side == pixels and MIN_SIDE <= side <= MAX_SIDE else None


def natural_key(name: str) -> tuple[tuple[int, int, str], ...]:
    """Return a key that sorts names as people do: `2` before `10`, `img9` before `img10`."""
    return tuple(
        (0, int(part), "") if part.isdecimal() else (1, 0, part)
        for part in re.split(r"([0-9]+)", name)
        if part
    )


def labels_of_numbers(values: Values, place: str) -> Labels:
    """Return labels from numbers `[N]`, which must be whole.

    Raises:
        DataError: a number is not whole, or there are far too many different ones.

    """
    distinct, numbers = np.unique(values, return_inverse=True)
    if distinct.dtype.kind == "f":
        broken = np.flatnonzero(~np.isfinite(distinct) | (distinct != np.floor(distinct)))
        if len(broken):
            row = int(np.flatnonzero(numbers == broken[0])[0])
            raise DataError(
                f"{place}: label {distinct[broken[0]]:g} of sample {row + 1:,} is not a whole "
                "number; give each class a whole number or a name"
            )
    _check_count(len(distinct), place, [f"{value:.0f}" for value in distinct[:8]])
    names = tuple(check_name(str(int(value)), place) for value in distinct)
    return Labels(names, numbers.astype(np.intp))


def labels_of_names(names: Sequence[str], place: str) -> Labels:
    """Return labels from names, one for each sample.

    Raises:
        DataError: a name is empty, too long or not printable, or there are far too many.

    """
    distinct = {name: number for number, name in enumerate(dict.fromkeys(names))}
    _check_count(len(distinct), place, list(distinct)[:8])
    for name in distinct:
        check_name(name, place)
    return Labels(tuple(distinct), np.array([distinct[name] for name in names], dtype=np.intp))


def check_name(name: str, place: str) -> str:
    """Return the name of a class.

    Raises:
        DataError: it is empty, too long or not printable.

    """
    if not name or len(name) > MAX_NAME or not name.isprintable():
        raise DataError(
            f"{place}: {quote(name)} cannot be the name of a class; use 1 to {MAX_NAME} printable "
            "characters"
        )
    return name


def plain_name(name: str) -> str:
    """Return the name that a cell gives a class: without spaces, whole numbers without zeros."""
    name = name.strip()
    whole = re.fullmatch(r"\+?0*([0-9]{1,9})(\.0*)?", name, re.ASCII)
    return whole[1] if whole else name


def _check_count(count: int, place: str, some: list[str]) -> None:
    if count > MAX_CLASSES:
        shown = ", ".join(quote(name) for name in some)
        raise DataError(
            f"{place}: {count:,} different labels ({shown}, …), but at most {MAX_CLASSES} classes "
            "can be trained; check which column or array the labels are (--label-column), or join "
            "classes"
        )
