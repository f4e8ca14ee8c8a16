"""Entry points of the installed programs: signal handlers first, then the slow imports."""

import os
import signal
from importlib import import_module
from types import FrameType

from mnist_cli.errors import SIGNAL_CODES


def exit_at_once_on_signals() -> None:
    """Make signals end the process at once, while there is nothing to clean up.

    Otherwise Python would raise an exception in the middle of an import and print a traceback.
    """
    for number in SIGNAL_CODES:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _exit)


def _exit(number: int, _frame: FrameType | None) -> None:
    os._exit(SIGNAL_CODES[number])


def mnist() -> None:
    """Run `mnist`."""
    _run("mnist")


def train() -> None:
    """Run `mnist-train`."""
    _run("train")


def evaluate() -> None:
    """Run `mnist-eval`."""
    _run("evaluate")


def predict() -> None:
    """Run `mnist-predict`."""
    _run("predict")


def compare() -> None:
    """Run `mnist-compare`."""
    _run("compare")


def export() -> None:
    """Run `mnist-export`."""
    _run("export")


def lesson() -> None:
    """Run `mnist-lesson`."""
    _run("lesson")


def _run(name: str) -> None:
    exit_at_once_on_signals()
    import_module(f"mnist_cli.cli.{name}").main()
