"""The interface of a process group, and the group of one process.

All ranks make the same decisions, because every decision depends only on the result of an
all-reduce. What is known to one rank alone, such as a signal or the time on its clock, is added to
the next all-reduce, and the ranks stop together after it. So no rank waits for one that has left.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType

from torch import Tensor

from mnist_cli.runtime.distributed.ranks import RankInfo
from mnist_cli.runtime.signals import StopSignals

# Entries at the end of an all-reduced vector: SIGINT, SIGTERM, the clock of rank 0.
AGREED_ENTRIES = 3


class ProcessGroup:
    """The group of a single process, and the interface that `TorchProcessGroup` implements."""

    def __init__(self, rank_info: RankInfo | None = None) -> None:
        self.rank_info = rank_info or RankInfo()
        self._signals = StopSignals()
        self._clock: Callable[[], float] = float

    @property
    def size(self) -> int:
        """The number of ranks."""
        return self.rank_info.size

    @property
    def is_main(self) -> bool:
        """True for rank 0, which prints and writes."""
        return self.rank_info.is_main

    def __enter__(self) -> "ProcessGroup":
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        """Leave the group, and report the error, if there is one, to the other ranks."""

    def listen(self, signals: StopSignals, clock: Callable[[], float]) -> None:
        """Set the signals and the clock on which the ranks agree at each all-reduce."""
        self._signals, self._clock = signals, clock

    def shard(self, count: int) -> slice:
        """Return this rank's shard of `count` items; the sizes of shards differ by one at most."""
        rank, size = self.rank_info.rank, self.rank_info.size
        return slice(rank * count // size, (rank + 1) * count // size)

    def check_stop(self) -> None:
        """Raise StopRequested if a signal came; in a group of several, all_reduce does that."""
        self._signals.check_stop()

    @contextmanager
    def defer_stop(self) -> Iterator[None]:
        """Let the all-reduce that follows raise for signals, if there are several ranks.

        A single process does not wait for others, so it stops within the block.
        """
        yield

    def seconds(self) -> float:
        """Return the time on the clock, the same value in all ranks."""
        return self._clock()

    def all_reduce(self, values: Tensor) -> None:
        """Sum a vector over all ranks in place. Its last `AGREED_ENTRIES` values are the group's.

        Raises:
            StopRequested: a rank received a signal.
            PeerError: another rank failed or was lost.

        """

    def argmax_rank(self, count: int) -> int:
        """Return the first rank with the largest `count`."""
        return 0

    def broadcast(self, data: bytes | None, source: int = 0) -> bytes | None:
        """Return the data of rank `source`."""
        return data

    @contextmanager
    def local_main_first(self) -> Iterator[None]:
        """Run the block in the first rank of each machine, then in its other ranks."""
        yield
