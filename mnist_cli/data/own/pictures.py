"""Pictures of a data set, decoded and prepared as `mnist-predict` prepares them.

Their polarity is one for the whole set, found from up to a thousand of them.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from mnist_cli.data.catalogue import IMAGE_SHAPE
from mnist_cli.data.own.fitting import Fitted, border_of, fit, words_of_ground
from mnist_cli.data.own.layout import Layout, Pictures
from mnist_cli.data.own.samples import MAX_SAMPLES, Images, ReadOptions
from mnist_cli.data.own.sources import Entry, kind_of
from mnist_cli.data.pictures.decode import decode_image, pillow_silenced
from mnist_cli.data.pictures.limits import MAX_BYTES
from mnist_cli.data.pictures.preprocess import Pixels, grayscale, prepare_digit
from mnist_cli.errors import DataError, UsageError
from mnist_cli.runtime.cores import usable_cores

_LFS = b"version https://git-lfs"
_ASKED = 1000  # pictures that tell the polarity
# Larger pictures may be photographs: the digit is searched for. In smaller ones it is what differs
# from the border, which takes a hundredth of the time.
_SMALL = 64
_READERS = 4
_AT_ONCE = 256  # pictures in the queue of the readers
_MAX_EMPTY = 0.5  # of the pictures, in which no digit is found


def fit_pictures(layout: Layout, options: ReadOptions) -> Fitted:
    """Return the images of a set of pictures, light on dark.

    Raises:
        DataError: a picture cannot be read, or too few show something.
        UsageError: an option is for other kinds of data.

    """
    if options.max_value is not None:
        raise UsageError("--max-value is for numbers; pictures tell their scale; leave it out")
    parts = [layout.train] if layout.test is None else [layout.train, layout.test]
    count = sum(len(part.files) for part in parts)
    if count > MAX_SAMPLES:
        raise DataError(f"{layout.train.place} has {count:,} pictures, more than {MAX_SAMPLES:,}")
    with pillow_silenced(), ThreadPoolExecutor(min(_READERS, usable_cores())) as readers:
        step = -(-len(layout.train.files) // _ASKED)
        borders = readers.map(_border, layout.train.files[::step])
        light = float(np.mean(list(borders))) > 255 / 2
        reader = _Reader(options, is_light_ground=light)
        images = [_read(part, reader, readers) for part in parts]
    notes = [*reader.notes(count), words_of_ground(light)]
    if options.transposed:
        notes.append("rows and columns of the images were exchanged")
    return Fitted(images[0], images[1] if layout.test else None, light, tuple(notes))


def _read(part: Pictures, reader: "_Reader", readers: ThreadPoolExecutor) -> Images:
    images = np.empty((len(part.files), *IMAGE_SHAPE), dtype=np.uint8)
    for start in range(0, len(part.files), _AT_ONCE):
        chosen = part.files[start : start + _AT_ONCE]
        for at, image in enumerate(readers.map(reader.read, chosen)):
            images[start + at] = image
    return images


def _decoded(entry: Entry) -> Pixels:
    """Return a picture, `[height, width, channels]`.

    Raises:
        DataError: it cannot be read.

    """
    source = entry.packed_bytes(MAX_BYTES + 1)
    if source.startswith(_LFS):
        kind_of(source, entry.place)  # raises
    return decode_image(source, entry.place)


def _border(entry: Entry) -> float:
    """Return the mean of the border of a picture."""
    return float(border_of(grayscale(_decoded(entry))[None]).mean())


class _Reader:
    """Reads pictures, in several threads, and counts what is to be told about them."""

    def __init__(self, options: ReadOptions, *, is_light_ground: bool) -> None:
        self._transposed, self._is_light_ground = options.transposed, is_light_ground
        self._sizes: dict[tuple[int, int], str] = {}
        self._empty: list[str] = []

    def read(self, entry: Entry) -> Images:
        """Return a picture as an image `[28, 28]`, light on dark."""
        pixels = _decoded(entry)
        if self._transposed:
            pixels = pixels.swapaxes(0, 1)
        height, width = pixels.shape[:2]
        self._sizes.setdefault((width, height), entry.place)
        if (height, width) != IMAGE_SHAPE and max(height, width) <= _SMALL:
            gray = grayscale(pixels)
            image: Images | None = fit((255 - gray if self._is_light_ground else gray)[None])[0]
        else:
            image = prepare_digit(pixels, is_light_ground=self._is_light_ground)
        if image is None or not image.any():
            self._empty.append(entry.place)
            return np.zeros(IMAGE_SHAPE, dtype=np.uint8)
        return image

    def notes(self, count: int) -> Iterator[str]:
        """Yield what to tell about the pictures.

        Raises:
            DataError: too few show something.

        """
        sizes = sorted(self._sizes)
        if sizes != [IMAGE_SHAPE]:
            shown = _sizes(sizes)
            yield f"pictures of {shown}, fitted into 28 by 28 as mnist-predict does"
        else:
            yield "pictures of 28 by 28, taken as they are"
        if len(self._empty) > _MAX_EMPTY * count:
            raise DataError(
                f"{min(self._empty)} and {len(self._empty) - 1:,} more of {count:,} pictures show "
                "nothing that stands out from their ground; crop them, or scale them to 28 by 28"
            )
        if self._empty:
            shown = f"{len(self._empty):,}, such as {min(self._empty)}"
            yield f"pictures that show nothing, and are black: {shown}"


def _sizes(sizes: Sequence[tuple[int, int]]) -> str:
    shown = [f"{width} by {height}" for width, height in sizes]
    return shown[0] if len(shown) == 1 else f"{len(shown)} sizes, {shown[0]} to {shown[-1]}"
