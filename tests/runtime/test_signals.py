"""Signals that ask a program to stop."""

import os
import signal
import sys
from typing import Any

import pytest

from mnist_cli.errors import TerminatedRunError
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


@pytest.mark.parametrize("handler", [lambda *_: None, signal.SIG_IGN])
def test_a_closed_terminal_counts_as_a_signal_unless_it_is_ignored(
    handler: Any,
) -> None:
    before = signal.signal(signal.SIGHUP, handler)
    try:
        with StopSignals() as stop:
            signal.raise_signal(signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)
    assert stop.error is (None if handler is signal.SIG_IGN else TerminatedRunError)


@pytest.mark.parametrize(
    ("noted", "sent"),
    [(signal.SIGTERM, signal.SIGHUP), (signal.SIGINT, signal.SIGINT)],
    ids=["SIGHUP", "SIGINT"],
)
def test_a_signal_that_another_rank_received_first_is_not_the_second_one(
    noted: signal.Signals, sent: signal.Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The launcher signals the ranks one after another; meanwhile they tell each other."""
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "run")
    with StopSignals() as stop:
        stop.note(noted)
        signal.raise_signal(sent)
        assert stop.error is signals._ERRORS[noted]


def test_a_second_signal_is_ignored_only_if_torchrun_may_have_passed_it_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("TORCHELASTIC_RUN_ID", raising=False)
    with StopSignals():
        signal.raise_signal(signal.SIGTERM)
        with pytest.raises(TerminatedRunError, match="stopped at once"):
            signal.raise_signal(signal.SIGTERM)
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "1")
    with StopSignals() as stop:
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)
    assert stop.error is TerminatedRunError
