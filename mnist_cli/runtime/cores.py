"""The processor cores that this process may use."""

import os
import re
import time
from collections.abc import Iterator
from pathlib import Path

_CGROUP = Path("/sys/fs/cgroup")
_OWN_CGROUP = Path("/proc/self/cgroup")
_STAT = Path("/proc/stat")
_SHORTEST_SAMPLE = 0.3  # seconds; the kernel counts hundredths


def usable_cores() -> int:
    """Return the number of cores that this process may use: by its affinity and its CPU quota."""
    affinity = getattr(os, "sched_getaffinity", None)  # not on every system
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    quota = cpu_quota()
    return cores if quota is None else max(1, min(cores, round(quota)))


def cpu_quota(root: Path = _CGROUP, own: Path = _OWN_CGROUP) -> float | None:
    """Return the cores whose time this process may use, or None without a limit.

    The quota is that of a container or a service: the least of its control group and of those
    around it. Their files are described in the kernel's documentation, in cgroup-v2.rst (`cpu.max`)
    and sched-bwc.rst (`cpu.cfs_quota_us`).
    """
    quotas = [quota for folder in _groups(root, own) for quota in _quotas(folder)]
    return min(quotas, default=None)


def _groups(root: Path, own: Path) -> Iterator[Path]:
    """Yield the folders of the control groups of this process, and of those around them."""
    try:
        lines = own.read_text().splitlines()
    except (OSError, ValueError):
        lines = []
    yield from (root, root / "cpu")
    for line in lines:
        match = re.fullmatch(r"\d+:([^:]*):/(.+)", line)
        if not match or ".." in match[2].split("/"):
            continue
        if not match[1] or "cpu" in match[1].split(","):
            folder = (root / "cpu" if match[1] else root) / match[2]
            yield from (folder, *(up for up in folder.parents if root in up.parents))


def _quotas(folder: Path) -> Iterator[float]:
    """Yield the quota of a control group, of version 2 or 1, if it has one."""
    for name, others in (("cpu.max", ""), ("cpu.cfs_quota_us", "cpu.cfs_period_us")):
        try:
            text = (folder / name).read_text() + ((folder / others).read_text() if others else "")
            quota, period = map(int, text.split())
        except (OSError, ValueError):  # no such group, or `max`
            continue
        if quota > 0 and period > 0:  # -1 is no limit
            yield quota / period


class BusyCores:
    """The time that other programs have kept the cores busy since this was made; on Linux only."""

    def __init__(self, stat: Path = _STAT) -> None:
        self._stat = stat
        self._began = self._sample()

    def _sample(self) -> tuple[float, float, int] | None:
        """Return wall-clock seconds, the busy seconds of others on all cores, and their number."""
        try:
            lines = self._stat.read_text().splitlines()
            # In hundredths of a second, as described in proc(5): the fourth and fifth are idle.
            times = [int(field) / os.sysconf("SC_CLK_TCK") for field in lines[0].split()[1:9]]
        except (OSError, ValueError, IndexError):
            return None
        own = os.times()
        busy = sum(times) - times[3] - times[4] - own.user - own.system
        return time.monotonic(), busy, sum(line.startswith("cpu") for line in lines) - 1

    def share_taken(self, wanted: int) -> float | None:
        """Return the share of the time of the `wanted` cores that other programs took.

        It is None where the system does not say, and for a time that is too short.
        """
        now = self._sample()
        if self._began is None or now is None or now[0] - self._began[0] < _SHORTEST_SAMPLE:
            return None
        busy = (now[1] - self._began[1]) / (now[0] - self._began[0])
        wanted = min(wanted, now[2])
        return min(max((wanted - now[2] + busy) / wanted, 0.0), 1.0)

    def leave_too_few(self, wanted: int) -> bool:
        """Return True if other programs left less than three quarters of the cores wanted."""
        return (self.share_taken(wanted) or 0.0) > 0.25
