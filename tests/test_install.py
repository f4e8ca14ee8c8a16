"""`make install`: what it tells, and what it leaves behind, with a stand-in for pip."""

import runpy
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture
def installer(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Return the names of install.py, where there is no GPU, and no index can be reached."""
    for name in ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(shutil, "which", lambda _: None)
    monkeypatch.setattr("urllib.request.urlopen", unreachable)
    return SimpleNamespace(**runpy.run_path(str(ROOT / "install.py")))


def unreachable(*_args: object, **_options: object) -> None:
    raise OSError("no route to host")


class Reachable:
    def __init__(self, address: str, timeout: float) -> None:
        assert address.startswith("https://download.pytorch.org/whl/cpu/")
        assert timeout <= 10

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        pass


class Pip:
    """A pip that notes its arguments, and prints what the real one does."""

    calls: ClassVar[list[list[str]]]
    returncode = 0
    stdout = (
        "Collecting torch==2.13.0\n",
        "  Downloading torch-2.13.0-cp311-cp311-manylinux_2_28_x86_64.whl (190.0 MB)\n",
        "Downloading https://an.index/packages/numpy-2.4.6-cp311-cp311-linux.whl (16.6 MB)\n",
        "  Downloading idna-3.10-py3-none-any.whl (70 kB)\n",
    )

    def __init__(self, command: list[str], **_: Any) -> None:
        self.calls.append(command)

    def __enter__(self) -> "Pip":
        return self

    def __exit__(self, *_: object) -> None:
        pass


@pytest.fixture
def pip(monkeypatch: pytest.MonkeyPatch) -> type[Pip]:
    """Put a stand-in in pip's place; the virtual environment is an empty folder."""

    def make_folder(command: list[str], **_: Any) -> None:
        assert command[1:3] == ["-m", "venv"]
        Path(command[3]).mkdir()

    class Own(Pip):
        calls: ClassVar[list[list[str]]] = []

    monkeypatch.setattr(subprocess, "run", make_folder)
    monkeypatch.setattr(subprocess, "Popen", Own)
    return Own


def test_it_tells_what_is_installed_and_how_much(
    installer: SimpleNamespace, pip: type[Pip], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    installer.main(str(tmp_path / "env"))
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"Installing mnist_cli into {tmp_path}/env: PyTorch as pip finds it")
    assert [line.split() for line in lines[1:3]] == [
        ["torch", "190.0", "MB"],
        ["numpy", "16.6", "MB"],
    ]
    assert lines[3] == f"Installed. Try: {tmp_path}/env/bin/mnist-train"
    (command,) = pip.calls
    assert "--extra-index-url" not in command
    assert command[-2:] == ["-e", str(ROOT)]


def test_without_a_gpu_the_small_build_is_taken_where_its_index_can_be_reached(
    installer: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("urllib.request.urlopen", Reachable)
    small = ["--extra-index-url", installer.CPU_BUILDS]
    assert installer.choose_build()[0] == small
    monkeypatch.setenv("PIP_INDEX_URL", "https://an.index")  # somebody else has decided
    assert installer.choose_build()[0] == []
    monkeypatch.delenv("PIP_INDEX_URL")
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    found, words = installer.choose_build()
    assert (found, "with CUDA, about 5.5 GB" in words) == ([], True)
    monkeypatch.setattr(sys, "platform", "darwin")
    assert installer.choose_build() == ([], "PyTorch, about 1.2 GB on disk")


@pytest.mark.parametrize("is_new", [True, False])
@pytest.mark.parametrize("fault", [1, KeyboardInterrupt()])
def test_nothing_half_made_stays_behind(
    installer: SimpleNamespace,
    pip: type[Pip],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    is_new: bool,
    fault: int | KeyboardInterrupt,
) -> None:
    folder = tmp_path / "env"
    if not is_new:
        folder.mkdir()
    if isinstance(fault, int):
        monkeypatch.setattr(pip, "returncode", fault)
    else:
        monkeypatch.setattr(pip, "stdout", property(lambda _: (_ for _ in ()).throw(fault)))
    with pytest.raises(SystemExit) as stop:
        installer.main(str(folder))
    message = str(stop.value)
    assert message.startswith("error: could not install (")
    assert message.endswith("was removed again" if is_new else "was left as it is")
    assert folder.exists() == (not is_new)


def test_an_old_python_is_told_in_one_line(installer: SimpleNamespace, tmp_path: Path) -> None:
    main = installer.main
    main.__globals__["TOO_OLD"] = True
    with pytest.raises(SystemExit, match="needs Python 3.11 or newer, .* PYTHON=python3.11"):
        main(str(tmp_path / "env"))
    assert not (tmp_path / "env").exists()
