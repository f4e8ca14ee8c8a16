"""The figure of a training: the loss of every update, and the accuracies of every epoch."""

from array import array
from collections.abc import Sequence
from typing import Any

from mnist_cli.events import End, Epoch, Event, Progress
from mnist_cli.output.figures import colour
from mnist_cli.output.figures.style import Figure, MaxNLocator, drawn
from mnist_cli.output.renderers import Recorder
from mnist_cli.runtime.files import write_output

_WINDOWS = 50  # the average is over a fiftieth of the updates


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

    def _fill(self, figure: Figure) -> None:
        figure.set_size_inches(8, 3)
        left: Any
        right: Any
        left, right = figure.subplots(1, 2)
        style = {"lw": 0.5, "alpha": 0.5, "color": colour(4)}
        left.plot(self._updates, self._losses, label="of each update", **style)
        average = running_mean(self._losses, max(1, len(self._losses) // _WINDOWS))
        left.plot(self._updates, average, color=colour(0), label="average")
        left.set(xlabel="update", ylabel="training loss", yscale="log")
        left.legend()
        names = {"train": "train_accuracy", "test": "test_accuracy", "validation": "val_accuracy"}
        for index, (split, name) in enumerate(names.items()):
            points = [(each.epoch, getattr(each, name)) for each in self._epochs]
            if points and points[0][1] is not None:
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
