"""Numbers as a line of small bars."""

import itertools
import math
from collections.abc import Sequence

_BARS = "▁▂▃▄▅▆▇█"


def sparkline(values: Sequence[float], width: int) -> str:
    """Return at most `width` bars for positive values, on a logarithmic scale from least to most.

    Of more values than bars, each bar is the mean of its share of them. What is not positive and
    finite is left out.
    """
    usable = [value for value in values if 0 < value < math.inf]
    count = min(width, len(usable))
    bounds = [len(usable) * cell // count for cell in range(count + 1)] if count > 0 else []
    means = [sum(usable[first:last]) / (last - first) for first, last in itertools.pairwise(bounds)]
    if not means:
        return ""
    least, most = math.log(min(means)), math.log(max(means))
    scale = (len(_BARS) - 1) / (most - least) if most > least else 0.0
    return "".join(_BARS[round((math.log(mean) - least) * scale)] for mean in means)


class Trace:
    """A curve of any length, kept in a bounded number of equally long pieces."""

    def __init__(self, most: int = 128) -> None:
        self._most = most
        self._weight = 1  # values in a piece
        self._pieces: list[float] = []
        self._sum, self._count = 0.0, 0

    def add(self, value: float) -> None:
        """Append a value."""
        self._sum += value
        self._count += 1
        if self._count < self._weight:
            return
        self._pieces.append(self._sum / self._count)
        self._sum, self._count = 0.0, 0
        if len(self._pieces) == self._most:
            pairs = zip(self._pieces[::2], self._pieces[1::2], strict=True)
            self._pieces = [(first + second) / 2 for first, second in pairs]
            self._weight *= 2

    @property
    def values(self) -> list[float]:
        """The means of the pieces so far."""
        return self._pieces
