"""Print an evaluation on a terminal: accuracy, metrics by class, confusion, drawn mistakes."""

import math
from typing import TextIO

from rich import box
from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.style import Style
from rich.table import Table
from rich.text import Text

from mnist_cli.evaluation.corruptions import STRENGTHS
from mnist_cli.evaluation.metrics import DOUBTS, CheckpointEvaluation, EvaluationResult
from mnist_cli.output.predict_display import half_blocks

_PICTURE, _GAP = 28, 2
_LONGEST = 16  # cells of the name of a class
_CORRECT = (0, 120, 40)
# The red of the rarest and of the most frequent mistake. Without green and blue, the nearest of 256
# or 16 colours is never a darker one for a more frequent mistake.
_RAREST, _MOST_FREQUENT = 70, 215


def print_metrics(
    result: EvaluationResult, stream: TextIO, augmented: EvaluationResult | None = None
) -> None:
    """Print the interval of the accuracy, the metrics of each class, and the confusion matrix.

    `augmented` is the result with test-time augmentation; its interval is printed, too.
    Nothing is wider than the terminal: a narrow one gets fewer columns, and a list of the most
    frequent mistakes instead of the matrix.
    """
    console = Console(file=stream, highlight=False)
    console.print(_interval(result, console.width), style="dim")
    if augmented:
        console.print("With test-time augmentation:", style="dim")
        console.print(_interval(augmented, console.width), style="dim")
    table = Table(box=box.SIMPLE_HEAD)
    headings = ["class", "samples", "precision", "recall", "F1"]
    if console.width < 50:
        headings = ["class", "samples", "recall"]
    for heading in headings:
        table.add_column(heading, justify="right", no_wrap=True)
    for metrics in result.per_class:
        cells = {
            "class": _short(result.classes[metrics.digit]),
            "samples": f"{metrics.samples:,}",
            "precision": f"{metrics.precision:.4f}",
            "recall": f"{metrics.recall:.4f}",
            "F1": f"{metrics.f1:.4f}",
        }
        table.add_row(*(Text(cells[heading]) for heading in headings))
    console.print(table)
    confusion: list[list[int]] = result.confusion.tolist()
    widest = max(len(str(count)) for row in confusion for count in row)
    longest = max(cell_len(_short(name)) for name in result.classes)
    cell = min(max(widest, longest) + 2, (console.width - longest - 2) // len(confusion))
    if cell > widest:
        console.print("Rows: true class; columns: predicted class")
        console.print(_matrix(confusion, cell, result.classes), no_wrap=True)
    else:
        console.print("Most frequent mistakes, true → predicted")
        for count, true, predicted in _most_confused(confusion)[:10]:
            names = result.classes[true], result.classes[predicted]
            console.print(Text(f"  {names[0]} → {names[1]}  {count:,}"))


def print_corruptions(result: CheckpointEvaluation, stream: TextIO) -> None:
    """Print the accuracy with each corruption in each strength, and the labels doubted most."""
    console = Console(file=stream, highlight=False)
    table = Table(
        box=box.SIMPLE_HEAD, title="Accuracy of corrupted images, %", title_justify="left"
    )
    table.add_column("strength", no_wrap=True)
    corrupted = result.corrupted or {}
    for strength in STRENGTHS:
        table.add_column(str(strength), justify="right", no_wrap=True)
    for name, results in corrupted.items():
        table.add_row(name, *(f"{100 * one.accuracy:.1f}" for one in results))
    console.print(table)
    console.print("Labels that the network doubts most")
    for doubt in result.doubted(DOUBTS):
        names = result.classes[doubt.label], result.classes[doubt.prediction]
        line = (
            f"  #{doubt.index}: {names[0]} with {doubt.label_probability:.4f}, "
            f"{names[1]} with {doubt.probability:.2f}"
            f"{' (known label error)' if doubt.known_error else ''}"
        )
        console.print(Text(line))


def _interval(result: EvaluationResult, width: int) -> str:
    """Return the number of correct predictions and the accuracy's interval, in a line or two."""
    low, high = result.accuracy_interval
    correct = f"{result.correct:,} of {result.samples:,} correct;"
    line = f"{correct} 95 % confidence interval {low:.4f} to {high:.4f}"
    if len(line) > width:
        line = f"{correct}\n95 % confidence: {low:.4f} to {high:.4f}"
    return line


def _short(name: str) -> str:
    """Return the name of a class, shortened if it is long."""
    return name if cell_len(name) <= _LONGEST else set_cell_size(name, _LONGEST - 1) + "…"


def _matrix(confusion: list[list[int]], cell: int, classes: tuple[str, ...]) -> Text:
    """Return the matrix with shaded cells: green for correct, red for incorrect, by their count."""
    names = [_short(name) for name in classes]
    margin = max(map(cell_len, names))
    columns = (set_cell_size(name, min(cell_len(name), cell - 1)) for name in names)
    heading = " " * (margin + 2) + "".join(
        " " * (cell - 1 - cell_len(name)) + name + " " for name in columns
    )
    text = Text(heading, "dim")
    most = max((count for count, _, _ in _most_confused(confusion)), default=1)
    for true, row in enumerate(confusion):
        name = " " * (margin - cell_len(names[true])) + names[true]
        text.append(f"\n {name} ", "dim")
        for predicted, count in enumerate(row):
            shown = str(count or ".").rjust(cell - 1) + " "
            if predicted == true:
                text.append(shown, _background(*_CORRECT))
            elif count:
                text.append(shown, _background(_red(count / most), 0, 0))
            else:
                text.append(shown, "dim")
    return text


def _red(frequency: float) -> int:
    """Return the red of a mistake, whose frequency is relative to that of the most frequent one."""
    return round(_RAREST + (_MOST_FREQUENT - _RAREST) * math.sqrt(frequency))


def _background(red: int, green: int, blue: int) -> Style:
    """Return white on a dark colour: readable on any terminal."""
    return Style(color="white", bgcolor=f"#{red:02x}{green:02x}{blue:02x}")


def _most_confused(confusion: list[list[int]]) -> list[tuple[int, int, int]]:
    """Return (count, true class, predicted class) of the mistakes, the most frequent first."""
    cells = [
        (count, true, predicted)
        for true, row in enumerate(confusion)
        for predicted, count in enumerate(row)
        if count and predicted != true
    ]
    return sorted(cells, key=lambda cell: -cell[0])


def print_mistakes(result: CheckpointEvaluation, limit: int, stream: TextIO) -> None:
    """Draw the most confident mistakes, as many side by side as fit into the terminal."""
    console = Console(file=stream, highlight=False, markup=False, emoji=False)
    indices = result.misclassified(limit)
    if not indices:
        console.print("No sample is misclassified.")
        return
    colour = console.color_system is not None and not console.no_color
    each_row = max(1, (console.width + _GAP) // (_PICTURE + _GAP))
    for first in range(0, len(indices), each_row):
        row = indices[first : first + each_row]
        pictures = [half_blocks(result.images[index].numpy(), colour=colour) for index in row]
        lines = [Text(" " * _GAP).join(parts) for parts in zip(*pictures, strict=True)]
        lines.append(Text((" " * _GAP).join(_caption(result, index) for index in row)))
        for line in lines:
            line.truncate(console.width)
            console.print(line, no_wrap=True, overflow="crop")
        console.print()


def _caption(result: CheckpointEvaluation, index: int) -> str:
    numbers = int(result.labels[index]), int(result.predictions[index])
    label, predicted = (_short(result.classes[number]) for number in numbers)
    caption = f"#{index}: {label}, predicted {predicted}, {result.confidences[index]:.2f}"
    if cell_len(caption) > _PICTURE:
        caption = f"{label} as {predicted}"
    return set_cell_size(caption, _PICTURE)
