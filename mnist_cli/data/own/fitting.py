"""From values of any scale and size to images like those of MNIST.

Scale and polarity are decided once for a whole set, never for an image: a faint image stays faint.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mnist_cli.data.catalogue import IMAGE_SHAPE
from mnist_cli.data.own.samples import Images, Part, ReadOptions, Values
from mnist_cli.errors import DataError, UsageError

Floats = NDArray[np.float32]

SIDE = IMAGE_SHAPE[0]
_BOX = 20  # pixels of the longer side of a digit of MNIST
_FULL = 255
_SMALL_SCALE = 16  # a maximum up to this one may be a scale of its own
_CHUNK, _CHUNK_PIXELS = 4096, 1 << 22  # images and pixels at a time, at most
# As in `mnist_cli.data.pictures`: the least contrast, and the least ink, which becomes 0.
_MIN_CONTRAST, _MIN_INK = 10, 0.1
_SHOWN_SHARE = 1 / 3  # of full ink: the box of a digit begins there


@dataclass(frozen=True)
class Fitted:
    """Images `uint8 [N, 28, 28]` of the training and the test samples, and what was done."""

    train: Images
    test: Images | None
    light_ground: bool
    notes: tuple[str, ...]


def fit_parts(
    train: Part, test: Part | None, options: ReadOptions, *, light_ground: bool | None = None
) -> Fitted:
    """Return the images of a set, light on dark; their polarity is found unless it is known.

    Raises:
        DataError: the values have no known scale, or the images of the parts have different sizes.
        UsageError: `max_value` does not fit the values.

    """
    parts = [train] if test is None else [train, test]
    sizes = {part.pixels.shape[1:] for part in parts}
    if len(sizes) > 1:
        shown = " and ".join(
            f"{w} by {h} ({p.place})" for p in parts for h, w in [p.pixels.shape[1:]]
        )
        raise DataError(f"training and test images differ in size: {shown}; give them one size")
    scale = find_scale(parts, options.max_value)
    height, width = sizes.pop()
    light = is_light(scale.apply(border_of(train.pixels))) if light_ground is None else light_ground
    images = [
        _fitted(part.pixels, scale, is_light_ground=light, transposed=options.transposed)
        for part in parts
    ]
    notes = [f"values: {scale.words}", words_of_ground(light)]
    if (height, width) != IMAGE_SHAPE:
        notes.insert(0, f"images of {width} by {height}, fitted into {SIDE} by {SIDE}")
    if options.transposed:
        notes.append("rows and columns of the images were exchanged")
    return Fitted(images[0], None if test is None else images[1], light, tuple(notes))


def words_of_ground(is_light_ground: bool) -> str:
    """Return what to tell about the polarity of a set."""
    if is_light_ground:
        return "dark on a light ground: inverted, to be light on dark as MNIST is"
    return "light on a dark ground, as MNIST is"


def border_of(pixels: Values) -> Values:
    """Return the pixels of the borders of images `[N, height, width]` as one row."""
    sides = (pixels[:, 0], pixels[:, -1], pixels[:, :, 0], pixels[:, :, -1])
    return np.concatenate([side.ravel() for side in sides])


def is_light(border: Images) -> bool:
    """Return True if pixels of borders are light, on the average."""
    return float(border.mean(dtype=np.float64)) > _FULL / 2


@dataclass(frozen=True)
class Scale:
    """How values become bytes: (value - least) * 255 / range."""

    least: float
    range: float
    words: str

    def apply(self, values: Values) -> Images:
        """Return values as bytes, rounded."""
        if values.dtype == np.uint8 and (self.least, self.range) == (0, _FULL):
            return values
        scaled = (values.astype(np.float32) - np.float32(self.least)) * (_FULL / self.range)
        return scaled.round().clip(0, _FULL).astype(np.uint8)


def find_scale(parts: Sequence[Part], max_value: float | None) -> Scale:
    """Return the scale of a set, from the least and the greatest value of all its parts.

    Raises:
        DataError: a value is no number, or the scale is open.
        UsageError: `max_value` does not fit.

    """
    ranges = [_range_of(part) for part in parts]
    least, most = min(r[0] for r in ranges), max(r[1] for r in ranges)
    place = parts[0].place
    found = f"{least:g} to {most:g}"
    if max_value is not None:
        if least < 0 or most > max_value:
            raise UsageError(
                f"--max-value {max_value:g} does not fit {place}: its values are {found}"
            )
        return Scale(0, max_value, f"{found}, of 0 to {max_value:g} (--max-value)")
    if least == most:
        raise DataError(f"{place} shows nothing: all its values are {least:g}; replace it")
    if least < 0:
        if least >= -1 and most <= 1:
            return Scale(-1, 2, f"{found}, taken as -1 to 1")
        raise DataError(
            f"{place} has values from {found}, which no known scale has; give those from before "
            "they were standardised: 0 to 255, 0 to 1 or -1 to 1"
        )
    if most <= 1:
        return Scale(0, 1, f"{found}, taken as 0 to 1")
    if most <= _SMALL_SCALE:
        raise DataError(
            f"{place} has values from {found}, and their scale cannot be known; say it with "
            f"--max-value {np.ceil(most):.0f} (or --max-value 255)"
        )
    if most <= _FULL:
        return Scale(0, _FULL, f"{found}, taken as 0 to 255")
    raise DataError(
        f"{place} has values up to {most:g}, more than 255; if they are on a scale of their own, "
        f"say it with --max-value, such as --max-value {65535 if most <= 65535 else most:g}"
    )


def _range_of(part: Part) -> tuple[float, float]:
    """Return the least and the greatest value of a part."""
    least, most = float(part.pixels.min()), float(part.pixels.max())
    if not np.isfinite([least, most]).all():
        sample, row, column = np.argwhere(~np.isfinite(part.pixels))[0]
        raise DataError(
            f"{part.place}: sample {sample + 1:,} has {part.pixels[sample, row, column]} at row "
            f"{row + 1}, column {column + 1}; give each pixel a number"
        )
    return least, most


def _fitted(pixels: Values, scale: Scale, *, is_light_ground: bool, transposed: bool) -> Images:
    images = np.empty((len(pixels), *IMAGE_SHAPE), dtype=np.uint8)
    step = max(1, min(_CHUNK, _CHUNK_PIXELS // (pixels.shape[1] * pixels.shape[2])))
    for start in range(0, len(pixels), step):
        chunk = scale.apply(pixels[start : start + step])
        if transposed:
            chunk = chunk.swapaxes(1, 2)
        if is_light_ground:
            chunk = _FULL - chunk
        images[start : start + step] = fit(chunk)
    return images


def fit(images: Images) -> Images:
    """Return images `[N, height, width]`, light on dark, prepared as MNIST's, `[N, 28, 28]`.

    Those of 28 by 28 are as they are. Of others, what differs from the median of the border is cut
    out, scaled to fit 20 by 20 pixels, its proportions kept, and its centre of mass is moved to
    pixel 14. Scaling is antialiased bilinear interpolation: two matrices for each image. Source:
    the MNIST page of LeCun, Cortes and Burges.
    """
    if images.shape[1:] == IMAGE_SHAPE:
        return images
    ink = _ink_of(images)
    shown = np.asarray(ink > _SHOWN_SHARE)
    tops, heights = _extent(np.any(shown, axis=2))
    lefts, widths = _extent(np.any(shown, axis=1))
    longer = np.maximum(heights, widths)
    new_heights = np.maximum(1, np.rint(heights * (_BOX / longer))).astype(np.intp)
    new_widths = np.maximum(1, np.rint(widths * (_BOX / longer))).astype(np.intp)
    rows = _resampling(tops, heights, new_heights, images.shape[1])
    columns = _resampling(lefts, widths, new_widths, images.shape[2])
    scaled = np.asarray(rows @ ink @ columns.transpose(0, 2, 1), dtype=np.float32)
    scaled /= np.maximum(scaled.max(axis=(1, 2), keepdims=True), np.float32(1e-6))
    return _centred(scaled, new_heights, new_widths)


def _ink_of(images: Images) -> Floats:
    """Return the ink of each pixel, from 0 to 1; images without contrast have none."""
    values = images.astype(np.float32)
    sides = (values[:, 0], values[:, -1], values[:, :, 0], values[:, :, -1])
    ground = np.median(np.concatenate(sides, axis=1), axis=1)[:, None, None]
    ink = values - ground
    full = ink.max(axis=(1, 2), keepdims=True)
    share = np.where(full < _MIN_CONTRAST, 0, ink / np.maximum(full, 1))
    return np.asarray(((share - _MIN_INK) / (1 - _MIN_INK)).clip(0, 1), dtype=np.float32)


def _extent(shown: NDArray[np.bool_]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the first place and the length of what is shown, of each row of `[N, places]`.

    Where nothing is shown it is the whole.
    """
    first = shown.argmax(axis=1)
    length = shown.shape[1] - shown[:, ::-1].argmax(axis=1) - first
    return first, length


def _resampling(
    starts: NDArray[np.intp], lengths: NDArray[np.intp], news: NDArray[np.intp], size: int
) -> Floats:
    """Return matrices `[N, 20, size]` that scale `lengths` pixels from `starts` to `news` ones.

    Each row is a triangle around the place that the new pixel has in the old ones, as wide as a new
    pixel, or an old one where those are wider. Rows beyond `news` are 0.
    """
    scale = (lengths / news)[:, None]
    new = np.arange(_BOX)
    centres = starts[:, None] + (new + 0.5) * scale - 0.5
    old = np.arange(size)
    distance = np.abs(old - centres[:, :, None]) / np.maximum(scale, 1)[:, :, None]
    inside = (old >= starts[:, None]) & (old < (starts + lengths)[:, None])
    weights = np.maximum(1 - distance, 0) * inside[:, None, :] * (new < news[:, None])[:, :, None]
    sums = weights.sum(axis=2, keepdims=True)
    return (weights / np.where(sums > 0, sums, 1)).astype(np.float32)


def _centred(ink: Floats, heights: NDArray[np.intp], widths: NDArray[np.intp]) -> Images:
    """Return ink `[N, 20, 20]` in 28 by 28 pixels, its centre of mass at pixel 14."""
    at = np.arange(_BOX, dtype=np.float32)
    mass = np.maximum(ink.sum(axis=(1, 2)), np.float32(1e-6))

    def places(along: Floats, lengths: NDArray[np.intp]) -> NDArray[np.intp]:
        """Return the old place of each new pixel; the last, which is 0, for those outside."""
        start = np.rint(SIDE // 2 - (along @ at) / mass).astype(np.intp)
        start = start.clip(0, SIDE - lengths)
        old = np.arange(SIDE) - start[:, None]
        return np.where((old >= 0) & (old < _BOX), old, _BOX)

    rows = places(ink.sum(axis=2), heights)
    columns = places(ink.sum(axis=1), widths)
    padded = np.pad(ink, ((0, 0), (0, 1), (0, 1)))
    number = np.arange(len(ink))[:, None, None]
    moved = padded[number, rows[:, :, None], columns[:, None, :]]
    return np.asarray((moved * _FULL).round(), dtype=np.uint8)
