"""A comparison on a terminal or as lines: its progress, then a table, curves and conclusions."""

import math
from typing import TextIO

from rich import box
from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar
from rich.table import Table

from mnist_cli.comparison.events import (
    CompareStart,
    RunEnd,
    RunProgress,
    RunStart,
    Tuned,
    Waiting,
)
from mnist_cli.comparison.results import Results
from mnist_cli.config.compare import FULL
from mnist_cli.events import Event, ProbeEvent
from mnist_cli.output.compare_findings import sentence
from mnist_cli.output.compare_table import cells, format_seeds
from mnist_cli.output.messages import format_probe
from mnist_cli.output.renderers import Renderer, can_animate

# Columns of the first of two tables on a terminal, since one table would not fit.
_COSTS = (
    "batch size",
    "learning rate",
    "reached",
    "diverged",
    "updates",
    "samples",
    "seconds",
    "test accuracy",
)
# Colours of the terminal's palette, which are readable on its background.
_COLOURS = ("blue+", "red+", "green+", "magenta+", "cyan+", "yellow+", "white+")
_MARKERS = "ox+*#%@"  # instead of colours
_MIN_HEIGHT = 16  # lines; the legend of many batch sizes needs more


def human_renderer(stream: TextIO, *, quiet: bool, plain: bool) -> Renderer:
    """Return the renderer that fits a stream: animated only on a capable terminal."""
    if quiet:
        return Renderer()
    return _Terminal(stream) if can_animate(stream, plain=plain) else _PlainLines(stream)


class _PlainLines(Renderer):
    """Lines for the start, each search, probe and finished run."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._run: RunStart | None = None

    def show(self, event: Event) -> None:
        """Write a line for the event, if it has one."""
        if isinstance(event, RunStart):
            self._run = event
        line = _line(event, self._run)
        if line:
            print(line, file=self._stream, flush=True)


class _Terminal(Renderer):
    """A progress bar for the current run, and a line above it for every finished run."""

    def __init__(self, stream: TextIO) -> None:
        self._console = Console(file=stream, highlight=False, markup=False, emoji=False)
        self._bar = Bar(
            TextColumn("{task.description}"),
            BarColumn(bar_width=None, complete_style="green", finished_style="green"),
            TextColumn("{task.fields[status]}", markup=False),
            TimeElapsedColumn(),
            console=self._console,
            transient=True,
            refresh_per_second=8,
            redirect_stdout=False,  # its data must not be changed
        )
        self._task = self._bar.add_task("", total=None, status="")
        self._run: RunStart | None = None
        self._last = 0.0

    def show(self, event: Event) -> None:
        """Advance the bar, or print a line above it."""
        if isinstance(event, CompareStart):
            self._bar.start()
        if isinstance(event, RunStart):
            self._run = event
            self._begin(_title(event))
        elif isinstance(event, RunProgress):
            if event.seconds - self._last > 0.05:
                self._last = event.seconds
                self._bar.update(
                    self._task,
                    total=None if event.share is None else 1.0,
                    completed=event.share or 0.0,
                    status=f"update {event.update:,}  loss {event.loss:.4f}",
                )
        elif isinstance(event, Waiting):
            title = f"Waiting for {event.arm}, which another process trains; meanwhile a later one"
            self._begin(title)
        elif not isinstance(event, ProbeEvent) and (line := _line(event, self._run)):
            self._console.print(line)

    def _begin(self, title: str) -> None:
        """Begin with a new bar: the total of an old one cannot become unknown."""
        self._bar.remove_task(self._task)
        self._task = self._bar.add_task(title, total=None, status="")

    def close(self) -> None:
        """Remove the bar."""
        self._bar.stop()


def _title(run: RunStart) -> str:
    size = "full batch" if run.batch_size == FULL else f"batch size {run.batch_size}"
    if run.number is None:
        return f"Trial, {size}, learning rate {run.lr:g}"
    return f"Run [{run.number}/{run.arms}], {size}, seed {run.seed}"


def _line(event: Event, run: RunStart | None) -> str:
    """Return the line for an event, or an empty string."""
    if isinstance(event, CompareStart):
        config = event.config
        seeds = format_seeds(config["seeds"])
        jobs = f", {config['jobs']} at a time" if config["jobs"] > 1 else ""
        return (
            f"Comparing batch sizes {config['batch_sizes']} with {seeds}: "
            f"{config['model']} ({event.parameters:,} parameters) on {event.samples:,} samples of "
            f"{config['dataset']}, {config['optimizer']}{jobs}"
        )
    if isinstance(event, Tuned):
        tried = ", ".join(f"{trial.lr:g}" for trial in event.tried)
        return f"Tried rates {tried}: best {event.lr:g} ({event.train_seconds:.1f} s)"
    ended = isinstance(event, RunEnd) and run is not None and run.number is not None
    if run is None or (run.finished_before and not ended):
        return ""
    if isinstance(event, ProbeEvent):
        return format_probe(event)
    if isinstance(event, RunEnd):
        before = " (kept from before)" if run.finished_before else ""
        return f"{_title(run)}: {_ending(event, trial=run.number is None)}{before}"
    return ""


def _ending(end: RunEnd, *, trial: bool) -> str:
    updates = f"{end.update:,} update" + ("" if end.update == 1 else "s")
    if end.reason == "diverged":
        return f"diverged after {updates}, at a learning rate of {end.lr:g}"
    spent = f"{updates}, {end.train_seconds:.1f} s"
    if end.reason == "gave-up":
        spent += ", target not reached"
    if trial:
        loss = f", val loss {end.val_loss:.4f}" if end.val_loss is not None else ""
        return f"{spent}, train loss {end.train_loss:.4f}{loss}"
    return f"{spent}, train loss {end.train_loss:.4f}, test accuracy {end.test_accuracy:.4f}"


def print_results(results: Results, stream: TextIO) -> None:
    """Print table, curves and conclusions on a terminal."""
    console = Console(file=stream, highlight=False, markup=False, emoji=False)
    rows = [cells(summary) for summary in results.summaries()]
    headings = list(dict.fromkeys(heading for row in rows for heading in row))
    for columns in (_COSTS, [h for h in headings if h == headings[0] or h not in _COSTS]):
        present = [heading for heading in headings if heading in columns]
        grid = Table(box=box.SIMPLE_HEAD)
        for heading in present:
            grid.add_column(heading, justify="right")
        for row in rows:
            grid.add_row(*(row.get(heading, "-") for heading in present))
        console.print(grid)
    colour = console.color_system is not None and not console.no_color
    stream.write(draw(results, console.width, colour=colour))
    print_conclusions(results, stream)


def print_conclusions(results: Results, stream: TextIO) -> None:
    """Print each conclusion as a paragraph."""
    console = Console(file=stream, highlight=False, markup=False, emoji=False)
    for finding in results.conclusions.findings if results.conclusions else ():
        console.print(f"- {sentence(finding).text}", soft_wrap=not stream.isatty())


def draw(results: Results, width: int, *, colour: bool) -> str:
    """Return the training loss of every run against the samples, both logarithmic."""
    import plotext  # noqa: PLC0415 (only needed on a terminal)

    figure = plotext.figure
    figure.clear()
    figure.plot_size(min(width, 100), max(_MIN_HEIGHT, 2 * len(results.batch_sizes) + 7))
    figure.theme("colorless")
    drawn: list[tuple[float, float]] = []
    for index, size in enumerate(results.batch_sizes):
        if colour:
            marker = plotext.marker("hd", _COLOURS[index % len(_COLOURS)])
        else:
            marker = _MARKERS[index % len(_MARKERS)]
        for number, run in enumerate(results.runs_of(size)):
            points = [p for p in run.points if p.samples_seen > 0 and p.train_loss > 0]
            if not points:
                continue
            xs = [math.log10(p.samples_seen) for p in points]
            ys = [math.log10(p.train_loss) for p in points]
            signal = figure.signal(xs, ys, marker=marker)
            signal.lines()
            if not number:
                signal.label(str(size))
            figure.draw(signal)
            drawn += zip(xs, ys, strict=True)
    if not drawn:
        return ""
    for name, values in (("x", [x for x, _ in drawn]), ("y", [y for _, y in drawn])):
        ticks = _ticks(min(values), max(values))
        figure.ruler(name).ticks([math.log10(tick) for tick in ticks], [f"{t:,g}" for t in ticks])
    figure.title("training loss against samples")
    text: str = figure.build().string(colorless=not colour)
    figure.clear()
    return text.rstrip("\n") + "\n"


def _ticks(low: float, high: float) -> list[float]:
    """Return the round numbers between two powers of ten, given by their exponents."""
    steps = (1, 2, 5) if high - low < 2 else (1,)
    powers = range(math.floor(low), math.ceil(high) + 1)
    numbers = [float(f"{step}e{power}") for power in powers for step in steps]
    return [number for number in numbers if low <= math.log10(number) <= high]
