"""Predict a drawn set: `python -m tests.drawn.sheet CHECKPOINT SHEET.png [--folder FOLDER]`.

It prints the number of correct predictions, by kind and by condition, and how many images without a
digit are uncertain. SHEET.png shows each mistake: the image, the network's input, the label and the
prediction.
"""

import argparse
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageOps

from mnist_cli.config.programs import PredictConfig
from mnist_cli.events import Prediction
from mnist_cli.prediction.predict import ImagePrediction, predict

IMAGES = Path(__file__).parent / "images"


@dataclass(frozen=True)
class DrawnResult:
    """The prediction for a drawn image; `digit` is its label, None if it shows no digit."""

    path: Path
    digit: int | None
    kind: str
    condition: str
    prediction: ImagePrediction

    @property
    def event(self) -> Prediction:
        return self.prediction.event

    @property
    def is_correct(self) -> bool:
        if self.digit is None:
            return self.event.uncertain
        return self.event.digit == self.digit and bool(self.prediction.image.any())


def predict_drawn(checkpoint: str, folder: Path = IMAGES) -> Iterator[DrawnResult]:
    """Yield the result for every image of a set."""
    rows = [line.split("\t") for line in (folder / "labels.tsv").read_text().splitlines()[1:]]
    paths = [folder / name for name, *_ in rows]
    predictions = predict(checkpoint, [str(path) for path in paths], PredictConfig())
    for (_, label, kind, condition), path, found in zip(rows, paths, predictions, strict=True):
        assert isinstance(found, ImagePrediction)
        yield DrawnResult(path, None if label == "-" else int(label), kind, condition, found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint")
    parser.add_argument("sheet", type=Path)
    parser.add_argument("--folder", type=Path, default=IMAGES)
    given = parser.parse_args()
    results = list(predict_drawn(given.checkpoint, given.folder))
    groups: dict[str, list[DrawnResult]] = defaultdict(list)
    for result in results:
        if result.digit is None:
            groups["no digit, uncertain"].append(result)
        else:
            groups["all digits"].append(result)
            groups[f"by {result.kind}"].append(result)
            groups[result.condition].append(result)
    for name, group in groups.items():
        print(f"{name:20} {sum(result.is_correct for result in group):4} of {len(group)}")
    digits = groups["all digits"]
    mistakes = [result for result in digits if not result.is_correct]
    marked = sum(result.event.uncertain for result in mistakes)
    doubted = sum(result.event.uncertain for result in digits) - marked
    print(f"{marked} of {len(mistakes)} mistakes are uncertain, and {doubted} correct predictions")
    draw_sheet([result for result in results if not result.is_correct]).save(given.sheet)


def draw_sheet(mistakes: list[DrawnResult]) -> Image.Image:
    """Return a contact sheet."""
    side, across = 112, 8
    rows = max(1, -(-len(mistakes) // across))
    sheet = Image.new("RGB", (across * 2 * side, rows * (side + 36)), (96, 96, 96))
    draw = ImageDraw.Draw(sheet)
    for number, result in enumerate(mistakes):
        left, top = number % across * 2 * side, number // across * (side + 36)
        with Image.open(result.path) as image:
            shown = ImageOps.exif_transpose(image).convert("RGBA")
        shown = ImageOps.contain(shown, (side - 4, side - 4))
        sheet.paste(shown, (left, top), shown)
        image = Image.fromarray(result.prediction.image)
        image = image.resize((side - 4, side - 4), Image.Resampling.NEAREST)
        sheet.paste(image, (left + side, top))
        label = "none" if result.digit is None else result.digit
        caption = f"{label} predicted as {result.event.digit} ({result.event.probability:.2f})"
        doubt = ", uncertain" if result.event.uncertain else ""
        draw.text((left, top + side), f"{caption}{doubt}\n{result.condition}", (255, 255, 255))
    return sheet


if __name__ == "__main__":
    main()
