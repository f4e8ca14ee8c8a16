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


class Team:
    """So many threads, which start when they are needed, and use one core each."""

    def __init__(self, size: int = 1) -> None:
        self.size = size
        self._threads = ThreadPoolExecutor(
            size, "team", initializer=torch.set_num_threads, initargs=(1,)
        )

    def map(self, function: Callable[[T], R], items: Sequence[T]) -> Iterator[R]:
        """Yield `function` of each item, in order; few are computed ahead.

        Fewer items than threads are computed by the calling thread, which has all of PyTorch's.
        """
        if self.size == 1 or len(items) < self.size:
            yield from map(function, items)
            return
        tasks: deque[Future[R]] = deque()
        for item in items:
            tasks.append(self._threads.submit(function, item))
            if len(tasks) > self.size:
                yield tasks.popleft().result()
        while tasks:
            yield tasks.popleft().result()
