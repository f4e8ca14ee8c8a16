"""Turn an image of a digit into 28 by 28 pixels, prepared as the makers of MNIST prepared theirs.

They scaled a digit to fit 20 by 20 pixels, keeping its proportions, and moved its centre of mass
to the centre of 28 by 28. Source: the MNIST page of LeCun, Cortes and Burges.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch.nn import functional as F

from mnist_cli.data.pictures.background import MIN_CONTRAST, Floats, border_of, median
from mnist_cli.data.pictures.components import SQUARE, Box, Labels, windows_of
from mnist_cli.data.pictures.segment import Segmentation, find_digit, find_digits

SIDE, _BOX = 28, 20
Pixels = NDArray[np.uint8]

_MIN_INK = 0.1  # of full ink: less becomes 0
# A blur removes up to this fraction of the variance, a parabola explains up to this one. The
# maxima in MNIST are 0.50 and 0.63; white noise begins at 0.82.
_MAX_NOISE, _MAX_GRADIENT = 0.7, 0.9
# Of MNIST's images: the longer side, the centre of mass and the lightest pixel.
_SIDES, _CENTRE, _MIN_LIGHTEST = {19, 20}, (13.2, 14.8), 200
_NOISE_THRESHOLDS = (0, 16, 32)
# Pixels: an image is enlarged to this side, a tiny one with a margin. Of 459 pictures 452, 453 and
# 456 were read right with sides of 56, 84 and 112.
_MIN_SIDE, _MARGIN = 112, 2
_LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)  # of red, green, blue: ITU-R BT.601
_STROKE_SIDE = 160  # the size at which strokes are measured and widened
_TEXTURE = 7  # pixels of that: the dots of printers and screens, which are not edges
_MIN_STROKE = 1.8  # pixels of the box: MNIST has 1.5 (5th percentile), 2.4 (median), 3.7 (95th)


@dataclass(frozen=True)
class Digit:
    """A digit as the network's input, `uint8 [28, 28]`: light on black, all 0 without a digit.

    `box` is where it is in its image: left, top, right and bottom in pixels, the last two
    exclusive; None without a digit.
    """

    pixels: Pixels
    box: tuple[int, int, int, int] | None


@dataclass(frozen=True)
class ImageDigits:
    """What an image shows: one digit, which may have several pieces, or else `several` digits."""

    digit: Digit
    several: tuple[Digit, ...] = ()

    def scaled(self, width: float, height: float) -> "ImageDigits":
        """Return the digits with their boxes in an image so many times wider and taller."""

        def scale(digit: Digit) -> Digit:
            if digit.box is None:
                return digit
            factors = (width, height, width, height)
            left, top, right, bottom = (
                round(at * factor) for at, factor in zip(digit.box, factors, strict=True)
            )
            return replace(digit, box=(left, top, right, bottom))

        return ImageDigits(scale(self.digit), tuple(map(scale, self.several)))


def prepare_digits(image: Pixels, *, reads_digits: bool = True) -> ImageDigits:
    """Return the digits in an image `[height, width, channels]`, prepared like MNIST's.

    A digit is found, cut out, scaled and centred. An image of 28 by 28 pixels that looks prepared
    already is only converted to grayscale and made light on dark; so is every one of that size for
    a network that reads other things than digits.
    """
    if image.shape[:2] == (SIDE, SIDE):
        prepared = _as_prepared(image)
        if not reads_digits or not prepared.any() or _looks_prepared(prepared):
            return ImageDigits(Digit(prepared, _box_of_prepared(prepared)))
    enlarged, margin = _enlarge(image)
    scales = [
        (length + 2 * margin) / larger
        for length, larger in zip(image.shape, enlarged.shape[:2], strict=False)
    ]

    def prepare(found: Segmentation) -> Iterator[Digit]:
        for pixels, corners in _prepare_each(found):
            top, left, bottom, right = (
                min(max(round(at * scale) - margin, 0), length)
                for at, scale, length in zip(corners, 2 * scales, 2 * image.shape[:2], strict=True)
            )
            yield Digit(pixels, (left, top, right, bottom))

    one = find_digit(enlarged)
    digit = next(prepare(one)) if one else Digit(np.zeros((SIDE, SIDE), dtype=np.uint8), None)
    if one and one.components.digits().max() <= 1:
        return ImageDigits(digit)
    all_ = find_digits(enlarged)
    several = tuple(prepare(all_)) if all_ and all_.labels.max() > 1 else ()
    return ImageDigits(digit, several)


def prepare_digit(image: Pixels, *, is_light_ground: bool) -> Pixels | None:
    """Return the digit in an image `[height, width, channels]`, prepared like MNIST's.

    An image of 28 by 28 pixels is only converted to grayscale and made light on dark; None if no
    digit is found in one of another size.
    """
    if image.shape[:2] == (SIDE, SIDE):
        gray = grayscale(image)
        return 255 - gray if is_light_ground else gray
    found = find_digit(_enlarge(image)[0], is_ink_darker=is_light_ground)
    return next(_prepare_each(found))[0] if found else None


def grayscale(image: Pixels) -> Pixels:
    """Return an image `[height, width, channels]` in grayscale, `[height, width]`."""
    gray = image @ _LUMA if image.shape[2] == 3 else image[:, :, 0].astype(np.float32)
    return gray.round().astype(np.uint8)


def _prepare_each(found: Segmentation) -> Iterator[tuple[Pixels, tuple[int, int, int, int]]]:
    """Yield the network's input for each digit, and its top, left, bottom and right."""
    ink = ((found.contrast.full - _MIN_INK) / (1 - _MIN_INK)).clip(0, 1)
    for number, window in enumerate(windows_of(found.labels, 1), start=1):
        digit, (rows, columns) = _cut_out(ink, found.labels, number, window)
        top, left = found.corner
        yield (
            _center(_fit_to_box(_widen_strokes(digit))),
            (top + rows.start, left + columns.start, top + rows.stop, left + columns.stop),
        )


def _box_of_prepared(image: Pixels) -> tuple[int, int, int, int] | None:
    for rows, columns in ndimage.find_objects((image > _NOISE_THRESHOLDS[-1]).astype(np.int8)):
        return columns.start, rows.start, columns.stop, rows.stop
    return None


def _as_prepared(image: Pixels) -> Pixels:
    """Return an image of MNIST's size in grayscale, light on dark.

    The background is the median of the border; ink is what differs most from it.
    """
    gray = grayscale(image).astype(np.float32)
    background = float(median(border_of(gray)))
    darker, lighter = background - float(gray.min()), float(gray.max()) - background
    if max(darker, lighter) < MIN_CONTRAST or _is_noise(gray) or _is_gradient(gray):
        return np.zeros((SIDE, SIDE), dtype=np.uint8)
    return (255 - gray if darker > lighter else gray).astype(np.uint8)


def _looks_prepared(image: Pixels) -> bool:
    """Return True if an image `[28, 28]`, light on dark, could be one of MNIST's.

    In all 70,000 of these the longer side of the digit has 19 or 20 pixels, the centre of mass lies
    between 13.4 and 14.6, and the lightest pixel has at least 200. As noise, for example of JPEG,
    pixels below one of the thresholds may be left out.
    """
    first, last = _CENTRE
    centred = all(first <= at <= last for at in ndimage.center_of_mass(image.astype(np.float32)))
    sides = {
        max(line.stop - line.start for line in box)
        for threshold in _NOISE_THRESHOLDS
        for box in ndimage.find_objects((image > threshold).astype(np.int8))
    }
    return centred and int(image.max()) >= _MIN_LIGHTEST and bool(sides & _SIDES)


def _enlarge(image: Pixels) -> tuple[Pixels, int]:
    """Return an image whose longer side has at least `_MIN_SIDE` pixels, and its new margin.

    One that is smaller than the box of 20 pixels shows nothing but a digit, which may fill it: it
    gets a margin of its background.
    """
    height, width, channels = image.shape
    if max(height, width) >= _MIN_SIDE:
        return image, 0
    margin = _MARGIN if max(height, width) < _BOX else 0
    if margin:
        padded = np.empty((height + 2 * _MARGIN, width + 2 * _MARGIN, channels), np.float32)
        padded[:] = _background_of_tiny(image)
        padded[_MARGIN:-_MARGIN, _MARGIN:-_MARGIN] = image
    else:
        padded = image.astype(np.float32)
    scale = _MIN_SIDE / max(padded.shape[:2])
    size = [max(1, round(length * scale)) for length in padded.shape[:2]]
    source = torch.from_numpy(padded.transpose(2, 0, 1))[None]
    enlarged = F.interpolate(source, size, mode="bicubic")[0].round().clamp(0, 255)
    pixels: Pixels = enlarged.byte().permute(1, 2, 0).numpy()
    return pixels, margin


def _background_of_tiny(image: Pixels) -> Floats:
    """Return the background `[channels]` of an image that its digit may fill.

    Strokes run along the border more often than they end in a corner: the four corners weigh as
    much as the whole border. Of 3,000 digits of MNIST at 8 by 8 pixels, the background was wrong
    for 12 instead of 21 if they were stretched to it, for 74 instead of 94 if not.
    """
    channels = image.transpose(2, 0, 1).astype(np.float32)
    border, corners = border_of(channels), channels[:, [0, 0, -1, -1], [0, -1, 0, -1]]
    weight = border.shape[1] // corners.shape[1]
    return median(np.concatenate([border, corners.repeat(weight, axis=1)], axis=1))


def _is_noise(gray: Floats) -> bool:
    """Return True if pixels hardly depend on their neighbours."""
    blurred = ndimage.uniform_filter(gray, 3, mode="nearest")
    return bool((gray - blurred).var() > _MAX_NOISE * gray.var())


def _is_gradient(gray: Floats) -> bool:
    """Return True if a parabola explains nearly all of an image."""
    terms = _parabolas()
    fitted = terms @ (terms.T @ gray.ravel())
    return bool((gray.ravel() - fitted).var() < (1 - _MAX_GRADIENT) * gray.var())


@cache
def _parabolas() -> Floats:
    """Return an orthonormal basis of the parabolas over an image, `[784, 6]`."""
    y, x = np.meshgrid(*2 * [np.linspace(-1, 1, SIDE)], indexing="ij")
    terms = np.stack([np.ones_like(y), y, x, y * y, x * x, x * y], axis=-1)
    return np.linalg.qr(terms.reshape(-1, 6)).Q.astype(np.float32)


def _cut_out(ink: Floats, labels: Labels, number: int, window: Box) -> tuple[Floats, Box]:
    """Return a digit's ink in the smallest rectangle around it, and that rectangle.

    The labels may be coarser than the ink. Their window has a margin of a pixel.
    """
    mask = ndimage.binary_dilation(labels[window] == number, SQUARE)  # includes soft edges
    places = [
        np.arange(length) * coarse // length
        for length, coarse in zip(ink.shape, labels.shape, strict=True)
    ]
    inside = [
        np.flatnonzero((at >= part.start) & (at < part.stop))
        for at, part in zip(places, window, strict=True)
    ]
    rows, columns = (
        at[within] - part.start for at, within, part in zip(places, inside, window, strict=True)
    )
    top, left = inside[0][0], inside[1][0]
    digit = ink[top : top + len(rows), left : left + len(columns)] * mask[rows[:, None], columns]
    ((y, x),) = ndimage.find_objects((digit > digit.max() / 3).astype(np.int8))
    box = (
        slice(int(top) + y.start, int(top) + y.stop),
        slice(int(left) + x.start, int(left) + x.stop),
    )
    return digit[y, x], box


def _widen_strokes(ink: Floats) -> Floats:
    """Return a digit of `_STROKE_SIDE` pixels, its strokes at least as wide as MNIST's."""
    ink = _resize(ink, _STROKE_SIDE)
    width = _stroke_width(ink) * _BOX / _STROKE_SIDE
    if width >= _MIN_STROKE:
        return ink
    # The digit grows by the radius r on each side and is then scaled to the box of 20 pixels, so
    # (width + 2 r) / (20 + 2 r) = minimum / 20, in pixels of the box.
    radius = _BOX * (_MIN_STROKE - width) / (2 * (_BOX - _MIN_STROKE))
    return _dilate(ink, round(radius * _STROKE_SIDE / _BOX))


def _resize(ink: Floats, side: int) -> Floats:
    """Return an image whose longer side has `side` pixels."""
    scale = side / max(ink.shape)
    size = [max(1, round(length * scale)) for length in ink.shape]
    # scipy.ndimage.zoom has no antialiasing.
    source = torch.from_numpy(np.ascontiguousarray(ink))[None, None]
    resized: Floats = F.interpolate(source, size, mode="bilinear", antialias=True)[0, 0].numpy()
    return resized


def _stroke_width(ink: Floats) -> float:
    """Return the mean width of strokes: a stroke of width w and length l has an edge of 2 l.

    The length of the edge follows from the number of changes between neighbours by the
    Cauchy-Crofton formula: averaged over all directions there are 4 / pi of them per pixel.
    """
    smooth = ndimage.uniform_filter(ink, _TEXTURE, mode="constant")
    drawn = np.pad(smooth > smooth.max() / 2, 1)
    changes = np.count_nonzero(np.diff(drawn, axis=0)) + np.count_nonzero(np.diff(drawn, axis=1))
    return 2 * np.count_nonzero(drawn) / (changes * math.pi / 4)


def _dilate(ink: Floats, radius: int) -> Floats:
    """Return the image dilated by a disk: each pixel is the maximum within the radius."""
    offsets = np.arange(-radius, radius + 1)
    disk = offsets[:, None] ** 2 + offsets**2 <= radius**2
    dilated: Floats = ndimage.grey_dilation(
        np.pad(ink, radius), footprint=disk, mode="constant", cval=0.0
    )
    return dilated


def _fit_to_box(ink: Floats) -> Floats:
    """Return the digit scaled to fit the box, its strongest pixel 1."""
    scaled = _resize(ink, _BOX)
    scaled /= scaled.max()
    return scaled


def _center(ink: Floats) -> Pixels:
    """Return 28 by 28 pixels with the centre of mass at pixel 14, to the nearest pixel.

    In every image of MNIST it lies between 13.5 and 14.5 of 0 to 27 on both axes.
    """
    top, left = (
        min(max(round(SIDE // 2 - centre), 0), SIDE - length)
        for centre, length in zip(ndimage.center_of_mass(ink), ink.shape, strict=True)
    )
    image = np.zeros((SIDE, SIDE), dtype=np.float32)
    image[top : top + ink.shape[0], left : left + ink.shape[1]] = ink
    return (image * 255).round().astype(np.uint8)
