"""Worker processes of a comparison (`mnist-compare --jobs N`)."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict

from mnist_cli.config.compare import CompareConfig


@contextmanager
def worker_processes(config: CompareConfig) -> Iterator[None]:
    """Start `config.jobs` - 1 workers on the comparison's folder; terminate them on exit.

    They print nothing. If one fails, this process trains its run and so reports the error.
    """
    with ExitStack() as stack:  # each is waited for, and its standard input closed
        for _ in range(config.jobs - 1):
            process = stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-m", "mnist_cli.comparison"],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    text=True,
                    start_new_session=True,  # Ctrl-C comes to this process, which passes it on once
                )
            )
            stack.callback(process.terminate)
            if process.stdin:  # left open: the worker stops when it is closed
                with suppress(BrokenPipeError):
                    process.stdin.write(json.dumps(asdict(config)) + "\n")
                    process.stdin.flush()
        yield
