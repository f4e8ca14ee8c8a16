"""A process group of several ranks, connected by `torch.distributed`."""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from traceback import clear_frames
from types import TracebackType

import torch
import torch.distributed as dist
from torch import Tensor

from mnist_cli.config.quoting import escape_controls, quote
from mnist_cli.errors import (
    ExitCode,
    InterruptedRunError,
    MnistError,
    PeerError,
    TerminatedRunError,
    UsageError,
)
from mnist_cli.runtime.distributed.group import AGREED_ENTRIES, ProcessGroup
from mnist_cli.runtime.distributed.ranks import RankInfo
from mnist_cli.runtime.distributed.store import (
    REPORT_TIMEOUT,
    MessageStore,
    is_on_loopback,
    listen_on_loopback,
    open_store,
    rendezvous,
    with_prefix,
)
from mnist_cli.runtime.signals import StopRequested

WRITE_TIMEOUT = 600.0  # seconds for rank 0 to write its outputs at the end
_MAX_BROADCAST = 1 << 26  # bytes: as of a checkpoint
# A lost rank is noticed when its connection breaks. A rank may be slow for good reason: its output
# may wait for a reader that pauses.
_TIMEOUT = timedelta(days=1)


class TorchProcessGroup(ProcessGroup):
    """Ranks connected by `torch.distributed`: gloo on CPUs, NCCL on GPUs."""

    def __init__(self, rank_info: RankInfo, report: Callable[[str], None]) -> None:
        """Join the group, and wait until all ranks have; rank 0 calls `report` with an error."""
        super().__init__(rank_info)
        self._report = report
        self._seconds = 0.0
        try:
            if is_on_loopback(rank_info):
                listen_on_loopback()
            store = open_store(rank_info)
            store = with_prefix(f"mnist_cli/{rendezvous(store, rank_info)}", store)
            self._store = MessageStore(with_prefix("messages", store))
            dist.init_process_group(
                "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo",
                store=with_prefix("collectives", store),
                rank=rank_info.rank,
                world_size=rank_info.size,
                timeout=_TIMEOUT,
            )
        except (OSError, RuntimeError) as error:
            address = quote(f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}")
            reason = escape_controls(str(error).partition("\n")[0][:300])
            raise UsageError(
                f"rank {rank_info.rank} of {rank_info.size} did not meet the others at {address}: "
                f"{reason}"
            ) from error

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        """Leave the group.

        An error that all ranks raise is reported by rank 0, once it has written everything. An
        error of this rank alone is left in the store, where the others find it; rank 0 reports it.
        """
        known = error if isinstance(error, MnistError) else None
        raised_on_all_ranks = error is None or (known is not None and known.raised_on_all_ranks)
        if error is not None:
            self._store.report(self.rank_info.rank, error)
        if not raised_on_all_ranks:
            self._disconnect()  # or the others would wait for this rank
        if self.is_main:
            if known is not None and not known.already_reported:
                self._report(str(known))
                known.already_reported = True
            self._store.shut_down(self.size - 1)
        elif (
            self._store.wait_for_shutdown(WRITE_TIMEOUT if raised_on_all_ranks else REPORT_TIMEOUT)
            and known is not None
        ):
            known.already_reported = True
        if raised_on_all_ranks:
            self._disconnect()

    def _disconnect(self) -> None:
        with suppress(RuntimeError):
            dist.destroy_process_group()

    def check_stop(self) -> None:
        """Do nothing: the next all-reduce raises StopRequested in all ranks."""

    @contextmanager
    def defer_stop(self) -> Iterator[None]:
        """Suppress StopRequested: the all-reduce that follows raises it in all ranks."""
        with suppress(StopRequested):
            yield

    def seconds(self) -> float:
        """Return the time on rank 0's clock at the last all-reduce."""
        return self._seconds

    def all_reduce(self, values: Tensor) -> None:
        """Sum a vector over all ranks in place; its last `AGREED_ENTRIES` are the group's."""
        error = self._signals.error
        seconds = self._clock() if self.is_main else 0.0
        own = (error is InterruptedRunError, error is TerminatedRunError, seconds)
        values[-AGREED_ENTRIES:] = torch.tensor(own, dtype=values.dtype)
        with self._peer_errors():
            dist.all_reduce(values)
            interrupted, terminated, self._seconds = values[-AGREED_ENTRIES:].tolist()
        if interrupted or terminated:
            self._signals.note(signal.SIGINT if interrupted else signal.SIGTERM)
            raise StopRequested

    def argmax_rank(self, count: int) -> int:
        """Return the first rank with the largest `count`."""
        counts = torch.zeros(self.size, dtype=torch.int64)
        counts[self.rank_info.rank] = count
        with self._peer_errors():
            dist.all_reduce(counts)
        return counts.tolist().index(int(counts.max()))

    def broadcast(self, data: bytes | None, source: int = 0) -> bytes | None:
        """Return the data of rank `source`."""
        with self._peer_errors():
            lengths = torch.tensor([-1 if data is None else len(data)])
            dist.broadcast(lengths, source)
            length = int(lengths)
            if length > _MAX_BROADCAST:
                raise PeerError(
                    f"rank {source} sent {length} bytes, which is too much", ExitCode.TERMINATED
                )
            if length < 0:
                return None
            contents = torch.empty(length, dtype=torch.uint8)
            if self.rank_info.rank == source:
                contents.copy_(torch.frombuffer(bytearray(data or b""), dtype=torch.uint8))
            dist.broadcast(contents, source)
        return contents.numpy().tobytes()

    @contextmanager
    def local_main_first(self) -> Iterator[None]:
        """Run the block in the first rank of each machine, then in its other ranks."""
        is_first = self.rank_info.local_rank == 0
        if not is_first:
            self.wait()
        yield
        if is_first:
            self.wait()

    def wait(self) -> None:
        """Wait until every rank calls this (a barrier)."""
        with self._peer_errors():
            dist.all_reduce(torch.zeros(1))

    @contextmanager
    def _peer_errors(self) -> Iterator[None]:
        """Turn PyTorch's error for a broken connection into the PeerError that explains it."""
        try:
            yield
        except RuntimeError as error:
            # Its frames hold the connections, which must close when this rank leaves.
            clear_frames(error.__traceback__)
            raise self._failure() from error

    def _failure(self) -> PeerError:
        """Return the failure that another rank reported; a rank does so before it disconnects."""
        with suppress(RuntimeError):
            if failure := self._store.failure():
                return failure
        return PeerError("another rank was lost", ExitCode.TERMINATED)


def join(report: Callable[[str], None]) -> ProcessGroup:
    """Return the process group that the environment describes, once all ranks have joined it.

    With several ranks, rank 0 calls `report` with the message of an error.

    Raises:
        UsageError: the environment contradicts itself, or the ranks did not meet.

    """
    rank_info = RankInfo.from_env()
    return TorchProcessGroup(rank_info, report) if rank_info.size > 1 else ProcessGroup(rank_info)
