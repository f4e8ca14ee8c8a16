"""Tests of `python -m mnist_cli doctor`."""

import gzip
import json
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

import mnist_cli
from mnist_cli.cli import doctor
from mnist_cli.cli.doctor import OK, PROBLEM, WARNING, Check, DoctorConfig
from mnist_cli.data.catalogue import MNIST_SHA256
from mnist_cli.errors import ExitCode
from mnist_cli.runtime import cores as cores_module
from tests.helpers.calling import Caller
from tests.helpers.shell import Done, Shell

DOCTOR = ("python", "-m", "mnist_cli", "doctor")


@pytest.fixture
def imports_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take every package for one that can be imported: importing them all takes seconds."""
    monkeypatch.setattr(doctor, "_import_error", lambda _name: "")


def objects(done: Done) -> dict[str, dict[str, Any]]:
    found = [json.loads(line) for line in done.out.splitlines()]
    assert {check["event"] for check in found} == {"check"}
    return {check["name"]: check for check in found}


def test_without_a_problem_it_exits_with_0_and_leaves_nothing_behind(shell: Shell) -> None:
    done = shell(*DOCTOR, "--json")
    assert (done.code, done.err) == (0, "")
    found = objects(done)
    assert {check["status"] for check in found.values()} <= {OK, WARNING}
    assert found["torch"]["value"] == metadata.version("torch")
    assert found["mnist"]["value"].endswith("checksums right")
    assert found["mnist_cli"]["value"].startswith(mnist_cli.__version__)
    assert str(shell.folder) in found["working folder"]["value"]
    assert not list(shell.folder.iterdir())


@pytest.mark.usefixtures("imports_nothing")
def test_text_has_a_line_for_each_check_and_one_for_a_remedy(call: Caller) -> None:
    done = call(*DOCTOR, env={"MNIST_BATCHSIZE": "3", "MNIST_OUTPUT": "\x1b[31m.pt"})
    lines = done.out.splitlines()
    at = lines.index("warning  variables: MNIST_BATCHSIZE has no effect")
    assert lines[at + 1] == "         -> did you mean MNIST_BATCH_SIZE?"
    assert all(line.split()[0] in (OK, WARNING, PROBLEM, "->") for line in lines)
    assert r"MNIST_OUTPUT=\x1b[31m.pt" in done.out
    assert "\x1b" not in done.out
    assert done.code == 0
    assert "\x1b[" in call(*DOCTOR, env={"FORCE_COLOR": "1"}).out


@pytest.mark.usefixtures("imports_nothing")
def test_quiet_prints_only_what_is_not_ok(call: Caller) -> None:
    done = call(*DOCTOR, "-q", "--data-dir", "/dev/null/data")
    assert done.code == ExitCode.DATA
    assert not any(line.startswith("ok") for line in done.out.splitlines())
    assert "problem  data folder: " in done.out


def test_the_other_checks_work_if_torch_cannot_be_imported(shell: Shell) -> None:
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from mnist_cli.cli import doctor\n"
        "error = doctor._import_error\n"
        "doctor._import_error = lambda name: error(name) if name == 'torch' else ''\n"
        "from runpy import run_module\n"
        "sys.argv = ['mnist_cli', 'doctor', '--json']\n"
        "run_module('mnist_cli', run_name='__main__')"
    )
    done = shell("python", "-c", code)
    assert (done.code, done.err) == (ExitCode.USAGE, "")
    found = objects(done)
    assert found["torch"]["status"] == PROBLEM
    assert "pip install" in found["torch"]["remedy"]
    assert found["device"]["status"] == WARNING
    assert found["mnist"]["status"] == OK


def test_a_check_that_fails_hides_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_config: DoctorConfig) -> Any:
        raise ValueError("broken\non two lines")

    monkeypatch.setattr(doctor, "CHECKS", (broken, doctor.variables))
    first, *others = doctor.checks(DoctorConfig())
    assert (first.name, first.status) == ("broken", PROBLEM)
    assert "ValueError: broken on two lines" in first.value
    assert [check.name for check in others] == ["variables"] * len(others)


def found_packages() -> dict[str, Check]:
    return {check.name: check for check in doctor.packages(DoctorConfig())}


def test_missing_and_old_packages_have_a_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    def version(name: str) -> str:
        if name in ("rich", "matplotlib", "torchvision"):
            raise metadata.PackageNotFoundError(name)
        return "1.0"

    monkeypatch.setattr(doctor.metadata, "version", version)
    monkeypatch.setattr(doctor, "_import_error", lambda _name: "")
    found = found_packages()
    assert (found["rich"].status, found["rich"].value) == (PROBLEM, "not installed")
    assert found["pillow"].value == "1.0 is too old"
    assert found["pillow"].remedy == "pip install -U 'pillow>=13'"
    assert found["pillow"].code == ExitCode.USAGE
    assert found["matplotlib"].status == OK
    assert "pip install -U 'mnist_cli[plot]'" in found["matplotlib"].value
    assert found["torchvision"].status == WARNING
    assert "pip install -U torch torchvision" in found["torchvision"].remedy
    assert "pytest" not in found


def test_packages_that_cannot_be_imported_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    requires = metadata.requires
    monkeypatch.setattr(
        doctor.metadata,
        "requires",
        lambda name: ["numpy", "torch==2.0.1"] if name == "torchvision" else requires(name),
    )
    found = found_packages()
    assert found["onnx"].status == found["torchvision"].status == WARNING
    assert "cannot be imported" in found["onnx"].value
    assert found["torchvision"].value.endswith("was built for torch 2.0.1")


def test_damaged_data_is_a_problem(tmp_path: Path, mnist_dir: Path) -> None:
    config = DoctorConfig(str(tmp_path))
    (check,) = doctor.mnist(config)
    assert (check.status, "unpacked when first used" in check.value) == (OK, True)
    folder = tmp_path / "MNIST" / "raw"
    folder.mkdir(parents=True)
    *others, labels = (mnist_dir / "MNIST" / "raw" / name for name in MNIST_SHA256)
    for path in others:
        (folder / path.name).symlink_to(path)
    last = folder / f"{labels.name}.gz"
    last.write_bytes(gzip.compress(labels.read_bytes()))
    (check,) = doctor.mnist(config)
    assert check.value.endswith("checksums right")
    for wrong in (b"garbage", last.read_bytes()[:-9], gzip.compress(bytes(99))):
        last.write_bytes(wrong)
        (check,) = doctor.mnist(config)
        assert (check.status, check.code) == (PROBLEM, ExitCode.DATA)
        assert str(last) in check.value


def test_the_data_in_the_package_is_checked() -> None:
    (check,) = doctor.mnist(DoctorConfig())
    assert check.status == OK
    assert check.value.endswith("data/mnist, checksums right")


def test_a_full_disk_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_MIN_DISK_MB", 10**12)
    assert {c.status for c in doctor.folders(DoctorConfig(str(tmp_path)))} == {WARNING}


def test_little_memory_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal:  16000000 kB\nMemAvailable:  8000000 kB\n")
    monkeypatch.setattr(doctor, "_MEMINFO", meminfo)
    monkeypatch.setattr(doctor, "_CGROUP", tmp_path)
    (check,) = doctor.memory(DoctorConfig())
    assert (check.status, check.value) == (OK, "8,000 MB available")
    (tmp_path / "memory.max").write_text("900000000\n")
    (tmp_path / "memory.current").write_text("800000000\n")
    (tmp_path / "memory.stat").write_text("anon 7\ninactive_file 300000000\n")
    (check,) = doctor.memory(DoctorConfig())
    assert (check.status, check.value) == (WARNING, "400 MB available")


@pytest.mark.parametrize(
    ("cores", "quota", "threads", "remedy"),
    [
        (4, None, "", ""),
        (4, None, "4", ""),
        (4, None, "2,1", ""),
        (4, None, "5", "set OMP_NUM_THREADS=4"),
        (4, 1.0, "2", "set OMP_NUM_THREADS=1"),
        (4, 0.5, "", ""),  # the default obeys it
        (4, None, "0", "no number of threads"),
        (4, None, "²", "no number of threads"),
        (4, None, "9" * 5000, "no number of threads"),
    ],
)
def test_more_threads_than_cores_are_a_warning(
    cores: int, quota: float | None, threads: str, remedy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor.os, "sched_getaffinity", lambda _process: range(cores))
    for module in (doctor, cores_module):
        monkeypatch.setattr(module, "cpu_quota", lambda: quota)
    monkeypatch.setenv("OMP_NUM_THREADS", threads)
    (check,) = doctor.cores(DoctorConfig())
    assert check.status == (WARNING if remedy else OK)
    assert remedy in check.remedy
    assert (f"OMP_NUM_THREADS={threads}" in check.value) == bool(threads)
