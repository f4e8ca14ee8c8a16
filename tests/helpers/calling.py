"""The programs in the process of the tests: for what they print and return, in milliseconds."""

import contextlib
import io
import logging
import os
import signal
import sys
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from unittest.mock import patch

from mnist_cli.cli.mnist import build_app
from mnist_cli.cli.program import run_program
from mnist_cli.errors import SIGNAL_CODES
from tests.helpers.fork_server import PROGRAMS
from tests.helpers.shell import SMALL, Done

MODULE = ["python", "-m", "mnist_cli"]


@dataclass(frozen=True)
class Caller:
    """Calls the entry points of the programs, in a folder, without a terminal."""

    folder: Path
    env: dict[str, str]

    def __call__(
        self, *command: str, env: dict[str, str] | None = None, stdin: bytes = b""
    ) -> Done:
        """Run a program, and leave this process as it was."""
        streams = [io.TextIOWrapper(io.BytesIO(given), "utf-8") for given in (stdin, b"", b"")]
        names = ("stdin", "stdout", "stderr")
        logger = logging.getLogger("mnist_cli")
        handlers = {n: signal.getsignal(n) for n in SIGNAL_CODES}
        level = logger.level
        code: object = None
        with contextlib.ExitStack() as stack:
            stack.enter_context(contextlib.chdir(self.folder))
            stack.enter_context(patch.dict(os.environ, self.env | (env or {}), clear=True))
            for name, stream in zip(names, streams, strict=True):
                stack.enter_context(patch.object(sys, name, stream))
            try:
                run(*command)
            except SystemExit as stop:
                code = stop.code
            finally:
                logger.setLevel(level)
                for number, handler in handlers.items():
                    signal.signal(number, handler)
        assert isinstance(code, int)
        out, err = (stream.buffer.getvalue().decode() for stream in streams[1:])  # type: ignore[attr-defined]
        return Done(code, out, err)

    def train(self, *options: str, env: dict[str, str] | None = None) -> Done:
        """Train something small, as `Shell.train` does."""
        return self("mnist-train", *options, env={**SMALL, **(env or {})})


def run(*command: str) -> None:
    if [*command[:3]] == MODULE:
        with patch.object(sys, "argv", ["mnist_cli", *command[3:]]):
            run_program(build_app(completion=False), " ".join(MODULE))
    else:
        with patch.object(sys, "argv", [*command]):
            getattr(import_module("mnist_cli.cli.entry_points"), PROGRAMS[command[0]])()
