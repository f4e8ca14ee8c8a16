"""The quota of a container, from the files of its control groups."""

from pathlib import Path

import pytest

from mnist_cli.runtime.cores import cpu_quota


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
