"""Events for people and for programs: Rich progress, plain lines, JSON Lines."""

import json
import math
import os
from types import TracebackType
from typing import TextIO

from rich import box
from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar
from rich.table import Table
from rich.text import Text

from mnist_cli.events import End, Epoch, Evaluated, Event, Progress, Start, Step, to_dict


class Renderer:
    """Shows events. This one shows none; it is what `--quiet` asks for."""

    def __enter__(self) -> "Renderer":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def show(self, event: Event) -> None:
        """Show one event."""

    def close(self) -> None:
        """Leave the stream as it was found."""


class JsonLines(Renderer):
    """One JSON object a line, each flushed as it is written."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def show(self, event: Event) -> None:
        """Write the event, unless it is a mere sign of life."""
        if not isinstance(event, Progress):
            print(json.dumps(to_dict(event)), file=self._stream, flush=True)


class PathLine(Renderer):
    """The path of the checkpoint that a finished run wrote."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def show(self, event: Event) -> None:
        """Print the path at the end of a run that was not cut off."""
        cut_off = ("interrupted", "diverged")
        if isinstance(event, End) and event.reason not in cut_off and event.checkpoint != "-":
            print(event.checkpoint, file=self._stream, flush=True)


class PlainLines(Renderer):
    """Lines for a log, as the article on batches prints them."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._epochs = self._steps = 0

    def show(self, event: Event) -> None:
        """Write a line for the event, if it has one."""
        if isinstance(event, Start):
            self._epochs, self._steps = event.config["epochs"], event.updates_per_epoch
        line = self._line(event)
        if line:
            print(line, file=self._stream, flush=True)

    def _line(self, event: Event) -> str:
        if isinstance(event, Start):
            return plan_in_words(event)
        if isinstance(event, Step):
            return (
                f"Epoch [{event.epoch}/{self._epochs}], Step [{event.step}/{self._steps}], "
                f"Loss: {event.loss:.4f}"
            )
        if isinstance(event, Epoch):
            return f"Epoch [{event.epoch}/{self._epochs}], {scores_in_words(event)}"
        return summary_in_words(event) if isinstance(event, End) else ""


class Terminal(Renderer):
    """A progress bar with figures, and a line that stays for every epoch."""

    def __init__(self, stream: TextIO) -> None:
        self._console = Console(file=stream, highlight=False)
        self._bar = Bar(
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            TextColumn("{task.percentage:>3.0f}%"),
            TextColumn("{task.fields[figures]}"),
            TimeRemainingColumn(compact=True),
            console=self._console,
            transient=True,
            refresh_per_second=8,
        )
        self._task = self._bar.add_task("", total=None, figures="")
        self._start: Start | None = None
        self._began = self._first = self._now = 0.0
        self._loss = math.nan

    def show(self, event: Event) -> None:
        """Advance the bar, or print a line above it."""
        if isinstance(event, Start):
            self._begin(event)
        elif isinstance(event, Progress | Step):
            self._advance(event)
        elif isinstance(event, Epoch):
            assert self._start
            epochs = self._start.config["epochs"]
            self._console.print(f"[bold]Epoch {event.epoch}/{epochs}[/]  {scores_in_words(event)}")
        elif isinstance(event, End):
            self.close()
            self._console.print(summary_in_words(event), style="green")

    def close(self) -> None:
        """Remove the bar."""
        self._bar.stop()

    def _begin(self, start: Start) -> None:
        self._start = start
        self._console.print(plan_in_words(start))
        self._began = start.seconds
        first = start.first_update * start.batch_size
        self._first = float(first)
        total = start.updates / start.updates_per_epoch * start.samples
        self._bar.update(self._task, total=total, completed=first)
        self._bar.start()

    def _advance(self, event: Progress | Step) -> None:
        assert self._start
        if isinstance(event, Step):
            self._loss = event.loss
        if event.seconds - self._now < 0.05:
            return
        self._now = event.seconds
        rate = (event.samples_seen - self._first) / max(event.seconds - self._began, 1e-9)
        loss = "" if math.isnan(self._loss) else f"loss {self._loss:.4f}  "
        epoch = min(
            (event.samples_seen - 1) // self._start.samples + 1, self._start.config["epochs"]
        )
        self._bar.update(
            self._task,
            completed=event.samples_seen,
            description=f"Epoch {epoch}/{self._start.config['epochs']}",
            figures=f"{loss}{rate:,.0f} samples/s",
        )


def for_people(stream: TextIO, *, quiet: bool) -> Renderer:
    """Return the renderer that fits a stream: animated only on a capable terminal."""
    if quiet:
        return Renderer()
    animated = stream.isatty() and os.environ.get("TERM") != "dumb"
    return Terminal(stream) if animated else PlainLines(stream)


def plan_in_words(start: Start) -> str:
    """Return what is about to happen; in batch mode, also what would make it useful."""
    config = start.config
    each = f"{start.samples:,} samples → {_count(start.updates_per_epoch, 'update')} an epoch"
    plan = (
        f"Training {config['model']} ({start.parameters:,} parameters) on {config['dataset']} in "
        f"{start.mode} mode, on {start.device}: {each}, {start.updates:,} in all"
    )
    if start.first_update:
        plan += f", going on after {start.first_update:,}"
    if start.mode == "batch" and start.updates < 100:
        plan += (
            f"\n{_count(start.updates, 'update')} will not take a network far. Batch mode becomes "
            "useful with hundreds of epochs, on a small model or subset: "
            "try --config batch, or --epochs 200 --model mlp --subset 5000"
        )
    return plan


def scores_in_words(event: Epoch) -> str:
    """Return an epoch's losses and accuracies."""
    words = (
        f"Train Loss: {event.train_loss:.4f}, Train Accuracy: {event.train_accuracy:.4f}, "
        f"Test Loss: {event.test_loss:.4f}, Test Accuracy: {event.test_accuracy:.4f}"
    )
    if event.val_accuracy is not None:
        words += f", Val Loss: {event.val_loss:.4f}, Val Accuracy: {event.val_accuracy:.4f}"
    return words


def summary_in_words(end: End) -> str:
    """Return how a run ended, and the command that goes on from there."""
    speed = f"{_count(end.update, 'update')}, {end.train_seconds:.1f} s of training"
    if end.test_accuracy is None:
        return f"Stopped ({end.reason}) after {speed}"
    summary = f"Test Accuracy: {end.test_accuracy:.4f} after {speed} ({end.reason})"
    if end.checkpoint and end.checkpoint != "-":
        summary += f"\nWrote {end.checkpoint}. Next: mnist-eval {end.checkpoint}"
    return summary


def print_scores(event: Evaluated, stream: TextIO) -> None:
    """Print a table of the classes' scores and the confusion matrix."""
    console = Console(file=stream, highlight=False)
    table = Table(box=box.SIMPLE_HEAD, title=f"{event.correct:,} of {event.samples:,} right")
    for heading in ("class", "samples", "precision", "recall", "F1", "read as (column: 0 to 9)"):
        table.add_column(heading, justify="right")
    for score, row in zip(event.per_class, event.confusion, strict=True):
        cells = Text()
        for predicted, count in enumerate(row):
            right = predicted == score.digit
            style = "green" if right else "red" if count else "dim"
            cells.append(f"{count or '·':>5}", style=style)
        figures = (f"{value:.4f}" for value in (score.precision, score.recall, score.f1))
        table.add_row(str(score.digit), f"{score.samples:,}", *figures, cells)
    console.print(table)


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" + ("" if number == 1 else "s")
