"""Further processes that work on a comparison's folder (`mnist-compare --jobs N`)."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict

from mnist_cli.config.compare import CompareConfig


@contextmanager
def further_processes(config: CompareConfig) -> Iterator[None]:
    """Have `config.jobs` - 1 further processes work on the folder; end them on leaving.

    They are silent: if one fails, this process takes over its run, and reports what is wrong.
    """
    processes: list[subprocess.Popen[str]] = []
    try:
        for _ in range(config.jobs - 1):
            process = subprocess.Popen(
                [sys.executable, "-m", "mnist_cli.comparison"],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                text=True,
                start_new_session=True,  # Ctrl-C comes to this process, which passes it on once
            )
            processes.append(process)
            if process.stdin:  # it stays open: its end tells the process that this one has ended
                with suppress(BrokenPipeError):
                    process.stdin.write(json.dumps(asdict(config)) + "\n")
                    process.stdin.flush()
        yield
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait()
