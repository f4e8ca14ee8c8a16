"""The board on which ranks leave word for each other: a store that PyTorch keeps for them."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any
from uuid import uuid4

from mnist_cli.errors import ExitCode, MnistError, PeerError
from mnist_cli.runtime.distributed.ranks import RankInfo

# Seconds until the first rank has told of a failure, or has written full_batch.
HEARD, WRITTEN = 5.0, 600.0
MEETING = 1800.0  # seconds, for all ranks to be there
_MOST_LETTERS = 300  # of a message of PyTorch's
_PULSE, _DEATH = 1.0, 30.0  # seconds from one sign of life to the next; and till there is no hope


class RendezvousStore:
    """A `torch.distributed` store. Where the connection to it is lost, RuntimeError is raised."""

    def __init__(self, store: Any) -> None:  # noqa: ANN401 (it has many types)
        self._store = store
        self._pulses: dict[int, tuple[int, float]] = {}  # by rank: how many, and when it changed

    def put(self, name: str, data: bytes) -> None:
        """Leave data under a name."""
        self._store.set(f"put/{name}", data)

    def get(self, name: str) -> bytes | None:
        """Return what was put there, or `None` while nothing was."""
        there = self._store.check([f"put/{name}"])
        return bytes(self._store.get(f"put/{name}")) if there else None

    def count(self, name: str) -> int:
        """Count one more, and return the number: 1 for the first."""
        return int(self._store.add(f"count/{name}", 1))

    def report(self, rank: int, error: BaseException) -> None:
        """Leave word of a failure, unless another rank was first."""
        if isinstance(error, PeerError):
            return
        if isinstance(error, MnistError):
            code, text = int(error.code), str(error)
        elif isinstance(error, KeyboardInterrupt):
            code, text = int(ExitCode.INTERRUPTED), "interrupted"
        elif isinstance(error, SystemExit):
            code, text = int(ExitCode.TERMINATED), "told to stop"
        else:
            words = " ".join(f"{type(error).__name__}: {error}".split())
            code, text = int(ExitCode.BUG), words[:_MOST_LETTERS]
        report = json.dumps({"rank": rank, "code": code, "text": text})
        with suppress(RuntimeError):
            self._store.compare_set("failure", "", report)

    def failure(self) -> PeerError | None:
        """Return what ended a rank, if one has left word of it."""
        if not self._store.check(["failure"]):
            return None
        report = json.loads(self._store.get("failure"))
        return PeerError(f"rank {report['rank']}: {report['text']}", report["code"])

    @contextmanager
    def heartbeat(self, rank: int) -> Iterator[None]:
        """Give signs of life, by a thread, while a rank is busy by itself."""
        ended = threading.Event()

        def beat() -> None:
            with suppress(RuntimeError):
                while not ended.wait(_PULSE):
                    self._store.add(f"heartbeat/{rank}", 1)

        thread = threading.Thread(target=beat, name="heartbeat", daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()

    def lost(self, ranks: int) -> int | None:
        """Return a rank, other than the first, that gave no sign of life for too long."""
        now = time.monotonic()
        for rank in range(1, ranks):
            count, since = self._pulses.get(rank, (-1, now))
            found = int(self._store.add(f"heartbeat/{rank}", 0))
            self._pulses[rank] = (found, now if found != count else since)
            if now - self._pulses[rank][1] > _DEATH:
                return rank
        return None

    def end(self, others: int) -> None:
        """Leave word that the first rank has told and written full_batch; wait till it is heard.

        Before that, the first rank has to be there: the others may be in a sum with it still, and
        the store may be its own.
        """
        with suppress(RuntimeError):
            self._store.set("end", "")
            _poll(lambda: int(self._store.add("heard", 0)) >= others, HEARD)

    def hears_of_the_end(self, patience: float) -> bool:
        """Wait for that word, but not for ever."""
        with suppress(RuntimeError):
            heard = _poll(lambda: bool(self._store.check(["end"])), patience)
            self._store.add("heard", 1)
            return heard
        return False


def meet(store: Any, place: RankInfo) -> str:  # noqa: ANN401 (it has many types)
    """Return a name for this meeting of the ranks, once all are there.

    torchrun's store outlives a restart, and what the ranks of an earlier attempt left in it must
    not be taken for what these say. So each greets with a word that nobody has used before, and
    the first answers with the name until all have heard it.

    Raises:
        RuntimeError: some did not come.

    """
    word = uuid4().hex
    missing = RuntimeError(f"not all came within {MEETING:.0f} seconds")
    if not place.is_main:
        store.set(f"greeting/{place.rank}", word)
        if not _poll(lambda: store.check([f"answer/{word}"]), MEETING):
            raise missing
        name: str = store.get(f"answer/{word}").decode()
        store.add(f"heard/{name}", 1)
        return name
    others = range(1, place.size)

    def all_have_heard() -> bool:
        for rank in others:
            if store.check([f"greeting/{rank}"]):
                store.set(f"answer/{store.get(f'greeting/{rank}').decode()}", word)
        return int(store.add(f"heard/{word}", 0)) == len(others)

    if not _poll(all_have_heard, MEETING):
        raise missing
    return word


def _poll(condition: Callable[[], bool], patience: float) -> bool:
    """Wait for a condition; unlike one of the store's, this wait is ended by a signal."""
    until = time.monotonic() + patience
    while time.monotonic() < until:
        if condition():
            return True
        time.sleep(0.02)
    return False
