"""Read a drawn set: `python -m tests.drawn.sheet CHECKPOINT SHEET.png [--folder FOLDER]`.

It prints how many were read right, by kind and by condition, and how many of the pictures without a
digit are uncertain; SHEET.png shows each mistake: the picture, what the network saw, the truth and
the reading.
"""

import argparse
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageOps
from torch import Tensor

from mnist_cli.config.inference import PredictConfig
from mnist_cli.events import Prediction
from mnist_cli.prediction.predict import predict

IMAGES = Path(__file__).parent / "images"


@dataclass(frozen=True)
class Read:
    """A drawn picture as it was read; `digit` is None where it shows none."""

    path: Path
    digit: int | None
    kind: str
    condition: str
    event: Prediction
    seen: Tensor

    @property
    def is_right(self) -> bool:
        if self.digit is None:
            return self.event.uncertain
        return self.event.digit == self.digit and bool(self.seen.any())


def read_all(checkpoint: str, folder: Path = IMAGES) -> Iterator[Read]:
    """Yield every picture of a set as a checkpoint reads it."""
    rows = [line.split("\t") for line in (folder / "labels.tsv").read_text().splitlines()[1:]]
    paths = [folder / name for name, *_ in rows]
    readings = predict(checkpoint, [str(path) for path in paths], PredictConfig())
    for (_, digit, kind, condition), path, reading in zip(rows, paths, readings, strict=True):
        assert isinstance(reading.event, Prediction)
        assert reading.seen is not None
        truth = None if digit == "-" else int(digit)
        yield Read(path, truth, kind, condition, reading.event, reading.seen)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint")
    parser.add_argument("sheet", type=Path)
    parser.add_argument("--folder", type=Path, default=IMAGES)
    given = parser.parse_args()
    reads = list(read_all(given.checkpoint, given.folder))
    groups: dict[str, list[Read]] = defaultdict(list)
    for read in reads:
        if read.digit is None:
            groups["no digit, uncertain"].append(read)
        else:
            groups["all digits"].append(read)
            groups[f"by {read.kind}"].append(read)
            groups[read.condition].append(read)
    for name, group in groups.items():
        print(f"{name:20} {sum(read.is_right for read in group):4} of {len(group)}")
    digits = groups["all digits"]
    wrong = [read for read in digits if not read.is_right]
    marked = sum(read.event.uncertain for read in wrong)
    doubted = sum(read.event.uncertain for read in digits) - marked
    print(f"{marked} of {len(wrong)} mistakes are uncertain, and {doubted} that were read right")
    drawn([read for read in reads if not read.is_right]).save(given.sheet)


def drawn(wrong: list[Read]) -> Image.Image:
    """Return a contact sheet."""
    side, across = 112, 8
    rows = max(1, -(-len(wrong) // across))
    sheet = Image.new("RGB", (across * 2 * side, rows * (side + 36)), (96, 96, 96))
    draw = ImageDraw.Draw(sheet)
    for number, read in enumerate(wrong):
        left, top = number % across * 2 * side, number // across * (side + 36)
        with Image.open(read.path) as image:
            shown = ImageOps.exif_transpose(image).convert("RGBA")
        shown = ImageOps.contain(shown, (side - 4, side - 4))
        sheet.paste(shown, (left, top), shown)
        size = (read.seen.shape[1], read.seen.shape[0])
        seen = Image.frombytes("L", size, bytes(read.seen.flatten().tolist()))
        sheet.paste(seen.resize((side - 4, side - 4), Image.Resampling.NEAREST), (left + side, top))
        truth = "none" if read.digit is None else read.digit
        words = f"{truth} read as {read.event.digit} ({read.event.probability:.2f})"
        doubt = ", uncertain" if read.event.uncertain else ""
        draw.text((left, top + side), f"{words}{doubt}\n{read.condition}", (255, 255, 255))
    return sheet


if __name__ == "__main__":
    main()
