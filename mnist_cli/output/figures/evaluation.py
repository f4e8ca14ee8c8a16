"""Single figures of an evaluation: confusion, calibration, mistakes, learning curves."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from mnist_cli.config.inference import PANELS
from mnist_cli.errors import UsageError
from mnist_cli.evaluation.evaluate_checkpoint import Examination
from mnist_cli.evaluation.metrics import calibration
from mnist_cli.output.figures.style import Figure, colour, drawn
from mnist_cli.output.history import history_of

_COLUMNS, _ROWS = 10, 6  # of the contact sheet
_NOTHING = {
    "mistakes": "nothing was misread",
    "history": "its training was recorded for no whole epoch",
}


def panel_of(path: str, panel: str) -> str:
    """Return what a figure shows: as asked for, or what its name says, or else the confusion."""
    if panel != "auto":
        return panel
    stem = Path(path).stem.lower()
    return stem if stem in PANELS and stem != "auto" else "confusion"


def draw(examination: Examination, path: str, panel: str) -> bytes:
    """Return the contents of a figure's file, in the format of its name.

    Raises:
        UsageError: there is nothing that the panel could show.

    """
    name = panel_of(path, panel)

    def fill(figure: Figure) -> None:
        if not _DRAWN[name](examination, figure):
            reason = _NOTHING[name]
            raise UsageError(f"--plot {path}: no {name} to draw: {reason}; choose another --panel")

    return drawn(fill, path)


def _confusion(examination: Examination, figure: Figure) -> bool:
    """Draw the confusion matrix: the number of each cell, mistakes shaded by how many."""
    rows = examination.event.confusion
    figure.set_size_inches(5, 4.6)
    axes: Any = figure.subplots()
    wrong = [[0 if t == r else n for r, n in enumerate(row)] for t, row in enumerate(rows)]
    axes.imshow(wrong, cmap="Oranges", vmin=0, vmax=max(1, *map(max, wrong)) * 1.4)
    for true, row in enumerate(rows):
        for read, count in enumerate(row):
            weight = "bold" if true == read else "normal"
            if count:
                axes.text(
                    read, true, f"{count:,}", ha="center", va="center", fontsize=7, weight=weight
                )
    axes.set(xlabel="as it was read", ylabel="true class", xticks=range(10), yticks=range(10))
    axes.grid(visible=False)
    return True


def _calibration(examination: Examination, figure: Figure) -> bool:
    """Draw the share of right readings against their probability, and how many there are."""
    readings = examination.readings
    found = calibration(readings.confidence, readings.right)
    figure.set_size_inches(4.6, 5)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    lows = [part.low for part in found.bins]
    widths = [part.high - part.low for part in found.bins]
    bars = {"align": "edge", "color": colour(0), "edgecolor": "white"}
    upper.bar(lows, [part.accuracy for part in found.bins], widths, **bars)
    upper.plot([0, 1], [0, 1], "--", color="0.4", lw=1)
    upper.set(ylabel="share that is right", ylim=(0, 1.02))
    upper.set_title(f"expected calibration error {100 * found.error:.2f} %", fontsize=9)
    lower.bar(lows, [part.count for part in found.bins], widths, **bars)
    lower.set(xlabel="probability of the reading", ylabel="readings", xlim=(0, 1), yscale="log")
    return True


def _mistakes(examination: Examination, figure: Figure) -> bool:
    """Draw a contact sheet of the surest mistakes."""
    readings = examination.readings
    found = readings.mistakes(_COLUMNS * _ROWS)
    if not found:
        return False
    rows = -(-len(found) // _COLUMNS)
    figure.set_size_inches(8, 0.98 * rows + 0.1)
    grid: Any = figure.subplots(rows, _COLUMNS, squeeze=False)
    for axes in grid.flat:
        axes.axis("off")
    for axes, number in zip(grid.flat, found, strict=False):
        axes.imshow(readings.images[number].tolist(), cmap="gray_r", vmin=0, vmax=255)
        read = int(readings.read[number])
        sure = float(readings.confidence[number])
        axes.set_title(f"{int(readings.labels[number])} as {read}, {sure:.2f}", fontsize=6, pad=2)
    return True


def _history(examination: Examination, figure: Figure) -> bool:
    """Draw loss and accuracy against the epoch."""
    curves = history_of(examination.checkpoint.history)
    figure.set_size_inches(7, 3)
    for axes, what in zip(figure.subplots(1, 2), ("loss", "accuracy"), strict=True):
        for place, split in enumerate(("train", "test", "val")):
            points = curves.get(f"{split}_{what}")
            if points:
                axes.plot(*zip(*points, strict=True), ".-", color=colour(place), label=split)
        axes.set(xlabel="epoch", ylabel=what)
        if axes.lines:
            axes.legend()
    return bool(curves)


_DRAWN: dict[str, Callable[[Examination, Figure], bool]] = {
    "confusion": _confusion,
    "calibration": _calibration,
    "mistakes": _mistakes,
    "history": _history,
}
