"""SIGINT and SIGTERM as a wish to stop, granted at the next safe point."""

import signal
import threading
from types import FrameType, TracebackType

from mnist_cli.errors import InterruptedRunError, MnistError, TerminatedRunError

_ERRORS: dict[int, type[MnistError]] = {
    signal.SIGINT: InterruptedRunError,
    signal.SIGTERM: TerminatedRunError,
}


class StopSignals:
    """While entered, remembers the first signal; a second one has its usual effect at once."""

    def __init__(self) -> None:
        self._received: int | None = None
        self._before: dict[int, object] = {}

    @property
    def error(self) -> type[MnistError] | None:
        """The error that stands for the signal that came, if one came."""
        return None if self._received is None else _ERRORS[self._received]

    def __enter__(self) -> "StopSignals":
        if threading.current_thread() is threading.main_thread():  # only there are they delivered
            self._before = {number: signal.signal(number, self._receive) for number in _ERRORS}
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._restore()

    def _receive(self, number: int, _frame: FrameType | None) -> None:
        self._received = number
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]
        self._before = {}
