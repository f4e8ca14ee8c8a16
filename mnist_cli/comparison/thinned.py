"""A bounded number of values, evenly spread over the updates of a training."""

from collections.abc import Mapping
from typing import Generic, TypeVar

T = TypeVar("T")


class Thinned(Generic[T]):
    """Values of every update; of more than `most`, those of every second one, and so on.

    The updates that are kept, apart from 0, are the multiples of the first. `values` has the value
    of each, in their order.
    """

    def __init__(self, most: int, values: Mapping[int, T]) -> None:
        self.values = dict(values)
        self._most = most
        self._step = min((update for update in self.values if update), default=1)

    def is_kept(self, update: int) -> bool:
        """Return True if the value of an update would be kept."""
        return update % self._step == 0

    def add(self, update: int, value: T) -> None:
        """Add the value of the next update, if it is one that is kept."""
        if not self.is_kept(update):
            return
        self.values[update] = value
        if len(self.values) > self._most:
            self._step *= 2
            self.values = {u: v for u, v in self.values.items() if self.is_kept(u)}
