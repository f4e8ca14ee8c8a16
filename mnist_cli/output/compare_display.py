"""A comparison in progress: a bar on a terminal, plain lines elsewhere."""

from typing import TextIO

from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar

from mnist_cli.comparison.events import CompareStart, RunEnd, RunProgress, RunStart, Tuned, Waiting
from mnist_cli.config.compare import FULL
from mnist_cli.events import Event, ProbeEvent
from mnist_cli.output.compare_table import format_seeds
from mnist_cli.output.messages import format_probe
from mnist_cli.output.renderers import Renderer, can_animate


def human_renderer(stream: TextIO, *, quiet: bool, plain: bool) -> Renderer:
    """Return the renderer that fits a stream: animated only on a capable terminal."""
    if quiet:
        return Renderer()
    return _Terminal(stream) if can_animate(stream, plain=plain) else _PlainLines(stream)


class _PlainLines(Renderer):
    """A line for each run as it ends."""

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
            self._bar.reset(self._task, description=_title(event), total=None, status="")
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
            self._bar.reset(self._task, description=title, total=None, status="")
        elif not isinstance(event, ProbeEvent) and (line := _line(event, self._run)):
            self._console.print(line)

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
