"""Processor cores that share out the pieces of a computation.

PyTorch by itself shares out every single operation: dozens of times in an update all threads wait
for the slowest. Where there are pieces, such as the micro-batches of an update, it is quicker that
a thread computes whole pieces by itself.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import torch

T = TypeVar("T")
R = TypeVar("R")


class Team:
    """The calling thread and `size - 1` helpers, which start when they are needed."""

    def __init__(self, size: int = 1) -> None:
        self.size = size
        self._helpers = ThreadPoolExecutor(size - 1, "helper") if size > 1 else None

    def map(self, function: Callable[[T], R], items: Sequence[T]) -> Iterator[R]:
        """Yield `function` of each item, in order.

        Of several items, as many are computed at a time as there are threads, each with one thread
        of PyTorch's. A single one gets all of those. What comes out is the same for every size of
        the team above 1.
        """
        if self._helpers is None or len(items) == 1:
            yield from map(function, items)
            return
        threads = torch.get_num_threads()
        torch.set_num_threads(1)  # helpers take it over when they start
        try:
            for start in range(0, len(items), self.size):
                first, *others = items[start : start + self.size]
                tasks = [self._helpers.submit(function, item) for item in others]
                yield function(first)
                yield from map(Future.result, tasks)
        finally:
            torch.set_num_threads(threads)
