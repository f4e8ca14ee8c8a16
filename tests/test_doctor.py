"""`python -m mnist_cli doctor` answers whatever is broken, and says what to do."""

import json
import os
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from conftest import Done, Shell

import mnist_cli
from mnist_cli import doctor
from mnist_cli.data.catalogue import CATALOGUE, MNIST_SHA256
from mnist_cli.doctor import Check, DoctorConfig, checks, console, data, installation, machine
from mnist_cli.errors import ExitCode

STATUSES = (doctor.OK, doctor.WARNING, doctor.PROBLEM)


def diagnosed(shell: Shell, *options: str, **env: str) -> Done:
    return shell("python", "-m", "mnist_cli", "doctor", *options, env=env)


def objects(done: Done) -> dict[str, dict[str, Any]]:
    found = [json.loads(line) for line in done.out.splitlines()]
    assert {check["event"] for check in found} == {"check"}
    return {check["name"]: check for check in found}


def test_here_all_is_well(shell: Shell) -> None:
    done = diagnosed(shell, "--json")
    assert (done.code, done.err) == (0, "")
    found = objects(done)
    assert {check["status"] for check in found.values()} <= {doctor.OK, doctor.WARNING}
    assert found["torch"]["value"].startswith(metadata.version("torch"))
    assert found["mnist"]["value"].endswith("checksums right")
    assert found["mnist_cli"]["value"].startswith(mnist_cli.__version__)
    assert str(shell.folder) in found["working folder"]["value"]
    assert not list(shell.folder.iterdir())  # nothing is left behind


def test_a_line_tells_a_check_and_the_next_a_remedy(shell: Shell) -> None:
    done = diagnosed(shell, MNIST_BATCHSIZE="3")
    lines = done.out.splitlines()
    at = lines.index("warning  variables: MNIST_BATCHSIZE has no effect")
    assert lines[at + 1] == "         -> did you mean MNIST_BATCH_SIZE?"
    assert all(line.split()[0] in (*STATUSES, "->") for line in lines)
    assert "\x1b" not in done.out
    assert done.code == 0


def test_quiet_tells_only_what_is_not_ok(shell: Shell) -> None:
    done = diagnosed(shell, "-q", "--data-dir", "/dev/null/data")
    assert done.code == ExitCode.DATA
    assert not any(line.startswith("ok") for line in done.out.splitlines())
    assert "problem  data folder: " in done.out


BLOCK = "import sys\nsys.modules['torch'] = None\nsys.modules['torchvision'] = None\n"


def test_it_answers_where_torch_cannot_be_imported(shell: Shell, mnist_dir: Path) -> None:
    code = (
        BLOCK
        + "from runpy import run_module\n"
        + "sys.argv = ['mnist_cli', 'doctor', '--json']\n"
        + "run_module('mnist_cli', run_name='__main__')"
    )
    done = shell("python", "-c", code)
    assert (done.code, done.err) == (ExitCode.USAGE, "")
    found = objects(done)
    assert found["torch"]["status"] == doctor.PROBLEM
    assert "pip install" in found["torch"]["remedy"]
    assert found["device"]["status"] == doctor.WARNING
    assert "torch cannot be imported" in found["device"]["value"]
    assert found["MNIST in the package"]["status"] == doctor.OK  # needs no torch
    assert found["mnist"]["status"] == doctor.OK


@pytest.mark.parametrize("broken", doctor.CHECKS)
def test_a_check_that_fails_itself_hides_no_other(
    broken: str, monkeypatch: pytest.MonkeyPatch, mnist_dir: Path
) -> None:
    def fail(_config: DoctorConfig) -> list[Check]:
        raise ValueError("broken\non two lines")

    harmless = {name: lambda _c, n=name: [Check(n, doctor.OK, "")] for name in doctor.CHECKS}
    monkeypatch.setattr(doctor, "CHECKS", {**harmless, broken: fail})
    found = {check.name: check for check in checks(DoctorConfig())}
    assert set(found) == set(doctor.CHECKS)
    assert found[broken].status == doctor.PROBLEM
    assert "ValueError: broken on two lines" in found[broken].value
    assert [check for check in found.values() if check.status == doctor.PROBLEM] == [found[broken]]


def test_a_damaged_data_set_is_a_problem_of_data(tmp_path: Path, shell: Shell) -> None:
    folder = tmp_path / "damaged" / "MNIST" / "raw"
    folder.mkdir(parents=True)
    (folder / "t10k-labels-idx1-ubyte").write_bytes(b"damaged")
    done = diagnosed(shell, "--json", "--data-dir", str(tmp_path / "damaged"))
    assert done.code == ExitCode.DATA
    assert objects(done)["mnist"]["value"].endswith("t10k-labels-idx1-ubyte is damaged")


def test_a_data_set_that_is_not_there_is_no_problem(tmp_path: Path) -> None:
    (check,) = data.mnist(DoctorConfig(str(tmp_path)))
    assert check.status == doctor.OK
    assert "unpacked when first used" in check.value


def test_a_damaged_package_is_a_problem_of_data(monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = dict.fromkeys(MNIST_SHA256, "0" * 64)
    monkeypatch.setattr(data, "mnist_hashes", lambda: wrong, raising=False)
    monkeypatch.setattr(data, "_mnist_hashes", lambda: wrong, raising=False)
    (check,) = data.archive(DoctorConfig())
    assert (check.status, check.code) == (doctor.PROBLEM, ExitCode.DATA)


def test_the_data_sets_are_those_of_the_catalogue() -> None:
    assert data._mnist_hashes() == MNIST_SHA256
    folders = {name: source.folder for name, source in CATALOGUE.items() if name != "mnist"}
    assert folders == data._FOLDERS


def test_a_working_folder_without_permission_is_a_problem_of_output(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "_is_writable", lambda _folder: False)
    first, second = machine.folders(DoctorConfig(str(tmp_path)))
    assert (first.status, first.code) == (doctor.PROBLEM, ExitCode.OUTPUT)
    assert (second.status, second.code) == (doctor.PROBLEM, ExitCode.DATA)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_permission_is_tried_out(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    assert not machine._is_writable(tmp_path)


def test_a_full_disk_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil._ntuple_diskusage(100, 99, 1)  # type: ignore[attr-defined]
    monkeypatch.setattr(machine.shutil, "disk_usage", lambda _path: usage)
    assert {c.status for c in machine.folders(DoctorConfig(str(tmp_path)))} == {doctor.WARNING}


@pytest.mark.parametrize(
    ("text", "cores"), [("max 100000\n", None), ("150000 100000\n", 1.5), ("nonsense", None)]
)
def test_a_containers_limit_is_read(text: str, cores: float | None, tmp_path: Path) -> None:
    assert machine.cpu_quota(tmp_path) is None
    (tmp_path / "cpu.max").write_text(text)
    assert machine.cpu_quota(tmp_path) == cores


def test_more_threads_than_cores_are_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    for wanted, status in (("1", doctor.OK), ("100000", doctor.WARNING), ("x", doctor.WARNING)):
        monkeypatch.setenv("OMP_NUM_THREADS", wanted)
        (check,) = machine.cores(DoctorConfig())
        assert check.status == status
        assert f"OMP_NUM_THREADS={wanted}" in check.value
    monkeypatch.delenv("OMP_NUM_THREADS")
    monkeypatch.setattr(machine, "cpu_quota", lambda: 0.5)
    (check,) = machine.cores(DoctorConfig())
    assert (check.status, "--threads 1" in check.remedy) == (
        doctor.OK if "0.5" not in check.value or os.cpu_count() == 1 else doctor.WARNING,
        os.cpu_count() != 1,
    )


def test_missing_and_old_packages_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def version(name: str) -> str:
        if name in ("rich", "matplotlib", "mnist_cli", "torchvision"):
            raise metadata.PackageNotFoundError(name)
        return "1.0"

    monkeypatch.setattr(installation.metadata, "version", version)
    found = {check.name: check for check in installation.libraries(DoctorConfig())}
    assert found["rich"].value == "not installed"
    assert found["pillow"].remedy == "it is too old: pip install -U 'pillow>=13'"
    extras = {check.name: check for check in installation.extras(DoctorConfig())}
    assert extras["matplotlib"].status == doctor.OK
    assert "pip install 'mnist_cli[plot]'" in extras["matplotlib"].value
    (package,) = installation.package(DoctorConfig())
    assert package.status == doctor.WARNING
    (torchvision,) = installation.torchvision(DoctorConfig())
    assert torchvision.status == doctor.WARNING


def test_an_old_torch_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch, "__version__", "2.9.1+cpu")
    (check,) = installation.torch(DoctorConfig())
    assert (check.status, check.code) == (doctor.PROBLEM, ExitCode.USAGE)


def test_a_torchvision_of_another_torch_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installation.metadata, "requires", lambda _name: ["numpy", "torch==2.0.1"])
    (check,) = installation.torchvision(DoctorConfig())
    assert check.status == doctor.WARNING
    assert "built for torch 2.0.1" in check.remedy


def test_the_least_versions_are_those_of_the_package() -> None:
    text = (Path(mnist_cli.__file__).parents[1] / "pyproject.toml").read_text()
    for name, least in installation.LEAST.items():
        assert f'"{name}>={least}' in text


def test_a_terminal_that_cannot_show_our_signs_is_a_warning(shell: Shell) -> None:
    done = diagnosed(shell, "--json", PYTHONIOENCODING="ascii")
    assert done.code == 0
    assert objects(done)["terminal"]["status"] == doctor.WARNING
    lines = diagnosed(shell, PYTHONIOENCODING="ascii")
    assert lines.code == 0, lines.err  # and itself shows none of them
    assert not lines.err


def test_colour_is_asked_for(shell: Shell) -> None:
    assert "\x1b[" in diagnosed(shell, FORCE_COLOR="1").out
    assert "\x1b[" not in diagnosed(shell, FORCE_COLOR="1", NO_COLOR="1").out


def test_the_programs_whose_completion_is_looked_for_are_all() -> None:
    from conftest import PROGRAMS

    assert console.PROGRAMS == PROGRAMS


def test_its_help_does_not_import_torch() -> None:
    code = (
        "import sys; sys.argv = ['mnist_cli', 'doctor', '--help']\n"
        "from runpy import run_module\n"
        "try: run_module('mnist_cli', run_name='__main__')\n"
        "except SystemExit: pass\n"
        "sys.stderr.write(str({'torch', 'numpy', 'PIL'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == "set()"
