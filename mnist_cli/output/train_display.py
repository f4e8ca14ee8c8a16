"""A training on a terminal: two lines that are redrawn in place, and a row that stays an epoch."""

import itertools
import math
from collections.abc import Callable, Sequence
from typing import TextIO

from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live
from rich.text import Text

from mnist_cli.events import End, Epoch, Event, ProbeEvent, Progress, Resumed, Start, Step
from mnist_cli.output.messages import (
    changes_in_words,
    plan_in_words,
    probe_in_words,
    step_in_words,
    summary_in_words,
)
from mnist_cli.output.renderers import PlainLines, Renderer, can_animate

_PAUSE = 0.12  # seconds from one drawing to the next
_LEAST_BAR, _MOST_BAR, _CURVE = 8, 60, 24  # cells
_GAP = "  "

Value = Callable[[Epoch], float | None]
# Of an epoch, from left to right; a terminal that is too narrow loses those of the highest number.
_COLUMNS: tuple[tuple[str, int, Value], ...] = (
    ("train loss", 2, lambda epoch: epoch.train_loss),
    ("train acc", 4, lambda epoch: epoch.train_accuracy),
    ("test loss", 3, lambda epoch: epoch.test_loss),
    ("test acc", 0, lambda epoch: epoch.test_accuracy),
    ("val loss", 5, lambda epoch: epoch.val_loss),
    ("val acc", 1, lambda epoch: epoch.val_accuracy),
)


def for_people(stream: TextIO, *, quiet: bool, plain: bool, shows_steps: bool) -> Renderer:
    """Return the renderer that fits a stream: animated only on a capable terminal.

    Lines show every reported step, an animation only if `shows_steps`.
    """
    if quiet:
        return Renderer()
    if can_animate(stream, plain=plain):
        return Terminal(stream, shows_steps=shows_steps)
    return PlainLines(stream)


class Lines:
    """What is redrawn in place: never wider than the terminal, whatever that is at the moment.

    A bar with how far the training is, and under it how it goes. Where not all fits, the less
    important figures are left out.
    """

    def __init__(self) -> None:
        self.share = 0.0  # of the planned samples that are done
        self.epoch = self.left = ""
        self.figures: list[str] = []  # the most important first
        self.curve: list[float] = []

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yield the two lines."""
        rich = console.encoding.lower().startswith("utf")
        width = options.max_width - 1  # some terminals wrap behind the last column
        percent = f"{100 * self.share:3.0f}%"
        around = [text for text in (self.epoch, percent, self.left) if text]
        cells = min(width - len(_GAP.join(around)) - len(_GAP), _MOST_BAR)
        if cells < _LEAST_BAR:
            around, cells = [percent], min(width - len(percent) - len(_GAP), _MOST_BAR)
        bar = _bar(self.share, cells, rich=rich)
        place = int(len(around) > 1)
        parts = [*map(Text, around[:place]), bar, *map(Text, around[place:])]
        yield Text(_GAP).join(parts)
        figures = self.figures
        while len(figures) > 1 and len(_GAP.join(figures)) > width:
            figures = figures[:-1]
        line = Text(_GAP).join(map(Text, figures))
        room = min(width - len(line) - len(_GAP), _CURVE)
        if rich and len(self.curve) > 1 and room >= _LEAST_BAR:
            line.append(_GAP).append(sparkline(self.curve, room), "cyan")
        line.truncate(width)
        yield line


def _bar(share: float, cells: int, *, rich: bool) -> Text:
    done = round(min(max(share, 0.0), 1.0) * max(cells, 0))
    full, empty = ("━", "─") if rich else ("#", ".")
    return Text.assemble((full * done, "green"), (empty * (cells - done), "dim"))


class Terminal(Renderer):
    """The lines of a training under way, and rows that stay."""

    def __init__(self, stream: TextIO, *, shows_steps: bool) -> None:
        self._shows_steps = shows_steps
        # Nothing here is markup: a path may contain brackets.
        self._console = Console(file=stream, highlight=False, markup=False, emoji=False)
        self._lines = Lines()
        # No thread: what is computed in the meantime is not held up, and nothing flickers. What is
        # written to standard output goes there, and not above the lines as Rich would have it.
        self._live = Live(
            self._lines,
            console=self._console,
            auto_refresh=False,
            transient=True,
            redirect_stdout=False,
        )
        self._start: Start | None = None
        self._last = 0.0  # when the last figures came
        self._training = 0.0  # seconds, evaluation left out
        self._losses = Trace()
        self._before = (0, 0.0)  # samples of the epoch so far, and the sum of their losses
        self._headed = False

    def show(self, event: Event) -> None:
        """Redraw the lines, or print something above them."""
        if isinstance(event, Start):
            self._begin(event)
        elif isinstance(event, Progress):
            self._advance(event)
        elif isinstance(event, Step):
            if self._shows_steps:
                assert self._start
                self._console.print(step_in_words(event, self._start))
        elif isinstance(event, Resumed):
            if changes := changes_in_words(event):
                self._console.print(changes)
        elif isinstance(event, ProbeEvent):
            self._last = event.seconds
            self._console.print(probe_in_words(event))
        elif isinstance(event, Epoch):
            self._last = event.seconds
            self._console.print(self._row(event))
        elif isinstance(event, End):
            self.close()
            assert self._start
            if summary := summary_in_words(event, self._start):
                # Left to the terminal to fold, so that the suggested command can be copied whole.
                self._console.print(summary, style="green", soft_wrap=True)

    def close(self) -> None:
        """Remove the lines."""
        self._live.stop()

    def _begin(self, start: Start) -> None:
        self._start = start
        # A bar tells more than a line now and then; who asks for other lines wants to read them.
        self._last = start.seconds
        self._console.print(plan_in_words(start))
        epochs, steps = divmod(start.updates, start.updates_per_epoch)
        self._total = epochs * start.samples + steps * start.batch_size
        self._before = (start.samples_seen % start.samples, 0.0)
        self._lines.share = start.samples_seen / max(self._total, 1)
        self._live.start()

    def _advance(self, event: Progress) -> None:
        assert self._start
        samples = self._start.samples
        at_end = event.samples_seen % samples == 0
        if event.seconds - self._last < _PAUSE and not at_end:
            return
        self._training += event.seconds - self._last
        self._last = event.seconds
        self._trace(event, samples if at_end else event.samples_seen % samples)
        done = event.samples_seen - self._start.samples_seen
        lines, epochs = self._lines, self._start.config["epochs"]
        lines.share = event.samples_seen / max(self._total, 1)
        lines.epoch = f"Epoch {-(-event.samples_seen // samples)}/{epochs}"
        lines.left = f"{self._left(event, done)} left"
        lines.curve = self._losses.values
        lines.figures = [
            f"loss {event.loss:.4f}",
            f"accuracy {event.accuracy:.4f}",
            f"{done / max(self._training, 1e-9):,.0f} samples/s",
            f"lr {event.lr:.1e}",
        ]
        self._live.refresh()

    def _trace(self, event: Progress, so_far: int) -> None:
        """Note the mean loss of the samples since the last drawing: the event's is the epoch's."""
        samples, loss_sum = self._before
        if so_far <= samples:  # another epoch has begun
            samples, loss_sum = 0, 0.0
        now = event.loss * so_far
        if loss_sum or not samples:  # of a resumed epoch, the first part is not known
            self._losses.add((now - loss_sum) / (so_far - samples))
        self._before = (so_far, now)

    def _left(self, event: Progress, done: int) -> str:
        """Return the time that the rest takes at the pace so far, evaluation included."""
        assert self._start
        pace = (event.seconds - self._start.seconds) / max(done, 1)
        seconds = pace * max(self._total - event.samples_seen, 0)
        if budget := self._start.config["max_seconds"]:
            seconds = min(seconds, max(budget - event.seconds, 0))
        minutes, rest = divmod(round(seconds), 60)
        hours, minutes = divmod(minutes, 60)
        return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"

    def _row(self, event: Epoch) -> Text:
        """Return an epoch's figures in columns, the first time under headings."""
        assert self._start
        first = f"{event.epoch}/{self._start.config['epochs']}"
        width = max(5, len(first))
        found = [
            (name, rank, f"{value:.4f}")
            for name, rank, get in _COLUMNS
            if (value := get(event)) is not None
        ]
        room = (self._console.width - 1 - width) // 12
        kept = sorted(rank for _, rank, _ in found)[: max(room, 1)]
        shown = [(name, text) for name, rank, text in found if rank in kept]
        heading = "epoch".rjust(width) + "".join(f"{name:>12}" for name, _ in shown)
        row = Text(first.rjust(width) + "".join(f"{text:>12}" for _, text in shown))
        if self._headed:
            return row
        self._headed = True
        return Text.assemble((heading, "dim"), "\n", row)


_BARS = "▁▂▃▄▅▆▇█"


def sparkline(values: Sequence[float], width: int) -> str:
    """Return at most `width` bars for positive values, on a logarithmic scale from least to most.

    Of more values than bars, each bar is the mean of its share of them. What is not positive and
    finite is left out.
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


class Trace:
    """A curve of any length, kept in a bounded number of equally long pieces."""

    def __init__(self, most: int = 128) -> None:
        self._most = most
        self._weight = 1  # values in a piece
        self._pieces: list[float] = []
        self._sum, self._count = 0.0, 0

    def add(self, value: float) -> None:
        """Append a value."""
        self._sum += value
        self._count += 1
        if self._count < self._weight:
            return
        self._pieces.append(self._sum / self._count)
        self._sum, self._count = 0.0, 0
        if len(self._pieces) == self._most:
            pairs = zip(self._pieces[::2], self._pieces[1::2], strict=True)
            self._pieces = [(first + second) / 2 for first, second in pairs]
            self._weight *= 2

    @property
    def values(self) -> list[float]:
        """The means of the pieces so far."""
        return self._pieces
