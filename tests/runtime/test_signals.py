"""Signals that ask a program to stop."""

import os
import signal
import sys

import pytest

from mnist_cli.runtime import signals
from mnist_cli.runtime.signals import StopSignals


@pytest.fixture(autouse=True)
def _handlers() -> object:
    """Make SIGTERM raise, as the programs do, and restore its handler."""
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    yield
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    signal.signal(signal.SIGTERM, before)


def test_the_first_signal_is_noted_and_handlers_are_restored() -> None:
    handler = signal.getsignal(signal.SIGTERM)
    with StopSignals() as stop:
        assert stop.error is None
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.error
        assert stop.error.code == 143
        with pytest.raises(signals.StopRequested):
            stop.check_stop()
    assert signal.getsignal(signal.SIGTERM) is handler


def test_a_signal_while_the_handlers_are_restored_ends_the_program(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The handler from before raises in the midst of it, and once is enough to clean up."""
    end = signals._SignalThread.end

    def end_and_signal(thread: signals._SignalThread) -> None:
        end(thread)
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(signals._SignalThread, "end", end_and_signal)
    with pytest.raises(SystemExit, match="143"), StopSignals() as stop, stop.default_handlers():
        pass
