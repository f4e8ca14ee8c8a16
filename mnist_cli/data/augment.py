"""Augmentation: training images that differ a little from epoch to epoch.

What happens to an image depends on the training's seed, the sample and the epoch alone, except for
the shifts, which depend on the sample's place in the epoch. So neither micro-batches nor ranks nor
an interruption change it.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from functools import cache
from itertools import product

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import Dataset

from mnist_cli.config.train import ResolvedConfig
from mnist_cli.data.catalogue import IMAGE_SHAPE
from mnist_cli.data.splits import Split
from mnist_cli.runtime.seeding import stream

Index = Tensor | slice
Item = tuple[Index, int]  # the samples, and the first one's place in the order of the epoch

HEIGHT, WIDTH = IMAGE_SHAPE
PIXELS = 1
# The shifts, as the pixels to leave out at the top and on the left of a padded image.
SHIFTS = [(top, left) for top in range(2 * PIXELS + 1) for left in range(2 * PIXELS + 1)]

# The largest change of each kind at strength 1; half of the images have less than half of it.
ROTATION = math.radians(12)
SCALE = 0.12  # of the width, and of the height
SHEAR = math.tan(math.radians(10))
SHIFT = 2.0  # pixels
WAVES = [(down, right) for down, right in product(range(5), repeat=2) if 2 <= down + right <= 5]
WAVE = 1.0  # pixels, over the root of 1 + down² + right²
_AFFINE = 6  # random numbers of an image
_CHUNK = 256  # images that are changed together: their grid fits into a cache


def shifts_of(images: Tensor) -> Iterator[Tensor]:
    """Yield the images `[..., 28, 28]` in each of the nine `SHIFTS`; edges are filled with 0."""
    padded = F.pad(images, (PIXELS,) * 4)
    for top, left in SHIFTS:
        yield padded[..., top : top + HEIGHT, left : left + WIDTH]


class EpochSamples(Dataset[tuple[Tensor, Tensor]]):
    """The samples of an epoch, as a map-style dataset: its keys are items of several samples."""

    @abstractmethod
    def __getitem__(self, item: Item) -> tuple[Tensor, Tensor]:
        """Return the images `uint8 [n, 28, 28]` and the labels `[n]` of an item."""


class Augmentation(ABC):
    """A training split, and how its images change from epoch to epoch."""

    def __init__(self, split: Split) -> None:
        self.split = split

    @abstractmethod
    def at_epoch(self, epoch: int) -> EpochSamples:
        """Return the samples as they are in an epoch."""


class Unchanged(Augmentation, EpochSamples):
    """The images as they are."""

    def at_epoch(self, epoch: int) -> EpochSamples:
        """Return the samples, the same in all epochs."""
        return self

    def __getitem__(self, item: Item) -> tuple[Tensor, Tensor]:
        """Return views of the images and labels for a slice, else one copy of each."""
        return self.split[item[0]]


class Shift(Augmentation):
    """Shift the images by up to one pixel each way; edges are filled with 0.

    Consecutive samples of an epoch get the nine shifts in turn, and each epoch starts with the next
    shift. Since the order is shuffled, the shift of a sample is random, and every update has about
    as many of each. Nothing is drawn, and nine operations shift a thousand images.
    """

    def __init__(self, split: Split) -> None:
        super().__init__(split)
        self._padded = Split(F.pad(split.images, (PIXELS,) * 4), split.labels, split.classes)

    def at_epoch(self, epoch: int) -> EpochSamples:
        """Return the samples, shifted as they are in an epoch."""
        return _Shifted(self._padded, epoch)


class _Shifted(EpochSamples):
    def __init__(self, padded: Split, epoch: int) -> None:
        self._padded, self._epoch = padded, epoch

    def __getitem__(self, item: Item) -> tuple[Tensor, Tensor]:
        index, place = item
        padded, labels = self._padded[index]
        images = padded.new_empty(len(padded), HEIGHT, WIDTH)
        for start in range(min(len(SHIFTS), len(padded))):
            top, left = SHIFTS[(self._epoch + place + start) % len(SHIFTS)]
            every = slice(start, None, len(SHIFTS))
            images[every] = padded[every, top : top + HEIGHT, left : left + WIDTH]
        return images, labels


class Warp(Augmentation):
    """Rotate, scale, shear and shift each image, and with `waves` also distort it smoothly.

    Each pixel is read where the inverse map puts it, between its four neighbours (bilinearly), with
    0 outside the image. The map is affine, about the centre; the waves add a displacement, a sum of
    cosines of low frequency with random amplitudes, like the elastic distortions of Simard et al.
    (2003). All random numbers are uniform; `strength` multiplies the range of each.
    """

    def __init__(self, split: Split, seed: int, *, strength: float = 1.0, waves: bool) -> None:
        super().__init__(split)
        self._seed, self._strength = seed, strength
        self._numbers = _AFFINE + (2 * len(WAVES) if waves else 0)

    def at_epoch(self, epoch: int) -> EpochSamples:
        """Return the samples, each with the map that is drawn for it in an epoch."""
        generator = stream(self._seed, "augment", epoch)
        drawn = torch.rand(len(self.split), self._numbers, generator=generator)
        drawn = (2 * drawn - 1) * self._strength
        return _Warped(self.split, drawn.to(self.split.device))


class _Warped(EpochSamples):
    """The samples of a split, each changed by its row of random numbers, `[N, 6]` or more."""

    def __init__(self, split: Split, drawn: Tensor) -> None:
        self._split, self._drawn = split, drawn

    def __getitem__(self, item: Item) -> tuple[Tensor, Tensor]:
        images, labels = self._split[item[0]]
        changed = torch.empty_like(images)
        drawn = self._drawn[item[0]]
        for start in range(0, len(images), _CHUNK):
            part = slice(start, start + _CHUNK)
            changed[part] = warp(images[part], drawn[part])
        return changed, labels


def warp(images: Tensor, drawn: Tensor) -> Tensor:
    """Return the images, each changed by its row of random numbers from -strength to strength.

    Args:
        images: `uint8 [n, 28, 28]`.
        drawn: `float32 [n, 6]`, or `[n, 6 + 2 * len(WAVES)]` with waves; zeros change nothing.

    Returns:
        `float32 [n, 28, 28]`, rounded to whole numbers from 0 to 255.

    """
    turn, across, down, shear, right, below = drawn[:, :_AFFINE].unbind(1)
    cos, sin = (turn * ROTATION).cos(), (turn * ROTATION).sin()
    across, down, shear = 1 + across * SCALE, 1 + down * SCALE, shear * SHEAR
    # Where the pixel at (x, y) is read: sheared, then rotated, then scaled. In the coordinates of
    # `grid_sample` the image reaches from -1 to 1; its sides are equal.
    by_x = torch.stack([cos * across, sin * down], 1)
    by_y = torch.stack([(cos * shear - sin) * across, (sin * shear + cos) * down], 1)
    shift = torch.stack([right, below], 1) * (SHIFT * 2 / WIDTH)
    at = (torch.arange(WIDTH, device=images.device) * 2 + 1) / WIDTH - 1
    columns = (by_x[:, :, None] * at)[:, :, None, :]  # [n, 2, 1, 28]
    rows = (by_y[:, :, None] * at + shift[:, :, None])[:, :, :, None]  # [n, 2, 28, 1]
    grid = columns + rows
    if drawn.shape[1] > _AFFINE:
        grid += _displacement(drawn[:, _AFFINE:])
    read = F.grid_sample(images[:, None].float(), grid.permute(0, 2, 3, 1), align_corners=False)
    return read[:, 0].round_()


def _displacement(drawn: Tensor) -> Tensor:
    """Return the displacement `[n, 2, 28, 28]`, in `grid_sample`'s coordinates.

    `drawn` is `[n, 2 * len(WAVES)]`: the amplitudes of the displacement to the right, then down.
    """
    places, reach, cosines = _waves(drawn.device)
    count = len(cosines)
    amplitudes = drawn.new_zeros(len(drawn), 2, count * count)
    amplitudes[:, :, places] = drawn.view(-1, 2, len(WAVES)) * reach
    return cosines.T @ (amplitudes.view(-1, 2, count, count) @ cosines)


@cache  # a GPU would be waited for each time
def _waves(device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Return the places of the waves in a matrix, their reach, and the cosines `[count, 28]`."""
    count = 1 + max(down for down, _ in WAVES)
    places = torch.tensor([down * count + right for down, right in WAVES], device=device)
    reach = [WAVE / math.sqrt(1 + down**2 + right**2) * 2 / WIDTH for down, right in WAVES]
    at = (torch.arange(WIDTH, device=device) + 0.5) * (math.pi / WIDTH)
    cosines = (torch.arange(count, device=device)[:, None] * at).cos()
    return places, torch.tensor(reach, device=device), cosines


def augmented(split: Split, config: ResolvedConfig) -> Augmentation:
    """Return a training split with the augmentation of a training."""
    match config.augment:
        case "shift":
            return Shift(split)
        case "affine" | "elastic":
            strength = config.augment_strength
            return Warp(
                split,
                config.seed,
                strength=1.0 if strength is None else strength,
                waves=config.augment == "elastic",
            )
        case _:
            return Unchanged(split)
