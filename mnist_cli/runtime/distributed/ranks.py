"""The rank of this process among those that torchrun, or another launcher, started."""

import os
from collections.abc import Mapping
from dataclasses import dataclass

from mnist_cli.errors import UsageError

_MAX_DIGITS = 6
_MAX_PORT = 65535


@dataclass(frozen=True)
class RankInfo:
    """A rank, counted from 0: one of `size` ranks, and one of `local_size` on this machine."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1

    @property
    def is_main(self) -> bool:
        """True for rank 0, which prints and writes."""
        return self.rank == 0

    @property
    def is_on_one_machine(self) -> bool:
        """True if all ranks are on this machine."""
        return self.local_size == self.size

    @classmethod
    def from_env(cls, environ: Mapping[str, str] = os.environ) -> "RankInfo":
        """Return the rank that the environment variables of torchrun set; without them, 0 of 1.

        Raises:
            UsageError: the variables contradict each other.

        """
        required = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
        if not all(environ.get(name) for name in required):
            return cls()
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
        return cls(rank, size, local_rank, local_size)


def is_launched(environ: Mapping[str, str] = os.environ) -> bool:
    """Return True if torchrun started this process; it passes on the signals that it gets."""
    return "TORCHELASTIC_RUN_ID" in environ


def is_store_in_launcher(environ: Mapping[str, str] = os.environ) -> bool:
    """Return True if torchrun hosts the store of the ranks, instead of rank 0."""
    return environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"


def master_port(environ: Mapping[str, str] = os.environ) -> int:
    """Return the port of the store.

    Raises:
        UsageError: it is not a port.

    """
    port = _number(environ, "MASTER_PORT")
    if port > _MAX_PORT:
        raise UsageError(f"MASTER_PORT={port} is no port; it must be at most {_MAX_PORT}")
    return port


def threads_per_rank(
    rank_info: RankInfo, cores: int, environ: Mapping[str, str] = os.environ
) -> int | None:
    """Return the default number of threads of a rank; `None` leaves it to PyTorch.

    torchrun sets OMP_NUM_THREADS to 1 when it starts several ranks, whatever the machine, so a 1
    is ignored and the cores are divided between the ranks. Another number was chosen by the user.
    """
    if rank_info.size == 1 or environ.get("OMP_NUM_THREADS", "1") != "1":
        return None
    return max(1, cores // rank_info.local_size)


def _number(environ: Mapping[str, str], name: str) -> int:
    text = environ[name]
    if not (text.isdecimal() and text.isascii() and len(text) <= _MAX_DIGITS):
        raise UsageError(
            f"{name}={text[:20]!r} is not a number of at most {_MAX_DIGITS} digits; torchrun sets "
            "it, or unset it"
        )
    return int(text)
