"""Arrays: IDX files under any name, `.npy` files, and `.npz`, which is a zip of these.

Images and labels are told apart by their shapes, and find each other by their lengths; names tell
training from test samples. No pickle is ever read.
"""

import contextlib
import io
import math
import re
import struct
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from mnist_cli.config.quoting import printable, quote
from mnist_cli.data.own.emnist import EMNIST_CLASSES, emnist_split
from mnist_cli.data.own.samples import (
    MAX_BYTES,
    MAX_SAMPLES,
    MAX_SIDE,
    MIN_SIDE,
    Labels,
    Part,
    Parts,
    Values,
    labels_of_names,
    labels_of_numbers,
    plain_name,
    side_of,
)
from mnist_cli.data.own.sources import Entry, Kind, Stream, opened_zip
from mnist_cli.errors import DataError

_IDX_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_MAX_DIMENSIONS = 4
_MAX_HEADER = 10_000  # bytes of the header of a .npy
# Names of arrays, as people give them.
_TEST = re.compile(r"(?:^|[^a-z]|[xy])test|t10k")
_VALIDATION = re.compile(
    r"(?:^|[^a-z]|[xy])(?:val(?:id(?:ation)?)?|dev)(?:$|[^a-z]|[xy](?:$|[^a-z]))"
)
_NAMES_OF_WEIGHTS = re.compile(r"weight|bias|kernel|conv|dense|^arr_\d+$|^[wb]\d+$|/")
# What names of images and labels of one set differ by.
_CONTENT = re.compile(
    r"images?|imgs?|labels?|lbls?|targets?|data|features?|idx\d|ubyte|int|train(?:ing)?|"
    r"test(?:ing)?|t10k|val(?:id(?:ation)?)?|\.npy|\.npz|\.gz|(?<![a-z])[xy](?![a-z])|[^a-z0-9]"
)


@dataclass(frozen=True)
class ArrayFile:
    """An array in a file, of which only the header was read."""

    file_name: str
    shape: tuple[int, ...]
    dtype: np.dtype[np.generic]
    is_fortran: bool
    entry: Entry
    offset: int

    def __str__(self) -> str:
        return f"{self.name} {'x'.join(map(str, self.shape))}"

    @property
    def place(self) -> str:
        """The file, for messages."""
        return self.entry.place

    @cached_property
    def name(self) -> str:
        """The name of the array, for messages."""
        return printable(self.file_name.removesuffix(".npy"))

    @cached_property
    def role(self) -> str:
        """`train`, `test` or `validation`, by the name."""
        name = self.name.lower()
        if _TEST.search(name):
            return "test"
        return "validation" if _VALIDATION.search(name) else "train"

    @cached_property
    def key(self) -> str:
        """The name without what images and labels, training and test samples differ by."""
        return _CONTENT.sub("", self.name.lower())

    @property
    def image_shape(self) -> tuple[int, int] | None:
        """Height and width of the images, or None if these are no images."""
        match self.shape:
            case (_, pixels):
                side = side_of(pixels)
                return (side, side) if side else None
            case (_, height, width) | (_, height, width, 1) | (_, 1, height, width):
                fits = min(height, width) >= MIN_SIDE and max(height, width) <= MAX_SIDE
                return (height, width) if fits else None
        return None

    @property
    def are_labels(self) -> bool:
        """Whether these may be labels, one for each sample."""
        match self.shape:
            case (_,) | (_, 1):
                return True
            case (_, 8):  # QMNIST: the class, then the origin of the sample
                return self.dtype == np.dtype(">i4")
        return False

    def load(self) -> Values:
        """Return the array.

        Raises:
            DataError: the file is not as long as its header promises.

        """
        count = math.prod(self.shape)
        size = count * self.dtype.itemsize
        with self.entry.open() as stream:
            stream.read(self.offset)
            data = stream.read(size)
            is_longer = bool(stream.read(1))
        if len(data) != size or is_longer:
            what = "longer than" if is_longer else f"truncated: it has {len(data):,} bytes of"
            raise DataError(
                f"{self.place} is {what} the {size:,} bytes that its header promises; replace it"
            )
        values = np.frombuffer(data, self.dtype, count)
        shaped = values.reshape(self.shape, order="F" if self.is_fortran else "C")
        native = shaped.dtype.newbyteorder("=")
        return np.ascontiguousarray(shaped, dtype=native)


def array_of(entry: Entry, kind: Kind, name: str) -> ArrayFile:
    """Return the array of an IDX or NumPy file.

    Raises:
        DataError: it is damaged, too large, or has values that are neither numbers nor names.

    """
    with entry.open() as stream:
        array = (_idx if kind is Kind.IDX else _npy)(stream, entry, name)
    size = math.prod(array.shape) * array.dtype.itemsize
    if size > MAX_BYTES or max(array.shape, default=0) > MAX_BYTES:
        raise DataError(
            f"{entry.place}: its header promises {size:,} bytes, more than the {MAX_BYTES:,} that "
            "are read; take fewer samples, or smaller images"
        )
    return array


def _idx(stream: Stream, entry: Entry, name: str) -> ArrayFile:
    start = stream.read(4)
    dtype, dimensions = _IDX_TYPES.get(start[2]) if len(start) == 4 else None, start[-1]
    sizes = stream.read(4 * dimensions) if 1 <= dimensions <= _MAX_DIMENSIONS else b""
    if dtype is None or not sizes or len(sizes) < 4 * dimensions:
        raise DataError(
            f"{entry.place} is a damaged IDX file: it begins with '{start.hex(' ')}'; replace it"
        )
    shape = struct.unpack(f">{dimensions}I", sizes)
    return ArrayFile(name, shape, np.dtype(dtype), False, entry, 4 + 4 * dimensions)


def _npy(stream: Stream, entry: Entry, name: str) -> ArrayFile:
    start = stream.read(8)
    version = tuple(start[6:8])
    width = 2 if version == (1, 0) else 4
    length = int.from_bytes(stream.read(width), "little")
    if version not in ((1, 0), (2, 0)) or length > _MAX_HEADER:
        raise DataError(f"{entry.place} is a damaged .npy file; save it again with numpy.save")
    header = stream.read(length)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            shape, is_fortran, dtype = np.lib.format.read_array_header_1_0(
                io.BytesIO(length.to_bytes(2, "little") + header)
            )
    except (
        Exception
    ) as error:  # the header is Python, and errors of every kind come from hostile ones
        reason = " ".join(str(error).split())[:100]
        raise DataError(
            f"{entry.place} has a damaged header ({reason}); save it again with numpy.save"
        ) from error
    if dtype.hasobject:
        raise DataError(
            f"{entry.place} has Python objects, which can run any program when they are read; make "
            "an array of numbers of it: numpy.save(FILE, numpy.stack(list_of_images))"
        )
    if dtype.kind not in "biufSU" or min(shape, default=0) < 0:
        raise DataError(
            f"{entry.place} has values of the type {quote(str(dtype))}; images are numbers, labels "
            "numbers or names: convert it with .astype(…)"
        )
    return ArrayFile(name, shape, dtype, is_fortran, entry, 8 + width + length)


def arrays_of(
    entries: Iterable[tuple[Entry, Kind]], stack: contextlib.ExitStack
) -> Iterator[ArrayFile]:
    """Yield the arrays in files, and those of `.npz` files, which the stack keeps open.

    Raises:
        DataError: see `array_of`.

    """
    for entry, kind in entries:
        if kind in (Kind.IDX, Kind.NPY):
            yield array_of(entry, kind, entry.name)
        elif kind is Kind.ZIP and entry.path is not None:
            for member in stack.enter_context(opened_zip(entry)):
                if member.kind() is Kind.NPY:
                    yield array_of(member, Kind.NPY, f"{entry.name}/{member.name}")


def pair(arrays: list[ArrayFile], place: str, *, needs_labels: bool = True) -> Parts:
    """Return the images of a set with their labels, found by shape and by name.

    Raises:
        DataError: it is not certain which belong together.

    """
    roles = {role: [a for a in arrays if a.role == role] for role in ("train", "test")}
    train, test = (_pair_one(roles[role], place) for role in ("train", "test"))
    if train is None or (train[1] is None and test and test[1]):
        train, test = test, None
    if train is None:
        raise _no_images(arrays, place)
    notes = [
        "arrays: " + ", ".join(str(array) for array in (*train, *(test or ())) if array),
        *(
            f"{array} is left out: --val-size takes validation samples from the training samples"
            for array in arrays
            if array.role == "validation" and array.image_shape
        ),
    ]
    if train[1] is None and needs_labels:
        raise _no_labels(arrays, train[0], place)
    if test is not None and test[1] is None and needs_labels:
        notes.append(f"{test[0].name} has no labels, so it is no test set; mnist-predict reads it")
        test = None
    return Parts(_part(*train), None if test is None else _part(*test), tuple(notes))


def _pair_one(arrays: list[ArrayFile], place: str) -> tuple[ArrayFile, ArrayFile | None] | None:
    """Return the images and labels among the arrays of one role; None if there are no images."""
    images = [array for array in arrays if array.image_shape]
    labels = [array for array in arrays if array.are_labels]
    if not images:
        return None
    pairs = [(x, y) for x in images for y in labels if x.shape[0] == y.shape[0]]
    if len(pairs) > 1:  # several sets in one folder
        pairs = [(x, y) for x, y in pairs if x.key == y.key]
    if len(pairs) == 1:
        return pairs[0]
    if not pairs and len(images) == 1 and not labels:
        return images[0], None
    if not pairs and len(images) == len(labels) == 1:
        raise DataError(
            f"{place}: {labels[0].shape[0]:,} labels ({labels[0].name}) for "
            f"{images[0].shape[0]:,} images ({images[0].name}); the first axis is to be the samples"
        )
    raise DataError(
        f"{place} has several arrays that could belong together: {_listed(arrays)}; put the images "
        "and labels of one set into one folder, or one .npz"
    )


def _part(images: ArrayFile, labels: ArrayFile | None) -> Part:
    if images.shape[0] > MAX_SAMPLES:
        raise DataError(
            f"{images.place} has {images.shape[0]:,} samples, more than the {MAX_SAMPLES:,} that "
            "are read; take fewer"
        )
    if images.shape[0] == 0:
        raise DataError(f"{images.place} is empty: it has no samples; replace it")
    height, width = images.image_shape or (0, 0)
    if images.dtype.kind not in "biuf":
        raise DataError(f"{images.place}: images are numbers, not {quote(str(images.dtype))}")
    pixels = images.load().reshape(-1, height, width)
    split = emnist_split(images.name)
    found = None if labels is None else _labels(labels, split)
    return Part(images.place, pixels, found)


def _labels(array: ArrayFile, split: str | None) -> Labels:
    values = array.load()
    values = values[:, 0] if values.ndim == 2 else values
    if values.dtype.kind in "SU":
        texts = values.tolist()
        try:
            names = [t.decode() if isinstance(t, bytes) else t for t in texts]
        except UnicodeDecodeError as error:
            raise DataError(f"{array.place}: a label is not UTF-8; save it as text") from error
        plain = {name: plain_name(name) for name in set(names)}
        return labels_of_names([plain[name] for name in names], array.place)
    labels = labels_of_numbers(
        values.astype(np.uint8) if values.dtype == bool else values, array.place
    )
    if split is None:
        return labels
    return named_as_emnist(labels, split, array.place)


def named_as_emnist(labels: Labels, split: str, place: str) -> Labels:
    """Return the labels of a split of EMNIST with the names of the characters.

    Raises:
        DataError: there is a label that the split does not have.

    """
    characters = EMNIST_CLASSES[split]
    unknown = [name for name in labels.names if name not in characters]
    if unknown:
        raise DataError(
            f"{place}: EMNIST's {split} has no label {unknown[0]}; rename the file if it is "
            "another set"
        )
    return Labels(tuple(characters[name] for name in labels.names), labels.numbers)


def _no_images(arrays: list[ArrayFile], place: str) -> DataError:
    if any(_NAMES_OF_WEIGHTS.search(array.name.lower()) for array in arrays) and len(arrays) > 1:
        return DataError(
            f"{place} has no images, but arrays such as {arrays[0]}: it seems to hold the weights "
            "of a network; name the data it was trained on"
        )
    three = [a for a in arrays if len(a.shape) == 4 and a.shape[-1] in (3, 4)]
    if three:
        return DataError(
            f"{place}: {three[0]} has colours; make it gray: images.mean(axis=-1), with {_AXES}"
        )
    return DataError(f"{place} has no images, but {_listed(arrays)}; images are {_AXES}")


_AXES = "samples x height x width, or samples x pixels of a square"


def _no_labels(arrays: list[ArrayFile], images: ArrayFile, place: str) -> DataError:
    tails = [a for a in arrays if a.shape[:1] == images.shape[:1] and a is not images]
    if tails:
        return DataError(
            f"{place}: {tails[0]} has several columns for each label (one-hot?); save one number "
            "for each: labels.argmax(axis=1)"
        )
    return DataError(
        f"{place} has images ({images}) but no labels; training needs an array of labels beside "
        "it, and mnist-predict CHECKPOINT reads images without"
    )


def _listed(arrays: list[ArrayFile]) -> str:
    shown = ", ".join(map(str, arrays[:6]))
    return shown + (f" and {len(arrays) - 6} more" if len(arrays) > 6 else "")
