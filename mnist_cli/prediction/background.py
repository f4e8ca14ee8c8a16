"""Ink told from paper: the share of ink in each pixel of a photograph, a scan or a screenshot.

Paper is what most of a picture is, lit unevenly; ink is what differs from the paper that would be
seen there. The light is a sum of a few cosines, fitted so that what fits badly counts ever less: a
robust fit by iteratively reweighted least squares with Geman and McClure's weights, whose scale
shrinks as in graduated non-convexity (Blake and Zisserman, "Visual Reconstruction", 1987).
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

FAINT = 10.0  # of 255: what differs less from the paper is noise of a camera or of JPEG
_SIGNAL = 5.0  # ink stands out by so many deviations of the paper; noise reaches three
_EVEN, _EVEN_SHARE = 6.0, 0.6  # paper is even if so much of the border differs by less than that
_LIGHT_SIDE, _LOOK_SIDE = 64, 256  # the light is fitted, and ink is looked for, at these sizes
_ROUNDS = 14  # of the fit
# How many waves of light there are each way, and how far the border is trusted to be paper.
_HYPOTHESES = ((5, 3.0), (3, 10.0), (2, 10.0), (3, 0.0), (5, 0.0))
_BELL = 2.0  # how narrow the bell over the middle is that stands for no trust at all
_SMOOTH = 0.001  # how much a wave costs; one half as long costs sixteen times as much
_DARKEST = 40.0  # paper is not made brighter than if it were so dark
_STRONGEST = 0.0004  # of all pixels: how strong ink is, these tell


@dataclass(frozen=True)
class Inked:
    """How strongly each pixel is inked: 1 is full ink, 0 is paper."""

    share: Tensor  # [height, width]
    coarse: Tensor  # the same, its longer side at most 256


@dataclass(frozen=True)
class Look:
    """How each pixel differs from what the paper there would look like."""

    apart: Tensor  # [bands, height, width]
    coarse: Tensor  # the same, its longer side at most 256

    def inked(self, within: Tensor | None = None) -> list[Inked]:
        """Return what may be the ink: what differs most from the paper, and its opposite.

        Of all directions in which a colour may differ from the paper's the one is taken in which
        most differs, so that yellow on white and red on blue are seen as black on white is. What
        does not stand out from the paper's own pattern is left out. `within`, a coarse mask, it is
        looked for.
        """
        colours = self.coarse.flatten(1)
        if within is not None:
            colours = colours[:, within.flatten()]
        found = []
        way = _direction(colours)
        for signed in (way, -way):
            values = signed @ colours
            strength = _strength(values)
            if strength >= max(FAINT, _SIGNAL * _spread(values)):
                found.append(self._along(signed / strength))
        return found

    def _along(self, way: Tensor) -> Inked:
        apart, coarse = (torch.einsum("b,bhw->hw", way, a) for a in (self.apart, self.coarse))
        return Inked(apart, coarse)


def looks(picture: Tensor) -> Iterator[Look]:
    """Yield ways to see a picture `uint8 [height, width, bands]`: what in it may be the paper.

    Paper is what most of the border is, where that is even. If it is not, the light may be
    complicated or simple, and the border may be paper or something else.
    """
    bands = picture.permute(2, 0, 1).float()
    border = torch.cat([bands[:, 0], bands[:, -1], bands[:, :, 0], bands[:, :, -1]], 1)
    even = border.median(1, keepdim=True).values
    near = ((border - even).abs() < _EVEN).all(0).float().mean()
    if near > _EVEN_SHARE or min(bands.shape[1:]) < 8:
        apart = bands - even[:, :, None]
        yield Look(apart, shrunk(apart, _LOOK_SIDE))
        return
    small = shrunk(bands, _LIGHT_SIDE)
    for waves, trust in _HYPOTHESES:
        fitted = _fitted(small, waves, trust)
        paper = F.interpolate(fitted[None], bands.shape[1:], mode="bilinear")[0]
        light = paper.mean(0)  # ink in the shadow is as strong as ink in the sun
        apart = (bands - paper) * (light.median() / light.clamp(min=_DARKEST))
        yield Look(apart, shrunk(apart, _LOOK_SIDE))


def shrunk(bands: Tensor, side: int) -> Tensor:
    """Return `[bands, height, width]` with no side longer than `side`, each pixel a mean."""
    height, width = bands.shape[1:]
    if max(height, width) <= side:
        return bands
    scale = side / max(height, width)
    size = (max(1, round(height * scale)), max(1, round(width * scale)))
    return F.adaptive_avg_pool2d(bands, size)


def _fitted(bands: Tensor, waves: int, trust: float) -> Tensor:
    """Return the light on the paper of a small picture `[bands, height, width]`, without ink.

    `trust` is how many times as much a pixel of the border counts as another; 0 stands for a bell
    over the middle.
    """
    height, width = bands.shape[1:]
    rows, columns = _cosines(height, waves), _cosines(width, waves)
    basis = torch.einsum("ky,lx->yxkl", rows, columns).reshape(height * width, -1)
    order = torch.arange(waves).float() ** 2
    bent = (order[:, None] + order[None]).flatten() ** 2
    stiff = torch.diag(_SMOOTH * height * width * bent)
    values = bands.flatten(1).T  # [pixels, bands]
    prior = weight = _prior(height, width, trust).flatten()
    spread = math.inf
    for _ in range(_ROUNDS):
        weighted = basis * weight[:, None]
        solved = torch.linalg.solve(weighted.T @ basis + stiff, weighted.T @ values)
        off = (values - basis @ solved).norm(dim=1)
        spread = max(3 * float(off.median()) + 1, min(float(off.max()) / 2, spread * 0.7))
        weight = prior / (1 + (off / spread) ** 2) ** 2
    light: Tensor = basis @ solved
    return light.T.reshape(bands.shape)


def _prior(height: int, width: int, trust: float) -> Tensor:
    """Return how much each pixel counts at first."""
    if not trust:
        y, x = (torch.linspace(-1, 1, length) for length in (height, width))
        squared: Tensor = y[:, None] ** 2 + x**2
        bell: Tensor = torch.exp(-_BELL * squared)
        return bell
    edge = torch.ones(height, width)
    edge[[0, -1]] = trust
    edge[:, [0, -1]] = trust
    return edge


def _cosines(length: int, waves: int) -> Tensor:
    """Return the first waves of the discrete cosine transform, `[waves, length]`."""
    places = (torch.arange(length) + 0.5) * math.pi / length
    cosines: Tensor = torch.cos(torch.arange(waves)[:, None] * places)
    return cosines


def _direction(colours: Tensor) -> Tensor:
    """Return the unit vector along which those of `[bands, pixels]` lie that are most apart."""
    if len(colours) == 1:
        return torch.ones(1)
    distance = colours.norm(dim=0)
    most = distance.topk(max(1, round(_STRONGEST * 10 * len(distance)))).indices
    farthest = colours[:, most].double()
    vectors: Tensor = torch.linalg.eigh(farthest @ farthest.T).eigenvectors
    return vectors[:, -1].float()


def _strength(values: Tensor) -> float:
    """Return what the strongest pixels reach."""
    return float(values.topk(max(1, int(_STRONGEST * len(values)))).values[-1])


def _spread(values: Tensor) -> float:
    """Return the standard deviation of paper: by its other side, on which there is no ink."""
    other = values[values <= 0]
    return 1.4826 * float(-other.median()) if len(other) else 0.0
