"""Processor cores that share out the pieces of a computation.

PyTorch by itself shares out every single operation: dozens of times in an update all threads wait
for the slowest. Where there are pieces enough, such as the micro-batches of an update, it is
quicker that a thread computes whole pieces by itself.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import torch

T = TypeVar("T")
R = TypeVar("R")


def _go_on() -> None:
    """Let a computation go on: the check of a pool that nothing interrupts."""


class ThreadPool:
    """So many threads, which start when they are needed, and use one core each.

    `check` is called before each piece of a computation, and may raise to abandon it.
    """

    def __init__(self, size: int = 1, check: Callable[[], None] = _go_on) -> None:
        self.size = size
        self.check = check
        self._threads = ThreadPoolExecutor(
            size, "pool", initializer=torch.set_num_threads, initargs=(1,)
        )

    def map(self, function: Callable[[T], R], items: Sequence[T]) -> Iterator[R]:
        """Yield `function` of each item, in order; few are computed ahead.

        Fewer items than threads are computed by the calling thread, which has all of PyTorch's.
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
