"""Renderers of events: plain lines for people, JSON Lines and paths for programs."""

import json
import os
import sys
from typing import TextIO

from mnist_cli.events import End, Event, Start, to_dict
from mnist_cli.output.messages import format_event
from mnist_cli.runtime.files import write_standard_output


class Renderer:
    """A renderer of events. This base class, used for `--quiet`, shows none."""

    def __enter__(self) -> "Renderer":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def show(self, event: Event) -> None:
        """Show one event."""

    def close(self) -> None:
        """Restore the stream: no bar, and a visible cursor."""


class JsonLines(Renderer):
    """JSON Lines on standard output, each line flushed as it is written."""

    def show(self, event: Event) -> None:
        """Write the event if it is `lasting`."""
        if event.lasting:
            write_standard_output(json_line(event))


def json_line(event: Event) -> str:
    """Return an event as a line of JSON, newline included."""
    return json.dumps(to_dict(event), allow_nan=False) + "\n"


class PathLine(Renderer):
    """The path of the written checkpoint, on standard output at the end of a run."""

    def show(self, event: Event) -> None:
        """Write the path, unless the run was interrupted or diverged."""
        failures = ("interrupted", "diverged")
        if isinstance(event, End) and event.reason not in failures and event.checkpoint != "-":
            write_standard_output(f"{event.checkpoint}\n")


class PlainLines(Renderer):
    """The message of each event, for a log."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._start: Start

    def show(self, event: Event) -> None:
        """Write the message of the event, if it has one."""
        if isinstance(event, Start):
            self._start = event
        if message := format_event(event, self._start):
            print(message, file=self._stream, flush=True)


def can_animate(stream: TextIO, *, plain: bool) -> bool:
    """Return True if a stream is a terminal that can move its cursor, and `plain` is false."""
    return stream.isatty() and os.environ.get("TERM") != "dumb" and not plain


def has_colour() -> bool:
    """Return True if standard output may be coloured, by https://no-color.org and as Rich does."""
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return False
    return bool(os.environ.get("FORCE_COLOR")) or sys.stdout.isatty()
