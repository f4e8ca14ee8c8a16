"""SIGINT, SIGTERM and SIGHUP as a wish to stop, granted at the next safe point.

Python hears a signal only between two of its instructions, and a large operation of PyTorch is a
single one. So a thread listens besides: it says that the first signal was heard, if that takes a
while, and ends the process at the second one, if the main thread is still busy.
"""

import logging
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from mnist_cli.errors import InterruptedRunError, MnistError, TerminatedRunError
from mnist_cli.runtime.distributed.ranks import is_launched

_ERRORS: dict[int, type[MnistError]] = {
    signal.SIGINT: InterruptedRunError,
    signal.SIGTERM: TerminatedRunError,
}
if hasattr(signal, "SIGHUP"):  # the terminal was closed
    _ERRORS[signal.SIGHUP] = TerminatedRunError


_log = logging.getLogger(__name__)
_PATIENCE = 0.5  # seconds, until somebody who waits is told what for
_GRACE = 1.0  # seconds, for the main thread to end tidily
_AT_ONCE = "stopped at once; what was saved before is as it was"


class StopRequested(Exception):  # noqa: N818 (nothing went wrong)
    """A signal came, and a computation was abandoned between two of its pieces."""


class StopSignals:
    """While entered, remembers the first signal; a second one ends the program at once.

    Under torchrun a second SIGTERM does not: a scheduler such as Slurm sends it to every process,
    and torchrun passes its own on.
    """

    def __init__(self) -> None:
        self._received: int | None = None
        self._before: dict[int, object] = {}
        self._watch: _Watch | None = None

    @property
    def error(self) -> type[MnistError] | None:
        """The error that stands for the signal that came, if one came."""
        return None if self._received is None else _ERRORS[self._received]

    def note(self, number: int) -> None:
        """Take it that a signal came, as one did elsewhere."""
        if self._received is None:
            self._received = number

    def check(self) -> None:
        """Raise StopRequested if a signal came."""
        if self._received is not None:
            raise StopRequested

    @contextmanager
    def default_handlers(self) -> Iterator[None]:
        """Let signals end the program at once: around what may wait for ever."""
        self._restore()
        try:
            yield
        finally:
            self._listen()

    def __enter__(self) -> "StopSignals":
        self._listen()
        return self

    def __exit__(self, *_: object) -> None:
        self._restore()

    def _listen(self) -> None:
        # SIGINT too where it is ignored, as for a script's `mnist-train &`: whoever sends it means
        # it. But not SIGHUP, which `nohup` is there to ignore.
        if threading.current_thread() is threading.main_thread():  # only there are they delivered
            self._watch = _Watch()
            self._before = {
                number: signal.signal(number, self._receive)
                for number in _ERRORS
                if number != getattr(signal, "SIGHUP", None) or not _is_ignored(number)
            }

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]
        self._before = {}
        if self._watch is not None:
            self._watch.end()
            self._watch = None

    def _receive(self, number: int, _frame: FrameType | None) -> None:
        if _is_passed_on_twice(number, self._received):
            return
        if self._received is not None:
            raise _ERRORS[number](_AT_ONCE)
        self._received = number


class _Watch:
    """A thread that is told of signals as they come, whatever the main thread does."""

    def __init__(self) -> None:
        self._ended = threading.Event()
        self._reading, self._writing = os.pipe()
        os.set_blocking(self._writing, False)
        self._before = signal.set_wakeup_fd(self._writing, warn_on_full_buffer=False)
        threading.Thread(target=self._listen, name="signals", daemon=True).start()

    def end(self) -> None:
        """Listen no more."""
        self._ended.set()
        signal.set_wakeup_fd(self._before)
        os.close(self._writing)  # which the thread reads as the end

    def _listen(self) -> None:
        heard, first = 0, None
        while number := os.read(self._reading, 1):
            if number[0] not in _ERRORS or _is_passed_on_twice(number[0], first):
                continue
            first = first or number[0]
            heard += 1
            if heard == 1 and not self._ended.wait(_PATIENCE):
                _log.warning("Stopping after the work under way; once more to stop at once")
            elif heard > 1 and not self._ended.wait(_GRACE):
                os.write(2, f"error: {_AT_ONCE}\n".encode())
                os._exit(_ERRORS[number[0]].code)
        os.close(self._reading)


def _is_passed_on_twice(number: int, before: int | None) -> bool:
    """Tell whether a signal is one that a launcher passes on, and came before."""
    return number == before == signal.SIGTERM and is_launched()


def _is_ignored(number: int) -> bool:
    """Tell whether a signal has no effect; `nohup` sees to that for SIGHUP."""
    return signal.getsignal(number) is signal.SIG_IGN
