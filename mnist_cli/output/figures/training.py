"""The figure of a training: losses of updates and of single samples, accuracies of epochs."""

from array import array
from collections.abc import Sequence
from functools import partial
from typing import Any, TextIO

from rich.console import Console

from mnist_cli.events import End, Epoch, Event, Progress
from mnist_cli.output.figures import colour
from mnist_cli.output.figures.style import Figure, MaxNLocator, SubplotSpec, drawn
from mnist_cli.output.renderers import Recorder
from mnist_cli.output.terminal_chart import Curve, draw_chart
from mnist_cli.runtime.files import write_output
from mnist_cli.training.probes.losses import LossesProbe

_WINDOWS = 50  # the average is over a fiftieth of the updates
_CHART_WIDTH, _CHART_HEIGHT = 80, 12  # at most, of a chart on a terminal


class TrainingFigure(Recorder):
    """Collects losses and accuracies, and draws them at the end of the training."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self._path = path
        self._updates, self._losses = array("q"), array("d")
        self._epochs: list[Epoch] = []
        self._sample_losses: list[LossesProbe] = []

    def show(self, event: Event) -> None:
        """Collect the loss of an update, or record another event."""
        if isinstance(event, Progress) and event.update is not None:
            self._updates.append(event.update)
            self._losses.append(event.update_loss or 0.0)
        super().show(event)

    def record(self, event: Event) -> None:
        """Collect accuracies and losses of samples; at the end, draw and write the file."""
        if isinstance(event, Epoch):
            self._epochs.append(event)
        elif isinstance(event, LossesProbe):
            self._sample_losses.append(event)
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
        rows = 2 if self._sample_losses else 1
        figure.set_size_inches(8, 3 * rows)
        grid: Any = figure.add_gridspec(rows, 2)
        left: Any = figure.add_subplot(grid[0, 0])
        right: Any = figure.add_subplot(grid[0, 1])
        if self._sample_losses:
            self._draw_sample_losses(figure, grid[1, :])
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

    def _draw_sample_losses(self, figure: Figure, place: SubplotSpec) -> None:
        """Draw the sorted losses of the samples of the first, the middle and the last batch."""
        axes: Any = figure.add_subplot(place)
        probes = self._sample_losses
        for index, chosen in enumerate(sorted({0, len(probes) // 2, len(probes) - 1})):
            probe = probes[chosen]
            count = len(probe.losses)
            shares = [100 * (rank + 0.5) / count for rank in range(count)]
            label = f"after {probe.update:,} updates, mean {probe.mean_loss:.2g}"
            axes.plot(shares, sorted(probe.losses), ".", ms=3, color=colour(index), label=label)
        axes.set(xlabel="samples with a smaller loss, %", ylabel="loss of a sample", yscale="log")
        axes.set_title(_sentence(probes[-1]), fontsize=9)
        axes.legend()


def _sentence(probe: LossesProbe) -> str:
    """Return the figure's title: how unequal the losses of a batch are."""
    if probe.worst_tenth_share is None:
        return f"After {probe.update:,} updates no sample of the batch has any loss"
    return (
        f"After {probe.update:,} updates the worst tenth of the batch's samples has "
        f"{100 * probe.worst_tenth_share:.0f} % of its loss"
    )


def running_mean(values: Sequence[float], count: int) -> list[float]:
    """Return for each value the mean of it and up to `count - 1` values before it."""
    means, total = [], 0.0
    for index, value in enumerate(values):
        total += value
        if index >= count:
            total -= values[index - count]
        means.append(total / min(index + 1, count))
    return means
