"""The ranks as `torch.distributed` connects them: gloo on processors, nccl on GPUs."""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from datetime import timedelta
from traceback import clear_frames
from types import TracebackType
from typing import Any

import torch
from torch import Tensor

from mnist_cli.errors import (
    ExitCode,
    InterruptedRunError,
    MnistError,
    PeerError,
    TerminatedRunError,
    UsageError,
)
from mnist_cli.runtime.distributed.group import TAIL, ProcessGroup
from mnist_cli.runtime.distributed.ranks import RankInfo, rank_info_from_env
from mnist_cli.runtime.distributed.store import HEARD, WRITTEN, RendezvousStore, meet
from mnist_cli.runtime.signals import StopRequested

# A lost rank is noticed by its connection. This is for one that is held up, by a reader who pauses.
_LONGEST_WAIT = timedelta(days=1)


class TorchProcessGroup(ProcessGroup):
    """Several processes that `torch.distributed` connects: gloo on processors, nccl on GPUs."""

    def __init__(self, place: RankInfo, tell: Callable[[str], None]) -> None:
        """Join the others, and wait for them; the first of them tells of errors by `tell`."""
        import torch.distributed as dist  # noqa: PLC0415 (not in every PyTorch)

        super().__init__(place)
        self._tell = tell
        self._dist = dist
        self._seconds = 0.0
        prefixed: Any = dist.PrefixStore  # type: ignore[attr-defined]
        try:
            store, _, _ = next(dist.rendezvous("env://"))  # type: ignore[attr-defined]
            store = prefixed(f"mnist_cli/{meet(store, place)}", store)
            self._board = RendezvousStore(prefixed("words", store))
            dist.init_process_group(
                "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo",
                store=prefixed("sums", store),
                rank=place.rank,
                world_size=place.size,
                timeout=_LONGEST_WAIT,
            )
        except RuntimeError as error:
            where = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
            reason = str(error).splitlines()[0][:200]
            raise UsageError(
                f"rank {place.rank} of {place.size} did not meet the others at {where}: {reason}"
            ) from error

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        """Leave the group.

        What ends all ranks alike is told by the first, once it has written full_batch. What ends
        this one alone is left where the others find it, and told by the first of them.
        """
        known = error if isinstance(error, MnistError) else None
        raised_on_all_ranks = error is None or (known is not None and known.raised_on_all_ranks)
        if error is not None:
            self._board.report(self.rank_info.rank, error)
        if not raised_on_all_ranks:
            self._leave()  # or the others would wait for this rank
        if self.is_main:
            if known is not None and not known.already_reported:
                self._tell(str(known))
                known.already_reported = True
            self._board.end(self.size - 1)
        elif (
            self._board.hears_of_the_end(WRITTEN if raised_on_all_ranks else HEARD)
            and known is not None
        ):
            known.already_reported = True
        if raised_on_all_ranks:
            self._leave()

    def _leave(self) -> None:
        """Close the connections to the others."""
        with suppress(RuntimeError):
            self._dist.destroy_process_group()

    def check(self) -> None:
        """Leave it to the next sum."""

    @contextmanager
    def defer_interrupt(self) -> Iterator[None]:
        """Leave it to the sum that follows, which raises StopRequested in all ranks."""
        with suppress(StopRequested):
            yield

    def seconds(self) -> float:
        """Return the time on the first rank's clock at the last sum."""
        return self._seconds

    def all_reduce(self, values: Tensor) -> None:
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
            raise StopRequested

    def argmax_rank(self, count: int) -> int:
        """Return the first rank that has the most of something, of which this one has `count`."""
        counts = torch.zeros(self.size, dtype=torch.int64)
        counts[self.rank_info.rank] = count
        with self._together():
            self._dist.all_reduce(counts)
        return counts.tolist().index(int(counts.max()))

    def broadcast(self, data: bytes | None, source: int = 0) -> bytes | None:
        """Return the data of one rank."""
        with self._together():
            length = torch.tensor([-1 if data is None else len(data)])
            self._dist.broadcast(length, source)
            if length < 0:
                return None
            contents = torch.empty(int(length), dtype=torch.uint8)
            if self.rank_info.rank == source:
                contents.copy_(torch.frombuffer(bytearray(data or b""), dtype=torch.uint8))
            self._dist.broadcast(contents, source)
        return contents.numpy().tobytes()

    @contextmanager
    def local_main_first(self) -> Iterator[None]:
        """Let the others on a machine wait until its first rank has been here."""
        is_first = self.rank_info.local_rank == 0
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
        """Raise PeerError if another rank has told of a failure, or gives no more signs of life."""
        with self._together():
            failure = self._board.failure()
            lost = self._board.lost(self.size) if self.is_main else None
        if failure:
            raise failure
        if lost is not None:
            raise PeerError(f"rank {lost} was lost", ExitCode.TERMINATED)

    @contextmanager
    def heartbeat(self) -> Iterator[None]:
        """Give signs of life to the first rank, if it is another one."""
        with nullcontext() if self.is_main else self._board.heartbeat(self.rank_info.rank):
            yield

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


def join(tell: Callable[[str], None]) -> ProcessGroup:
    """Return the group of ranks that the environment tells of, once all are there.

    Of what goes wrong with many, the first tells by `tell`, with one line or two.

    Raises:
        UsageError: the environment contradicts itself.

    """
    place = rank_info_from_env()
    return TorchProcessGroup(place, tell) if place.size > 1 else ProcessGroup(place)
