"""Checks of the machine: device, cores, memory, folders."""

import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from mnist_cli.cli.doctor.check import (
    NOT_LOADED,
    OK,
    WARNING,
    Check,
    DoctorConfig,
    has_torch,
    problem,
)
from mnist_cli.errors import ExitCode

ENOUGH_MEMORY_MB = 500  # the default training takes 400 MB at its peak
ENOUGH_DISK_MB = 100  # the data set takes 53 MB
_CGROUP = Path("/sys/fs/cgroup")


def cores(_config: DoctorConfig) -> Iterator[Check]:
    """Check how many cores may be used, and whether something else limits the threads."""
    affinity = getattr(os, "sched_getaffinity", None)  # not on every system
    every = os.cpu_count() or 1
    usable = len(affinity(0)) if affinity else every
    value = f"{usable} of {every}"
    quota = cpu_quota()
    if quota is not None:
        value += f", limited to the time of {quota:g}"
    wanted = os.environ.get("OMP_NUM_THREADS", "")
    if wanted:
        value += f"; OMP_NUM_THREADS={wanted}"
    fair = max(1, round(min(usable, quota or usable)))
    if not wanted and quota is not None and fair < usable:
        remedy = f"more threads than that wait for each other: add --threads {fair}"
        yield Check("cores", WARNING, value, remedy)
    elif wanted and not re.fullmatch("0*[1-9][0-9]{0,8}(,.*)?", wanted):
        yield Check("cores", WARNING, value, "that is no number of threads; unset OMP_NUM_THREADS")
    elif wanted and int(wanted.split(",")[0]) > fair:
        remedy = f"more threads than cores are slow: set OMP_NUM_THREADS={fair}"
        yield Check("cores", WARNING, value, remedy)
    else:
        yield Check("cores", OK, value)


def cpu_quota(cgroup: Path = _CGROUP) -> float | None:
    """Return the cores whose time this container may use, if it is limited (cgroup v2 or v1)."""
    try:
        quota, period = (cgroup / "cpu.max").read_text().split()
    except (OSError, ValueError):
        try:
            quota = (cgroup / "cpu/cpu.cfs_quota_us").read_text()
            period = (cgroup / "cpu/cpu.cfs_period_us").read_text()
        except OSError:
            return None
    try:
        return int(quota) / int(period) if int(quota) > 0 else None
    except (ValueError, ZeroDivisionError):  # `max`: no limit
        return None


def memory(_config: DoctorConfig) -> Iterator[Check]:
    """Check that there is memory for the default training."""
    available = [mb for mb in (_free_mb(), left_to_container_mb()) if mb is not None]
    if not available:
        yield Check("memory", OK, "not known on this system")
        return
    value = f"{min(available):,} MB available"
    if min(available) < ENOUGH_MEMORY_MB:
        remedy = "end other programs, or train with --model linear or a smaller --micro-batch-size"
        yield Check("memory", WARNING, value, remedy)
    else:
        yield Check("memory", OK, value)


def _free_mb() -> int | None:
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    return next((int(x.split()[1]) // 1000 for x in lines if x.startswith("MemAvailable")), None)


def left_to_container_mb(cgroup: Path = _CGROUP) -> int | None:
    """Return the megabytes that this container may still use, if it is limited (cgroup v2 or v1).

    Of what it uses, the pages of files that were not read lately are given up for others:
    https://docs.kernel.org/admin-guide/cgroup-v2.html, section Memory Interface Files.
    """
    for most, used, idle in (
        ("memory.max", "memory.current", "inactive_file"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "total_inactive_file"),
    ):
        try:
            left = int((cgroup / most).read_text()) - int((cgroup / used).read_text())
            stat = (cgroup / used).with_name("memory.stat").read_text().split()
            return (left + int(stat[stat.index(idle) + 1])) // 10**6
        except (OSError, ValueError):  # no container, or without a limit
            continue
    return None


def device(_config: DoctorConfig) -> Iterator[Check]:
    """Tell which device --device auto takes, and why."""
    if not has_torch():
        yield Check("device", WARNING, NOT_LOADED, "see torch")
        return
    import torch  # noqa: PLC0415

    if torch.cuda.is_available():
        value = f"cuda: {torch.cuda.get_device_name(0)}, of {torch.cuda.device_count()}"
    elif torch.backends.mps.is_available():
        value = "mps: Apple's graphics processor"
    elif torch.version.cuda is None:
        value = "cpu: this build of torch is without CUDA"
    else:
        value = "cpu: no CUDA device, or no driver for it, was found"
    yield Check("device", OK, value)


def folders(config: DoctorConfig) -> Iterator[Check]:
    """Check that the working folder and the data folder can be written to, and have space."""
    for name, path in (("working folder", Path()), ("data folder", Path(config.data_dir))):
        code = ExitCode.OUTPUT if name == "working folder" else ExitCode.DATA
        flag = "--output" if name == "working folder" else "--data-dir"
        there = _existing(path)
        shown = path.absolute()
        if there is None or not _is_writable(there):
            remedy = f"name another place with {flag}"
            yield problem(name, f"{shown} cannot be written to", remedy, code)
            continue
        free = shutil.disk_usage(there).free // 10**6
        made = "" if there == path else ", made when first used"
        if free < ENOUGH_DISK_MB:
            remedy = f"free some space, or name another place with {flag}"
            yield Check(name, WARNING, f"{shown}: only {free:,} MB free", remedy)
        else:
            yield Check(name, OK, f"{shown}: can be written to, {free:,} MB free{made}")


def _existing(path: Path) -> Path | None:
    """Return the folder, or the nearest one above it that exists; None if a file is in the way."""
    for candidate in (path, *path.absolute().parents):
        if candidate.is_dir():
            return candidate
        if candidate.exists():
            return None
    return None


def _is_writable(folder: Path) -> bool:
    """Tell whether a file can be made there; asking for permissions would not see all there is."""
    try:
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".mnist-doctor-"):
            return True
    except OSError:
        return False
