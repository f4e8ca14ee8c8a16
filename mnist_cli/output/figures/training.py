"""The figure of a training: the loss of every update, and the accuracies of every epoch."""

from array import array
from collections.abc import Sequence
from functools import partial
from typing import Any, TextIO

from rich.console import Console

from mnist_cli.events import End, Epoch, Event, Progress
from mnist_cli.output.figures import colour
from mnist_cli.output.figures.style import Figure, MaxNLocator, drawn
from mnist_cli.output.renderers import Recorder
from mnist_cli.output.terminal_chart import Curve, draw_chart
from mnist_cli.runtime.files import write_output

_WINDOWS = 50  # the average is over a fiftieth of the updates
_CHART_WIDTH, _CHART_HEIGHT = 80, 12  # at most, of a chart on a terminal


class TrainingFigure(Recorder):
    """Collects losses and accuracies, and draws them at the end of the training."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self._path = path
        self._updates, self._losses = array("q"), array("d")
        self._epochs: list[Epoch] = []

    def show(self, event: Event) -> None:
        """Collect the loss of an update, or record another event."""
        if isinstance(event, Progress) and event.update is not None:
            self._updates.append(event.update)
            self._losses.append(event.update_loss or 0.0)
        super().show(event)

    def record(self, event: Event) -> None:
        """Collect the accuracies of an epoch; at the end, draw and write the file."""
        if isinstance(event, Epoch):
            self._epochs.append(event)
        elif isinstance(event, End) and self._updates:
            write_output(self._path, drawn(self._fill, self._path))

    def print_on(self, terminal: TextIO) -> None:
        """Print the figure: a chart of the losses, and one of the accuracies below it."""
        console = Console(file=terminal)
        colour = console.color_system is not None and not console.no_color
        draw = partial(
            draw_chart,
            width=min(console.width, _CHART_WIDTH),
            height=_CHART_HEIGHT,
            colour=colour,
        )
        each = zip(self._updates, self._losses, strict=True)
        average = zip(self._updates, self._average(), strict=True)
        losses = [Curve("of each update", list(each)), Curve("average", list(average))]
        accuracies = [Curve(split, points) for split, points in self._accuracies().items()]
        terminal.write(draw("training loss against updates", losses, log_y=True))
        terminal.write(draw("accuracy against epochs", accuracies))

    def _average(self) -> list[float]:
        return running_mean(self._losses, max(1, len(self._losses) // _WINDOWS))

    def _accuracies(self) -> dict[str, list[tuple[float, float]]]:
        """Return for each split that was measured its points: epochs and accuracies."""
        names = {"train": "train_accuracy", "test": "test_accuracy", "validation": "val_accuracy"}
        points: dict[str, list[tuple[float, float]]] = {}
        for split, name in names.items():
            values = [getattr(each, name) for each in self._epochs]
            if values and values[0] is not None:
                points[split] = [
                    (each.epoch, value) for each, value in zip(self._epochs, values, strict=True)
                ]
        return points

    def _fill(self, figure: Figure) -> None:
        figure.set_size_inches(8, 3)
        left: Any
        right: Any
        left, right = figure.subplots(1, 2)
        style = {"lw": 0.5, "alpha": 0.5, "color": colour(4)}
        left.plot(self._updates, self._losses, label="of each update", **style)
        left.plot(self._updates, self._average(), color=colour(0), label="average")
        left.set(xlabel="update", ylabel="training loss", yscale="log")
        left.legend()
        for index, (split, points) in enumerate(self._accuracies().items()):
            right.plot(*zip(*points, strict=True), ".-", color=colour(index), label=split)
        right.set(xlabel="epoch", ylabel="accuracy")
        right.xaxis.set_major_locator(MaxNLocator(integer=True))
        if right.lines:
            right.legend()


def running_mean(values: Sequence[float], count: int) -> list[float]:
    """Return for each value the mean of it and up to `count - 1` values before it."""
    means, total = [], 0.0
    for index, value in enumerate(values):
        total += value
        if index >= count:
            total -= values[index - count]
        means.append(total / min(index + 1, count))
    return means
