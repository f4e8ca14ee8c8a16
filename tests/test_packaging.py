"""The wheel and the sdist are complete, and what they install works from anywhere."""

import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from mnist_cli.cli import mnist
from tests.helpers import copied_package
from tests.helpers.fork_server import ForkServer

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
IGNORED = shutil.ignore_patterns("__pycache__")


def build(kind: str, source: Path, folder: Path) -> Path:
    """Return the wheel or sdist that the build backend makes of a source tree."""
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", kind, "-d", str(folder)],
        cwd=source,
        check=True,
        capture_output=True,
        timeout=120,
    )
    (built,) = folder.iterdir()
    return built


def sources(folder: Path) -> set[str]:
    """Return the files of the package and its presets, by their names in an installed package."""
    package = {
        str(path.relative_to(folder))
        for path in (folder / "mnist_cli").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    return package | {f"mnist_cli/configs/{p.name}" for p in (folder / "configs").glob("*.toml")}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("wheel", ROOT, tmp_path_factory.mktemp("wheel"))


def test_the_wheel_has_every_file_of_the_package_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert names == sources(ROOT)
    assert {"mnist_cli/py.typed", "mnist_cli/data/mnist/NOTICE.md"} <= names
    assert len([name for name in names if name.endswith(".zst")]) == 4


def test_the_wheel_declares_every_program_and_extra(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        read = {Path(n).name: archive.read(n).decode() for n in archive.namelist() if "info/" in n}
    programs = re.findall(r"^(mnist[-\w]*) = ", read["entry_points.txt"], re.M)
    assert set(programs) == set(mnist.PROGRAMS)
    extras = set(re.findall(r"^Provides-Extra: (\w+)", read["METADATA"], re.M))
    assert {"plot", "tensorboard", "onnx"} <= extras


@pytest.mark.parametrize("kind", ["wheel", "sdist"])
def test_two_builds_have_the_same_bytes(kind: str, tmp_path: Path) -> None:
    copy = tmp_path / "elsewhere"
    shutil.copytree(
        ROOT / "mnist_cli", copy / "mnist_cli", ignore=IGNORED, copy_function=shutil.copy
    )
    shutil.copytree(ROOT / "configs", copy / "configs", copy_function=shutil.copy)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    first = build(kind, copy, tmp_path / "first")
    for path in copy.rglob("*"):
        os.utime(path, (0, 0))
    second = build(kind, copy, tmp_path / "second")
    assert first.name == second.name
    assert first.read_bytes() == second.read_bytes()


def test_an_sdist_builds_the_same_wheel(wheel: Path, tmp_path: Path) -> None:
    packed = build("sdist", ROOT, tmp_path / "sdist")
    with tarfile.open(packed) as archive:
        archive.extractall(tmp_path, filter="data")
    (unpacked,) = tmp_path.glob("mnist_cli-*")
    for name in ("tests/conftest.py", "docs/reference.md", "Makefile", "constraints.txt"):
        assert (unpacked / name).is_file(), name
    again = build("wheel", unpacked, tmp_path / "again")
    with zipfile.ZipFile(wheel) as one, zipfile.ZipFile(again) as other:
        assert {i.filename: i.CRC for i in one.infolist()} == {
            i.filename: i.CRC for i in other.infolist()
        }


def test_what_the_wheel_installs_trains_from_an_empty_folder(
    wheel: Path, tmp_path: Path, fork_server: ForkServer
) -> None:
    site, empty = tmp_path / "site", tmp_path / "empty"
    empty.mkdir()
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    program = str(Path(copied_package.__file__))
    environment = {key: fork_server.env[key] for key in ("PATH", "HOME", "OMP_NUM_THREADS")}
    for arguments in (
        ["train", "-q", "--config", "fast", "--subset", "500"],
        ["eval", "checkpoint.pt", "--report", "report.html"],
        ["export", "-q", "checkpoint.pt", "digit.html"],
    ):
        code = fork_server.run(
            *("python", program, str(site), *arguments), folder=empty, env=environment
        )
        assert code == 0, (tmp_path / "err").read_text()


def test_the_dockerfile_copies_all_that_the_build_needs(wheel: Path, tmp_path: Path) -> None:
    text = (ROOT / "Dockerfile").read_text()
    kept = {n[1:] for n in (ROOT / ".dockerignore").read_text().splitlines() if n[:1] == "!"}
    for line in re.findall(r"^COPY (.*)$", text, re.M):
        *names, target = line.split()
        for name in names:
            assert name in kept, f".dockerignore keeps {name} out"
            into = tmp_path / target.removeprefix("/")
            if (ROOT / name).is_dir():
                shutil.copytree(ROOT / name, into, ignore=IGNORED)
            else:
                into.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / name, into)
    built = build("wheel", tmp_path / "src", tmp_path / "dist")
    with zipfile.ZipFile(wheel) as one, zipfile.ZipFile(built) as other:
        assert set(one.namelist()) == set(other.namelist())
