"""The quota of a container, from the files of its control groups."""

import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from mnist_cli.runtime.cores import BusyCores, cpu_quota


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({}, None),
        ({"cpu.max": "max 100000"}, None),
        ({"cpu.max": "nonsense"}, None),
        ({"cpu.max": "150000 100000"}, 1.5),
        ({"a/cpu.max": "100000 100000", "a/b/cpu.max": "max 100000"}, 1.0),  # of the group around
        ({"cpu.max": "300000 100000", "a/b/cpu.max": "200000 100000"}, 2.0),
        ({"elsewhere/cpu.max": "100000 100000"}, None),
        ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, None),
        ({"cpu/cpu.cfs_quota_us": "50000", "cpu/cpu.cfs_period_us": "100000"}, 0.5),
        ({"cpu/c/cpu.cfs_quota_us": "50000", "cpu/c/cpu.cfs_period_us": "100000"}, 0.5),
        ({"cpu/c/cpu.cfs_quota_us": "50000", "cpu/c/cpu.cfs_period_us": "0"}, None),
    ],
)
def test_the_least_quota_around_a_process_counts(
    files: dict[str, str], cores: float | None, tmp_path: Path
) -> None:
    (tmp_path / "own").write_text("12:cpu,cpuacct:/c\n3:memory:/elsewhere\n0::/a/b\n")
    for name, text in files.items():
        path = tmp_path / "cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{text}\n")
    assert cpu_quota(tmp_path / "cgroup", tmp_path / "own") == cores


@pytest.mark.parametrize(
    ("busy", "wanted", "share"),
    [(0.0, 2, 0.0), (0.4, 2, 0.2), (0.6, 2, 0.3), (2.0, 2, 1.0), (0.9, 1, 0.0), (1.2, 1, 0.2)],
)
def test_cores_that_others_keep_busy_are_noticed(
    busy: float, wanted: int, share: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of two cores, others keep `busy` busy for ten seconds; this process used three of its own."""
    clocks = iter([100.0, 110.0, 110.0])
    own = iter([1.0, 4.0, 4.0])
    monkeypatch.setattr("time.monotonic", lambda: next(clocks))
    monkeypatch.setattr("os.times", lambda: SimpleNamespace(user=next(own), system=0.5))
    ticks = os.sysconf("SC_CLK_TCK")
    stat = tmp_path / "stat"

    def write(used: float) -> None:
        user, idle = round(used * ticks), 10**6
        stat.write_text(f"cpu  {user} 0 0 {idle} 0 0 0 0 9 9\ncpu0 1 1\ncpu1 1 1\nintr 5\n")

    write(50.0)
    cores = BusyCores(stat)
    write(50.0 + 3.0 + 10 * busy)
    assert cores.share_taken(wanted) == pytest.approx(share)
    assert cores.leave_too_few(wanted) == (share > 0.25)


def test_nothing_is_noticed_where_the_system_does_not_say(tmp_path: Path) -> None:
    assert BusyCores(tmp_path / "missing").share_taken(2) is None
    assert not BusyCores(tmp_path / "missing").leave_too_few(2)
