"""Renderers of events: lines for people, JSON Lines and paths for programs, log files."""

import contextlib
import json
import logging
import os
import stat
import sys
from pathlib import Path
from typing import TextIO

from mnist_cli.config.quoting import printable
from mnist_cli.errors import OutputError
from mnist_cli.events import FAILURES, End, Event, Start, to_dict
from mnist_cli.output.messages import format_event
from mnist_cli.runtime.files import try_lock, write_all, write_standard_output

_log = logging.getLogger(__name__)
_BLOCK = 1 << 16  # bytes; a line is shorter
_CLOSED = -1


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
        if isinstance(event, End) and event.reason not in FAILURES and event.checkpoint != "-":
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


def has_colour() -> bool:
    """Return True if standard output may be coloured, by https://no-color.org and as Rich does."""
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return False
    return bool(os.environ.get("FORCE_COLOR")) or sys.stdout.isatty()


class Recorder(Renderer):
    """Records events until that fails; `failure` is then the error.

    An error does not end the training: the first one is logged as a warning, and the program exits
    with the code of an output that could not be written once the training is complete.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.failure: OutputError | None = None

    def show(self, event: Event) -> None:
        """Record the event if it is `lasting` and recording has not failed."""
        if not event.lasting or self.failure is not None:
            return
        try:
            self.record(event)
        except OSError as error:
            reason = f"cannot write {self.name}: {error.strerror or error}"
            self.failure = OutputError(f"{reason}; it ends before the training did")
            _log.warning("%s; the training goes on without it", reason)

    def raise_failure(self) -> None:
        """Raise OutputError if recording has failed."""
        if self.failure is not None:
            raise self.failure

    def record(self, event: Event) -> None:
        """Write an event immediately; raise OSError if that fails."""
        raise NotImplementedError

    def print_on(self, terminal: TextIO) -> None:
        """Print on a terminal what a complete recording has to show there."""


class LogFile(Recorder):
    """The JSON Lines of `--json` in a file, each a whole line that is written when it happens.

    A new training truncates the file when it begins, so one that is refused leaves the file alone.
    A resumed training appends, after removing the incomplete line that a killed program may leave.
    """

    def __init__(self, name: str, *, appending: bool, no_clobber: bool = False) -> None:
        """Open the file; create it if it does not exist.

        Raises:
            OutputError: it cannot be written, or exists and `no_clobber` keeps it.

        """
        super().__init__(name)
        path = Path(name)
        if not name or name.endswith("/"):
            raise OutputError(f"--log-file '{name}' is not the name of a file")
        if no_clobber and not appending and _size_of(path):
            raise OutputError(
                f"{name} exists, and --no-clobber keeps it; choose another --log-file"
            )
        self._path, self._appending = path, appending
        self._is_new = not os.path.lexists(path)
        self._began = False
        try:
            self._handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
        except IsADirectoryError:
            raise OutputError(f"--log-file {name} is a folder; name a file in it") from None
        except OSError as error:
            raise OutputError(
                f"cannot write {name}: {error.strerror or error}; choose another --log-file"
            ) from error
        self._is_regular = stat.S_ISREG(os.fstat(self._handle).st_mode)
        if self._is_regular and not try_lock(self._handle):
            os.close(self._handle)
            raise OutputError(
                f"{printable(name)} is being written by another program; choose another --log-file"
            )

    def record(self, event: Event) -> None:
        """Append the event's line; a line that does not fit on the disk leaves nothing."""
        if isinstance(event, Start):
            self._began = True
            if self._is_regular:
                os.ftruncate(self._handle, _whole_lines(self._path) if self._appending else 0)
                self._end_last_line()
        before = os.fstat(self._handle).st_size
        try:
            write_all(self._handle, json_line(event).encode())
        except OSError:
            if self._is_regular:
                with contextlib.suppress(OSError):
                    os.ftruncate(self._handle, before)
            raise

    def _end_last_line(self) -> None:
        """Append a newline if the file does not end with one."""
        with contextlib.suppress(OSError), self._path.open("rb") as file:
            if file.seek(0, os.SEEK_END):
                file.seek(-1, os.SEEK_END)
                if file.read(1) != b"\n":
                    os.write(self._handle, b"\n")

    def close(self) -> None:
        """Close the file; remove it if it is new and the training did not begin."""
        handle, self._handle = self._handle, _CLOSED
        if handle == _CLOSED:
            return
        os.close(handle)
        if self._is_new and not self._began and self._is_regular and not _size_of(self._path):
            with contextlib.suppress(OSError):
                self._path.unlink()


def _size_of(path: Path) -> int:
    """Return the size of a file in bytes, 0 if there is none."""
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _whole_lines(path: Path) -> int:
    """Return the size of a log in bytes without an incomplete JSON object at its end."""
    size = _size_of(path)
    try:
        with path.open("rb") as file:
            start = max(size - _BLOCK, 0)
            file.seek(start)
            tail = file.read(_BLOCK)
    except OSError:  # the file is writable but not readable
        return size
    end = tail.rfind(b"\n") + 1
    return start + end if tail[end:].startswith(b"{") else size
