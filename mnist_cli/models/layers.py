"""Layers of the networks that PyTorch does not have."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

# Mean and deviation of the pixels of MNIST's 60,000 training images, of a range of 0 to 1.
MEAN, DEVIATION = 0.1307, 0.3081


class Normalize(nn.Module):
    """Pixels of 0 to 255 to zero mean and unit deviation: `[N, (1,) 28, 28]` → `[N, 1, 28, 28]`."""

    offset: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("offset", torch.tensor(-MEAN / DEVIATION))

    def forward(self, pixels: Tensor) -> Tensor:
        """Return the normalised images, in the type of the buffer."""
        if pixels.is_floating_point():
            pixels = pixels.to(self.offset.dtype)
        images = pixels.view(-1, 1, 28, 28)
        return torch.add(self.offset, images, alpha=1 / (255 * DEVIATION))  # in a single pass


class PairColumns(nn.Module):
    """Neighbouring columns become channels: `[N, C, H, W]` → `[N, 2C, H, W / 2]`.

    With the channels last this is the same memory read differently. A convolution of 4x4 pixels
    in steps of 2 becomes one of 4x2 pairs in steps of 2 and 1: the same sums, but with longer runs
    of channels and without gaps, which processors do a fifth faster.
    """

    def forward(self, images: Tensor) -> Tensor:
        """Return the images, read in pairs of columns."""
        samples, channels, height, width = images.shape
        pairs = images.permute(0, 2, 3, 1).reshape(samples, height, width // 2, 2 * channels)
        return pairs.permute(0, 3, 1, 2)


class Flatten(nn.Module):
    """`[N, C, H, W]` → `[N, H * W * C]`: no copy when the channels are last in memory."""

    def forward(self, images: Tensor) -> Tensor:
        """Return a row for each sample."""
        return images.permute(0, 2, 3, 1).flatten(1)


class CosinePatches(nn.Module):
    """A convolution that is not trained, and a ReLU: `[N, 2, 28, 14]` → `[N, 16, 12, 12]`.

    Each patch of 6x6 pixels, in steps of 2, is compared with the eight slowest waves of the
    discrete cosine transform and with their negatives. They are much what the first layer of a
    network learns, and spare its training: a third of the time.
    """

    filters: Tensor

    def __init__(self) -> None:
        super().__init__()
        at = torch.arange(6) + 0.5
        waves = torch.stack([torch.cos(math.pi * k * at / 6) for k in range(3)])
        waves /= waves.norm(dim=1, keepdim=True)
        slowest = [(0, 0), (0, 1), (1, 0), (1, 1), (0, 2), (2, 0), (1, 2), (2, 1)]
        patches = torch.stack([torch.outer(waves[down], waves[right]) for down, right in slowest])
        patches *= 0.3  # outputs of about unit deviation
        pairs = torch.cat([patches, -patches]).view(16, 6, 3, 2).permute(0, 3, 1, 2)
        self.register_buffer("filters", pairs)

    def forward(self, pairs: Tensor) -> Tensor:
        """Return how much of each wave, and of its negative, is in each patch."""
        with torch.no_grad():
            return F.conv2d(pairs, self.filters, stride=(2, 1)).relu_()
