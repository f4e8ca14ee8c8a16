"""Separate ink from background: the contrast of each pixel of a photograph, scan or screenshot.

The background is what most of an image shows, lit unevenly. Ink is what differs from it. The light
is modelled as a sum of a few cosines and fitted robustly: by iteratively reweighted least squares
with Geman and McClure's weights, whose scale shrinks as in graduated non-convexity (Blake and
Zisserman, "Visual Reconstruction", 1987).
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]
Number = TypeVar("Number", bound=np.generic)

MIN_CONTRAST = 10.0  # of 255: what differs less from the background is noise of a camera or of JPEG
_MIN_SIGNAL = 5.0  # ink differs by so many standard deviations of the background; noise by three
# A background is uniform if this fraction of the border differs by less than the tolerance.
_UNIFORM_TOLERANCE, _UNIFORM_FRACTION = 6.0, 0.6
_LIGHT_SIDE, COARSE_SIDE = 64, 256  # the light is fitted, and ink is searched for, at these sizes
_FIT_ITERATIONS = 14
# The number of cosines in each direction, and the weight of a border pixel relative to others.
# A weight of 0 stands for a Gaussian around the centre instead: the border isn't background.
_LIGHT_MODELS = ((5, 3.0), (3, 10.0), (2, 10.0), (3, 0.0), (5, 0.0))
_GAUSSIAN_DECAY = 2.0
_SMOOTHNESS = 0.001  # the penalty of a cosine; half the wavelength costs sixteen times as much
_DARKEST = 40.0  # darker background is amplified only as much as this
_STRONGEST_FRACTION = 0.0004  # of all pixels: these determine the strength of the ink


@dataclass(frozen=True)
class Difference:
    """The difference of each pixel from the estimated background, `[channels, height, width]`."""

    full: Floats
    coarse: Floats  # the same, its longer side at most as large as was asked for

    def contrast_maps(self, within: Mask | None = None) -> Iterator["ContrastMap"]:
        """Yield maps of what may be ink: of the colours on either side of the background.

        The colour difference is projected onto the direction in which it is largest, so that
        yellow on white and red on blue are found as black on white is. A map is left out if it
        does not exceed the background's own noise. `within` is a coarse mask of the pixels to
        consider.
        """
        colours = self.coarse.reshape(len(self.coarse), -1)
        if within is not None:
            colours = colours[:, within.ravel()]
        axis = _principal_axis(colours)
        for direction in (axis, -axis):
            values = np.einsum("c,cn->n", direction, colours)
            strength = _strength(values)
            if strength >= max(MIN_CONTRAST, _MIN_SIGNAL * _background_noise(values)):
                yield ContrastMap(self, direction / strength)


@dataclass(frozen=True)
class ContrastMap:
    """The contrast of each pixel, `float32 [height, width]`: 1 is full ink, 0 is background."""

    difference: Difference
    projection: Floats  # [channels]

    @cached_property
    def full(self) -> Floats:
        """The contrast at full size."""
        return self._project(self.difference.full)

    @cached_property
    def coarse(self) -> Floats:
        """The contrast at the coarse size."""
        return self._project(self.difference.coarse)

    def _project(self, channels: Floats) -> Floats:
        contrast: Floats = np.einsum("c,chw->hw", self.projection, channels)
        return contrast


def background_differences(image: NDArray[np.uint8], coarse_side: int) -> Iterator[Difference]:
    """Yield the differences of an image `[height, width, channels]` from plausible backgrounds.

    If most of the border has one colour, that is the background. Otherwise the light may be
    complex or simple, and the border may be background or something else.
    """
    channels = np.ascontiguousarray(image.transpose(2, 0, 1), dtype=np.float32)
    border = border_of(channels)
    colour = median(border)[:, None]
    uniform = (np.abs(border - colour) < _UNIFORM_TOLERANCE).all(0).mean()
    if uniform > _UNIFORM_FRACTION or min(channels.shape[1:]) < 8:
        difference = channels - colour[:, :, None]
        yield Difference(difference, _shrink(difference, coarse_side))
        return
    small = _shrink(channels, _LIGHT_SIDE)
    for waves, border_weight in _LIGHT_MODELS:
        fitted = torch.from_numpy(_fit_light(small, waves, border_weight))[None]
        background = F.interpolate(fitted, channels.shape[1:], mode="bilinear")[0].numpy()
        light = background.mean(0)
        # Ink in the shadow becomes as strong as ink in the sun.
        gain = median(light.ravel()) / np.maximum(light, _DARKEST)
        difference = (channels - background) * gain
        yield Difference(difference, _shrink(difference, coarse_side))


def border_of(channels: NDArray[Number]) -> NDArray[Number]:
    """Return the pixels of the border of `[..., height, width]` as `[..., pixels]`."""
    top, bottom = channels[..., 0, :], channels[..., -1, :]
    return np.concatenate([top, bottom, channels[..., 0], channels[..., -1]], axis=-1)


def median(values: Floats) -> Floats:
    """Return the lower median along the last axis: always one of the values."""
    middle = (values.shape[-1] - 1) // 2
    result: Floats = np.partition(values, middle, axis=-1)[..., middle]
    return result


def _shrink(channels: Floats, side: int) -> Floats:
    """Return `[channels, height, width]` with no side longer than `side`, by averaging pixels."""
    height, width = channels.shape[1:]
    if max(height, width) <= side:
        return channels
    scale = side / max(height, width)
    size = (max(1, round(height * scale)), max(1, round(width * scale)))
    # scipy.ndimage has no average over areas whose sides are not whole multiples.
    shrunk: Floats = F.adaptive_avg_pool2d(torch.from_numpy(channels), size).numpy()
    return shrunk


def _fit_light(channels: Floats, waves: int, border_weight: float) -> Floats:
    """Return the light on the background of a small image `[channels, height, width]`."""
    height, width = channels.shape[1:]
    rows, columns = _cosines(height, waves), _cosines(width, waves)
    # In PyTorch, not NumPy: the threads of OpenBLAS wait busily, and with several readers at work
    # preparing an image took twice as long (53 ms of processor time instead of 24 ms).
    basis = torch.from_numpy(np.einsum("ky,lx->yxkl", rows, columns).reshape(height * width, -1))
    squares = torch.arange(waves, dtype=torch.float32) ** 2
    bending = (squares[:, None] + squares).flatten() ** 2
    penalty = torch.diag(_SMOOTHNESS * height * width * bending)
    values = torch.from_numpy(channels).flatten(1).T  # [pixels, channels]
    initial = weights = torch.from_numpy(_initial_weights(height, width, border_weight)).flatten()
    scale = math.inf
    for _ in range(_FIT_ITERATIONS):
        weighted = basis * weights[:, None]
        solution = torch.linalg.solve(weighted.T @ basis + penalty, weighted.T @ values)
        fitted = basis @ solution
        residuals = (values - fitted).norm(dim=1)
        smaller = min(float(residuals.max()) / 2, scale * 0.7)
        scale = max(3 * float(residuals.median()) + 1, smaller)
        weights = initial / (1 + (residuals / scale) ** 2) ** 2
    light: Floats = fitted.T.reshape(channels.shape).numpy()
    return light


def _initial_weights(height: int, width: int, border_weight: float) -> Floats:
    """Return the initial weight of each pixel."""
    if not border_weight:
        y, x = (np.linspace(-1, 1, length, dtype=np.float32) for length in (height, width))
        gaussian: Floats = np.exp(-_GAUSSIAN_DECAY * (y[:, None] ** 2 + x**2))
        return gaussian
    weights = np.full((height, width), border_weight, dtype=np.float32)
    weights[1:-1, 1:-1] = 1
    return weights


def _cosines(length: int, waves: int) -> Floats:
    """Return the first waves of the discrete cosine transform, `[waves, length]`."""
    angles = (np.arange(length, dtype=np.float32) + 0.5) * math.pi / length
    return np.cos(np.arange(waves)[:, None] * angles).astype(np.float32)


def _principal_axis(colours: Floats) -> Floats:
    """Return the unit vector along which the largest of `[channels, pixels]` lie."""
    if len(colours) == 1:
        return np.ones(1, dtype=np.float32)
    distances = np.linalg.norm(colours, axis=0)
    count = max(1, round(_STRONGEST_FRACTION * 10 * len(distances)))
    farthest = colours[:, np.argpartition(distances, -count)[-count:]].astype(np.float64)
    axis: Floats = np.linalg.eigh(farthest @ farthest.T).eigenvectors[:, -1].astype(np.float32)
    return axis


def _strength(values: Floats) -> float:
    """Return the contrast that the strongest pixels reach."""
    count = max(1, int(_STRONGEST_FRACTION * len(values)))
    return float(np.partition(values, -count)[-count])


def _background_noise(values: Floats) -> float:
    """Return the standard deviation of the background, from the sign that ink does not have."""
    negative = values[values <= 0]
    return 1.4826 * float(-median(negative)) if len(negative) else 0.0
