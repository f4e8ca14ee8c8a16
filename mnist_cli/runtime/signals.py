"""SIGINT, SIGTERM and SIGHUP as requests to stop at the next safe point.

Python runs a signal handler only between two of its instructions, and a large operation of PyTorch
is a single one. So a thread watches for signals too: after the first it prints that the program
will stop, if that takes a while; after the second it ends the process, if the main thread is busy.
"""

import contextlib
import logging
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from mnist_cli.errors import (
    SIGNAL_CODES,
    ExitCode,
    InterruptedRunError,
    MnistError,
    TerminatedRunError,
)
from mnist_cli.runtime.distributed.ranks import is_launched
from mnist_cli.runtime.files import can_write

_ERRORS: dict[int, type[MnistError]] = {
    number: InterruptedRunError if code is ExitCode.INTERRUPTED else TerminatedRunError
    for number, code in SIGNAL_CODES.items()
}
_log = logging.getLogger(__name__)
_NOTICE_AFTER = 0.5  # seconds between the first signal and the notice
_POLL = 0.05  # seconds between two looks for the second signal
_GRACE = 0.9  # seconds for the main thread to exit after the second signal; with _POLL, under 1
_NOTICE = "Stopping after the current step; press Ctrl-C again to quit now"
_STOPPED = "stopped at once; what was saved before is as it was"


class StopRequested(Exception):  # noqa: N818 (nothing went wrong)
    """A signal asked the program to stop; it is raised at the next safe point."""


class StopSignals:
    """A context in which the first signal is recorded, and a second one ends the program at once.

    Under torchrun a second SIGTERM or SIGHUP is ignored: a scheduler such as Slurm sends the signal
    to every process, and torchrun passes its own on.
    """

    def __init__(self) -> None:
        self._received: int | None = None  # by this process
        self._first: int | None = None  # by this process, or by another rank
        self._before: dict[int, object] = {}
        self._thread: _SignalThread | None = None

    @property
    def error(self) -> type[MnistError] | None:
        """The error class of the first signal, or None."""
        return None if self._first is None else _ERRORS[self._first]

    def note(self, number: int) -> None:
        """Record a signal that another rank told of; its own copy may still reach this process."""
        if self._first is None:
            self._first = number

    def check_stop(self) -> None:
        """Raise StopRequested if a signal was received."""
        if self._first is not None:
            raise StopRequested

    @contextmanager
    def default_handlers(self) -> Iterator[None]:
        """Let signals end the program at once in the block, which may wait for ever.

        A signal that was received before ends nothing: look at `error` within the block.
        """
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
        # SIGINT is handled even where it is ignored, as in a script's `mnist-train &`: it was sent
        # on purpose. An ignored SIGHUP stays ignored, which is what `nohup` is for.
        if threading.current_thread() is threading.main_thread():
            self._thread = _SignalThread()
            self._before = {
                number: signal.getsignal(number)
                for number in _ERRORS
                if number != getattr(signal, "SIGHUP", None) or not _is_ignored(number)
            }
            for number in self._before:
                signal.signal(number, self._receive)

    def _restore(self) -> None:
        """Restore the handlers; one of them may raise at once, and then this is called again."""
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]
        self._before = {}
        thread, self._thread = self._thread, None
        if thread is not None:
            thread.end()

    def _receive(self, number: int, _frame: FrameType | None) -> None:
        if _is_passed_on_twice(number, self._received):
            return
        if self._received is not None:
            raise _ERRORS[number](_STOPPED)
        self._received = number
        self.note(number)


class _SignalThread:
    """A thread that receives signals at once, whatever the main thread does."""

    def __init__(self) -> None:
        self._ended = threading.Event()
        self._reading, self._writing = os.pipe()
        os.set_blocking(self._writing, False)
        self._before = signal.set_wakeup_fd(self._writing, warn_on_full_buffer=False)
        threading.Thread(target=self._listen, name="signals", daemon=True).start()

    def end(self) -> None:
        """Stop the thread."""
        self._ended.set()
        signal.set_wakeup_fd(self._before)
        os.close(self._writing)  # the thread reads an end of file

    def _listen(self) -> None:
        first = self._next(None)
        began, is_noticed = time.monotonic(), False
        os.set_blocking(self._reading, False)
        while first is not None and not self._ended.wait(_POLL):
            number = self._next(first)
            if number is not None and not self._ended.wait(_GRACE):
                if can_write(2):
                    os.write(2, f"error: {_STOPPED}\n".encode())
                os._exit(_ERRORS[number].code)
            if not is_noticed and time.monotonic() - began > _NOTICE_AFTER:
                is_noticed = True
                if can_write(2):  # the thread must not wait until somebody reads stderr
                    _log.warning(_NOTICE)
        os.close(self._reading)

    def _next(self, first: int | None) -> int | None:
        """Return the next signal that counts; None if there is none yet, or the thread ends."""
        with contextlib.suppress(BlockingIOError):
            while number := os.read(self._reading, 1):
                if number[0] in _ERRORS and not _is_passed_on_twice(number[0], first):
                    return number[0]
        return None


def _is_passed_on_twice(number: int, before: int | None) -> bool:
    """Return True if a signal came before and torchrun passed it on as well."""
    return number == before != signal.SIGINT and is_launched()


def _is_ignored(number: int) -> bool:
    """Return True if a signal has no effect, as SIGHUP under `nohup`."""
    return signal.getsignal(number) is signal.SIG_IGN
