"""A picture of a digit as MNIST's makers would have prepared it.

They scaled a digit to fit 20 by 20 pixels, keeping its proportions, and put its centre of mass at
the centre of 28 by 28. Source: the MNIST page of LeCun, Cortes and Burges.
"""

from functools import cache

import torch
from torch import Tensor
from torch.nn import functional as F

from mnist_cli.prediction.background import FAINT
from mnist_cli.prediction.segment import find

SIDE, _BOX = 28, 20
_SOFT = 0.1  # of full ink: what is none at all
# Of the variance: what a blur takes away, or what a parabola explains. MNIST's images reach 0.50
# and 0.63, white noise begins at 0.82.
_ROUGH, _SMOOTH = 0.7, 0.9
_LUMA = (0.299, 0.587, 0.114)  # of red, green and blue: ITU-R BT.601
_DRAWN_SIDE = 160  # strokes are measured and widened at this size
_GRAIN = 7  # pixels of that: dots of printers and screens, which are no edges
_THIN = 1.8  # pixels of the 20: strokes of MNIST's are 1.5 (5 %), 2.4 (half of them), 3.7 (95 %)


def as_digit(picture: Tensor) -> Tensor:
    """Return a picture `uint8 [height, width, bands]` as `uint8 [28, 28]`, ink light.

    A picture of 28 by 28 is taken to be prepared already, and only made grey and turned to light
    on dark. Without a digit, all is 0.
    """
    if tuple(picture.shape[:2]) == (SIDE, SIDE):
        return _as_it_is(picture)
    found = find(picture)
    if found is None:
        return torch.zeros(SIDE, SIDE, dtype=torch.uint8)
    share = ((found.share - _SOFT) / (1 - _SOFT)).clamp(0, 1)
    return _centred(_fitted(_drawn(_cut_out(share, found.digit))))


def _as_it_is(picture: Tensor) -> Tensor:
    """Return a picture that has MNIST's size, grey and light on dark.

    The background is what most of the border is; ink is what differs most from it.
    """
    grey = picture.float() @ torch.tensor(_LUMA) if picture.shape[2] == 3 else picture[:, :, 0]
    grey = grey.float().round()
    border = torch.cat([grey[0], grey[-1], grey[:, 0], grey[:, -1]])
    darker, lighter = border.median() - grey.min(), grey.max() - border.median()
    if max(float(darker), float(lighter)) < FAINT:
        return torch.zeros(SIDE, SIDE, dtype=torch.uint8)
    if _is_noise(grey) or _is_gradient(grey):
        return torch.zeros(SIDE, SIDE, dtype=torch.uint8)
    return (255 - grey if darker > lighter else grey).to(torch.uint8)


def _is_noise(grey: Tensor) -> bool:
    """Tell whether pixels have hardly anything to do with their neighbours."""
    blurred = F.avg_pool2d(grey[None], 3, stride=1, padding=1, count_include_pad=False)[0]
    return float((grey - blurred).var()) > _ROUGH * float(grey.var())


def _is_gradient(grey: Tensor) -> bool:
    """Tell whether a parabola across is nearly all there is to a picture."""
    terms = _parabola()  # orthonormal
    fitted = terms @ (terms.T @ grey.flatten())
    return float((grey.flatten() - fitted).var()) < (1 - _SMOOTH) * float(grey.var())


@cache
def _parabola() -> Tensor:
    """Return an orthonormal basis of the parabolas over a picture, `[pixels, 6]`."""
    y = torch.linspace(-1, 1, SIDE)[:, None].expand(SIDE, SIDE)
    terms = torch.stack([torch.ones_like(y), y, y.T, y * y, (y * y).T, y * y.T], 2).flatten(0, 1)
    basis: Tensor = torch.linalg.qr(terms).Q
    return basis


def _cut_out(share: Tensor, digit: Tensor) -> Tensor:
    """Return the ink where the digit is, in the smallest rectangle that has it all.

    `digit` is a mask, which may be smaller than the picture.
    """
    mask = F.max_pool2d(digit[None, None].float(), 3, stride=1, padding=1)  # soft edges, too
    if mask.shape[2:] != share.shape:
        mask = F.interpolate(mask, share.shape, mode="nearest")
    ink = share * mask[0, 0]
    drawn = ink > ink.max() / 3
    rows, columns = (drawn.any(dim).nonzero().flatten().tolist() for dim in (1, 0))
    return ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def _drawn(ink: Tensor) -> Tensor:
    """Return a digit large, its strokes at least as wide as MNIST's."""
    ink = _scaled(ink, _DRAWN_SIDE)
    width = _stroke_width(ink) * _BOX / _DRAWN_SIDE
    if width >= _THIN:
        return ink
    # Widened by r pixels on each side, and scaled to the box again, it is as wide as wished:
    # (width + 2 r') / (20 + 2 r') = wished / 20, where r' is r in pixels of the box.
    wider = _BOX * (_THIN - width) / (2 * (_BOX - _THIN))
    return _widened(ink, round(wider * _DRAWN_SIDE / _BOX))


def _scaled(ink: Tensor, side: int) -> Tensor:
    """Return a picture with its longer side made `side` pixels."""
    scale = side / max(ink.shape)
    size = [max(1, round(length * scale)) for length in ink.shape]
    return F.interpolate(ink[None, None], size, mode="bilinear", antialias=True)[0, 0]


def _stroke_width(ink: Tensor) -> float:
    """Return the mean width of strokes: a line of width w and length l has 2 l of edge.

    The edge is as long as there are changes between neighbours, by Cauchy's and Crofton's formula:
    on average over all directions it meets 4 / pi of them a pixel.
    """
    even = F.avg_pool2d(ink[None], _GRAIN, stride=1, padding=_GRAIN // 2)[0]
    drawn = F.pad(even > even.max() / 2, (1, 1, 1, 1))
    changes = int(drawn.diff(dim=0).sum()) + int(drawn.diff(dim=1).sum())
    return 2 * int(drawn.sum()) / (changes * torch.pi / 4)


def _widened(ink: Tensor, radius: int) -> Tensor:
    """Return a picture in which each pixel is as inked as the most inked one in reach."""
    wide = F.pad(ink, (radius,) * 4)
    height = wide.shape[0]
    found = wide.clone()
    for down in range(-radius, radius + 1):
        half = int((radius**2 - down**2) ** 0.5)
        row = F.max_pool1d(wide, 2 * half + 1, stride=1, padding=half)
        source = row[max(0, -down) : height - max(0, down)]
        target = found[max(0, down) : height - max(0, -down)]
        torch.maximum(target, source, out=target)
    return found


def _fitted(ink: Tensor) -> Tensor:
    """Return the ink scaled to fit the box, its darkest spot full."""
    scaled = _scaled(ink, _BOX)
    return scaled / scaled.max()


def _centred(ink: Tensor) -> Tensor:
    """Return 28 by 28 pixels with the ink's centre of mass at pixel 14, to the nearest pixel.

    In MNIST itself it lies between 13.5 and 14.5 of 0 to 27, down and across, in every image.
    """
    image = torch.zeros(SIDE, SIDE)
    places = []
    for dim, side in enumerate(ink.shape):
        mass = ink.sum(1 - dim)
        centre = float((mass * torch.arange(side)).sum() / mass.sum())
        places.append(min(max(round(SIDE // 2 - centre), 0), SIDE - side))
    top, left = places
    image[top : top + ink.shape[0], left : left + ink.shape[1]] = ink
    return (image * 255).round().to(torch.uint8)
