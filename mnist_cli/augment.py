"""Random shifts of images."""

import torch
from torch import Tensor
from torch.nn import functional as F

PIXELS = 1


def draw_shifts(samples: int, generator: torch.Generator) -> Tensor:
    """Return a shift for each sample, `int64 [samples, 2]`: 0 to 2 pixels down and right."""
    return torch.randint(0, 2 * PIXELS + 1, (samples, 2), generator=generator)


def shift(images: Tensor, shifts: Tensor) -> Tensor:
    """Return the images `[N, 28, 28]` moved by up to a pixel each way, edges filled with 0.

    All windows of the padded images are views; one indexing operation copies the chosen ones.
    """
    size = images.shape[-1]
    windows = F.pad(images, (PIXELS,) * 4).unfold(1, size, 1).unfold(2, size, 1)
    sample = torch.arange(len(images), device=images.device)
    return windows[sample, shifts[:, 0], shifts[:, 1]]
