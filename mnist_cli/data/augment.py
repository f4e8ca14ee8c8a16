"""Augmentation: shifts of images by one pixel."""

import torch
from torch import Tensor
from torch.nn import functional as F

from mnist_cli.data.datasets import Split

PIXELS = 1
# The shifts, as the pixels to leave out at the top and on the left of a padded image.
SHIFTS = [(top, left) for top in range(2 * PIXELS + 1) for left in range(2 * PIXELS + 1)]


class ShiftAugmented:
    """A split whose images are shifted by up to one pixel each way; edges are filled with 0.

    Consecutive samples of an epoch get the nine shifts in turn, and each epoch starts with the next
    shift. Since the order is shuffled, the shift of a sample is random, and every update has about
    as many of each. Nothing is drawn, and nine operations shift a thousand images.
    """

    def __init__(self, split: Split) -> None:
        self._padded = F.pad(split.images, (PIXELS,) * 4)
        self._labels = split.labels

    def __len__(self) -> int:
        return len(self._labels)

    @property
    def device(self) -> torch.device:
        """The device that holds the samples."""
        return self._labels.device

    def __getitem__(self, item: tuple[Tensor | slice, int]) -> tuple[Tensor, Tensor]:
        """Return the samples at the indices `item[0]`; `item[1]` is the first one's shift index."""
        index, shift = item
        padded, labels = Split(self._padded, self._labels)[index]
        height, width = padded.shape[1] - 2 * PIXELS, padded.shape[2] - 2 * PIXELS
        images = padded.new_empty(len(padded), height, width)
        for start in range(min(len(SHIFTS), len(padded))):
            top, left = SHIFTS[(shift + start) % len(SHIFTS)]
            every = slice(start, None, len(SHIFTS))
            images[every] = padded[every, top : top + height, left : left + width]
        return images, labels
