"""Find the digit in an image: segmentation into connected components, and a choice among them."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from mnist_cli.prediction.background import (
    ContrastMap,
    Difference,
    Floats,
    Mask,
    background_differences,
)

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
_CLEAR = 0.6  # a digit of that clarity ends the search
_MIN_SIDE = 12  # pixels: a smaller area holds no digit

_MIN_AREA = 0.04  # of the largest component: smaller ones are dirt
_MAX_GAP = 0.4  # of the largest component's longer side: what is farther away is no part of it
_MIN_DIGIT_SHARE = 0.4  # of all ink: if the digit has less, this is a texture
_MIN_INNER = 0.1  # of the largest component: the size of one inside the image that is preferred
_ALONG = 0.9  # of a side: what covers so much of one is a table's edge or a shadow
_SPAN, _LINE = 0.95, 0.08  # of the sides: the length and width of a line across the image
_SHEET_FILL, _SHEET_AREA = 0.7, 0.15  # of its rectangle, and of the image: a sheet of paper

_SQUARE = np.ones((3, 3), dtype=bool)  # pixels that share a corner are connected, too
_Box = tuple[slice, slice]  # rows and columns


@dataclass(frozen=True)
class Segmentation:
    """A digit: a map of the contrast, and the mask of its pixels at the coarse size.

    `clarity`, from 0 to about 1, is high if the digit
    has sharp edges and differs clearly from the background. `sheet` is where it is a sheet of
    paper rather than a digit, in pixels of the mask.
    """

    contrast: ContrastMap
    mask: Mask
    clarity: float
    sheet: _Box | None


def find_digit(image: NDArray[np.uint8]) -> Segmentation | None:
    """Return the digit in an image `[height, width, channels]`, or None if there is none.

    If a sheet of paper lies on something else, the digit is searched for on the sheet.
    """
    best: Segmentation | None = None
    for difference in background_differences(image):
        for candidate in _candidates(difference):
            if best is None or candidate.clarity > best.clarity:
                best = candidate
        if best and best.clarity > _CLEAR:
            break
    if best is None or best.clarity <= 0:
        return None
    if best.sheet:
        inside = tuple(
            _shrink_slice(part, side / coarse)
            for part, side, coarse in zip(best.sheet, image.shape, best.mask.shape, strict=False)
        )
        sheet = image[inside]
        if min(sheet.shape[:2]) >= _MIN_SIDE and (found := find_digit(sheet)):
            return found
    return best


def _shrink_slice(part: slice, scale: float) -> slice:
    """Return a slice of a sheet's pixels, scaled to the image and without the sheet's margin."""
    start, stop = round(part.start * scale), round(part.stop * scale)
    margin = 1 + round(_SHEET_MARGIN * (stop - start))
    return slice(start + margin, stop - margin)


def _candidates(difference: Difference) -> Iterator[Segmentation]:
    """Yield the digits that stand out from one background."""
    for contrast in difference.contrast_maps():
        components = Components(contrast.coarse > _INK)
        around = components.surroundings()
        if not around.any():
            yield from _candidate(contrast, components, None)
            continue
        within = ~ndimage.binary_dilation(components.mask(around), _SQUARE, iterations=2)
        if within.any():
            for inner in difference.contrast_maps(within):
                inside = Components((inner.coarse > _INK) & within)
                yield from _candidate(inner, inside, within)


def _candidate(
    contrast: ContrastMap, components: "Components", within: Mask | None
) -> Iterator[Segmentation]:
    """Yield the digit among components, if there is one."""
    chosen = components.digit()
    if not chosen.any():
        return
    mask = components.mask(chosen)
    ink = contrast.coarse.clip(-1, 1.2)
    edge = _edge_contrast(ink, mask)
    if edge >= _MIN_EDGE:
        clarity = edge * _separation(ink if within is None else ink[within])
        yield Segmentation(contrast, _with_faint_strokes(mask, ink), clarity, sheet_box(mask))


def _with_faint_strokes(mask: Mask, ink: Floats) -> Mask:
    """Return the mask with the faint strokes connected to it, unless these leave the image."""
    faint = Components(ink > _FAINT_INK)
    connected = np.zeros(faint.count + 1, dtype=bool)
    connected[faint.labels[mask]] = True
    whole = faint.mask(connected)
    leaves = whole[[0, -1]].any() or whole[:, [0, -1]].any()
    if leaves or np.count_nonzero(whole) > _MAX_GROWTH * np.count_nonzero(mask):
        return mask
    return whole


def _edge_contrast(ink: Floats, mask: Mask) -> float:
    """Return the difference of the mean ink inside the digit's edge and outside of it.

    Edges may be soft, as in enlarged or blurred pictures, but less so than the strokes are wide:
    the ink is compared up to a stroke's width away from the edge, within `_MIN_REACH` and
    `_MAX_REACH`.
    """
    padded = np.pad(mask, 1, mode="edge")  # a digit that leaves the image has no edge there
    depth = ndimage.distance_transform_cdt(padded, "chessboard")[1:-1, 1:-1]
    distance = ndimage.distance_transform_cdt(~mask, "chessboard")
    # In a stroke of width w the depths are 1 to w / 2, so that their mean is about w / 4.
    stroke_width = 4 * float(depth[mask].mean())
    reach = min(max(_MIN_REACH, round(stroke_width)), _MAX_REACH)
    outside = ink[(distance > reach // 3) & (distance <= reach)]
    return float(ink[mask & (depth <= reach)].mean() - outside.mean()) if len(outside) else 0.0


def _separation(ink: Floats) -> float:
    """Return the fraction of the variance that lies between ink and background (Otsu, 1979)."""
    is_ink = ink > _INK
    fraction = float(is_ink.mean())
    if not 0 < fraction < 1:
        return 0.0
    distance = float(ink[is_ink].mean() - ink[~is_ink].mean())
    return fraction * (1 - fraction) * distance**2 / float(ink.var())


class Components:
    """The connected components of a mask `[height, width]`, numbered from 1; 0 is background.

    Attributes:
        labels: the number of each pixel's component, `int32 [height, width]`.
        count: how many components there are.
        areas: the pixels of each component, `int64 [count + 1]`; 0 for the background.

    """

    def __init__(self, mask: Mask) -> None:
        self.labels, self.count = ndimage.label(mask, _SQUARE)
        self.areas = np.bincount(self.labels.ravel(), minlength=self.count + 1)
        self.areas[0] = 0

    def mask(self, chosen: Mask) -> Mask:
        """Return the pixels of the chosen components, which are `bool [count + 1]`."""
        pixels: Mask = chosen[self.labels]
        return pixels

    def boxes(self) -> NDArray[np.int64]:
        """Return top, left, bottom and right of each component, `[count + 1, 4]`.

        The last two are exclusive.
        """
        slices = ndimage.find_objects(self.labels)
        rows = [(y.start, x.start, y.stop, x.stop) for y, x in slices]
        return np.array([(0, 0, 0, 0), *rows], dtype=np.int64)

    def surroundings(self) -> Mask:
        """Return which components are no writing, `bool [count + 1]`.

        They lie along a side of the image, or are lines across it. A line from top to bottom that
        is the only ink is a 1.
        """
        height, width = self.labels.shape
        top, left, bottom, right = self.boxes().T
        covered = [
            np.bincount(side, minlength=self.count + 1) / len(side)
            for side in (self.labels[0], self.labels[-1], self.labels[:, 0], self.labels[:, -1])
        ]
        along = np.max(covered, axis=0) >= _ALONG
        rows, columns = bottom - top, right - left
        across = (columns >= _SPAN * width) & (rows <= max(2, _LINE * height))
        down = (rows >= _SPAN * height) & (columns <= max(2, _LINE * width))
        inside = (left > 0) & (right < width)
        is_only_ink = self.areas >= (1 - _MIN_AREA) * self.areas.sum()
        around: Mask = along | across | (down & ~(inside & is_only_ink))
        around[0] = False
        return around

    def digit(self) -> Mask:
        """Return which components are the digit, `bool [count + 1]`: none if it is a texture.

        The digit is the largest component and those near it. One inside the image is preferred to
        a larger one at its border, if it has more than a tenth of that one's area.
        """
        if not self.count:
            return np.zeros(1, dtype=bool)
        boxes = self.boxes()
        height, width = self.labels.shape
        top, left, bottom, right = boxes.T
        is_inner = (top > 0) & (left > 0) & (bottom < height) & (right < width)
        largest = int(self.areas.argmax())
        inner = int((self.areas * is_inner).argmax())
        if self.areas[inner] * is_inner[inner] > _MIN_INNER * self.areas[largest]:
            largest = inner
        box = boxes[largest]
        gaps = np.maximum(box[:2] - boxes[:, 2:], boxes[:, :2] - box[2:]).max(1)
        chosen: Mask = self.areas >= _MIN_AREA * self.areas[largest]
        chosen &= gaps <= _MAX_GAP * (box[2:] - box[:2]).max()
        chosen[0] = False
        if self.areas[chosen].sum() < _MIN_DIGIT_SHARE * self.areas.sum():
            chosen[:] = False
        return chosen


def sheet_box(mask: Mask) -> _Box | None:
    """Return the rectangle of a mask if that is a sheet of paper: large and full, not a digit."""
    (rows, columns), *_ = ndimage.find_objects(mask.astype(np.int8))
    height, width = rows.stop - rows.start, columns.stop - columns.start
    is_full = np.count_nonzero(mask) >= _SHEET_FILL * height * width
    is_sheet = is_full and height * width >= _SHEET_AREA * mask.size and width > height / 3
    return (rows, columns) if is_sheet else None
