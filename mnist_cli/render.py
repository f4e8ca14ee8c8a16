"""Events for people and for programs: plain lines and JSON Lines."""

import json
import os
from typing import TextIO

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from mnist_cli.events import (
    End,
    Epoch,
    Evaluated,
    Event,
    ProbeEvent,
    Resumed,
    Start,
    Step,
    to_dict,
)
from mnist_cli.files import write_standard_output
from mnist_cli.words import (
    changes_in_words,
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
