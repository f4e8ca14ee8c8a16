"""The machine: device, threads and random streams."""

import ctypes
import os
import platform
import sys
from pathlib import Path

import torch

from mnist_cli.errors import UsageError
from mnist_cli.runtime.distributed.ranks import RankInfo, threads_per_rank

# Of <malloc.h>.
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -2, -3, -8


def pick_device(name: str, place: RankInfo | None = None) -> torch.device:
    """Return the device that `name` asks for; `auto` takes a GPU where there is one.

    Of several ranks on a machine, each takes a GPU of its own.

    Raises:
        UsageError: this PyTorch cannot use that device here.

    """
    place = place or RankInfo()
    spread = place.size > 1
    available = {
        "cuda": torch.cuda.is_available() and place.local_size <= torch.cuda.device_count(),
        "mps": torch.backends.mps.is_available() and not spread,
        "cpu": True,
    }
    if name == "auto":
        name = next(kind for kind, usable in available.items() if usable)
    if not available[name]:
        whom = f" for each of {place.local_size} ranks" if spread else ""
        raise UsageError(
            f"--device {name}: this PyTorch ({torch.__version__}) finds no {name} device here"
            f"{whom}; use --device cpu or auto"
        )
    if name == "cuda" and spread:
        torch.cuda.set_device(place.local_rank)
        return torch.device("cuda", place.local_rank)
    return torch.device(name)


def set_threads(threads: int | None, place: RankInfo | None = None) -> None:
    """Use so many processor threads; `None` leaves the number to PyTorch and OMP_NUM_THREADS.

    Several ranks on a machine share its cores out (see `threads_per_rank`).
    """
    if threads is None:
        threads = threads_per_rank(place or RankInfo(), usable_cores())
    if threads is not None:
        torch.set_num_threads(threads)


def processor() -> str:
    """Return the processor's name, as far as the system tells."""
    try:
        with Path("/proc/cpuinfo").open() as file:
            for line in file:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def usable_cores() -> int:
    """Return the number of processor cores that this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)  # not on every system
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def threads_for(device: torch.device) -> int:
    """Return the threads that share out work there: as many as PyTorch uses, if processors."""
    return torch.get_num_threads() if device.type == "cpu" else 1


def keep_freed_memory() -> bool:
    """Have the C library keep the memory that this process frees; return whether it does (glibc).

    It would give large blocks back to the system, and be given them anew, page by page, in every
    update: a tenth of the time of a large network.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    settings = {
        _TRIM_THRESHOLD: 2**30,
        _TOP_PAD: 2**28,
        _MMAP_THRESHOLD: 2**25,  # the most that it takes
        _ARENA_MAX: 1,  # or each thread would keep memory of its own
    }
    return mallopt is not None and all(mallopt(*setting) for setting in settings.items())
