"""Single figures of an evaluation: confusion, calibration, mistakes, learning curves."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from mnist_cli.config.programs import PANELS
from mnist_cli.errors import UsageError
from mnist_cli.evaluation.metrics import CheckpointEvaluation, learning_curves
from mnist_cli.output.figures import colour
from mnist_cli.output.figures.style import Figure, drawn

_COLUMNS, _ROWS = 10, 6  # of the contact sheet
_CELL_HEIGHT, _CELL_WIDTH, _GAP = 37, 30, 1  # pixels: an image of 28 by 28 below its title
_NOTHING = {
    "mistakes": "no sample is misclassified",
    "history": "its training has no complete epoch",
}


def panel_of(path: str, panel: str) -> str:
    """Return the panel of a figure: the given one, or by the name of the file, or confusion."""
    if panel != "auto":
        return panel
    stem = Path(path).stem.lower()
    return stem if stem in PANELS and stem != "auto" else "confusion"


def draw(result: CheckpointEvaluation, path: str, panel: str) -> bytes:
    """Return the file of a figure, in the format of the path's ending.

    Raises:
        UsageError: the panel would be empty.

    """
    name = panel_of(path, panel)

    def fill(figure: Figure) -> None:
        if not _DRAWN[name](result, figure):
            reason = _NOTHING[name]
            raise UsageError(f"--plot {path}: no {name} to draw: {reason}; choose another --panel")

    return drawn(fill, path)


def _confusion(result: CheckpointEvaluation, figure: Figure) -> bool:
    """Draw the confusion matrix: the number of each cell, mistakes shaded by how many."""
    rows: list[list[int]] = result.confusion.tolist()
    side = max(1.0, len(rows) / 14)
    figure.set_size_inches(5 * side, 4.6 * side)
    axes: Any = figure.subplots()
    mistakes = [[0 if t == p else n for p, n in enumerate(row)] for t, row in enumerate(rows)]
    axes.imshow(mistakes, cmap="Oranges", vmin=0, vmax=max(1, *map(max, mistakes)) * 1.4)
    for true, row in enumerate(rows):
        for predicted, count in enumerate(row):
            style = {"fontsize": 7, "weight": "bold" if true == predicted else "normal"}
            if count:
                axes.text(predicted, true, f"{count:,}", ha="center", va="center", **style)
    numbers = range(len(rows))
    axes.set(xlabel="predicted class", ylabel="true class", xticks=numbers, yticks=numbers)
    turned = 90 if max(map(len, result.classes)) > 2 else 0
    size = 7 if turned or len(rows) > 10 else None
    axes.set_xticklabels(result.classes, rotation=turned, fontsize=size, parse_math=False)
    axes.set_yticklabels(result.classes, fontsize=size, parse_math=False)
    axes.grid(visible=False)
    return True


def _calibration(result: CheckpointEvaluation, figure: Figure) -> bool:
    """Draw accuracy against confidence, and the number of predictions below."""
    calibration = result.calibration
    figure.set_size_inches(4.6, 5)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    lows = [each.low for each in calibration.bins]
    widths = [each.high - each.low for each in calibration.bins]
    bars = {"align": "edge", "color": colour(0), "edgecolor": "white"}
    upper.bar(lows, [each.accuracy for each in calibration.bins], widths, **bars)
    upper.plot([0, 1], [0, 1], "--", color="0.4", lw=1)
    upper.set(ylabel="accuracy", ylim=(0, 1.02))
    upper.set_title(f"expected calibration error {100 * calibration.error:.2f} %", fontsize=9)
    lower.bar(lows, [each.count for each in calibration.bins], widths, **bars)
    lower.set(xlabel="confidence", ylabel="predictions", xlim=(0, 1), yscale="log")
    return True


def _mistakes(result: CheckpointEvaluation, figure: Figure) -> bool:
    """Draw a contact sheet of the most confident mistakes."""
    indices = result.misclassified(_COLUMNS * _ROWS)
    if not indices:
        return False
    rows = -(-len(indices) // _COLUMNS)
    sheet = result.images.new_zeros(rows * _CELL_HEIGHT, _COLUMNS * _CELL_WIDTH)
    figure.set_layout_engine("none")
    figure.set_size_inches(8, 8 * sheet.shape[0] / sheet.shape[1])
    axes: Any = figure.add_axes((0, 0, 1, 1))
    axes.axis("off")
    for order, index in enumerate(indices):
        row, column = divmod(order, _COLUMNS)
        bottom = (row + 1) * _CELL_HEIGHT - _GAP
        left = column * _CELL_WIDTH + _GAP
        sheet[bottom - 28 : bottom, left : left + 28] = result.images[index]
        numbers = int(result.labels[index]), int(result.predictions[index])
        label, predicted = (result.classes[number] for number in numbers)
        title = f"{label} as {predicted}, {float(result.confidences[index]):.2f}"
        axes.text(left + 14, bottom - 29.5, title, fontsize=6, ha="center", parse_math=False)
    axes.imshow(sheet.tolist(), cmap="gray_r", vmin=0, vmax=255)
    return True


def _history(result: CheckpointEvaluation, figure: Figure) -> bool:
    """Draw loss and accuracy against the epoch."""
    curves = learning_curves(result.checkpoint.history)
    figure.set_size_inches(7, 3)
    for axes, what in zip(figure.subplots(1, 2), ("loss", "accuracy"), strict=True):
        for index, split in enumerate(("train", "test", "val")):
            points = curves.get(f"{split}_{what}")
            if points:
                axes.plot(*zip(*points, strict=True), ".-", color=colour(index), label=split)
        axes.set(xlabel="epoch", ylabel=what)
        if axes.lines:
            axes.legend()
    return bool(curves)


_DRAWN: dict[str, Callable[[CheckpointEvaluation, Figure], bool]] = {
    "confusion": _confusion,
    "calibration": _calibration,
    "mistakes": _mistakes,
    "history": _history,
}
