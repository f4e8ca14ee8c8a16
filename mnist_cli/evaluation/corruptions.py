"""Corruptions of images: how a network fares on other than clean digits.

Each has five strengths. What happens to an image depends on the corruption, the strength and the
place of the image in its split alone, so that two networks are measured on the same images.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from mnist_cli.data.splits import Split
from mnist_cli.runtime.seeding import stream

STRENGTHS = (1, 2, 3, 4, 5)
_SEED = 0  # of what is drawn; it is not an option, so that figures can be compared
_CHUNK = 1000  # images that are changed together


def corrupted(split: Split, name: str, strength: int) -> Split:
    """Return a split with its images `uint8 [N, 28, 28]` corrupted, and the same labels."""
    change = CORRUPTIONS[name]
    generator = stream(_SEED, "corruption", name, strength)
    parts = []
    for start in range(0, len(split), _CHUNK):
        images = split.images[start : start + _CHUNK].cpu()
        changed = change(images.float() / 255, strength, generator)
        parts.append((changed.clamp(0, 1) * 255).round().to(torch.uint8))
    return Split(torch.cat(parts).to(split.images.device), split.labels, split.classes)


Change = Callable[[Tensor, int, torch.Generator], Tensor]  # of images [n, 28, 28], 0 to 1


def _signs(count: int, generator: torch.Generator) -> Tensor:
    """Return -1 or 1 for each image."""
    return torch.randint(2, (count,), generator=generator) * 2.0 - 1


def _mapped(images: Tensor, maps: Tensor) -> Tensor:
    """Return images read at the places to which affine maps `[n, 2, 3]` take their pixels."""
    grid = F.affine_grid(maps, [len(images), 1, 28, 28], align_corners=False)
    return F.grid_sample(images[:, None], grid, align_corners=False)[:, 0]


def _maps(count: int) -> Tensor:
    return torch.eye(2, 3).repeat(count, 1, 1)


def _shift(images: Tensor, strength: int, generator: torch.Generator) -> Tensor:
    """Move by `strength` pixels in a direction that is drawn."""
    angles = torch.rand(len(images), generator=generator) * 2 * math.pi
    maps = _maps(len(images))
    maps[:, 0, 2], maps[:, 1, 2] = angles.cos() * strength / 14, angles.sin() * strength / 14
    return _mapped(images, maps)


def _rotate(images: Tensor, strength: int, generator: torch.Generator) -> Tensor:
    """Turn by 8 degrees for each strength, to the left or to the right."""
    angles = _signs(len(images), generator) * math.radians(8 * strength)
    maps = _maps(len(images))
    maps[:, 0, 0] = maps[:, 1, 1] = angles.cos()
    maps[:, 0, 1], maps[:, 1, 0] = -angles.sin(), angles.sin()
    return _mapped(images, maps)


def _scale(images: Tensor, strength: int, generator: torch.Generator) -> Tensor:
    """Shrink or enlarge by 8 % for each strength."""
    factors = 1.08 ** (strength * _signs(len(images), generator))
    return _mapped(images, _maps(len(images)) * factors[:, None, None])


def _shear(images: Tensor, strength: int, generator: torch.Generator) -> Tensor:
    """Slant by 0.12 for each strength: so many pixels to the side on one pixel down."""
    maps = _maps(len(images))
    maps[:, 0, 1] = _signs(len(images), generator) * 0.12 * strength
    return _mapped(images, maps)


def _blur(images: Tensor, strength: int, generator: torch.Generator) -> Tensor:
    """Average with the weights of a normal distribution of 0.4 pixels for each strength."""
    at = torch.arange(-6.0, 7.0)
    weights = torch.exp(-0.5 * (at / (0.4 * strength)) ** 2)
    weights /= weights.sum()
    rows = F.conv2d(images[:, None], weights.view(1, 1, 1, 13), padding=(0, 6))
    return F.conv2d(rows, weights.view(1, 1, 13, 1), padding=(6, 0))[:, 0]


def _noise(images: Tensor, strength: int, generator: torch.Generator) -> Tensor:
    """Add normal noise with a standard deviation of 0.1 for each strength."""
    return images + torch.randn(images.shape, generator=generator) * 0.1 * strength


def _contrast(images: Tensor, strength: int, generator: torch.Generator) -> Tensor:
    """Lose 17 % of the contrast for each strength, and a fifth of that from black."""
    kept = 1 - 0.17 * strength
    return images * kept + (1 - kept) / 5


def _mixed(images: Tensor, changed: Callable[[Tensor], Tensor], amount: float) -> Tensor:
    """Return images changed `amount` times, a fraction of a time by mixing."""
    now = images[:, None]
    while amount > 0:
        share = min(amount, 1.0)
        now = now.lerp(changed(now), share)
        amount -= share
    return now[:, 0]


def _thick(images: Tensor, strength: int, generator: torch.Generator) -> Tensor:
    """Widen the strokes by 0.4 pixels on each side for each strength."""
    return _mixed(images, lambda now: F.max_pool2d(now, 3, 1, 1), 0.4 * strength)


def _thin(images: Tensor, strength: int, generator: torch.Generator) -> Tensor:
    """Narrow the strokes by 0.2 pixels on each side for each strength."""
    return _mixed(images, lambda now: -F.max_pool2d(-now, 3, 1, 1), 0.2 * strength)


def _occlude(images: Tensor, strength: int, generator: torch.Generator) -> Tensor:
    """Blacken a square of 2 + 2 pixels for each strength, inside the middle 20 by 20 pixels."""
    side = 2 + 2 * strength
    corners = torch.rand(2, len(images), 1, generator=generator) * (20 - side) + 4
    at = torch.arange(28)
    rows, columns = ((at >= corner) & (at < corner + side) for corner in corners)
    return images.masked_fill(rows[:, :, None] & columns[:, None, :], 0)


CORRUPTIONS: dict[str, Change] = {
    "shift": _shift,
    "rotation": _rotate,
    "scale": _scale,
    "shear": _shear,
    "blur": _blur,
    "noise": _noise,
    "contrast": _contrast,
    "thick strokes": _thick,
    "thin strokes": _thin,
    "occlusion": _occlude,
}
