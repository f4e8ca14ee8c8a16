"""`python -m mnist_cli doctor` answers whatever is broken, and says what to do."""

import json
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

import mnist_cli
from mnist_cli.cli.doctor import checks as doctor
from mnist_cli.cli.doctor import console, installation
from mnist_cli.cli.doctor.checks import Check, DoctorConfig, checks
from mnist_cli.errors import ExitCode
from tests.helpers.shell import Done, Shell

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


def test_an_extra_that_cannot_be_imported_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    found = {check.name: check for check in installation.extras(DoctorConfig())}
    assert found["onnx"].status == doctor.WARNING
    assert "cannot be imported" in found["onnx"].value
    assert found["tensorboard"].status == doctor.OK


def test_a_variable_that_a_program_refuses_is_a_problem(shell: Shell) -> None:
    done = diagnosed(shell, "-q", MNIST_EPOCHS="a\x1b", MNIST_FORMAT="pdf")
    assert done.code == ExitCode.USAGE
    assert "problem  variables: MNIST_EPOCHS: 'a\\x1b' is not an integer\n" in done.out
    assert "-> change or unset it for mnist-train, mnist-compare\n" in done.out
    assert "-> change or unset it for mnist-export\n" in done.out


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
    assert "\x1b[" not in diagnosed(shell, FORCE_COLOR="1", TERM="dumb").out


def test_a_value_cannot_colour(shell: Shell) -> None:
    done = diagnosed(shell, MNIST_OUTPUT="\x1b[31m.pt", MNIST_DATA_DIR="/dev/null/\x1b[31m")
    assert "MNIST_OUTPUT=?[31m.pt" in done.out
    assert "\x1b" not in done.out


def test_the_programs_whose_completion_is_looked_for_are_all() -> None:
    from tests.helpers.shell import PROGRAMS

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
