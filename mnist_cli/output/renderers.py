"""Events for people and for programs: plain lines and JSON Lines."""

import json
import os
import sys
from typing import TextIO

from mnist_cli.events import End, Epoch, Event, ProbeEvent, Resumed, Start, Step, to_dict
from mnist_cli.output.messages import (
    changes_in_words,
    plan_in_words,
    probe_in_words,
    scores_in_words,
    step_in_words,
    summary_in_words,
)
from mnist_cli.runtime.files import write_standard_output


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
            write_standard_output(json_line(event))


def json_line(event: Event) -> str:
    """Return an event as a line of JSON, with its end."""
    return json.dumps(to_dict(event), allow_nan=False) + "\n"


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
            return step_in_words(event, self._start)
        if isinstance(event, ProbeEvent):
            return probe_in_words(event)
        if isinstance(event, Epoch):
            epochs = self._start.config["epochs"]
            return f"Epoch [{event.epoch}/{epochs}], {scores_in_words(event)}"
        return summary_in_words(event, self._start) if isinstance(event, End) else ""


def can_animate(stream: TextIO, *, plain: bool) -> bool:
    """Tell whether a stream is a terminal that can move its cursor, and may be asked to."""
    return stream.isatty() and os.environ.get("TERM") != "dumb" and not plain


def has_colour() -> bool:
    """Tell whether standard output may be coloured: https://no-color.org, and what Rich goes by."""
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return False
    return bool(os.environ.get("FORCE_COLOR")) or sys.stdout.isatty()
