"""The ranks that train together: what they add up, agree on, and tell each other of failures.

Every rank makes the same decisions, because all it decides on comes out of a sum over the ranks.
What comes to one rank alone, a signal or the time on its clock, goes into the next sum; the ranks
stop together behind it. So nobody waits for a rank that has left.
"""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from traceback import clear_frames
from types import TracebackType
from typing import Any

import torch
from torch import Tensor

from mnist_cli.board import HEARD, WRITTEN, Board, meet
from mnist_cli.errors import (
    ExitCode,
    InterruptedRunError,
    MnistError,
    PeerError,
    TerminatedRunError,
)
from mnist_cli.ranks import Place, place_in
from mnist_cli.signals import Stopped, StopSignals

TAIL = 3  # entries of a sum that the group has for itself: SIGINT, SIGTERM, the first rank's clock


class Group:
    """One process that trains by itself: every sum over it is there already."""

    def __init__(self, place: Place | None = None) -> None:
        self.place = place or Place()
        self._signals = StopSignals()
        self._clock: Callable[[], float] = float
        self._told: dict[str, bytes] = {}
        self._counts: dict[str, int] = {}

    @property
    def size(self) -> int:
        """The number of ranks."""
        return self.place.size

    @property
    def is_main(self) -> bool:
        """Tell whether this rank is the one that prints and writes."""
        return self.place.is_main

    def __enter__(self) -> "Group":
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
        rank, size = self.place.rank, self.place.size
        return slice(rank * count // size, (rank + 1) * count // size)

    def check(self) -> None:
        """Raise Stopped if a signal came, unless the ranks have yet to agree on that."""
        self._signals.check()

    @contextmanager
    def deferring(self) -> Iterator[None]:
        """Keep a signal that stops this rank's share of a sum until the ranks have agreed."""
        yield

    def seconds(self) -> float:
        """Return the time on the clock, the same in all ranks."""
        return self._clock()

    def add_up(self, values: Tensor) -> None:
        """Add up a vector over the ranks, in place. Its last `TAIL` entries are the group's own.

        Raises:
            Stopped: a signal came to one of the ranks.
            PeerError: one of the ranks failed or was lost.

        """

    def first_with_most(self, count: int) -> int:
        """Return the first rank that has the most of something, of which this one has `count`."""
        return 0

    def hand_out(self, data: bytes | None, source: int = 0) -> bytes | None:
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
        """Raise PeerError if another rank has told of a failure."""

    @contextmanager
    def one_per_machine_first(self) -> Iterator[None]:
        """Let the others on a machine wait until its first rank has been here."""
        yield


class Ranks(Group):
    """Several processes that `torch.distributed` connects: gloo on processors, nccl on GPUs."""

    def __init__(self, place: Place, tell: Callable[[str], None]) -> None:
        """Join the others, and wait for them; the first of them tells of errors by `tell`."""
        import torch.distributed as dist  # noqa: PLC0415 (not in every PyTorch)

        super().__init__(place)
        self._tell = tell
        self._dist = dist
        self._seconds = 0.0
        store, _, _ = next(dist.rendezvous("env://"))  # type: ignore[attr-defined]
        prefixed: Any = dist.PrefixStore  # type: ignore[attr-defined]
        store = prefixed(f"mnist_cli/{meet(store, place)}", store)
        self._board = Board(prefixed("words", store))
        dist.init_process_group(
            "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo",
            store=prefixed("sums", store),
            rank=place.rank,
            world_size=place.size,
        )

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        """Leave the group.

        What ends all ranks alike is told by the first, once it has written everything. What ends
        this one alone is left where the others find it, and told by the first of them.
        """
        known = error if isinstance(error, MnistError) else None
        is_everyones = error is None or (known is not None and known.is_everyones)
        if error is not None and not is_everyones:
            self._board.report(self.place.rank, error)
            self._leave()  # or the others would wait for this rank
        if self.is_main:
            if known is not None and not known.is_told:
                self._tell(str(known))
                known.is_told = True
            self._board.end(self.size - 1)
        elif self._board.hears_of_the_end(WRITTEN if is_everyones else HEARD) and known is not None:
            known.is_told = True
        if is_everyones:
            self._leave()

    def _leave(self) -> None:
        """Close the connections to the others."""
        with suppress(RuntimeError):
            self._dist.destroy_process_group()

    def check(self) -> None:
        """Leave it to the next sum."""

    @contextmanager
    def deferring(self) -> Iterator[None]:
        """Leave it to the sum that follows, which raises Stopped in all ranks."""
        with suppress(Stopped):
            yield

    def seconds(self) -> float:
        """Return the time on the first rank's clock at the last sum."""
        return self._seconds

    def add_up(self, values: Tensor) -> None:
        """Add up over the ranks."""
        why = self._signals.error
        at = self._clock() if self.is_main else 0.0
        own = (why is InterruptedRunError, why is TerminatedRunError, at)
        values[-TAIL:] = torch.tensor(own, dtype=values.dtype)
        with self._together():
            self._dist.all_reduce(values)
            interrupted, terminated, self._seconds = values[-TAIL:].tolist()
        if interrupted or terminated:
            self._signals.note(signal.SIGINT if interrupted else signal.SIGTERM)
            raise Stopped

    def first_with_most(self, count: int) -> int:
        """Return the first rank that has the most of something, of which this one has `count`."""
        counts = torch.zeros(self.size, dtype=torch.int64)
        counts[self.place.rank] = count
        with self._together():
            self._dist.all_reduce(counts)
        return counts.tolist().index(int(counts.max()))

    def hand_out(self, data: bytes | None, source: int = 0) -> bytes | None:
        """Return the data of one rank."""
        with self._together():
            length = torch.tensor([-1 if data is None else len(data)])
            self._dist.broadcast(length, source)
            if length < 0:
                return None
            contents = torch.empty(int(length), dtype=torch.uint8)
            if self.place.rank == source:
                contents.copy_(torch.frombuffer(bytearray(data or b""), dtype=torch.uint8))
            self._dist.broadcast(contents, source)
        return contents.numpy().tobytes()

    @contextmanager
    def one_per_machine_first(self) -> Iterator[None]:
        """Let the others on a machine wait until its first rank has been here."""
        is_first = self.place.local_rank == 0
        if not is_first:
            self.wait()
        yield
        if is_first:
            self.wait()

    def wait(self) -> None:
        """Wait until every rank is here."""
        with self._together():
            self._dist.all_reduce(torch.zeros(1))

    def put(self, name: str, data: bytes) -> None:
        """Leave data where every rank finds it."""
        with self._together():
            self._board.put(name, data)

    def get(self, name: str) -> bytes | None:
        """Return what a rank has put there, or `None` while none has."""
        with self._together():
            return self._board.get(name)

    def count(self, name: str) -> int:
        """Count one more, over all ranks."""
        with self._together():
            return self._board.count(name)

    def look(self) -> None:
        """Raise PeerError if another rank has told of a failure."""
        with self._together():
            failure = self._board.failure()
        if failure:
            raise failure

    @contextmanager
    def _together(self) -> Iterator[None]:
        """Turn what PyTorch says of a connection that broke into what broke it."""
        try:
            yield
        except RuntimeError as error:
            # Its frames hold the connections, which must close when this rank leaves.
            clear_frames(error.__traceback__)
            raise self._failure() from error

    def _failure(self) -> PeerError:
        """Return what ended another rank, as far as it could tell: it does before it leaves."""
        with suppress(RuntimeError):
            if failure := self._board.failure():
                return failure
        return PeerError("another rank was lost", ExitCode.TERMINATED)


def join(tell: Callable[[str], None]) -> Group:
    """Return the group of ranks that the environment tells of, once all are there.

    Of what goes wrong with many, the first tells by `tell`, with one line or two.

    Raises:
        UsageError: the environment contradicts itself.

    """
    place = place_in()
    return Ranks(place, tell) if place.size > 1 else Group(place)
