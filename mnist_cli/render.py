"""Events for people and for programs: Rich progress, plain lines, JSON Lines."""

import json
import os
from typing import TextIO

from rich import box
from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar
from rich.table import Table
from rich.text import Text

from mnist_cli.events import (
    End,
    Epoch,
    Evaluated,
    Event,
    ProbeEvent,
    Progress,
    Resumed,
    Start,
    Step,
    to_dict,
)
from mnist_cli.files import write_standard_output
from mnist_cli.words import (
    changes_in_words,
    figures_in_words,
    plan_in_words,
    probe_in_words,
    scores_in_words,
    summary_in_words,
)


class Renderer:
    """Shows events. This one shows none; it is what `--quiet` asks for."""

    def __enter__(self) -> "Renderer":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def show(self, event: Event) -> None:
        """Show one event."""

    def close(self) -> None:
        """Leave the stream as it was found."""


class JsonLines(Renderer):
    """One JSON object a line on standard output, each flushed as it is written."""

    def show(self, event: Event) -> None:
        """Write the event, unless it is a mere sign of life."""
        if event.lasting:
            write_standard_output(json.dumps(to_dict(event), allow_nan=False) + "\n")


class PathLine(Renderer):
    """The path of the checkpoint that a finished run wrote, on standard output."""

    def show(self, event: Event) -> None:
        """Write the path at the end of a run that was not cut off."""
        cut_off = ("interrupted", "diverged")
        if isinstance(event, End) and event.reason not in cut_off and event.checkpoint != "-":
            write_standard_output(f"{event.checkpoint}\n")


class PlainLines(Renderer):
    """Lines for a log."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._start: Start | None = None

    def show(self, event: Event) -> None:
        """Write a line for the event, if it has one."""
        if isinstance(event, Start):
            self._start = event
        line = self._line(event)
        if line:
            print(line, file=self._stream, flush=True)

    def _line(self, event: Event) -> str:
        assert self._start
        if isinstance(event, Start):
            return plan_in_words(event)
        if isinstance(event, Resumed):
            return changes_in_words(event)
        if isinstance(event, Step):
            return (
                f"Epoch [{event.epoch}/{self._start.config['epochs']}], "
                f"Step [{event.step}/{self._start.updates_per_epoch}], Loss: {event.loss:.4f}"
            )
        if isinstance(event, ProbeEvent):
            return probe_in_words(event)
        if isinstance(event, Epoch):
            epochs = self._start.config["epochs"]
            return f"Epoch [{event.epoch}/{epochs}], {scores_in_words(event)}"
        return summary_in_words(event, self._start) if isinstance(event, End) else ""


class Terminal(Renderer):
    """A progress bar with figures, and a line that stays for every epoch."""

    def __init__(self, stream: TextIO) -> None:
        # Nothing here is markup: a path may contain brackets.
        self._console = Console(file=stream, highlight=False, markup=False, emoji=False)
        self._bar = Bar(
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            TextColumn("{task.percentage:>3.0f}%", markup=False),
            TextColumn("{task.fields[figures]}", markup=False),
            TimeRemainingColumn(compact=True),
            TextColumn("left"),
            console=self._console,
            transient=True,
            refresh_per_second=8,
        )
        self._task = self._bar.add_task("", total=None, figures="")
        self._start: Start | None = None
        self._last = 0.0  # when the last figures came
        self._training = 0.0  # seconds, evaluation left out

    def show(self, event: Event) -> None:
        """Advance the bar, or print a line above it."""
        if isinstance(event, Start):
            self._begin(event)
        elif isinstance(event, Progress):
            self._advance(event)
        elif isinstance(event, Resumed):
            if changes := changes_in_words(event):
                self._console.print(changes)
        elif isinstance(event, ProbeEvent):
            self._last = event.seconds
            self._console.print(probe_in_words(event))
        elif isinstance(event, Epoch):
            assert self._start
            self._last = event.seconds
            epochs = self._start.config["epochs"]
            self._console.print(f"Epoch {event.epoch}/{epochs}  {figures_in_words(event)}")
        elif isinstance(event, End):
            self.close()
            assert self._start
            if summary := summary_in_words(event, self._start):
                # Left to the terminal to fold, so that the suggested command can be copied whole.
                self._console.print(summary, style="green", soft_wrap=True)

    def close(self) -> None:
        """Remove the bar."""
        self._bar.stop()

    def _begin(self, start: Start) -> None:
        self._start = start
        self._last = start.seconds
        self._console.print(plan_in_words(start))
        epochs, steps = divmod(start.updates, start.updates_per_epoch)
        total = epochs * start.samples + steps * start.batch_size
        self._bar.update(self._task, total=total, completed=start.samples_seen)
        self._bar.start()

    def _advance(self, event: Progress) -> None:
        assert self._start
        at_end = event.samples_seen % self._start.samples == 0
        if event.seconds - self._last < 0.05 and not at_end:  # more often than the bar is drawn
            return
        self._training += event.seconds - self._last
        self._last = event.seconds
        rate = (event.samples_seen - self._start.samples_seen) / max(self._training, 1e-9)
        epoch = -(-event.samples_seen // self._start.samples)
        self._bar.update(
            self._task,
            completed=event.samples_seen,
            description=f"Epoch {epoch}/{self._start.config['epochs']}",
            figures=f"loss {event.loss:.4f}  accuracy {event.accuracy:.4f}  {rate:,.0f} samples/s",
        )


def for_people(stream: TextIO, *, quiet: bool, plain: bool) -> Renderer:
    """Return the renderer that fits a stream: animated only on a capable terminal."""
    if quiet:
        return Renderer()
    return Terminal(stream) if can_animate(stream, plain=plain) else PlainLines(stream)


def can_animate(stream: TextIO, *, plain: bool) -> bool:
    """Tell whether a stream is a terminal that can move its cursor, and may be asked to."""
    return stream.isatty() and os.environ.get("TERM") != "dumb" and not plain


def print_scores(event: Evaluated, stream: TextIO) -> None:
    """Print the scores of each class, and the confusion matrix."""
    console = Console(file=stream, highlight=False)
    scores = Table(box=box.SIMPLE_HEAD, title=f"{event.correct:,} of {event.samples:,} right")
    for heading in ("class", "samples", "precision", "recall", "F1"):
        scores.add_column(heading, justify="right")
    confusion = Table(box=box.SIMPLE_HEAD, title="Rows: true class; columns: as it was read")
    for heading in ("", *(str(score.digit) for score in event.per_class)):
        confusion.add_column(heading, justify="right")
    for score, row in zip(event.per_class, event.confusion, strict=True):
        figures = (f"{value:.4f}" for value in (score.precision, score.recall, score.f1))
        scores.add_row(str(score.digit), f"{score.samples:,}", *figures)
        cells = [
            Text(str(count or "."), "green" if read == score.digit else "red" if count else "dim")
            for read, count in enumerate(row)
        ]
        confusion.add_row(str(score.digit), *cells)
    console.print(scores, confusion)
