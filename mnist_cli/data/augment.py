"""Shifts of images by a pixel."""

import torch
from torch import Tensor
from torch.nn import functional as F

from mnist_cli.data.datasets import Split

PIXELS = 1
# To each side, up and down: as the pixels to leave out at the top and on the left of a padded image
SHIFTS = [(top, left) for top in range(2 * PIXELS + 1) for left in range(2 * PIXELS + 1)]


class ShiftAugmented:
    """A split whose images are moved by up to a pixel each way, edges filled with 0.

    The samples of an epoch take turns with the nine shifts, and each epoch begins with the next: in
    a shuffled order every sample gets a random one, and every update has about as many of each.
    Nothing has to be drawn, and nine operations move a thousand images.
    """

    def __init__(self, split: Split) -> None:
        self._padded = F.pad(split.images, (PIXELS,) * 4)
        self._labels = split.labels

    def __len__(self) -> int:
        return len(self._labels)

    @property
    def device(self) -> torch.device:
        """Where the samples are."""
        return self._labels.device

    def __getitem__(self, at: tuple[Tensor | slice, int]) -> tuple[Tensor, Tensor]:
        """Return the samples at some indices, and the first one's turn."""
        index, turn = at
        padded, labels = Split(self._padded, self._labels)[index]
        height, width = padded.shape[1] - 2 * PIXELS, padded.shape[2] - 2 * PIXELS
        images = padded.new_empty(len(padded), height, width)
        for start in range(min(len(SHIFTS), len(padded))):
            top, left = SHIFTS[(turn + start) % len(SHIFTS)]
            every = slice(start, None, len(SHIFTS))
            images[every] = padded[every, top : top + height, left : left + width]
        return images, labels
