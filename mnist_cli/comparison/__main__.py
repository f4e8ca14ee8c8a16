"""A worker process of `mnist-compare --jobs N`: it trains runs and prints nothing.

It reads the options from standard input, and stops when that is closed, so that it does not outlive
the process that started it.
"""

import json
import os
import signal
import sys
import threading

from mnist_cli.comparison.compare import work
from mnist_cli.config.compare import CompareConfig
from mnist_cli.runtime.device import keep_freed_memory


def _stop_with_parent() -> None:
    os.read(0, 1)  # nothing but its end is to come
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    config = CompareConfig(**json.loads(sys.stdin.readline()))
    threading.Thread(target=_stop_with_parent, daemon=True).start()
    keep_freed_memory()
    work(config)
