"""Where in a picture the digit is."""

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional as F

from mnist_cli.paper import Inked, Look, looks
from mnist_cli.pieces import Piece, box_of, digit_of, is_sheet, is_surrounding, painted, pieces

_INK = 0.4  # of full ink: what is drawn; less is a shadow, a printed line, or a stroke's soft edge
# Faint strokes that hang on strong ones have so much ink, and make the digit so many times as large
# at most: more would be a ruled line.
_HAIR, _MOST = 0.2, 3.0
_INSIDE = 0.04  # of a sheet's sides: its border, which is blurred
_STEP = 0.5  # of full ink, at the edge of a digit: shadows and textures have softer ones
_ENOUGH = 0.6  # a digit as clear as that will be it
_SMALL = 12  # pixels: there is no digit to be found in less


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
