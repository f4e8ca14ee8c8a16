"""Predict labelled pictures: `python -m benchmarks.pictures CHECKPOINT FOLDER [--sheet SHEET.png]`.

`labels.csv` in the folder has a row for each picture: its path, its digit (`-` if it shows none),
and columns to group by, such as its kind. The program prints, for each group, how many pictures are
predicted correctly and how many predictions are certain, and of these how many are correct.
SHEET.png shows the mistakes: the picture, the input of the network, label and prediction.
"""

import argparse
import csv
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageOps

from mnist_cli.config.programs import PredictConfig
from mnist_cli.events import Prediction
from mnist_cli.prediction.predict import ImagePrediction, predict

_SIDE, _ACROSS, _CAPTION = 112, 8, 36  # of the sheet: pixels of a picture, pairs in a row


@dataclass(frozen=True)
class PictureResult:
    """The prediction for a picture; `digit` is its label, None if it shows no digit."""

    path: Path
    digit: int | None
    groups: dict[str, str]
    prediction: ImagePrediction

    @property
    def event(self) -> Prediction:
        """The event of the prediction."""
        return self.prediction.event

    @property
    def is_correct(self) -> bool:
        """True if the digit is predicted; without one, if the prediction is uncertain."""
        return self.event.uncertain if self.digit is None else self.event.digit == self.digit


def predict_pictures(
    checkpoint: str, folder: Path, config: PredictConfig | None = None
) -> Iterator[PictureResult]:
    """Yield the result for every picture of a folder."""
    with (folder / "labels.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    paths = [folder / row.pop("path") for row in rows]
    predictions = predict(checkpoint, [str(path) for path in paths], config or PredictConfig())
    for row, path, found in zip(rows, paths, predictions, strict=True):
        if not isinstance(found, ImagePrediction):
            raise SystemExit(found.reason)
        label = row.pop("digit")
        yield PictureResult(path, None if label == "-" else int(label), row, found)


def main() -> None:
    """Print the results of a folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--sheet", type=Path)
    parser.add_argument("--by", nargs="*", default=["kind"], help="the columns to group by")
    parser.add_argument("--list", action="store_true", help="print each mistake")
    given = parser.parse_args()
    results = list(predict_pictures(given.checkpoint, given.folder))
    groups: dict[str, list[PictureResult]] = defaultdict(list)
    for result in results:
        groups["without a digit" if result.digit is None else "all digits"].append(result)
        for column in given.by:
            groups[f"{column} {result.groups[column]}"].append(result)
    print(f"{'':32} correct  of     certain  correct of these")
    for name, group in groups.items():
        certain = [result for result in group if not result.event.uncertain]
        correct = sum(result.is_correct for result in group)
        sure = sum(result.is_correct for result in certain)
        share = f"{sure:5} ({sure / len(certain):.1%})" if certain else ""
        print(f"{name:32} {correct:7}  {len(group):5}  {len(certain):7}  {share}")
    mistakes = [result for result in results if not result.is_correct]
    for result in mistakes if given.list else ():
        print(f"{result.path}\t{caption(result)}")
    if given.sheet:
        draw_sheet(mistakes).save(given.sheet)


def caption(result: PictureResult) -> str:
    """Return the label of a picture and its prediction."""
    event = result.event
    label = "none" if result.digit is None else result.digit
    predicted = "none" if event.digit is None else f"{event.digit} ({event.probability:.2f})"
    return f"{label} predicted as {predicted}{', uncertain' if event.uncertain else ''}"


def draw_sheet(results: list[PictureResult]) -> Image.Image:
    """Return a contact sheet."""
    rows = max(1, -(-len(results) // _ACROSS))
    sheet = Image.new("RGB", (_ACROSS * 2 * _SIDE, rows * (_SIDE + _CAPTION)), (96, 96, 96))
    draw = ImageDraw.Draw(sheet)
    for number, result in enumerate(results):
        left, top = number % _ACROSS * 2 * _SIDE, number // _ACROSS * (_SIDE + _CAPTION)
        with Image.open(result.path) as image:
            shown = ImageOps.exif_transpose(image).convert("RGBA")
        shown = ImageOps.contain(shown, (_SIDE - 4, _SIDE - 4))
        sheet.paste(shown, (left, top), shown)
        seen = Image.fromarray(result.prediction.image)
        sheet.paste(
            seen.resize((_SIDE - 4, _SIDE - 4), Image.Resampling.NEAREST), (left + _SIDE, top)
        )
        group = ", ".join(result.groups.values())
        draw.text((left, top + _SIDE), f"{caption(result)}\n{group}", (255, 255, 255))
    return sheet


if __name__ == "__main__":
    main()
