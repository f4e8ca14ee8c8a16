"""The store of `torch.distributed` through which ranks meet and report failures."""

import json
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any
from uuid import uuid4

from mnist_cli.errors import ExitCode, MnistError, PeerError
from mnist_cli.runtime.distributed.ranks import RankInfo

REPORT_TIMEOUT = 5.0  # seconds for rank 0 to report a failure
WRITE_TIMEOUT = 600.0  # seconds for rank 0 to write its outputs at the end
_RENDEZVOUS_TIMEOUT = 1800.0  # seconds for all ranks to start
_POLL_INTERVAL = 0.02
_MAX_MESSAGE = 300  # characters of a message that PyTorch wrote


class RendezvousStore:
    """Messages between ranks in a `torch.distributed` store.

    Its methods raise RuntimeError when the connection to the store is lost.
    """

    def __init__(self, store: Any) -> None:  # noqa: ANN401 (it has many types)
        self._store = store

    def report(self, rank: int, error: BaseException) -> None:
        """Store the failure of a rank, unless another rank failed first."""
        if isinstance(error, PeerError):
            return
        if isinstance(error, MnistError):
            code, text = int(error.code), str(error)
        elif isinstance(error, KeyboardInterrupt):
            code, text = int(ExitCode.INTERRUPTED), "interrupted"
        elif isinstance(error, SystemExit):
            code, text = int(ExitCode.TERMINATED), "terminated"
        else:
            message = " ".join(f"{type(error).__name__}: {error}".split())
            code, text = int(ExitCode.BUG), message[:_MAX_MESSAGE]
        report = json.dumps({"rank": rank, "code": code, "text": text})
        with suppress(RuntimeError):
            self._store.compare_set("failure", "", report)

    def failure(self) -> PeerError | None:
        """Return the failure that a rank reported, if there is one."""
        if not self._store.check(["failure"]):
            return None
        report = json.loads(self._store.get("failure"))
        return PeerError(f"rank {report['rank']}: {report['text']}", report["code"])

    def shut_down(self, others: int) -> None:
        """Announce that rank 0 has finished, and wait until the other ranks know.

        Rank 0 must stay until then: it may host the store, and others may still be in an
        all-reduce with it.
        """
        with suppress(RuntimeError):
            self._store.set("end", "")
            _poll(lambda: int(self._store.add("heard", 0)) >= others, REPORT_TIMEOUT)

    def wait_for_shutdown(self, timeout: float) -> bool:
        """Wait until rank 0 has finished; return False if that takes longer than `timeout`."""
        with suppress(RuntimeError):
            finished = _poll(lambda: bool(self._store.check(["end"])), timeout)
            self._store.add("heard", 1)
            return finished
        return False


def rendezvous(store: Any, rank_info: RankInfo) -> str:  # noqa: ANN401 (it has many types)
    """Wait until all ranks are there, and return a name for this rendezvous.

    torchrun's store outlives a restart, so it may hold messages of an earlier attempt. Each rank
    therefore sends a token that was never used before, and rank 0 answers every token with the
    name until all ranks have acknowledged it.

    Raises:
        RuntimeError: some ranks did not come.

    """
    token = uuid4().hex
    missing = RuntimeError(f"not all came within {_RENDEZVOUS_TIMEOUT:.0f} seconds")
    if not rank_info.is_main:
        store.set(f"token/{rank_info.rank}", token)
        if not _poll(lambda: store.check([f"answer/{token}"]), _RENDEZVOUS_TIMEOUT):
            raise missing
        name: str = store.get(f"answer/{token}").decode()
        store.add(f"acknowledged/{name}", 1)
        return name
    others = range(1, rank_info.size)

    def all_acknowledged() -> bool:
        for rank in others:
            if store.check([f"token/{rank}"]):
                store.set(f"answer/{store.get(f'token/{rank}').decode()}", token)
        return int(store.add(f"acknowledged/{token}", 0)) == len(others)

    if not _poll(all_acknowledged, _RENDEZVOUS_TIMEOUT):
        raise missing
    return token


def _poll(condition: Callable[[], bool], timeout: float) -> bool:
    """Wait for a condition; unlike the store's own wait, this one is ended by a signal."""
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(_POLL_INTERVAL)
    return False
