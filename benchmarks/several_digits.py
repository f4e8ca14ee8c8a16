"""Draw pictures of several digits and read them: `python -m benchmarks.several_digits CHECKPOINT`.

The digits are those of MNIST's test set, 100 to 300 pixels tall: in rows of various spacing, in
lines, of different sizes, light on dark, as telephone numbers on ruled paper, slanted, and
photographed in uneven light. The program prints, for each kind, in how many pictures all digits are
found, each with its box and in order, and how many digits of these pictures are predicted
correctly. The same pictures are drawn each time; SHEET.png shows the mistakes, with what was found.
"""

import argparse
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageOps

from mnist_cli.config.programs import PredictConfig
from mnist_cli.data.datasets import load_dataset
from mnist_cli.events import Prediction
from mnist_cli.prediction.predict import ImagePrediction, predict

Box = tuple[int, int, int, int]  # left, top, right, bottom

_EACH = 40
_MIN_OVERLAP = 0.5  # of the area of two boxes together
_CELL, _ACROSS = 320, 4  # of the sheet: the side of a picture, and how many are in a row


@dataclass(frozen=True)
class Page:
    """A picture and its digits with their boxes, in reading order."""

    image: Image.Image
    digits: list[int]
    boxes: list[Box]


class Pen:
    """Draws digits of MNIST's test set, dark on light."""

    def __init__(self, data_dir: str, seed: int) -> None:
        test = load_dataset("mnist", data_dir).test
        self.random = np.random.default_rng(seed)
        self._images, self._labels = test.images.view(-1, 28, 28).numpy(), test.labels.tolist()

    def digit(self, height: int) -> tuple[Image.Image, int]:
        """Return the ink of a digit, light on black, cut out, and its label."""
        number = int(self.random.integers(len(self._images)))
        image = Image.fromarray(self._images[number])
        scale = height / 20  # the longer side of each has 20 pixels
        image = image.crop(image.point(lambda value: 255 * (value > 80)).getbbox())
        size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
        return image.resize(size, Image.Resampling.BICUBIC), self._labels[number]

    def lines(
        self, counts: list[int], height: int, gap: tuple[float, float], varied: float = 0.1
    ) -> Page:
        """Write lines of digits; gaps, in heights, are chosen from a range."""
        inks: list[tuple[Image.Image, int, int, int]] = []
        top, widest = height, 0
        for count in counts:
            left = height
            for _ in range(count):
                ink, label = self.digit(round(height * self.random.uniform(1 - varied, 1 + varied)))
                inks.append((ink, label, left, top + (height - ink.height) // 2))
                left += ink.width + round(height * self.random.uniform(*gap))
            widest = max(widest, left)
            top += round(height * self.random.uniform(1.4, 1.9))
        page = Image.new("L", (widest + height, top + height), 0)
        boxes = []
        for ink, _, left, y in inks:
            page.paste(255, (left, y), ink)
            boxes.append((left, y, left + ink.width, y + ink.height))
        return Page(ImageOps.invert(page), [label for _, label, *_ in inks], boxes)

    def height(self) -> int:
        """Return the height of digits in pixels."""
        return int(self.random.integers(100, 301))

    def counts(self, lines: int) -> list[int]:
        """Return the number of digits in each line."""
        return [int(self.random.integers(2, 6)) for _ in range(lines)]


def row(pen: Pen) -> Page:
    """Write a row of two to five digits."""
    return pen.lines(pen.counts(1), pen.height(), (0.1, 1.0))


def two_lines(pen: Pen) -> Page:
    """Write two lines."""
    return pen.lines(pen.counts(2), pen.height(), (0.15, 0.6))


def mixed_sizes(pen: Pen) -> Page:
    """Write a row of digits, some of them twice as large as others."""
    return pen.lines(pen.counts(1), 200, (0.2, 0.8), varied=0.35)


def light_on_dark(pen: Pen) -> Page:
    """Write three lines with chalk."""
    page = pen.lines(pen.counts(3), pen.height() // 2, (0.15, 0.6))
    return replace(page, image=ImageOps.colorize(page.image, "#f0f0e0", "#20402c"))


def telephone(pen: Pen) -> Page:
    """Write ten digits on ruled paper, with a dash after the third."""
    height = pen.height()
    page = pen.lines([10], height, (0.15, 0.5))
    image = ImageOps.colorize(page.image, "#1c2c70", "#f6f4ec")
    draw = ImageDraw.Draw(image)
    (_, top, right, bottom), (left, *_) = page.boxes[2], page.boxes[3]
    if left - right > 0.25 * height:
        middle = (top + bottom) // 2
        dash = (right + 0.08 * height, middle, left - 0.08 * height, middle)
        draw.line(dash, "#1c2c70", height // 12)
    rules = Image.new("L", image.size, 0)
    for y in range(height // 3, image.height, round(height * 0.8)):
        ImageDraw.Draw(rules).line([(0, y), (image.width, y)], 255, max(2, height // 60))
    ruled = Image.composite(Image.new("RGB", image.size, "#b4c8e0"), image, rules)
    darker = np.minimum(np.asarray(image), np.asarray(ruled))  # ink stays above the rules
    return replace(page, image=Image.fromarray(darker))


def slanted(pen: Pen) -> Page:
    """Write two lines that rise or fall by up to six degrees."""
    page = pen.lines(pen.counts(2), pen.height(), (0.2, 0.6))
    angle = pen.random.uniform(-6, 6)
    turned = page.image.rotate(angle, Image.Resampling.BICUBIC, fillcolor=255)
    boxes: list[Box] = []
    for box in page.boxes:
        alone = Image.new("L", page.image.size, 255)
        alone.paste(page.image.crop(box), box[:2])
        alone = ImageOps.invert(alone.rotate(angle, Image.Resampling.BICUBIC, fillcolor=255))
        boxes.append(alone.point(lambda value: 255 * (value > 80)).getbbox() or box)
    return Page(turned, page.digits, boxes)


def photograph(pen: Pen) -> Page:
    """Photograph a row on dusty paper, in light that falls off."""
    page = pen.lines(pen.counts(1), pen.height(), (0.15, 0.8))
    ink = 1 - np.asarray(page.image, dtype=float) / 255
    y, x = np.mgrid[0 : 1 : ink.shape[0] * 1j, 0 : 1 : ink.shape[1] * 1j]
    light = 200 - 70 * pen.random.uniform() * x - 50 * pen.random.uniform() * y
    values = light * (1 - 0.75 * ink) + pen.random.normal(0, 4, ink.shape)
    for _ in range(8):
        at_y, at_x = (int(pen.random.integers(0, length - 4)) for length in ink.shape)
        values[at_y : at_y + 3, at_x : at_x + 3] -= 80
    return replace(page, image=Image.fromarray(values.clip(0, 255).astype(np.uint8)))


KINDS: tuple[Callable[[Pen], Page], ...] = (
    *(row, two_lines, mixed_sizes, light_on_dark, telephone, slanted, photograph),
)


def main() -> None:
    """Print the results of each kind."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint")
    parser.add_argument("--data-dir", default="data")
    parser.add_argument("--sheet", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    pen = Pen(given.data_dir, given.seed)
    mistakes: list[Image.Image] = []
    print(f"{'':16} found  of     correct  digits of these")
    for kind in KINDS:
        complete = correct = digits = 0
        for page, found in _predict(given.checkpoint, [kind(pen) for _ in range(_EACH)]):
            if not _is_complete(page, found):
                mistakes.append(_marked(page, found))
                continue
            complete += 1
            digits += len(found)
            correct += sum(event.digit == d for event, d in zip(found, page.digits, strict=True))
        print(f"{kind.__name__:16} {complete:5}  {_EACH:5}  {correct:7}  {digits}")
    if given.sheet:
        _sheet(mistakes).save(given.sheet)


def _predict(checkpoint: str, pages: list[Page]) -> Iterator[tuple[Page, list[Prediction]]]:
    """Yield each page with the predictions for its digits."""
    with tempfile.TemporaryDirectory() as folder:
        paths = [f"{folder}/{number:03}.png" for number in range(len(pages))]
        for page, path in zip(pages, paths, strict=True):
            page.image.save(path)
        results = list(predict(checkpoint, paths, PredictConfig(all=True)))
    events = [result.event for result in results if isinstance(result, ImagePrediction)]
    for page, path in zip(pages, paths, strict=True):
        yield page, [event for event in events if event.path == path and event.box]


def _is_complete(page: Page, found: list[Prediction]) -> bool:
    """Return True if every digit is found, in order, with nearly its box."""
    return len(found) == len(page.boxes) and all(
        event.box is not None and _overlap(event.box, box) >= _MIN_OVERLAP
        for event, box in zip(found, page.boxes, strict=True)
    )


def _overlap(one: Box, other: Box) -> float:
    """Return the area that two boxes share, as a fraction of the area that either covers."""
    left, top = max(one[0], other[0]), max(one[1], other[1])
    right, bottom = min(one[2], other[2]), min(one[3], other[3])
    shared = max(right - left, 0) * max(bottom - top, 0)
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    return shared / (sum(areas) - shared)


def _marked(page: Page, found: list[Prediction]) -> Image.Image:
    """Return a page with the boxes that were found."""
    image = page.image.convert("RGB")
    draw = ImageDraw.Draw(image)
    for number, event in enumerate(found):
        if event.box:
            colour = ["#d02020", "#2040d0", "#108030"][number % 3]
            draw.rectangle(event.box, outline=colour, width=max(2, image.width // 200))
    return ImageOps.contain(image, (_CELL - 4, _CELL - 4))


def _sheet(images: list[Image.Image]) -> Image.Image:
    rows = max(1, -(-len(images) // _ACROSS))
    sheet = Image.new("RGB", (_ACROSS * _CELL, rows * _CELL), (96, 96, 96))
    for number, image in enumerate(images):
        sheet.paste(image, (number % _ACROSS * _CELL, number // _ACROSS * _CELL))
    return sheet


if __name__ == "__main__":
    main()
