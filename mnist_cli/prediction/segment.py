"""Where in a picture the digit is."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from mnist_cli.prediction.background import Inked, Look, looks

_INK = 0.4  # of full ink: what is drawn; less is a shadow, a printed line, or a stroke's soft edge
# Faint strokes that hang on strong ones have so much ink, and make the digit so many times as large
# at most: more would be a ruled line.
_HAIR, _MOST = 0.2, 3.0
_INSIDE = 0.04  # of a sheet's sides: its border, which is blurred
_STEP = 0.5  # of full ink, at the edge of a digit: shadows and textures have softer ones
_ENOUGH = 0.6  # a digit as clear as that will be it
_SMALL = 12  # pixels: there is no digit to be found in less


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


@dataclass(frozen=True)
class Found:
    """A digit: the share of ink `float [height, width]`, and which of that is the digit.

    `digit` is a mask, which may be coarser. `clarity` tells how much ink there is at once where the
    digit begins, and how well ink and paper are told apart: 0 to about 1.
    """

    share: Tensor
    digit: Tensor
    clarity: float
    sheet: tuple[int, int, int, int] | None  # where it is a sheet of paper, in pixels of `digit`


def find(picture: Tensor) -> Found | None:
    """Return the digit in a picture `uint8 [height, width, bands]`, or None where there is none.

    On a sheet of paper that lies on something else the digit is looked for on the sheet.
    """
    best: Found | None = None
    for look in looks(picture):
        for found in _seen(look):
            if found.clarity > (best.clarity if best else 0):
                best = found
        if best and best.clarity > _ENOUGH:
            break
    if best and best.sheet:
        scale = [
            side / coarse for side, coarse in zip(picture.shape, best.digit.shape, strict=False)
        ]
        top, left, bottom, right = (round(at * scale[n % 2]) for n, at in enumerate(best.sheet))
        down, across = (1 + round(_INSIDE * side) for side in (bottom - top, right - left))
        inner = picture[top + down : bottom - down, left + across : right - across]
        if min(inner.shape[:2]) >= _SMALL:
            return find(inner) or best
    return best


def _seen(look: Look) -> Iterator[Found]:
    """Yield the digits that one way to see a picture shows."""
    for inked in look.inked():
        shape = inked.coarse.shape
        all_pieces = pieces(inked.coarse > _INK)
        around = [piece for piece in all_pieces if is_surrounding(piece, shape)]
        if not around:
            yield from _chosen(inked, all_pieces, None)
            continue
        outside = F.max_pool2d(painted(around, shape)[None].float(), 5, stride=1, padding=2)[0]
        within = outside == 0
        if within.any():
            for inner in look.inked(within):
                yield from _chosen(inner, pieces((inner.coarse > _INK) & within), within)


def _chosen(inked: Inked, found: list[Piece], within: Tensor | None) -> Iterator[Found]:
    """Yield the digit among pieces, if there is one."""
    shape = inked.coarse.shape
    if chosen := digit_of(found, shape):
        digit = painted(chosen, shape)
        ink = inked.coarse.clamp(-1, 1.2)
        step = _step(ink, digit)
        told_apart = _told_apart(ink if within is None else ink[within])
        sheet = box_of(chosen) if is_sheet(chosen, shape) else None
        if step >= _STEP:
            yield Found(inked.share, _with_hairlines(digit, ink), step * told_apart, sheet)


def _with_hairlines(digit: Tensor, ink: Tensor) -> Tensor:
    """Return the digit with the faint strokes that hang on it, unless these lead out of it all."""
    faint = pieces(ink > _HAIR)
    on_it = [piece for piece in faint if any(digit[y, a:b].any() for y, a, b in piece.runs)]
    whole = painted(on_it, ink.shape)
    top, left, bottom, right = box_of(on_it)
    leads_out = 0 in (top, left) or bottom == ink.shape[0] or right == ink.shape[1]
    if leads_out or int(whole.sum()) > _MOST * int(digit.sum()):
        return digit
    return whole


def _step(ink: Tensor, digit: Tensor) -> float:
    """Return how much more ink there is just inside the digit than just outside of it."""
    mask = digit[None].float()
    near, far = (F.max_pool2d(mask, 2 * r + 1, stride=1, padding=r)[0] > 0 for r in (1, 3))
    edge = F.max_pool2d(1 - mask, 7, stride=1, padding=3)[0] > 0
    outside = ink[far & ~near]
    return float(ink[digit & edge].mean() - outside.mean()) if len(outside) else 0.0


def _told_apart(ink: Tensor) -> float:
    """Return the share of the variance that lies between ink and paper (Otsu, 1979)."""
    drawn = ink > _INK
    part = float(drawn.float().mean())
    if not 0 < part < 1:
        return 0.0
    between = part * (1 - part) * float(ink[drawn].mean() - ink[~drawn].mean()) ** 2
    return between / float(ink.var(correction=0))


_SPECK = 0.04  # of the largest piece: a smaller one is dirt
_NEAR = 0.4  # of the largest piece's longer side: a piece farther away is no part of the digit
_CRUMBS = 0.4  # of all ink: where less is in the digit, this is a texture
_ALONG = 0.9  # of a side: what covers so much of one is a table's edge, or a shadow
_SPAN = 0.95  # of a side: what reaches so far and is as thin as a line is one
_LINE = 0.08
_FULL, _LARGE = 0.7, 0.15  # a sheet of paper fills its rectangle, and that much of the picture


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
