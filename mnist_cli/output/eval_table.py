"""An evaluation on a terminal: accuracy, figures a digit, confusion, and mistakes drawn."""

from typing import TextIO

from rich import box
from rich.console import Console
from rich.style import Style
from rich.table import Table
from rich.text import Text

from mnist_cli.evaluation.evaluate_checkpoint import Readings
from mnist_cli.evaluation.metrics import wilson_interval
from mnist_cli.events import Evaluated
from mnist_cli.output.terminal_image import half_blocks

_PICTURE, _GAP = 28, 2
_RIGHT, _WRONG = (26, 127, 75), (194, 65, 12)


def print_scores(event: Evaluated, stream: TextIO) -> None:
    """Print the interval of the accuracy, the scores of each class, and the confusion matrix.

    Nothing is wider than the terminal: on a narrow one, columns are left out, and of the matrix
    the largest numbers are listed.
    """
    console = Console(file=stream, highlight=False)
    low, high = wilson_interval(event.correct, event.samples)
    console.print(
        f"{event.correct:,} of {event.samples:,} right; 95 % confidence interval "
        f"{low:.4f} to {high:.4f}",
        style="dim",
    )
    scores = Table(box=box.SIMPLE_HEAD)
    wanted = ("class", "samples", "precision", "recall", "F1")
    headings = wanted if console.width >= 50 else (*wanted[:2], "recall")
    for heading in headings:
        scores.add_column(heading, justify="right", no_wrap=True)
    for score in event.per_class:
        cells = {
            "class": str(score.digit),
            "samples": f"{score.samples:,}",
            "precision": f"{score.precision:.4f}",
            "recall": f"{score.recall:.4f}",
            "F1": f"{score.f1:.4f}",
        }
        scores.add_row(*(cells[heading] for heading in headings))
    console.print(scores)
    cell = max(len(str(count)) for row in event.confusion for count in row) + 2
    if 3 + cell * len(event.confusion) <= console.width:
        console.print("Rows: true class; columns: as it was read")
        console.print(_matrix(event.confusion, cell), no_wrap=True)
    else:
        console.print("Misread most: true class, as it was read, how often")
        for count, true, read in _most_confused(event.confusion)[:10]:
            console.print(f"  {true} → {read}  {count:,}")


def _matrix(confusion: list[list[int]], cell: int) -> Text:
    """Return the matrix with shaded cells: green for right, red for wrong, by their share."""
    heading = "   " + "".join(str(read).rjust(cell - 1) + " " for read in range(len(confusion)))
    text = Text(heading, "dim")
    most = max((count for count, _, _ in _most_confused(confusion)), default=1)
    for true, row in enumerate(confusion):
        text.append(f"\n {true} ", "dim")
        for read, count in enumerate(row):
            shown = str(count or ".").rjust(cell - 1) + " "
            if read == true:
                text.append(shown, _shade(_RIGHT, 1.0))
            elif count:
                text.append(shown, _shade(_WRONG, 0.35 + 0.65 * (count / most) ** 0.5))
            else:
                text.append(shown, "dim")
    return text


def _shade(colour: tuple[int, int, int], share: float) -> Style:
    """Return white on a colour, the darker the smaller its share: readable on any background."""
    red, green, blue = (round(part * share) for part in colour)
    return Style(color="white", bgcolor=f"#{red:02x}{green:02x}{blue:02x}")


def _most_confused(confusion: list[list[int]]) -> list[tuple[int, int, int]]:
    """Return count, true and read class of what was misread, the most frequent first."""
    cells = [
        (count, true, read)
        for true, row in enumerate(confusion)
        for read, count in enumerate(row)
        if count and read != true
    ]
    return sorted(cells, key=lambda found: -found[0])


def print_mistakes(readings: Readings, most: int, stream: TextIO) -> None:
    """Draw the surest mistakes, as many side by side as the terminal is wide."""
    console = Console(file=stream, highlight=False, markup=False, emoji=False)
    found = readings.mistakes(most)
    if not found:
        console.print("Nothing was misread.")
        return
    colour = console.color_system is not None and not console.no_color
    each_row = max(1, (console.width + _GAP) // (_PICTURE + _GAP))
    for first in range(0, len(found), each_row):
        numbers = found[first : first + each_row]
        pictures = [half_blocks(readings.images[number], colour=colour) for number in numbers]
        lines = [Text(" " * _GAP).join(parts) for parts in zip(*pictures, strict=True)]
        lines.append(Text((" " * _GAP).join(_caption(readings, number) for number in numbers)))
        for line in lines:
            line.truncate(console.width)
            console.print(line, no_wrap=True, overflow="crop")
        console.print()


def _caption(readings: Readings, number: int) -> str:
    read = int(readings.read[number])
    sure = float(readings.confidence[number])
    return f"#{number}: {int(readings.labels[number])} read as {read}, {sure:.2f}".ljust(_PICTURE)
