"""Connected pieces of a mask, and which of them make a digit."""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

_SPECK = 0.04  # of the largest piece: a smaller one is dirt
_NEAR = 0.4  # of the largest piece's longer side: a piece farther away is no part of the digit
_CRUMBS = 0.4  # of all ink: where less is in the digit, this is a texture
_ALONG = 0.9  # of a side: what covers so much of one is a table's edge, or a shadow
_SPAN = 0.95  # of a side: what reaches so far and is as thin as a line is one
_LINE = 0.08
_FULL, _LARGE = 0.7, 0.15  # a sheet of paper fills its rectangle, and that much of the picture


@dataclass(frozen=True)
class Piece:
    """Pixels that touch each other, their corners included: runs (row, first, past the last)."""

    runs: tuple[tuple[int, int, int], ...]

    @property
    def area(self) -> int:
        """The number of pixels."""
        return sum(end - start for _, start, end in self.runs)

    @property
    def box(self) -> tuple[int, int, int, int]:
        """The smallest rectangle around it: top, left, bottom, right; the last two are outside."""
        rows = [row for row, _, _ in self.runs]
        left, right = min(run[1] for run in self.runs), max(run[2] for run in self.runs)
        return min(rows), left, max(rows) + 1, right


def digit_of(found: list[Piece], shape: tuple[int, ...]) -> list[Piece]:
    """Return the pieces that are the digit: the largest, and what is near; none in a texture."""
    if not found:
        return []
    height, width = shape
    inner = [p for p in found if p.box[0] > 0 and p.box[1] > 0 and p.box[2] < height]
    inner = [p for p in inner if p.box[3] < width]
    largest = max(found, key=lambda piece: piece.area)
    if inner and largest not in inner:
        best = max(inner, key=lambda piece: piece.area)
        largest = best if best.area > 0.1 * largest.area else largest
    kept = [
        piece
        for piece in found
        if piece.area >= _SPECK * largest.area and _gap(piece.box, largest.box) <= _reach(largest)
    ]
    in_all = sum(p.area for p in found)
    return kept if sum(p.area for p in kept) >= _CRUMBS * in_all else []


def painted(found: Iterable[Piece], shape: tuple[int, ...]) -> Tensor:
    """Return a mask `bool` of pieces."""
    mask = torch.zeros(tuple(shape), dtype=torch.bool)
    for piece in found:
        for row, start, end in piece.runs:
            mask[row, start:end] = True
    return mask


def pieces(mask: Tensor) -> list[Piece]:
    """Return the connected pieces of a mask `bool [height, width]`: runs of a row, united."""
    runs: list[tuple[int, int, int]] = []
    parent: list[int] = []
    above = range(0)
    edges = torch.zeros(mask.shape[0], mask.shape[1] + 2, dtype=torch.int8)
    edges[:, 1:-1] = mask
    changes = edges.diff(dim=1).nonzero().tolist()  # of each row, a start and an end by turns
    row = -1
    here = 0
    for (y, start), (_, end) in zip(changes[::2], changes[1::2], strict=True):
        if y != row:
            above = range(here, len(runs)) if y == row + 1 else range(0)
            row, here = y, len(runs)
        number = len(runs)
        runs.append((y, start, end))
        parent.append(number)
        for other in above:
            if runs[other][1] <= end and start <= runs[other][2]:
                parent[_root(parent, other)] = _root(parent, number)
    groups: dict[int, list[tuple[int, int, int]]] = {}
    for number, run in enumerate(runs):
        groups.setdefault(_root(parent, number), []).append(run)
    return [Piece(tuple(group)) for group in groups.values()]


def _root(parent: list[int], number: int) -> int:
    while parent[number] != number:
        parent[number] = parent[parent[number]]
        number = parent[number]
    return number


def is_surrounding(piece: Piece, shape: tuple[int, ...]) -> bool:
    """Tell whether a piece is no writing: it lies along a side of the picture, or crosses it."""
    height, width = shape
    top, left, bottom, right = piece.box
    sides = [0, 0, 0, 0]  # how much of each it covers
    for row, start, end in piece.runs:
        sides[0] += (row == 0) * (end - start)
        sides[1] += (row == height - 1) * (end - start)
        sides[2] += start == 0
        sides[3] += end == width
    if max(sides[:2]) >= _ALONG * width or max(sides[2:]) >= _ALONG * height:
        return True
    across = right - left >= _SPAN * width and bottom - top <= max(2, _LINE * height)
    down = bottom - top >= _SPAN * height and right - left <= max(2, _LINE * width)
    return across or down


def is_sheet(found: list[Piece], shape: tuple[int, ...]) -> bool:
    """Tell whether pieces are a sheet of paper rather than a digit: a large, full rectangle."""
    top, left, bottom, right = box_of(found)
    height, width = bottom - top, right - left
    full = sum(piece.area for piece in found) >= _FULL * height * width
    return full and height * width >= _LARGE * shape[0] * shape[1] and width > height / 3


def box_of(found: list[Piece]) -> tuple[int, int, int, int]:
    """Return the smallest rectangle around pieces."""
    tops, lefts, bottoms, rights = zip(*(piece.box for piece in found), strict=True)
    return min(tops), min(lefts), max(bottoms), max(rights)


def _gap(one: tuple[int, int, int, int], other: tuple[int, int, int, int]) -> int:
    """Return how far two rectangles are apart."""
    down = max(one[0] - other[2], other[0] - one[2], 0)
    across = max(one[1] - other[3], other[1] - one[3], 0)
    return max(down, across)


def _reach(piece: Piece) -> float:
    top, left, bottom, right = piece.box
    return _NEAR * max(bottom - top, right - left)
