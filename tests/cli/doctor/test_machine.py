"""What the doctor finds of data, processors, memory and folders."""

import gzip
import io
import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from mnist_cli.cli.doctor import checks, data, machine
from mnist_cli.cli.doctor.checks import DoctorConfig
from mnist_cli.data.catalogue import CATALOGUE, MNIST_SHA256
from mnist_cli.errors import ExitCode


def test_a_data_set_that_is_not_there_is_no_problem(tmp_path: Path) -> None:
    (check,) = data.mnist(DoctorConfig(str(tmp_path)))
    assert check.status == checks.OK
    assert "unpacked when first used" in check.value


def test_a_damaged_package_is_a_problem_of_data(monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = dict.fromkeys(MNIST_SHA256, "0" * 64)
    monkeypatch.setattr(data, "_catalogue", lambda: SimpleNamespace(MNIST_SHA256=wrong))
    (check,) = data.archive(DoctorConfig())
    assert (check.status, check.code) == (checks.PROBLEM, ExitCode.DATA)


def test_compressed_files_are_read_for_their_checksums(
    tmp_path: Path, mnist_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "MNIST" / "raw"
    folder.mkdir(parents=True)
    for name in MNIST_SHA256:
        whole = (mnist_dir / "MNIST" / "raw" / name).read_bytes()
        (folder / f"{name}.gz").write_bytes(gzip.compress(whole, 1))
    (check,) = data.mnist(DoctorConfig(str(tmp_path)))
    assert check.value.endswith("checksums right")
    last = folder / "t10k-labels-idx1-ubyte.gz"
    for wrong in (b"garbage", last.read_bytes()[:-9], gzip.compress(bytes(99))):
        last.write_bytes(wrong)
        (check,) = data.mnist(DoctorConfig(str(tmp_path)))
        assert (check.code, check.value) == (ExitCode.DATA, f"{last} is damaged")
    read: list[int] = []
    monkeypatch.setattr(data, "_MOST", 10 * data._PIECE)
    monkeypatch.setattr(data.gzip, "open", lambda _path: Endless(read))
    assert data._sha256(last) == ""
    assert sum(read) <= 11 * data._PIECE


class Endless(io.BytesIO):
    """What a small file becomes that unpacks to a very large one."""

    def __init__(self, asked: list[int]) -> None:
        super().__init__()
        self.asked = asked

    def read(self, size: int | None = -1) -> bytes:
        assert size
        assert size > 0
        self.asked.append(size)
        return bytes(size)


@pytest.mark.parametrize(
    ("folder", "file"),
    [
        ("MNIST/raw/train-images-idx3-ubyte", ""),
        ("MNIST/raw/train-images-idx3-ubyte.gz", ""),
        ("MNIST", "raw"),
        (".", "FashionMNIST"),
        ("KMNIST", "raw"),
        ("QMNIST/raw/qmnist-test-labels-idx2-int", ""),
    ],
)
def test_what_is_in_the_way_of_data_is_a_problem_of_data(
    folder: str, file: str, tmp_path: Path
) -> None:
    (tmp_path / folder).mkdir(parents=True, exist_ok=True)
    if file:
        (tmp_path / folder / file).touch()
    config = DoctorConfig(str(tmp_path))
    found = [c for c in (*data.mnist(config), *data.other_data(config)) if c.status != checks.OK]
    assert [(check.status, check.code) for check in found] == [(checks.PROBLEM, ExitCode.DATA)]
    assert str(tmp_path / folder / file) in found[0].value


def test_a_file_that_cannot_be_read_is_a_problem_of_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Root may read anything: the system's error is made."""

    def refused(path: Path) -> str:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(data, "_sha256", refused)
    file = tmp_path / "MNIST" / "raw" / "t10k-labels-idx1-ubyte"
    file.parent.mkdir(parents=True)
    file.touch()
    (check,) = data.mnist(DoctorConfig(str(tmp_path)))
    assert check.code == ExitCode.DATA
    assert check.value == f"{file} cannot be read: Permission denied"
    (check,) = data.mnist(DoctorConfig("x" * 300))
    assert check.code == ExitCode.DATA


def test_another_data_set_is_there_when_all_its_files_are(tmp_path: Path) -> None:
    raw = tmp_path / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    for name in ("junk", *CATALOGUE["fashion-mnist"].files):
        check = next(iter(data.other_data(DoctorConfig(str(tmp_path)))))
        assert check.value == "is downloaded when first used"
        (raw / name).touch()
    check = next(iter(data.other_data(DoctorConfig(str(tmp_path)))))
    assert check.value == str(raw)


def test_a_working_folder_without_permission_is_a_problem_of_output(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "_is_writable", lambda _folder: False)
    first, second = machine.folders(DoctorConfig(str(tmp_path)))
    assert (first.status, first.code) == (checks.PROBLEM, ExitCode.OUTPUT)
    assert (second.status, second.code) == (checks.PROBLEM, ExitCode.DATA)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_permission_is_tried_out(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    assert not machine._is_writable(tmp_path)


def test_a_full_disk_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil._ntuple_diskusage(100, 99, 1)  # type: ignore[attr-defined]
    monkeypatch.setattr(machine.shutil, "disk_usage", lambda _path: usage)
    assert {c.status for c in machine.folders(DoctorConfig(str(tmp_path)))} == {checks.WARNING}


@pytest.mark.parametrize(
    ("text", "cores"), [("max 100000\n", None), ("150000 100000\n", 1.5), ("nonsense", None)]
)
def test_a_containers_limit_is_read(text: str, cores: float | None, tmp_path: Path) -> None:
    assert machine.cpu_quota(tmp_path) is None
    (tmp_path / "cpu.max").write_text(text)
    assert machine.cpu_quota(tmp_path) == cores


@pytest.mark.parametrize(
    ("cores", "quota", "wanted", "remedy"),
    [
        (4, None, "", ""),
        (4, None, "4", ""),
        (4, None, "2,1", ""),
        (4, None, "5", "set OMP_NUM_THREADS=4"),
        (4, 1.0, "2", "set OMP_NUM_THREADS=1"),
        (4, 1.0, "1", ""),
        (4, 0.5, "", "add --threads 1"),
        (1, 0.5, "", ""),
        (4, None, "0", "no number of threads"),
        (4, None, "x", "no number of threads"),
        (4, None, "²", "no number of threads"),
        (4, None, "9" * 5000, "no number of threads"),
    ],
)
def test_more_threads_than_cores_are_a_warning(
    cores: int, quota: float | None, wanted: str, remedy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine.os, "sched_getaffinity", lambda _process: range(cores))
    monkeypatch.setattr(machine, "cpu_quota", lambda: quota)
    monkeypatch.setenv("OMP_NUM_THREADS", wanted)
    (check,) = machine.cores(DoctorConfig())
    assert check.status == (checks.WARNING if remedy else checks.OK)
    assert remedy in check.remedy
    assert (f"OMP_NUM_THREADS={wanted}" in check.value) == bool(wanted)


@pytest.mark.parametrize(
    ("folder", "most", "used", "prefix"),
    [
        (".", "memory.max", "memory.current", ""),
        ("memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_"),
    ],
)
def test_memory_that_a_container_can_give_up_is_free(
    folder: str, most: str, used: str, prefix: str, tmp_path: Path
) -> None:
    assert machine.left_to_container_mb(tmp_path) is None
    place = tmp_path / folder
    place.mkdir(exist_ok=True)
    (place / most).write_text("900000000\n")
    (place / used).write_text("800000000\n")
    (place / "memory.stat").write_text(f"cache 7\n{prefix}inactive_file 600000000\n")
    assert machine.left_to_container_mb(tmp_path) == 700
    (place / most).write_text("max\n")
    assert machine.left_to_container_mb(tmp_path) is None
