"""Find the digits in an image: of the connected components of its ink, the clearest ones."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from mnist_cli.data.pictures.background import (
    COARSE_SIDE,
    ContrastMap,
    Difference,
    Floats,
    Mask,
    background_differences,
    border_of,
)
from mnist_cli.data.pictures.components import SQUARE, Box, Components, Labels, windows_of

_INK = 0.4  # of full ink: less is a shadow, a printed line or a stroke's soft edge
# Faint strokes connected to strong ones have this contrast. They make the digit larger by this
# factor at most: more would be a ruled line.
_FAINT_INK, _MAX_GROWTH = 0.2, 3.0
_SHEET_MARGIN = 0.04  # of a sheet's sides: its border, which is blurred
_MIN_EDGE = 0.5  # of full ink: shadows and textures have softer edges
# Pixels of the coarse size: how far from a digit's edge its ink is compared. With 9 at most, digits
# are found that were blurred by 1.5 % of the side; with 7 one in fourteen of these is not, and with
# 12 shadows are found (`benchmarks.pictures`, `benchmarks.no_digits`).
_MIN_REACH, _MAX_REACH = 3, 9
_FINE_SIDE = 1024  # at that size several digits are searched for
_CLEAR = 0.6  # a digit of that clarity ends the search
_MIN_SIDE = 12  # pixels: a smaller area holds no digit

_SHEET_FILL, _SHEET_AREA = 0.7, 0.15  # of its rectangle, and of the image: a sheet of paper


@dataclass(frozen=True)
class Segmentation:
    """Digits on one background: a map of the contrast, and which pixels are whose.

    Attributes:
        contrast: its full size is that of the image, or of the sheet of paper on it.
        labels: the number of each pixel's digit, from 1 in reading order, 0 for the background, at
            the coarse size.
        clarity: from 0 to about 1, high if the digits have sharp edges and differ clearly from the
            background.
        sheet: where the only digit is rather a sheet of paper, in pixels of the labels.
        components: what the digits were chosen among.
        corner: the top and left of the contrast map in the image.

    """

    contrast: ContrastMap
    labels: Labels
    clarity: float
    sheet: Box | None
    components: Components
    corner: tuple[int, int] = (0, 0)


_Choice = Callable[[Components], Labels]  # the number of each component's digit, `[count + 1]`


def find_digit(
    image: NDArray[np.uint8], *, is_ink_darker: bool | None = None
) -> Segmentation | None:
    """Return the digit in an image `[height, width, channels]`, or None if there is none.

    If a sheet of paper lies on something else, the digit is searched for on the sheet. Ink is
    darker or lighter than the background, or either if that is not known.
    """

    def choose(components: Components) -> Labels:
        return components.digit().astype(np.int32)

    return _find(image, choose, COARSE_SIDE, is_ink_darker)


def find_digits(image: NDArray[np.uint8]) -> Segmentation | None:
    """Return every digit in an image `[height, width, channels]`, or None if there is none.

    Digits do not touch each other, and have about the same size.
    """
    return _find(image, Components.digits, _FINE_SIDE)


def _find(
    image: NDArray[np.uint8], choose: _Choice, side: int, is_ink_darker: bool | None = None
) -> Segmentation | None:
    """Return the digits that are chosen among the components at a size, if there are any."""
    best: Segmentation | None = None
    for difference in background_differences(image, side):
        for candidate in _candidates(difference, choose, is_ink_darker):
            if best is None or candidate.clarity > best.clarity:
                best = candidate
        if best and best.clarity > _CLEAR:
            break
    if best is None or best.clarity <= 0:
        return None
    if best.sheet:
        rows, columns = (
            _shrink_slice(part, length / coarse)
            for part, length, coarse in zip(
                best.sheet, image.shape, best.labels.shape, strict=False
            )
        )
        sheet = image[rows, columns]
        if min(sheet.shape[:2]) < _MIN_SIDE:
            return best
        if found := _find(sheet, choose, side, is_ink_darker):
            top, left = found.corner
            return replace(found, corner=(top + rows.start, left + columns.start))
    return best


def _shrink_slice(part: slice, scale: float) -> slice:
    """Return a slice of a sheet's pixels, scaled to the image and without the sheet's margin."""
    start, stop = round(part.start * scale), round(part.stop * scale)
    margin = 1 + round(_SHEET_MARGIN * (stop - start))
    return slice(start + margin, stop - margin)


def _candidates(
    difference: Difference, choose: _Choice, is_ink_darker: bool | None
) -> Iterator[Segmentation]:
    """Yield the digits that stand out from one background."""
    for contrast in difference.contrast_maps():
        if is_ink_darker is not None and (contrast.projection.sum() < 0) != is_ink_darker:
            continue
        components = Components(contrast.coarse > _INK)
        around = components.surroundings()
        if not around.any():
            yield from _candidate(contrast, components, None, choose)
            continue
        within = ~ndimage.binary_dilation(components.mask(around), SQUARE, iterations=2)
        if within.any():
            for inner in difference.contrast_maps(within):
                inside = Components((inner.coarse > _INK) & within)
                yield from _candidate(inner, inside, within, choose)


def _candidate(
    contrast: ContrastMap, components: Components, within: Mask | None, choose: _Choice
) -> Iterator[Segmentation]:
    """Yield the digits among components, if there are any."""
    labels = choose(components)[components.labels]
    ink = contrast.coarse.clip(-1, 1.2)
    edges = np.array(
        [
            _edge_contrast(ink[window], labels[window], number)
            for number, window in enumerate(windows_of(labels, _MAX_REACH), start=1)
        ]
    )
    is_clear = edges >= _MIN_EDGE
    if is_clear.any():
        numbers = np.concatenate([[0], is_clear * is_clear.cumsum()]).astype(np.int32)
        labels = numbers[labels]
        clarity = float(edges[is_clear].mean()) * _separation(
            ink if within is None else ink[within]
        )
        sheet = sheet_box(labels > 0) if labels.max() == 1 else None
        labels = _with_faint_strokes(labels, ink)
        yield Segmentation(contrast, labels, clarity, sheet, components)


def _with_faint_strokes(labels: Labels, ink: Floats) -> Labels:
    """Return the labels with the faint strokes connected to each digit.

    A digit is left as it is if these leave the image, or are connected to another digit.
    """
    faint = Components(ink > _FAINT_INK)
    border = np.unique(border_of(faint.labels))
    is_digit = labels > 0
    # Each faint component with each digit that is connected to it.
    count = int(labels.max()) + 1
    pairs = np.unique(faint.labels[is_digit].astype(np.int64) * count + labels[is_digit])
    components, digits = np.divmod(pairs, count)
    owners = np.zeros(faint.count + 1, dtype=np.int32)
    for number, area in enumerate(np.bincount(labels.ravel())[1:], start=1):
        connected = components[digits == number]
        is_shared = np.isin(connected, components[digits != number]).any()
        leaves = np.isin(connected, border).any()
        if not (is_shared or leaves or faint.areas[connected].sum() > _MAX_GROWTH * area):
            owners[connected] = number
    return np.where(is_digit, labels, owners[faint.labels])


def _edge_contrast(ink: Floats, labels: Labels, number: int) -> float:
    """Return the difference of the mean ink inside a digit's edge and outside of it.

    Edges may be soft, as in enlarged or blurred pictures, but less so than the strokes are wide:
    the ink is compared up to a stroke's width away from the edge, within `_MIN_REACH` and
    `_MAX_REACH`.
    """
    mask = labels == number
    padded = np.pad(mask, 1, mode="edge")  # a digit that leaves the image has no edge there
    depth = ndimage.distance_transform_cdt(padded, "chessboard")[1:-1, 1:-1]
    distance = ndimage.distance_transform_cdt(~mask, "chessboard")
    # In a stroke of width w the depths are 1 to w / 2, so that their mean is about w / 4.
    stroke_width = 4 * float(depth[mask].mean())
    reach = min(max(_MIN_REACH, round(stroke_width)), _MAX_REACH)
    outside = ink[(distance > reach // 3) & (distance <= reach) & (labels == 0)]
    return float(ink[mask & (depth <= reach)].mean() - outside.mean()) if len(outside) else 0.0


def _separation(ink: Floats) -> float:
    """Return the fraction of the variance that lies between ink and background (Otsu, 1979)."""
    is_ink = ink > _INK
    fraction = float(is_ink.mean())
    if not 0 < fraction < 1:
        return 0.0
    distance = float(ink[is_ink].mean() - ink[~is_ink].mean())
    return fraction * (1 - fraction) * distance**2 / float(ink.var())


def sheet_box(mask: Mask) -> Box | None:
    """Return the rectangle of a mask if that is a sheet of paper: large and full, not a digit."""
    (rows, columns), *_ = ndimage.find_objects(mask.astype(np.int8))
    height, width = rows.stop - rows.start, columns.stop - columns.start
    is_full = np.count_nonzero(mask) >= _SHEET_FILL * height * width
    is_sheet = is_full and height * width >= _SHEET_AREA * mask.size and width > height / 3
    return (rows, columns) if is_sheet else None
