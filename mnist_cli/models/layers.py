"""Layers of the networks here that PyTorch does not provide.

Images are `[N, channels, height, width]`, as in PyTorch, mostly with the channels last in memory.
"""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mnist_cli.data.catalogue import IMAGE_SHAPE, MEAN, STD


class Normalize(nn.Module):
    """Normalise pixels of 0 to 255 to mean 0 and std 1: `[N, (1,) 28, 28]` → `[N, 1, 28, 28]`."""

    offset: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("offset", torch.tensor(-MEAN / STD))

    def forward(self, pixels: Tensor) -> Tensor:
        """Return the normalised images, in the dtype of the buffer."""
        images = pixels.view(-1, 1, 28, 28).to(self.offset.dtype)
        # In a single pass, and where the images are a copy, without memory for another one. Inside
        # `torch.func.vmap`, which has no `out`, pixels have to be floating-point numbers.
        out = None if pixels.is_floating_point() else images
        return torch.add(self.offset, images, alpha=1 / (255 * STD), out=out)


class Deskew(nn.Module):
    """Remove slant and differences in width: `[N, (1,) 28, 28]` → `[N, 1, 28, 28]`.

    Each image is sheared so that its ink has no slant, centred horizontally, and stretched along
    its rows so that the standard deviation of the ink's columns is `width` pixels. Slant and
    stretch are limited, so very thin digits stay thinner. Pixels are interpolated linearly along a
    row; those outside the image are 0. LeCun et al. (1998) deskewed MNIST so, without the stretch.
    The layer has no parameters, and no gradient flows through it.
    """

    # Of MNIST's training images 84 % are narrower than this, 86 % need no limit of the scales, and
    # 99.8 % none of the slants.
    width = 4.5
    scales = (0.5, 1.5)  # the old width over the new one
    slants = (-1.0, 1.0)  # columns a row
    epsilon = 1e-3  # of the ink, and of the variance of its rows

    places: Tensor

    def __init__(self) -> None:
        super().__init__()
        side = IMAGE_SHAPE[0]
        # Of the rows, and of the columns, from the centre.
        self.register_buffer("places", torch.arange(side) - (side - 1) / 2, persistent=False)

    @torch.no_grad()
    def forward(self, pixels: Tensor) -> Tensor:
        """Return the images, values 0 to 255, in the dtype of the buffer."""
        side, dtype = len(self.places), self.places.dtype
        at_least_single = torch.promote_types(dtype, torch.float32)
        images = pixels.reshape(-1, side, side).to(at_least_single)
        places = self.places.to(at_least_single)
        slant, scale, start = self._coefficients(images, places)
        shifts = start + slant * places  # of each row
        columns = shifts[:, :, None] + scale[:, :, None] * places
        # From here on columns count from the left of images with a column of zeros before them.
        columns = (columns + (side + 1) / 2).clamp(0, side + 1)
        left = columns.floor()
        index = left.long().clamp(0, side + 1)  # a column that is not finite has no index
        padded = F.pad(images, (1, 2))
        read = torch.lerp(padded.gather(2, index), padded.gather(2, index + 1), columns - left)
        return read[:, None].to(dtype)

    def _coefficients(self, images: Tensor, places: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return slant, scale and start of each image, `[N, 1]`.

        The pixel at x of row y is read from `start + slant * y + scale * x`, all from the centre.
        """
        rows, columns = images.sum(2), images.sum(1)
        ink = rows.sum(1).clamp_min(0) + self.epsilon
        y, x = ((sums * places).sum(1) / ink for sums in (rows, columns))
        yy, xx = ((sums * places.square()).sum(1) / ink for sums in (rows, columns))
        xy = ((images * places).sum(2) * places).sum(1) / ink
        yy, xx, xy = yy - y * y, xx - x * x, xy - x * y
        slant = (xy / (yy + self.epsilon)).clamp(*self.slants)
        variance = xx - slant * (2 * xy - slant * yy)  # after shearing
        scale = (variance.clamp_min(0).sqrt() / self.width).clamp(*self.scales)
        return slant[:, None], scale[:, None], (x - slant * y)[:, None]


class PairColumns(nn.Module):
    """Stack pairs of neighbouring columns as channels: `[N, C, H, W]` → `[N, 2C, H, W / 2]`.

    With channels last this is a view of the same memory. A 4x4 convolution of stride 2 becomes a
    4x2 convolution of stride (2, 1): the same sums over contiguous memory, a fifth faster on CPUs.
    """

    def forward(self, images: Tensor) -> Tensor:
        """Return the images with pairs of columns as channels."""
        samples, channels, height, width = images.shape
        pairs = images.permute(0, 2, 3, 1).reshape(samples, height, width // 2, 2 * channels)
        return pairs.permute(0, 3, 1, 2)


class Flatten(nn.Module):
    """Flatten each image with its channels last: `[N, C, H, W]` → `[N, H * W * C]`."""

    def forward(self, images: Tensor) -> Tensor:
        """Return a row for each sample, a view if the channels are last in memory."""
        return images.permute(0, 2, 3, 1).flatten(1)


# Waves of a cosine transform, as (down, right), in the order of their frequency.
_SLOWEST = [(0, 0), (0, 1), (1, 0), (1, 1), (0, 2), (2, 0), (1, 2), (2, 1), (2, 2)]


def _cosine_waves(side: int, which: list[tuple[int, int]]) -> Tensor:
    """Return waves of the discrete cosine transform, of norm 1, `[N, side, side]`."""
    at = torch.arange(side) + 0.5
    waves = torch.stack([torch.cos(math.pi * k * at / side) for k in range(3)])
    waves /= waves.norm(dim=1, keepdim=True)
    return torch.stack([torch.outer(waves[down], waves[right]) for down, right in which])


class CosinePatches(nn.Module):
    """A fixed convolution and a ReLU: `[N, 2, 28, 14]` → `[N, 16, 12, 12]`.

    The 6x6 filters, of stride 2, are the eight lowest frequencies of the discrete cosine transform
    and their negatives. They resemble what a first layer learns; not training them saves a third
    of the time.
    """

    filters: Tensor

    def __init__(self) -> None:
        super().__init__()
        patches = _cosine_waves(6, _SLOWEST[:8]) * 0.3  # outputs have a deviation of about 1
        pairs = torch.cat([patches, -patches]).view(16, 6, 3, 2).permute(0, 3, 1, 2)
        self.register_buffer("filters", pairs)

    def forward(self, pairs: Tensor) -> Tensor:
        """Return the filtered images."""
        with torch.no_grad():
            return F.conv2d(pairs, self.filters, stride=(2, 1)).relu_()


class CosineConv2d(nn.Module):
    """A 3x3 convolution, with padding, whose filters are sums of a few cosines.

    Of the nine waves of the discrete cosine transform of 3x3 pixels it has the slowest `waves`, so
    that it has `waves` instead of nine parameters a filter (Jacobsen et al. 2016 do so with other
    functions). There is no bias.
    """

    filters: Tensor

    def __init__(self, channels: int, out_channels: int, waves: int, stride: int = 1) -> None:
        super().__init__()
        self.stride = stride
        self.bias = None
        self.weight = nn.Parameter(torch.empty(out_channels, channels, waves))
        self.register_buffer("filters", _cosine_waves(3, _SLOWEST[:waves]).flatten(1))

    def kernel(self) -> Tensor:
        """Return the filters as a convolution has them, `[out, in, 3, 3]`."""
        filters: Tensor = self.weight @ self.filters
        out, channels, _ = filters.shape
        return filters.view(out, channels, 3, 3).contiguous(memory_format=torch.channels_last)

    def forward(self, images: Tensor) -> Tensor:
        """Return the filtered images."""
        return F.conv2d(images, self.kernel(), stride=self.stride, padding=1)


class Repeat(nn.Module):
    """Apply the same layers several times, which costs time but no parameters."""

    def __init__(self, times: int, *layers: nn.Module) -> None:
        super().__init__()
        self.times = times
        self.layers = nn.Sequential(*layers)

    def forward(self, images: Tensor) -> Tensor:
        """Return the images after the last time."""
        for _ in range(self.times):
            images = self.layers(images)
        return images


class ChannelNorm(nn.Module):
    """Normalise each channel of each sample, then scale and shift it.

    This is instance normalisation (Ulyanov et al. 2016), as `torch.nn.GroupNorm` with a group for
    each channel computes it. Unlike batch normalisation it does not mix the samples of a batch.
    """

    epsilon = 1e-5

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, images: Tensor) -> Tensor:
        """Return the normalised images, with the channels last in memory."""
        result: Tensor = _Normalized.apply(images, self.weight, self.bias)  # type: ignore[no-untyped-call]
        return result


class _Normalized(torch.autograd.Function):
    """The function that `ChannelNorm` computes, about twice as fast as `GroupNorm` computes it."""

    generate_vmap_rule = True

    @staticmethod
    def forward(images: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        rows = _rows(images)
        mean, scale = _mean_and_scale(rows)
        factor = scale * weight
        shifted = bias - mean * factor
        return _images(torch.addcmul(shifted, rows, factor), images)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:  # noqa: ANN401
        ctx.save_for_backward(*inputs[:2])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, ...]:  # noqa: ANN401
        images, weight = ctx.saved_tensors
        rows, given = _rows(images), _rows(gradient)
        mean, scale = _mean_and_scale(rows)
        mean_given = _mean(given)
        # The mean of the gradient times the normalised values.
        along = (_mean(given * rows) - mean_given * mean) * scale
        factor = scale * weight
        slope = -factor * along * scale
        constant = -(factor * mean_given + slope * mean)
        result = torch.addcmul(torch.addcmul(constant, rows, slope), given, factor)
        pixels = rows.shape[1]
        return _images(result, images), along.sum(0)[0] * pixels, mean_given.sum(0)[0] * pixels


def _rows(images: Tensor) -> Tensor:
    """Return images as `[N, H * W, C]`, at least in single precision.

    That is a view, if the channels are last in memory.
    """
    rows = images.permute(0, 2, 3, 1).flatten(1, 2)
    return rows.to(torch.promote_types(rows.dtype, torch.float32))


def _images(rows: Tensor, like: Tensor) -> Tensor:
    """Return rows `[N, H * W, C]` with the shape and type of images, and the channels last."""
    samples, channels, height, width = like.shape
    return rows.to(like.dtype).view(samples, height, width, channels).permute(0, 3, 1, 2)


def _mean(rows: Tensor) -> Tensor:
    """Return the mean of each channel of each sample, `[N, 1, C]`."""
    return rows.sum(1, keepdim=True) / rows.shape[1]


def _mean_and_scale(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Return the means, and the factors to a standard deviation of 1, each `[N, 1, C]`."""
    mean = _mean(rows)
    variance = (_mean(rows * rows) - mean * mean).clamp_min(0)
    return mean, (variance + ChannelNorm.epsilon).rsqrt()


class WeightedMean(nn.Module):
    """Average each channel over the places of an image: `[N, C, H, W]` → `[N, C * maps]`.

    Each place has a weight, the same for all channels. So something is kept of where things are,
    for few parameters.

    Without `maps`, a single map of ones is what the training begins with, and the weight is
    `[H, W]`. Otherwise it is `[maps, H, W]`, drawn around 1 so that the maps differ, and each
    channel has as many averages, side by side.
    """

    def __init__(self, height: int, width: int, maps: int | None = None) -> None:
        super().__init__()
        one_map = torch.ones(height, width)
        drawn = one_map if maps is None else one_map + torch.randn(maps, height, width) / 2
        self.weight = nn.Parameter(drawn)

    def forward(self, images: Tensor) -> Tensor:
        """Return the averages."""
        if self.weight.ndim == 2:
            return (images * self.weight).mean((2, 3))
        places = self.weight.flatten(1)
        return (images.flatten(2) @ places.T / places.shape[1]).flatten(1)
