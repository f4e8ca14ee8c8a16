"""Draw pictures without a digit for `benchmarks.pictures`: `python -m benchmarks.no_digits FOLDER`.

There are textures, shadows, lines, letters and faces, 280 in all, at sizes from 28 to 800 pixels.
The same pictures are drawn each time.
"""

import csv
import string
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter, ImageFont
from scipy import ndimage

_EACH = 40
_SIZES = (28, 64, 200, 480, 800)
_LETTERS = [c for c in string.ascii_letters if c not in "BbgIiJjlOoqSsZz"]  # unlike digits

Drawing = Callable[[np.random.Generator, int, int], Image.Image]


def noise(random: np.random.Generator, side: int, _number: int) -> Image.Image:
    """Draw noise, as of a camera in the dark or of JPEG, in gray or colour."""
    channels = random.choice([1, 3])
    values = random.normal(random.uniform(40, 215), random.uniform(3, 50), (side, side, channels))
    blur = random.uniform(0, side / 60)
    values = ndimage.gaussian_filter(values, (blur, blur, 0))
    return _image(np.broadcast_to(values, (side, side, 3)))


def grain(random: np.random.Generator, side: int, _number: int) -> Image.Image:
    """Draw wood, cloth or concrete: noise of several scales, stretched in one direction."""
    values = np.full((side, side), random.uniform(80, 200))
    for scale in (1.0, 3.0, 9.0, 27.0):
        blur = (scale * random.uniform(0.3, 1), scale * random.uniform(0.3, 6))
        layer = ndimage.gaussian_filter(random.normal(size=(side, side)), blur)
        values += (layer - layer.mean()) / max(float(layer.std()), 1e-9) * random.uniform(2, 12)
    return _image(np.repeat(values[:, :, None], 3, 2))


def shade(random: np.random.Generator, side: int, _number: int) -> Image.Image:
    """Draw light that falls off, and soft shadows."""
    y, x = np.mgrid[0 : 1 : side * 1j, 0 : 1 : side * 1j]
    values = 150 + 90 * (random.uniform(-1, 1) * x + random.uniform(-1, 1) * y)
    for _ in range(random.integers(0, 4)):
        distance = np.hypot(x - random.uniform(), y - random.uniform())
        values -= random.uniform(10, 90) * np.exp(-((distance / random.uniform(0.1, 0.5)) ** 2))
    values += random.normal(0, random.uniform(0, 4), values.shape)
    return _image(np.repeat(values[:, :, None], 3, 2))


def pattern(random: np.random.Generator, side: int, _number: int) -> Image.Image:
    """Draw stripes, squared paper, dots, chessboards."""
    period = random.uniform(0.03, 0.3) * side
    y, x = np.mgrid[0:side, 0:side] * (2 * np.pi / period)
    kind = random.integers(4)
    wave = [np.sin(x), np.sin(x) * np.sin(y), np.maximum(np.cos(x), np.cos(y)), np.sin(x + y)][kind]
    values = random.uniform(100, 200) + random.uniform(20, 60) * (wave > random.uniform(0, 0.95))
    values += random.normal(0, random.uniform(0, 4), values.shape)
    return _image(np.repeat(values[:, :, None], 3, 2))


def edges(random: np.random.Generator, side: int, _number: int) -> Image.Image:
    """Draw corners of tables, sheets of paper and walls: a few areas, each of one colour."""
    image = Image.new("RGB", (side, side), _colour(random))
    draw = ImageDraw.Draw(image)
    for _ in range(random.integers(1, 4)):
        corners = random.uniform(-0.5, 1.5, (3, 2)) * side
        draw.polygon([tuple(corner) for corner in corners], fill=_colour(random))
    return image.filter(ImageFilter.GaussianBlur(random.uniform(0, side / 100)))


def letter(random: np.random.Generator, side: int, number: int) -> Image.Image:
    """Draw a printed letter that resembles no digit."""
    image = Image.new("RGB", (side, side), "white")
    font = ImageFont.load_default(side * random.uniform(0.4, 0.8))
    text = _LETTERS[number % len(_LETTERS)]
    at = (side / 2, side / 2)
    ImageDraw.Draw(image).text(at, text, fill=_colour(random, 100), font=font, anchor="mm")
    return image


def face(random: np.random.Generator, side: int, _number: int) -> Image.Image:
    """Draw a face, as with a pen."""
    image = Image.new("RGB", (side, side), "white")
    draw, width = ImageDraw.Draw(image), max(1, round(side * random.uniform(0.01, 0.04)))
    ink = _colour(random, 100)

    def ring(x: float, y: float, across: float, down: float) -> tuple[float, float, float, float]:
        return tuple(side * v for v in (x - across, y - down, x + across, y + down))  # type: ignore[return-value]

    draw.ellipse(ring(0.5, 0.5, random.uniform(0.3, 0.45), 0.42), outline=ink, width=width)
    for x in (0.37, 0.63):
        draw.ellipse(ring(x, 0.4, *random.uniform(0.02, 0.07, 2)), outline=ink, width=width)
    draw.line([(side * 0.5, side * 0.45), (side * 0.47, side * 0.57)], fill=ink, width=width)
    start, end = (20, 160) if random.uniform() < 0.5 else (200, 340)
    draw.arc(ring(0.5, 0.66, 0.17, 0.08), start, end, fill=ink, width=width)
    return image


DRAWINGS: tuple[Drawing, ...] = (noise, grain, shade, pattern, edges, letter, face)


def _image(values: NDArray[np.floating]) -> Image.Image:
    return Image.fromarray(values.clip(0, 255).round().astype(np.uint8))


def _colour(random: np.random.Generator, most: int = 256) -> tuple[int, ...]:
    return tuple(int(value) for value in random.integers(0, most, 3))


def main() -> None:
    """Draw the pictures and `labels.csv` into a folder."""
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "labels.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["path", "digit", "kind"])
        for kind, draw in enumerate(DRAWINGS):
            random = np.random.default_rng(kind)
            for number in range(_EACH):
                name = f"{draw.__name__}-{number:02}.png"
                draw(random, _SIZES[number % len(_SIZES)], number).save(folder / name)
                rows.writerow([name, "-", draw.__name__])


if __name__ == "__main__":
    main()
