"""A training on a terminal: a bar with metrics below it, and a row of columns for each epoch."""

import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TextIO

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.constrain import Constrain
from rich.measure import Measurement
from rich.progress import BarColumn, ProgressColumn, Task, TextColumn
from rich.progress import Progress as ProgressBar
from rich.progress_bar import ProgressBar as Bar
from rich.table import Column
from rich.text import Text

from mnist_cli.events import End, Epoch, Event, ProbeEvent, ProbeStart, Progress, Start, Step
from mnist_cli.output.messages import format_event
from mnist_cli.output.renderers import PlainLines, Renderer
from mnist_cli.runtime.terminals import can_animate

_REFRESH = 0.12  # seconds between two drawings
_MIN_BAR, _MAX_BAR, _EPOCH_BAR, _MAX_CURVE = 8, 60, 12, 24  # cells
_GAP = "  "

Value = Callable[[Epoch], float | None]
# The columns of an epoch's row; a narrow terminal loses those of the highest priority number first.
_COLUMNS: tuple[tuple[str, int, Value], ...] = (
    ("train loss", 2, lambda epoch: epoch.train_loss),
    ("train acc", 4, lambda epoch: epoch.train_accuracy),
    ("test loss", 3, lambda epoch: epoch.test_loss),
    ("test acc", 0, lambda epoch: epoch.test_accuracy),
    ("val loss", 5, lambda epoch: epoch.val_loss),
    ("val acc", 1, lambda epoch: epoch.val_accuracy),
)


def human_renderer(
    stream: TextIO, *, quiet: bool, plain: bool, shows_steps: bool = False
) -> Renderer:
    """Return the renderer that fits a stream: animated only on a capable terminal.

    On a terminal the bar replaces the messages of single steps, unless `shows_steps`.
    """
    if quiet:
        return Renderer()
    if can_animate(stream, plain=plain):
        return Terminal(stream, shows_steps=shows_steps)
    return PlainLines(stream)


@dataclass(frozen=True)
class _Sparkline:
    """A sparkline that is as wide as the cells it is given."""

    values: list[float]

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        return Measurement(min(_MIN_BAR, options.max_width), min(_MAX_CURVE, options.max_width))

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield Text(sparkline(self.values, options.max_width), "cyan")


class _EpochBarColumn(ProgressColumn):
    """The bar of the epoch alone, by a task's field `epoch_share`."""

    def render(self, task: Task) -> RenderableType:
        return Bar(
            total=1.0,
            completed=task.fields["epoch_share"],
            width=_EPOCH_BAR,
            complete_style="cyan",
            finished_style="cyan",
        )


class _LossCurveColumn(ProgressColumn):
    """The losses of a task's field `losses`, as a sparkline."""

    def render(self, task: Task) -> RenderableType:
        return _Sparkline(task.fields["losses"])


class _MetricsColumn(ProgressColumn):
    """As many of a task's `metrics` as fit into a width, the most important first."""

    width = 80

    def render(self, task: Task) -> Text:
        metrics: list[str] = task.fields["metrics"]
        while len(metrics) > 1 and len(_GAP.join(metrics)) > self.width:
            metrics = metrics[:-1]
        return Text(_GAP.join(metrics), no_wrap=True)


class _TrainingBar(ProgressBar):
    """The bars of epoch and training on one line, and metrics and a loss curve on a second one.

    It is never wider than the terminal is at the moment: what does not fit is left out.
    """

    def __init__(self, console: Console, clock: Callable[[], float]) -> None:
        self._epoch = TextColumn("{task.description}", markup=False)
        self._epoch_bar = _EpochBarColumn()
        self._all = TextColumn("in all", markup=False)
        self._bar = BarColumn(
            bar_width=None,
            complete_style="green",
            finished_style="green",
            table_column=Column(max_width=_MAX_BAR),
        )
        self._percent = TextColumn("{task.percentage:>3.0f}%", markup=False)
        self._time_left = TextColumn("{task.fields[left]}", markup=False)
        self._metrics = _MetricsColumn(table_column=Column(no_wrap=True))
        self._curve = _LossCurveColumn()
        # Without a thread that redraws, the training is not slowed down. Standard output is for
        # data, so it is not redirected above the bar.
        super().__init__(
            console=console,
            auto_refresh=False,
            transient=True,
            redirect_stdout=False,
            get_time=clock,
        )

    def get_renderables(self) -> Iterable[RenderableType]:
        """Yield the two lines."""
        for task in self.tasks:
            width = self.console.width - 1  # some terminals wrap after the last column
            texts = len(task.description) + len(task.fields["left"])
            rest = (self._bar, self._percent, self._time_left)
            room = width - texts - len(" 100% ") - 2 - _MIN_BAR
            self.columns = (self._epoch, *rest)
            if room >= _EPOCH_BAR + len(" in all "):
                self.columns = (self._epoch, self._epoch_bar, self._all, *rest)
            elif room < 0:
                self.columns = (self._bar, self._percent)
            yield Constrain(self.make_tasks_table([task]), width)
            self._metrics.width = width
            free = width - len(self._metrics.render(task)) - 1
            has_curve = len(task.fields["losses"]) > 1 and free >= _MIN_BAR
            self.columns = (self._metrics,)
            if has_curve and not self.console.options.ascii_only:
                self.columns = (self._metrics, self._curve)
            yield Constrain(self.make_tasks_table([task]), width)


class Terminal(Renderer):
    """The bar of the training in progress, and above it what stays."""

    def __init__(self, stream: TextIO, *, shows_steps: bool = False) -> None:
        # Nothing here is markup: a path may contain brackets.
        self._console = Console(file=stream, highlight=False, markup=False, emoji=False)
        self._shows_steps = shows_steps
        self._bar = _TrainingBar(self._console, lambda: self._seconds)
        self._task = self._bar.add_task(
            "", start=False, metrics=[], losses=[], left="", epoch_share=0.0
        )
        self._start: Start
        self._seconds = 0.0  # since the start of the run, at the last update of the bar
        self._train_seconds = 0.0  # evaluation and probes excluded
        self._losses = LossCurve()
        self._batch_loss: float | None = None  # of the last update
        # The share of the epoch that was seen at the last drawing, times the mean loss.
        self._previous: tuple[float, float] | None = None
        self._has_header = False

    def show(self, event: Event) -> None:
        """Update the bar, or print something above it."""
        match event:
            case Start():
                self._begin(event)
            case Progress():
                self._advance(event)
            case Epoch():
                self._seconds = event.seconds
                self._console.print(self._row(event))
            case End():
                self.close()
                if summary := format_event(event, self._start):
                    # The terminal folds it, so that the suggested commands can be copied whole.
                    self._console.print(summary, style="green", soft_wrap=True)
            case ProbeStart():
                self._bar.update(self._task, description=f"Probe: {event.probe}")
                self._bar.refresh()
            case Step() if not self._shows_steps:
                pass
            case _:
                if isinstance(event, ProbeEvent):
                    self._seconds = event.seconds
                if message := format_event(event, self._start):
                    self._console.print(message)

    def close(self) -> None:
        """Remove the bar."""
        self._bar.stop()

    def _begin(self, start: Start) -> None:
        self._start = start
        self._seconds = start.seconds
        self._console.print(format_event(start, start))
        self._previous = None if start.first_update else (0.0, 0.0)
        total = max(start.end_samples, 1)
        self._bar.update(self._task, total=total, completed=start.samples_seen)
        self._bar.start_task(self._task)
        self._bar.start()

    def _advance(self, event: Progress) -> None:
        self._batch_loss = self._batch_loss if event.update is None else event.update_loss
        if event.seconds - self._seconds < _REFRESH and event.epoch_share < 1:
            return
        self._train_seconds += event.seconds - self._seconds
        self._seconds = event.seconds
        self._add_loss(event)
        done = event.samples_seen - self._start.samples_seen
        self._bar.update(
            self._task,
            completed=event.samples_seen,
            description=f"Epoch {event.epoch}/{self._start.config['epochs']}",
            epoch_share=event.epoch_share,
            losses=self._losses.values,
            metrics=[
                *([] if self._batch_loss is None else [f"batch loss {self._batch_loss:.4f}"]),
                f"average {event.loss:.4f}",
                f"accuracy {event.accuracy:.4f}",
                f"{done / max(self._train_seconds, 1e-9):,.0f} samples/s",
                f"lr {event.lr:.1e}",
            ],
        )
        self._bar.update(self._task, left=self._time_left(event))
        self._bar.refresh()

    def _add_loss(self, event: Progress) -> None:
        """Add the mean loss since the last drawing; the event has that of the epoch so far."""
        share, loss_sum = event.epoch_share, event.loss * event.epoch_share
        if self._previous is not None:  # a resumed epoch's first losses are not known
            previous_share, previous_sum = self._previous
            if share <= previous_share:  # a new epoch has begun
                previous_share, previous_sum = 0.0, 0.0
            self._losses.add((loss_sum - previous_sum) / (share - previous_share))
        self._previous = (share, loss_sum)

    def _time_left(self, event: Progress) -> str:
        """Return the time left as rich estimates it, at most what `--max-seconds` leaves."""
        (task,) = self._bar.tasks
        if task.time_remaining is None:
            return ""
        seconds = task.time_remaining
        if budget := self._start.config["max_seconds"]:
            seconds = min(seconds, max(budget - event.seconds, 0))
        return f"{timedelta(seconds=round(seconds))} left"

    def _row(self, event: Epoch) -> Text:
        """Return the metrics of an epoch in columns, the first time below a header."""
        first = f"{event.epoch}/{self._start.config['epochs']}"
        width = max(5, len(first))
        cells = [
            (name, priority, f"{value:.4f}")
            for name, priority, get in _COLUMNS
            if (value := get(event)) is not None
        ]
        count = max((self._console.width - 1 - width) // 12, 1)
        kept = sorted(priority for _, priority, _ in cells)[:count]
        shown = [(name, text) for name, priority, text in cells if priority in kept]
        header = "epoch".rjust(width) + "".join(f"{name:>12}" for name, _ in shown)
        row = Text(first.rjust(width) + "".join(f"{text:>12}" for _, text in shown))
        if self._has_header:
            return row
        self._has_header = True
        return Text.assemble((header, "dim"), "\n", row)


_BARS = "▁▂▃▄▅▆▇█"


def sparkline(values: Sequence[float], width: int) -> str:
    """Return at most `width` bars for values, on a logarithmic scale from the least to the largest.

    If there are more values than bars, each bar averages a bucket. Values that are not positive and
    finite are left out.
    """
    usable = [value for value in values if 0 < value < math.inf]
    count = min(width, len(usable))
    bounds = [len(usable) * cell // count for cell in range(count + 1)] if count > 0 else []
    means = [sum(usable[first:last]) / (last - first) for first, last in itertools.pairwise(bounds)]
    if not means:
        return ""
    least, most = math.log(min(means)), math.log(max(means))
    scale = (len(_BARS) - 1) / (most - least) if most > least else 0.0
    return "".join(_BARS[round((math.log(mean) - least) * scale)] for mean in means)


class LossCurve:
    """A series of any length, kept as the means of fewer than `max_buckets` equal buckets."""

    def __init__(self, max_buckets: int = 128) -> None:
        self._max_buckets = max_buckets
        self._bucket_size = 1  # values in a bucket
        self._means: list[float] = []
        self._sum, self._count = 0.0, 0  # of the bucket that is not full

    def add(self, value: float) -> None:
        """Append a value."""
        self._sum += value
        self._count += 1
        if self._count < self._bucket_size:
            return
        self._means.append(self._sum / self._count)
        self._sum, self._count = 0.0, 0
        if len(self._means) == self._max_buckets:
            pairs = zip(self._means[::2], self._means[1::2], strict=True)
            self._means = [(first + second) / 2 for first, second in pairs]
            self._bucket_size *= 2

    @property
    def values(self) -> list[float]:
        """The means of the full buckets."""
        return self._means
