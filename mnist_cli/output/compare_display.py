"""A comparison on a terminal or as lines: its progress, then a table, curves and conclusions."""

from collections.abc import Iterable
from datetime import timedelta
from typing import TextIO

from rich import box
from rich.console import Console, RenderableType
from rich.progress import BarColumn, TextColumn
from rich.progress import Progress as Bar
from rich.table import Table
from rich.text import Text

from mnist_cli.comparison.events import (
    CompareStart,
    Estimate,
    RunEnd,
    RunProgress,
    RunStart,
    Tuned,
    Waiting,
)
from mnist_cli.comparison.results import Results
from mnist_cli.comparison.variants import Variant
from mnist_cli.config.compare import FULL
from mnist_cli.config.own_data import shown_data
from mnist_cli.events import Event, ProbeEvent, ProbeStart
from mnist_cli.output.compare_findings import Answer, sentence
from mnist_cli.output.compare_options import (
    describe_network,
    describe_samples,
    or_,
    values_of,
)
from mnist_cli.output.compare_table import cells, format_seeds
from mnist_cli.output.messages import format_probe
from mnist_cli.output.renderers import Renderer
from mnist_cli.output.terminal_chart import Curve, draw_chart
from mnist_cli.runtime.terminals import can_animate

_SIZE, _SETTING = "batch size", "setting"  # the headings that name a row of the table
_CHART_HEIGHT = 16  # lines, without the legend
_ROWS_ABOVE_CHART = 8  # of the terminal: the bar, and some finished runs


def human_renderer(stream: TextIO, results: Results, *, quiet: bool, plain: bool) -> Renderer:
    """Return the renderer that fits a stream: animated only on a capable terminal.

    `results` are those of the comparison, to which finished runs are added.
    """
    if quiet:
        return Renderer()
    return _Terminal(stream, results) if can_animate(stream, plain=plain) else _PlainLines(stream)


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


class _ComparisonBar(Bar):
    """One bar over the whole comparison, and below it the training loss of the finished runs."""

    chart: Text | None = None

    def get_renderables(self) -> Iterable[RenderableType]:
        """Yield the bar and, if it fits, the chart."""
        yield from super().get_renderables()
        if self.chart is not None:
            yield self.chart


class _Terminal(Renderer):
    """A bar over all runs, and a line above it for every finished run."""

    def __init__(self, stream: TextIO, results: Results) -> None:
        self._console = Console(file=stream, highlight=False, markup=False, emoji=False)
        self._bar = _ComparisonBar(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=None, complete_style="green", finished_style="green"),
            TextColumn("{task.fields[status]}", markup=False),
            console=self._console,
            transient=True,
            refresh_per_second=8,
            redirect_stdout=False,  # its data must not be changed
        )
        self._results = results
        self._task = self._bar.add_task("", total=1.0, status="")
        self._run: RunStart | None = None
        self._forecast = Forecast()
        self._kept = 0

    def show(self, event: Event) -> None:
        """Advance the bar, or print a line above it."""
        self._forecast.add(event)
        if isinstance(event, CompareStart):
            self._bar.start()
        if isinstance(event, RunStart):
            self._run = event
            self._draw()
            self._bar.update(self._task, description=_title(event), status="")
        elif isinstance(event, RunProgress):
            self._bar.update(
                self._task, completed=self._forecast.share, status=_left(self._forecast.left)
            )
        elif isinstance(event, ProbeStart):
            self._bar.update(self._task, status=f"probe: {event.probe}")
        elif isinstance(event, Waiting):
            title = f"Waiting for {event.arm}, which another process trains; meanwhile a later one"
            self._bar.update(self._task, description=title, status="")
        elif isinstance(event, RunEnd) and self._run is not None and self._run.finished_before:
            self._kept += self._run.number is not None
        elif not isinstance(event, ProbeEvent) and (line := _line(event, self._run)):
            self._print_kept()
            if isinstance(event, RunEnd):
                line = _shortened(line, self._console.width)
            self._console.print(line)

    def _print_kept(self) -> None:
        """Print how many runs were finished before, in one line."""
        if self._kept:
            runs = "1 run was" if self._kept == 1 else f"{self._kept} runs were"
            self._console.print(f"{runs} finished before and not trained again")
            self._kept = 0

    def _draw(self) -> None:
        """Draw the finished runs below the bar if the terminal is high enough."""
        colour = self._console.color_system is not None and not self._console.no_color
        chart = draw(self._results, self._console.width - 1, colour=colour)
        fits = chart.count("\n") + _ROWS_ABOVE_CHART <= self._console.height
        self._bar.chart = Text.from_ansi(chart) if fits and chart else None

    def close(self) -> None:
        """Remove the bar."""
        self._bar.stop()
        self._print_kept()


_Key = tuple[int | str, str | None]  # the batch size and the setting


def _key(of: RunStart | Variant) -> _Key:
    return of.batch_size, of.setting


class Forecast:
    """How much of a comparison is done, and the seconds that it will still take.

    A run is expected to take as long as the earlier ones of its variant; if there are none, as
    long as those of other variants.
    """

    def __init__(self) -> None:
        self.share = 0.0
        self.left: float | None = None
        self._planned: list[_Key] = []  # of the runs that have not ended
        self._runs = 0
        self._took: dict[_Key, list[float]] = {}
        self._run: RunStart | None = None
        self._began = 0.0

    def add(self, event: Event) -> None:
        """Take an event into account."""
        match event:
            case CompareStart():
                self._planned = [*map(_key, event.variants)] * event.config["seeds"]
                self._runs = len(self._planned)
            case RunStart():
                self._run, self._began = event, event.seconds
            case RunProgress() if self._run and self._run.number is not None:
                spent = event.seconds - self._began
                if event.share:
                    self._update(_key(self._run), spent, spent / event.share)
                else:  # its end is unknown
                    self.share, self.left = 1 - len(self._planned) / self._runs, None
            case RunEnd() if self._run and self._run.number is not None:
                self._planned.remove(_key(self._run))
                if not self._run.finished_before:
                    took = self._took.setdefault(_key(self._run), [])
                    took.append(event.seconds - self._began)

    def _update(self, key: _Key, spent: float, expected: float) -> None:
        known = {each: sum(took) / len(took) for each, took in self._took.items()}
        known.setdefault(key, expected)
        usual = sum(known.values()) / len(known)
        planned = sum(known.get(each, usual) for each in self._planned)
        self.left = max(planned - min(spent, known[key]), 0.0)
        done = spent + sum(sum(took) for took in self._took.values())
        self.share = done / (done + self.left) if done else 0.0


def _left(seconds: float | None) -> str:
    return "" if seconds is None else f"{timedelta(seconds=round(seconds))} left"


def _estimate(event: Estimate) -> str:
    runs = "1 run" if event.runs == 1 else f"{event.runs} runs"
    return runs if event.expected is None else f"{runs}, {_about(event.expected)}"


def _tuned(event: Tuned) -> str:
    tried = ", ".join(f"{rate:g}" for rate in sorted({trial.lr for trial in event.tried}))
    return f"Tried rates {tried}: best {event.lr:g} ({event.train_seconds:.1f} s)"


def _about(seconds: float) -> str:
    """Return a rough duration: `about 40 seconds`, `about 3 minutes`, `about 2.5 hours`."""
    if seconds < 10:
        return "a few seconds"
    if seconds < 55:
        return f"about {round(seconds, -1):.0f} seconds"
    if seconds < 90:
        return "about a minute"
    if seconds < 90 * 60:
        return f"about {seconds / 60:.0f} minutes"
    return f"about {seconds / 3600:.1f} hours"


def _title(run: RunStart) -> str:
    size = "full batch" if run.batch_size == FULL else f"batch size {run.batch_size}"
    if run.setting is not None:
        size += f", {run.setting}"
    if run.number is None:
        return f"Trial, {size}, learning rate {run.lr:g}"
    return f"Run [{run.number}/{run.arms}], {size}, seed {run.seed}"


def _line(event: Event, run: RunStart | None) -> str:
    """Return the line for an event, or an empty string."""
    if isinstance(event, CompareStart):
        config = event.config
        seeds = format_seeds(config["seeds"])
        jobs = f", {config['jobs']} at a time" if config["jobs"] > 1 else ""
        varied = f" and {config['vary']}" if config["vary"] else ""
        return (
            f"Comparing batch sizes {config['batch_sizes']}{varied} with {seeds}: "
            f"{describe_network(event)} on {describe_samples(event)} of "
            f"{shown_data(config['dataset'])}, {or_(values_of(event, 'optimizer'))}{jobs}"
        )
    if isinstance(event, Estimate | Tuned):
        return _estimate(event) if isinstance(event, Estimate) else _tuned(event)
    ended = isinstance(event, RunEnd) and run is not None and run.number is not None
    if run is None or (run.finished_before and not ended):
        return ""
    if isinstance(event, ProbeEvent):
        return format_probe(event)
    if isinstance(event, RunEnd):
        before = " (kept from before)" if run.finished_before else ""
        return f"{_title(run)}: {_ending(event, trial=run.number is None)}{before}"
    return ""


def _shortened(line: str, width: int) -> str:
    """Return the line of a finished run without the last of its results that do not fit."""
    run, _, results = line.partition(": ")
    while len(f"{run}: {results}") > width and ", " in results:
        results = results.rpartition(", ")[0]
    return f"{run}: {results}"


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
    return f"test accuracy {end.test_accuracy:.4f}, {spent}"


def print_results(results: Results, stream: TextIO, answer: Answer | None = None) -> None:
    """Print conclusions, table and curves on a terminal."""
    print_conclusions(results, stream, answer)
    console = Console(file=stream, highlight=False, markup=False, emoji=False)
    rows = [cells(summary) for summary in results.summaries()]
    headings = list(dict.fromkeys(heading for row in rows for heading in row))
    widths = {
        heading: max(len(heading), *(len(row.get(heading, "")) for row in rows))
        for heading in headings
    }
    if _SETTING in widths:  # a long one takes several lines
        widths[_SETTING] = min(widths[_SETTING], console.width // 3)
    for columns in _tables(widths, console.width):
        grid = Table(box=box.SIMPLE_HEAD)
        for heading in columns:
            wraps = heading == _SETTING
            grid.add_column(
                heading,
                justify="left" if wraps else "right",
                no_wrap=not wraps,
                max_width=widths[heading] if wraps else None,
            )
        for row in rows:
            grid.add_row(*(row.get(heading, "-") for heading in columns))
        console.print(grid)
    colour = console.color_system is not None and not console.no_color
    stream.write(draw(results, console.width, colour=colour))


def _tables(widths: dict[str, int], most: int) -> list[list[str]]:
    """Divide columns among tables of at most `most` cells; each begins with what names its rows."""
    names = [heading for heading in widths if heading in (_SIZE, _SETTING)]
    tables = [[*names]]
    for heading in widths:
        if heading in names:
            continue
        width = sum(widths[name] + 3 for name in (*tables[-1], heading)) + 1
        if width > most and len(tables[-1]) > len(names):
            tables.append([*names])
        tables[-1].append(heading)
    return tables


def print_conclusions(results: Results, stream: TextIO, answer: Answer | None = None) -> None:
    """Print the answer to an experiment's question, and each conclusion as a paragraph."""
    console = Console(file=stream, highlight=False, markup=False, emoji=False)
    if answer is not None:
        console.print(f"{answer.question} {answer.text}", soft_wrap=not stream.isatty())
    for finding in results.conclusions.findings if results.conclusions else ():
        console.print(f"- {sentence(finding).text}", soft_wrap=not stream.isatty())


def draw(results: Results, width: int, *, colour: bool) -> str:
    """Return the training loss of every run against the samples, both logarithmic."""
    curves = (
        Curve(variant.label, [(point.samples_seen, point.train_loss) for point in run.points])
        for variant in results.variants
        for run in results.runs_of(variant)
    )
    return draw_chart(
        "training loss against samples",
        curves,
        width=min(width, 100),
        height=_CHART_HEIGHT,
        colour=colour,
        log_x=True,
        log_y=True,
    )
