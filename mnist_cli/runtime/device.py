"""Device, processor cores, threads and memory allocation."""

import ctypes
import logging
import os
import platform
import re
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import torch

from mnist_cli.errors import UsageError
from mnist_cli.runtime.cores import cpu_quota, usable_cores
from mnist_cli.runtime.distributed.ranks import RankInfo, threads_per_rank

_log = logging.getLogger(__name__)
# Parameters of mallopt in <malloc.h>.
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -2, -3, -8


def pick_device(name: str, rank_info: RankInfo | None = None) -> torch.device:
    """Return the device called `name`; `auto` is a GPU if there is one, else the CPU.

    Several ranks on one machine get a GPU each.

    Raises:
        UsageError: this PyTorch cannot use that device here.

    """
    rank_info = rank_info or RankInfo()
    distributed = rank_info.size > 1
    available = {
        "cuda": torch.cuda.is_available() and rank_info.local_size <= torch.cuda.device_count(),
        "mps": torch.backends.mps.is_available() and not distributed,
        "cpu": True,
    }
    if name == "auto":
        gpus = torch.cuda.device_count()
        if torch.cuda.is_available() and not available["cuda"] and rank_info.is_main:
            _log.warning(
                "--device auto uses the CPU: %d ranks on this machine need a GPU each, and it has "
                "%d; start fewer ranks to use %s",
                *(rank_info.local_size, gpus, "it" if gpus == 1 else "them"),
            )
        name = next(kind for kind, usable in available.items() if usable)
    if not available[name]:
        whom = f" for each of {rank_info.local_size} ranks" if distributed else ""
        raise UsageError(
            f"--device {name}: this PyTorch ({torch.__version__}) finds no {name} device here"
            f"{whom}; use --device cpu or auto"
        )
    if name == "cuda" and distributed:
        torch.cuda.set_device(rank_info.local_rank)
        return torch.device("cuda", rank_info.local_rank)
    return torch.device(name)


def pick_precision(name: str, device: torch.device) -> str:
    """Return the precision called `name`; `auto` is bfloat16 where the device has units for it."""
    if name != "auto":
        return name
    has_units = {
        "cuda": lambda: torch.cuda.get_device_capability(device) >= (8, 0),
        "cpu": lambda: torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported(),
    }
    return "bfloat16" if has_units.get(device.type, lambda: False)() else "float32"


def check_torch_modes(*, gradients: bool) -> None:
    """Raise UsageError in a mode of PyTorch that would change results, such as autocast.

    With `gradients`, modes without gradients count, too.
    """
    device, dtype = torch.get_default_device(), torch.get_default_dtype()
    modes = {
        "torch.inference_mode()": gradients and torch.is_inference_mode_enabled(),
        "torch.no_grad()": gradients and not torch.is_grad_enabled(),
        "torch.autocast()": any(torch.is_autocast_enabled(kind) for kind in ("cpu", "cuda", "mps")),
        f"the default device {device}": device.type != "cpu",
        f"the default type {dtype}": dtype != torch.float32,
    }
    for mode, is_on in modes.items():
        if is_on:
            raise UsageError(
                f"{mode} is in effect, which changes the results; call this outside it"
            )


@contextmanager
def threads_set(threads: int | None = None, rank_info: RankInfo | None = None) -> Iterator[None]:
    """Set the number of threads within the block.

    `None` leaves it to PyTorch and OMP_NUM_THREADS, except that several ranks on a machine divide
    its cores between them (see `threads_per_rank`), and that a CPU quota, as of a container, limits
    it, rounded to whole cores: more threads than it allows wait for each other.
    """
    before = torch.get_num_threads()
    if threads is None:
        threads = threads_per_rank(rank_info or RankInfo(), usable_cores())
    if threads is None and cpu_quota() is not None and not os.environ.get("OMP_NUM_THREADS"):
        threads = min(before, usable_cores())
    if threads is not None:
        torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def processor() -> str:
    """Return the name of the processor, as far as the system knows it."""
    try:
        with Path("/proc/cpuinfo").open() as file:
            for line in file:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def machine(device: torch.device, jobs: int = 1) -> str:
    """Return what the speed of each of `jobs` processes depends on, besides what they compute."""
    each = f" in each of {jobs} processes" if jobs > 1 else ""
    return (
        f"{processor()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads{each}, "
        f"on {device.type}, PyTorch {torch.__version__}"
    )


def threads_for(device: torch.device) -> int:
    """Return the size of the thread pool for a device: PyTorch's threads on a CPU, else 1."""
    return torch.get_num_threads() if device.type == "cpu" else 1


def keep_freed_memory() -> bool:
    """Make glibc keep the memory that this process frees; return True if it does.

    Otherwise it returns large blocks to the system and gets them again, page by page, in every
    update, which takes a tenth of the time of a large network.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    settings = {
        _TRIM_THRESHOLD: 2**30,
        _TOP_PAD: 2**28,
        _MMAP_THRESHOLD: 2**25,  # its maximum
        _ARENA_MAX: 1,  # or each thread would keep its own memory
    }
    return mallopt is not None and all(mallopt(*setting) for setting in settings.items())


def peak_memory(device: torch.device) -> int | None:
    """Return the most bytes that this process has had, or PyTorch on a GPU; None if unknown.

    `ru_maxrss` would also count what the parent of the process had.
    """
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return None
    found = re.search(r"^VmHWM:\s+(\d+) kB$", status, re.MULTILINE)
    return int(found[1]) * 1024 if found and device.type == "cpu" else None


T = TypeVar("T")
R = TypeVar("R")


def _never_stop() -> None:
    """Do nothing: the check of a pool that nothing interrupts."""


def _use_one_core() -> None:
    """Let PyTorch use one core in this thread."""
    torch.set_num_threads(1)
    torch.get_num_threads()  # makes the number that of the thread, not of the process


class ThreadPool:
    """Up to `size` threads of one core each, started when they are needed.

    They compute independent parts, such as micro-batches. PyTorch by itself parallelises each
    single operation, so that all threads wait for the slowest dozens of times in an update. With
    enough micro-batches it is faster if each thread computes whole ones.

    `check_stop` is called before each item of a computation, and may raise to abandon it.
    """

    def __init__(self, size: int = 1, check_stop: Callable[[], None] = _never_stop) -> None:
        self.size = size
        self.check_stop = check_stop
        self._threads: ThreadPoolExecutor | None = None

    def __enter__(self) -> "ThreadPool":
        return self

    def __exit__(self, *_: object) -> None:
        """End the threads, once they have computed what they have begun."""
        if self._threads is not None:
            self._threads.shutdown(cancel_futures=True)

    def _start(self) -> ThreadPoolExecutor:
        """Start the threads, each with one core.

        PyTorch remembers the number that any thread sets for all threads that begin later. So all
        begin now, and then the number of this thread is set again.
        """
        own, started = torch.get_num_threads(), threading.Barrier(self.size)
        threads = ThreadPoolExecutor(self.size, "pool", initializer=_use_one_core)
        try:
            for task in [threads.submit(started.wait) for _ in range(self.size)]:
                task.result()
        except BaseException:  # such as too few threads for this user
            started.abort()
            raise
        finally:
            torch.set_num_threads(own)
        return threads

    def map(self, function: Callable[[T], R], items: Sequence[T]) -> Iterator[R]:
        """Yield `function(item)` for each item, in order; at most `size` are computed ahead.

        With fewer items than threads, the calling thread computes them with PyTorch's own threads.
        """
        if self.size == 1 or len(items) < self.size:
            for item in items:
                self.check_stop()
                yield function(item)
            return
        threads = self._threads = self._threads or self._start()
        tasks: deque[Future[R]] = deque()
        for item in items:
            tasks.append(threads.submit(function, item))
            if len(tasks) > self.size:
                self.check_stop()
                yield tasks.popleft().result()
        while tasks:
            self.check_stop()
            yield tasks.popleft().result()
