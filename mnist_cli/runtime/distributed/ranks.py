"""Where this process stands among those that torchrun, or another launcher, has started."""

import os
from collections.abc import Mapping
from dataclasses import dataclass

from mnist_cli.errors import UsageError

_WHERE = ("MASTER_ADDR", "MASTER_PORT")  # of the first rank
_MOST = 1 << 20


@dataclass(frozen=True)
class RankInfo:
    """One of `size` ranks, and of `local_size` on this machine; counted from 0."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1

    @property
    def is_main(self) -> bool:
        """Tell whether this rank is the one that prints and writes."""
        return self.rank == 0


def rank_info_from_env(environ: Mapping[str, str] = os.environ) -> RankInfo:
    """Return the place that the environment tells of, or that of a process by itself.

    Raises:
        UsageError: it contradicts itself.

    """
    if not all(environ.get(name) for name in ("RANK", "WORLD_SIZE", *_WHERE)):
        return RankInfo()
    rank, size = _number(environ, "RANK"), _number(environ, "WORLD_SIZE")
    local_rank, local_size = 0, 1
    if environ.get("LOCAL_RANK") and environ.get("LOCAL_WORLD_SIZE"):
        local_rank = _number(environ, "LOCAL_RANK")
        local_size = _number(environ, "LOCAL_WORLD_SIZE")
    if not (rank < size and local_rank < local_size <= size):
        raise UsageError(
            f"RANK={rank} of WORLD_SIZE={size}, LOCAL_RANK={local_rank} of "
            f"LOCAL_WORLD_SIZE={local_size} cannot be; torchrun sets them, or unset them all"
        )
    return RankInfo(rank, size, local_rank, local_size)


def is_launched(environ: Mapping[str, str] = os.environ) -> bool:
    """Tell whether torchrun has started this process, and passes on the signals that it gets."""
    return "TORCHELASTIC_RUN_ID" in environ


def threads_per_rank(
    place: RankInfo, cores: int, environ: Mapping[str, str] = os.environ
) -> int | None:
    """Return the threads that a rank should use by itself, or `None` to leave that to PyTorch.

    torchrun sets OMP_NUM_THREADS to 1 for several ranks, whatever the machine: that is no one's
    wish, and the cores are shared out instead. Another number is.
    """
    if place.size == 1 or environ.get("OMP_NUM_THREADS", "1") != "1":
        return None
    return max(1, cores // place.local_size)


def _number(environ: Mapping[str, str], name: str) -> int:
    text = environ[name]
    if not (text.isdecimal() and text.isascii() and len(text) < len(str(_MOST))):
        raise UsageError(f"{name}={text[:20]!r} is not a number; torchrun sets it, or unset it")
    return int(text)
