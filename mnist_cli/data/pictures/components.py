"""Connected components of a mask of ink, and which of them are digits."""

from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from mnist_cli.data.pictures.background import Mask

Labels = NDArray[np.int32]
Box = tuple[slice, slice]  # rows and columns

SQUARE = np.ones((3, 3), dtype=bool)  # pixels that share a corner are connected, too
_MIN_AREA = 0.04  # of the largest component: smaller ones are dirt
_MAX_GAP = 0.4  # of the largest component's longer side: what is farther away is no part of it
_MIN_DIGIT_SHARE = 0.4  # of all ink: if digits have less, this is a texture
_MIN_INNER = 0.1  # of the largest component: the size of one inside the image that is preferred
_ALONG = 0.9  # of a side: what covers so much of one is a table's edge or a shadow
_SPAN, _LINE = 0.95, 0.08  # of the sides: the length and width of a line across the image

# Several digits. A component is a piece of a larger one beside it if it is so much less tall, and
# so near, in longer sides; it is one of the same digit, too, if it is above or below.
_MAX_PIECE, _MAX_PIECE_GAP, _MAX_STACK_GAP = 0.6, 0.12, 0.2
_STACKED = 0.5  # of the narrower one's width: so much of it is above or below the other
# The height and width of a digit, in heights that half of the ink reaches.
_MIN_HEIGHT, _MAX_HEIGHT, _MAX_WIDTH = 0.3, 2.5, 2.5
_SAME_LINE = 0.5  # of the smaller height: neighbours of a line overlap so much
# Of its rectangle, and of its height: what fills so much, and is no slim 1, is no writing.
_FULL, _SLIM = 0.85, 0.5
_MAX_OUTER = 4.0  # of the largest component inside the image: what is larger is at its border
_MAX_DIGITS = 300  # more components than that are a texture


class Components:
    """The connected components of a mask `[height, width]`, numbered from 1; 0 is background.

    Attributes:
        labels: the number of each pixel's component, `int32 [height, width]`.
        count: how many components there are.
        areas: the pixels of each component, `int64 [count + 1]`; 0 for the background.

    """

    def __init__(self, mask: Mask) -> None:
        labels, self.count = ndimage.label(mask, SQUARE)
        self.labels: Labels = labels.astype(np.int32, copy=False)
        self.areas = np.bincount(self.labels.ravel(), minlength=self.count + 1)
        self.areas[0] = 0

    def mask(self, chosen: Mask) -> Mask:
        """Return the pixels of the chosen components, which are `bool [count + 1]`."""
        pixels: Mask = chosen[self.labels]
        return pixels

    @cached_property
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
        top, left, bottom, right = self.boxes.T
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
        boxes, largest = self.boxes, self._largest()
        box = boxes[largest]
        gaps = np.maximum(box[:2] - boxes[:, 2:], boxes[:, :2] - box[2:]).max(1)
        chosen: Mask = self.areas >= _MIN_AREA * self.areas[largest]
        chosen &= gaps <= _MAX_GAP * (box[2:] - box[:2]).max()
        chosen[0] = False
        if self.areas[chosen].sum() < _MIN_DIGIT_SHARE * self.areas.sum():
            chosen[:] = False
        return chosen

    def digits(self) -> Labels:
        """Return the number of each component's digit, `[count + 1]`, from 1 in reading order.

        Components that are no digit have 0; all have if this is a texture. There may be several
        digits of about the same size, which do not touch each other; each may have several pieces.
        """
        result: Labels = np.zeros(self.count + 1, dtype=np.int32)
        if not self.count:
            return result
        largest = self.areas[self._largest()]
        is_ink = (self.areas >= _MIN_AREA * largest) & (self.areas <= _MAX_OUTER * largest)
        numbers = np.flatnonzero(is_ink)
        if len(numbers) > _MAX_DIGITS:
            return result
        numbers = numbers[np.argsort(-self.areas[numbers], kind="stable")]
        boxes = self.boxes[numbers]
        owners = _owners(boxes)
        groups = [owners == owner for owner in np.unique(owners)]
        joined = np.array([[*boxes[g, :2].min(0), *boxes[g, 2:].max(0)] for g in groups])
        areas = np.array([self.areas[numbers[group]].sum() for group in groups])
        fits = np.flatnonzero(_look_like_digits(joined, areas, self.labels.shape))
        if areas[fits].sum() >= _MIN_DIGIT_SHARE * self.areas.sum():
            for digit, place in enumerate(reading_order(joined[fits]), start=1):
                result[numbers[groups[fits[place]]]] = digit
        return result

    def _largest(self) -> int:
        """Return the largest component: one inside the image, if it is not far smaller."""
        top, left, bottom, right = self.boxes.T
        height, width = self.labels.shape
        is_inner = (top > 0) & (left > 0) & (bottom < height) & (right < width)
        largest, inner = int(self.areas.argmax()), int((self.areas * is_inner).argmax())
        if self.areas[inner] * is_inner[inner] > _MIN_INNER * self.areas[largest]:
            return inner
        return largest


def _look_like_digits(
    boxes: NDArray[np.int64], areas: NDArray[np.int64], shape: tuple[int, ...]
) -> Mask:
    """Return which of the boxes `[count, 4]`, with so much ink in them, may be digits of a page.

    None is if more leave the image than a row's first and last: that is a pattern.
    """
    heights, widths = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    order = np.argsort(heights)
    sums = areas[order].cumsum()
    height = heights[order][np.searchsorted(sums, sums[-1] / 2)]
    fits: Mask = (heights >= _MIN_HEIGHT * height) & (heights <= _MAX_HEIGHT * height)
    fits &= (widths <= _MAX_WIDTH * height) & (areas >= _MIN_AREA * areas.max())
    if len(boxes) > 1:  # a single one may be a sheet of paper
        fits &= (areas < _FULL * heights * widths) | (widths < _SLIM * heights)
    leaves = (boxes[:, :2] == 0).any(1) | (boxes[:, 2:] == shape).any(1)
    if np.count_nonzero(leaves & fits) > max(2, np.count_nonzero(fits) / 2):
        fits[:] = False
    return fits


def _owners(boxes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return, for boxes from the largest component to the smallest, the first one of its digit."""
    owners = np.arange(len(boxes))
    heights, widths = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    for number in range(1, len(boxes)):
        top, left, bottom, right = boxes[number]
        others = boxes[:number]
        down = np.maximum(others[:, 0] - bottom, top - others[:, 2])
        across = np.maximum(others[:, 1] - right, left - others[:, 3])
        side = np.maximum(heights[:number], widths[:number])
        narrower = np.minimum(widths[:number], right - left)
        is_stacked = (-across >= _STACKED * narrower) & (down <= _MAX_STACK_GAP * side)
        is_piece = bottom - top <= _MAX_PIECE * heights[:number]
        is_piece &= np.maximum(down, across) <= _MAX_PIECE_GAP * side
        gaps = np.where(is_stacked | is_piece, np.maximum(down, across), np.iinfo(np.int64).max)
        nearest = int(gaps.argmin())
        if is_stacked[nearest] or is_piece[nearest]:
            owners[number] = owners[nearest]
    return owners


def reading_order(boxes: NDArray[np.int64]) -> list[int]:
    """Return the places of boxes, `[count, 4]`, left to right, line by line.

    Lines may rise or fall: the next box of a line is the nearest on the right that is as high.
    """
    top, left, bottom, _ = boxes.T
    heights = bottom - top
    line = np.arange(len(boxes))
    order = np.argsort(left, kind="stable")
    for place, number in enumerate(order):
        for other in order[place + 1 :]:
            overlap = min(bottom[number], bottom[other]) - max(top[number], top[other])
            if overlap >= _SAME_LINE * min(heights[number], heights[other]):
                line[line == line[other]] = line[number]
                break
    middles = {name: float(np.mean((top + bottom)[line == name])) for name in np.unique(line)}
    return sorted(range(len(boxes)), key=lambda place: (middles[line[place]], left[place]))


def windows_of(labels: Labels, margin: int) -> list[Box]:
    """Return the rows and columns of the pixels of each number from 1, with a margin around."""
    return [
        (
            slice(max(rows.start - margin, 0), rows.stop + margin),
            slice(max(columns.start - margin, 0), columns.stop + margin),
        )
        for rows, columns in ndimage.find_objects(labels)
    ]
