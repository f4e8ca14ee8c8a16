"""A picture of a digit as MNIST's makers would have prepared it.

They scaled a digit to fit 20 by 20 pixels, keeping its proportions, and put its centre of mass at
the centre of 28 by 28. Source: the MNIST page of LeCun, Cortes and Burges.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

SIDE, _BOX = 28, 20
_FAINT = 10.0  # of 255: what differs less from the background is noise of a camera or of JPEG
_INK = 0.3  # of the darkest ink: what is drawn; less is a shadow, or a stroke's soft edge


def as_digit(grey: Tensor) -> Tensor:
    """Return a picture `float [height, width]`, values 0 to 255, as `uint8 [28, 28]`, ink light.

    The background is what most of the border is; ink is what differs most from it, so that dark
    on light and light on dark are read alike. A picture of 28 by 28 is taken to be prepared
    already, and only turned to light on dark. Without ink, all is 0.
    """
    background = _border(grey).median()
    darker, lighter = background - grey.min(), grey.max() - background
    contrast = max(float(darker), float(lighter))
    if contrast < _FAINT:
        return torch.zeros(SIDE, SIDE, dtype=torch.uint8)
    if darker > lighter:
        grey, background = 255 - grey, 255 - background
    if tuple(grey.shape) == (SIDE, SIDE):
        return grey.round().to(torch.uint8)
    ink = ((grey - background) / contrast).clamp(min=0)
    return _centred(_fitted(_cropped(ink)))


def _border(grey: Tensor) -> Tensor:
    """Return the outermost pixels."""
    return torch.cat([grey[0], grey[-1], grey[:, 0], grey[:, -1]])


def _cropped(ink: Tensor) -> Tensor:
    """Return the smallest rectangle that has all the ink."""
    drawn = ink > _INK
    rows, columns = (drawn.any(dim).nonzero().flatten().tolist() for dim in (1, 0))
    return ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def _fitted(ink: Tensor) -> Tensor:
    """Return the ink scaled to fit the box, its darkest spot as dark as before."""
    scale = _BOX / max(ink.shape)
    size = [max(1, round(side * scale)) for side in ink.shape]
    scaled = F.interpolate(ink[None, None], size, mode="bilinear", antialias=True)[0, 0]
    return scaled / scaled.max()  # thin strokes are grey after scaling; MNIST's are white


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
