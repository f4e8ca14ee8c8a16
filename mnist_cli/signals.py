"""SIGINT, SIGTERM and SIGHUP as a wish to stop, granted at the next safe point."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType

from mnist_cli.errors import InterruptedRunError, MnistError, TerminatedRunError

_ERRORS: dict[int, type[MnistError]] = {
    signal.SIGINT: InterruptedRunError,
    signal.SIGTERM: TerminatedRunError,
}
if hasattr(signal, "SIGHUP"):  # the terminal was closed
    _ERRORS[signal.SIGHUP] = TerminatedRunError


class Stopped(Exception):  # noqa: N818 (nothing went wrong)
    """A signal came, and a computation was abandoned between two of its pieces."""


class StopSignals:
    """While entered, remembers the first signal; a second one ends the program at once."""

    def __init__(self) -> None:
        self._received: int | None = None
        self._before: dict[int, object] = {}

    @property
    def error(self) -> type[MnistError] | None:
        """The error that stands for the signal that came, if one came."""
        return None if self._received is None else _ERRORS[self._received]

    def check(self) -> None:
        """Raise Stopped if a signal came."""
        if self._received is not None:
            raise Stopped

    @contextmanager
    def let_through(self) -> Iterator[None]:
        """Let signals end the program at once: around what may wait for ever."""
        self._restore()
        try:
            yield
        finally:
            self._listen()

    def __enter__(self) -> "StopSignals":
        self._listen()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._restore()

    def _listen(self) -> None:
        # SIGINT too where it is ignored, as for a script's `mnist-train &`: whoever sends it means
        # it. But not SIGHUP, which `nohup` is there to ignore.
        if threading.current_thread() is threading.main_thread():  # only there are they delivered
            self._before = {
                number: signal.signal(number, self._receive)
                for number in _ERRORS
                if number != getattr(signal, "SIGHUP", None) or not _is_ignored(number)
            }

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]
        self._before = {}

    def _receive(self, number: int, _frame: FrameType | None) -> None:
        if self._received is not None:
            raise _ERRORS[number]("stopped at once; what was saved before is as it was")
        self._received = number


def _is_ignored(number: int) -> bool:
    """Tell whether a signal has no effect; `nohup` sees to that for SIGHUP."""
    return signal.getsignal(number) is signal.SIG_IGN
