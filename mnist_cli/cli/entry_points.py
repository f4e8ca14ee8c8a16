"""Where the installed programs begin: signals first, then the imports, which take a while."""

import os
import signal
from importlib import import_module
from types import FrameType


def leave_quietly() -> None:
    """Have SIGINT and SIGTERM end the process at once, while there is nothing to tidy up.

    Python would raise an exception wherever the imports just are, and show where that was.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _leave)


def _leave(number: int, _frame: FrameType | None) -> None:
    os._exit(128 + number)


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


def _run(name: str) -> None:
    leave_quietly()
    import_module(f"mnist_cli.cli.{name}").main()
