"""Paper, light, ink and cameras."""

import math
from dataclasses import dataclass
from random import Random

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

Colour = tuple[int, int, int]


@dataclass(frozen=True)
class Scene:
    """How a picture looks; lengths are in pixels, colours and noise of 0 to 255."""

    paper: Colour = (255, 255, 255)
    ink: Colour = (0, 0, 0)
    opacity: float = 1.0
    texture: float = 0.0  # deviation of the paper's own pattern
    grain: float = 2.0  # the size of that pattern
    fall: float = 0.0  # how much darker the far side is, of 0 to 1
    vignette: float = 0.0  # how much darker the corners are
    shadow: float = 0.0  # how much darker it is behind a soft edge
    noise: float = 0.0  # deviation of the camera's
    blur: float = 0.0
    lines: tuple[str, ...] = ()  # of ruled paper: "rows", "columns"
    line_ink: Colour = (150, 180, 220)
    specks: int = 0
    seed: int = 0


def shot(mask: Tensor, scene: Scene) -> Image.Image:
    """Return a picture `RGB` of ink, `float [height, width]` of 0 to 1, on paper."""
    random, noise = Random(scene.seed), torch.Generator().manual_seed(scene.seed)
    height, width = mask.shape
    paper = torch.tensor(scene.paper).float()[:, None, None].expand(3, height, width)
    if scene.texture:
        small = (max(2, round(height / scene.grain)), max(2, round(width / scene.grain)))
        pattern = torch.randn(1, 1, *small, generator=noise)
        pattern = F.interpolate(pattern, (height, width), mode="bicubic")[0]
        paper = paper + pattern * (scene.texture / float(pattern.std()))
    if scene.lines:
        ruled = _ruled(height, width, scene.lines, random)
        paper = _mixed(paper, scene.line_ink, ruled)
    mask = mask.clone()
    for _ in range(scene.specks):
        _speck(mask, random)
    return as_image(lit(_mixed(paper, scene.ink, mask * scene.opacity), scene))


def lit(picture: Tensor, scene: Scene) -> Tensor:
    """Return what a camera makes of `float [3, height, width]` in the light of a scene."""
    random, noise = Random(scene.seed + 1), torch.Generator().manual_seed(scene.seed + 1)
    height, width = picture.shape[1:]
    picture = picture * _light(height, width, scene, random)
    if scene.blur:
        picture = blurred(picture, scene.blur)
    if scene.noise:
        grey = torch.randn(1, height, width, generator=noise)
        colour = torch.randn(3, height, width, generator=noise)
        picture = picture + scene.noise * (0.8 * grey + 0.6 * colour)
    return picture


def as_image(picture: Tensor) -> Image.Image:
    """Return `float [3, height, width]` as an image."""
    values = picture.clamp(0, 255).round().to(torch.uint8).permute(1, 2, 0).contiguous()
    return Image.frombytes(
        "RGB", (values.shape[1], values.shape[0]), bytes(values.flatten().tolist())
    )


def blurred(picture: Tensor, deviation: float) -> Tensor:
    """Return bands `[bands, height, width]` blurred by a Gaussian, mirrored at their ends."""
    reach = min(max(1, math.ceil(3 * deviation)), min(picture.shape[1:]) - 1)
    places = torch.arange(-reach, reach + 1).float()
    kernel = torch.exp(-((places / deviation) ** 2) / 2)
    kernel = (kernel / kernel.sum()).view(1, 1, 1, -1)
    bands = picture[:, None]
    bands = F.conv2d(F.pad(bands, (reach, reach, 0, 0), mode="reflect"), kernel)
    bands = F.conv2d(F.pad(bands, (0, 0, reach, reach), mode="reflect"), kernel.transpose(2, 3))
    return bands[:, 0]


def _mixed(paper: Tensor, ink: Colour, share: Tensor) -> Tensor:
    return paper + (torch.tensor(ink).float()[:, None, None] - paper) * share


def _light(height: int, width: int, scene: Scene, random: Random) -> Tensor:
    """Return the share of light that falls on each pixel."""
    y = torch.linspace(-1, 1, height)[:, None].expand(height, width)
    x = torch.linspace(-1, 1, width)[None].expand(height, width)
    angle = random.uniform(0, math.tau)
    along = x * math.cos(angle) + y * math.sin(angle)
    light = 1 - scene.fall * (along / (2 * math.sqrt(2)) + 0.5)
    light = light * (1 - scene.vignette * (x * x + y * y) / 2)
    angle, edge = random.uniform(0, math.tau), random.uniform(-0.5, 0.5)
    across = x * math.cos(angle) + y * math.sin(angle) - edge
    return light * (1 - scene.shadow * torch.sigmoid(across * random.uniform(5, 14)))


def _ruled(height: int, width: int, lines: tuple[str, ...], random: Random) -> Tensor:
    """Return where the printed lines of paper are, `float [height, width]` of 0 to 1."""
    ruled = torch.zeros(height, width)
    spacing = random.uniform(0.1, 0.2) * min(height, width)
    slope = random.uniform(-0.02, 0.02)
    y, x = torch.arange(height)[:, None].float(), torch.arange(width)[None].float()
    first = random.uniform(0, spacing)
    thick = max(1.0, spacing * 0.05)
    for kind in lines:
        place = y + slope * x if kind == "rows" else x - slope * y
        off = ((place - first + spacing / 2) % spacing - spacing / 2).abs()
        ruled = torch.maximum(ruled, (thick / 2 + 0.5 - off).clamp(0, 1))
    return ruled


def _speck(mask: Tensor, random: Random) -> None:
    """Put a dot of ink somewhere."""
    height, width = mask.shape
    radius = random.uniform(0.004, 0.009) * max(height, width)
    y, x = random.uniform(0, height), random.uniform(0, width)
    ys, xs = torch.arange(height)[:, None], torch.arange(width)[None]
    dot = (radius + 0.5 - ((ys - y) ** 2 + (xs - x) ** 2).sqrt()).clamp(0, 1)
    torch.maximum(mask, dot, out=mask)
