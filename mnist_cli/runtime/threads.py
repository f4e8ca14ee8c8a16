"""A pool of threads for the parts of a computation that are independent, such as micro-batches.

PyTorch by itself parallelises each single operation, so that all threads wait for the slowest
dozens of times in an update. With enough micro-batches it is faster if each thread computes whole
ones.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import torch

T = TypeVar("T")
R = TypeVar("R")


def _no_check() -> None:
    """Do nothing: the check of a pool that nothing interrupts."""


class ThreadPool:
    """Up to `size` threads of one core each, started when they are needed.

    `check` is called before each item of a computation, and may raise to abandon it.
    """

    def __init__(self, size: int = 1, check: Callable[[], None] = _no_check) -> None:
        self.size = size
        self.check = check
        self._threads = ThreadPoolExecutor(
            size, "pool", initializer=torch.set_num_threads, initargs=(1,)
        )

    def map(self, function: Callable[[T], R], items: Sequence[T]) -> Iterator[R]:
        """Yield `function(item)` for each item, in order; at most `size` are computed ahead.

        With fewer items than threads, the calling thread computes them with PyTorch's own threads.
        """
        if self.size == 1 or len(items) < self.size:
            for item in items:
                self.check()
                yield function(item)
            return
        tasks: deque[Future[R]] = deque()
        for item in items:
            tasks.append(self._threads.submit(function, item))
            if len(tasks) > self.size:
                self.check()
                yield tasks.popleft().result()
        while tasks:
            self.check()
            yield tasks.popleft().result()
