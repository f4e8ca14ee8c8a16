"""The ranks that train together: what they add up, agree on, and tell each other of failures.

Every rank makes the same decisions, because all it decides on comes out of a sum over the ranks.
What comes to one rank alone, a signal or the time on its clock, goes into the next sum; the ranks
stop together behind it. So in a training nobody waits for a rank that has left. In a comparison
each works by itself; there they look at times whether the others are well.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType

from torch import Tensor

from mnist_cli.runtime.distributed.ranks import RankInfo
from mnist_cli.runtime.signals import StopSignals

TAIL = 3  # entries of a sum that the group has for itself: SIGINT, SIGTERM, the first rank's clock


class ProcessGroup:
    """One process that trains by itself: every sum over it is there already."""

    def __init__(self, place: RankInfo | None = None) -> None:
        self.rank_info = place or RankInfo()
        self._signals = StopSignals()
        self._clock: Callable[[], float] = float
        self._told: dict[str, bytes] = {}
        self._counts: dict[str, int] = {}

    @property
    def size(self) -> int:
        """The number of ranks."""
        return self.rank_info.size

    @property
    def is_main(self) -> bool:
        """Tell whether this rank is the one that prints and writes."""
        return self.rank_info.is_main

    def __enter__(self) -> "ProcessGroup":
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        """Leave the group, and tell it if that is by an error."""

    def listen(self, signals: StopSignals, clock: Callable[[], float]) -> None:
        """Take the signals and the clock that the ranks are to agree on."""
        self._signals, self._clock = signals, clock

    def share(self, count: int) -> slice:
        """Return this rank's share of `count` things; the shares differ by one at most."""
        rank, size = self.rank_info.rank, self.rank_info.size
        return slice(rank * count // size, (rank + 1) * count // size)

    def check(self) -> None:
        """Raise StopRequested if a signal came, unless the ranks have yet to agree on that."""
        self._signals.check()

    @contextmanager
    def defer_interrupt(self) -> Iterator[None]:
        """Keep a signal that stops this rank's share of a sum until the ranks have agreed."""
        yield

    def seconds(self) -> float:
        """Return the time on the clock, the same in all ranks."""
        return self._clock()

    def all_reduce(self, values: Tensor) -> None:
        """Add up a vector over the ranks, in place. Its last `TAIL` entries are the group's own.

        Raises:
            StopRequested: a signal came to one of the ranks.
            PeerError: one of the ranks failed or was lost.

        """

    def argmax_rank(self, count: int) -> int:
        """Return the first rank that has the most of something, of which this one has `count`."""
        return 0

    def broadcast(self, data: bytes | None, source: int = 0) -> bytes | None:
        """Return the data of one rank."""
        return data

    def put(self, name: str, data: bytes) -> None:
        """Leave data where every rank finds it."""
        self._told[name] = data

    def get(self, name: str) -> bytes | None:
        """Return what a rank has put there, or `None` while none has."""
        return self._told.get(name)

    def count(self, name: str) -> int:
        """Count one more, over all ranks, and return the number: 1 for the first."""
        self._counts[name] = self._counts.get(name, 0) + 1
        return self._counts[name]

    def look(self) -> None:
        """Raise PeerError if another rank has told of a failure, or gives no more signs of life."""

    @contextmanager
    def heartbeat(self) -> Iterator[None]:
        """Give signs of life to the first rank, if it is another one."""
        yield

    @contextmanager
    def local_main_first(self) -> Iterator[None]:
        """Let the others on a machine wait until its first rank has been here."""
        yield
