"""What the tests share: the real data set, and the installed programs as real processes."""

import os
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from filelock import FileLock
from PIL import Image

from mnist_cli.config.compare import CompareConfig
from mnist_cli.config.train import TrainConfig
from mnist_cli.data.datasets import load_dataset
from mnist_cli.data.splits import Dataset, Split
from mnist_cli.runtime.device import keep_freed_memory
from mnist_cli.training.train import train
from tests.helpers.browsing import started_browser
from tests.helpers.calling import Caller
from tests.helpers.fork_server import ForkServer
from tests.helpers.hostile import encoded
from tests.helpers.idx_files import write_qmnist
from tests.helpers.launching import Launcher
from tests.helpers.shell import BIN, Shell
from tests.helpers.trainings import Configure

SLOW_FIXTURES = {"fork_server", "skilled", "browser", "mirrors"}
SLOW_FOLDERS = {"torture"}


def pytest_xdist_auto_num_workers() -> int:
    """Return how many workers `-n auto` starts: more than cores, as many tests wait."""
    return len(os.sched_getaffinity(0)) * 3 // 2


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark as slow what starts programs, browsers or servers."""
    for item in items:
        fixtures = {*getattr(item, "fixturenames", ())}
        if fixtures & SLOW_FIXTURES or item.path.parent.name in SLOW_FOLDERS:
            item.add_marker("slow")


torch.set_num_threads(1)  # also for fixtures that are made before `one_thread`
keep_freed_memory()  # as the programs do


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder that the parallel workers of a test run share."""
    base = tmp_path_factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base


@pytest.fixture(scope="session")
def mnist_dir(shared: Path) -> Path:
    """Return a data folder with MNIST."""
    load_dataset("mnist", shared / "mnist")
    return shared / "mnist"


@pytest.fixture(scope="session")
def mnist(mnist_dir: Path) -> Dataset:
    return load_dataset("mnist", mnist_dir)


@pytest.fixture(scope="session")
def few_dir(mnist: Dataset, mnist_dir: Path, shared: Path) -> Path:
    """Return a data folder with MNIST, and its first 8,000 and 1,000 samples as QMNIST."""
    folder = shared / "few"
    with FileLock(shared / "few.lock"):
        if not folder.exists():
            train_set, test_set = Split(*mnist.train[:8000]), Split(*mnist.test[:1000])
            write_qmnist(folder / "QMNIST" / "raw", train_set, test_set)
            (folder / "MNIST").symlink_to(mnist_dir / "MNIST")
    return folder


@pytest.fixture
def few(mnist: Dataset) -> Split:
    """Return 100 training samples: enough for every class, and not a multiple of 7 or 33.

    They are a copy, which a test may change.
    """
    return mnist.train.at(torch.arange(100))


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Compute with one thread, so that parallel workers do not fight over the cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def clean_env(few_dir: Path, shared: Path) -> dict[str, str]:
    """Return an environment as a cron job has it, but with the data in place, by default few.

    The first folder of its PATH has the stand-ins of the programs: see `fork_server`.
    """
    programs = shared / "bin"
    programs.mkdir(exist_ok=True)
    return {
        "PATH": f"{programs}:{BIN}:/usr/bin:/bin",
        "HOME": "/nonexistent",
        "MNIST_DATA_DIR": str(few_dir),
        "MNIST_DATASET": "qmnist",
        "OMP_NUM_THREADS": "1",
    }


@pytest.fixture(scope="session")
def fork_server(clean_env: dict[str, str]) -> Iterator[ForkServer]:
    server = ForkServer(clean_env, Path(clean_env["PATH"].partition(":")[0]))
    yield server
    server.close()


@pytest.fixture
def shell(tmp_path: Path, clean_env: dict[str, str], fork_server: ForkServer) -> Shell:
    return Shell(tmp_path, clean_env, fork_server)


@pytest.fixture
def call(tmp_path: Path, clean_env: dict[str, str]) -> Caller:
    return Caller(tmp_path, clean_env)


@pytest.fixture
def mnist_shell(shell: Shell) -> Shell:
    """Return a shell whose programs have the whole of MNIST, with its 10,000 test samples."""
    return replace(shell, env={k: v for k, v in shell.env.items() if k != "MNIST_DATASET"})


@pytest.fixture
def launcher(shell: Shell) -> Launcher:
    return Launcher(shell.fork_server, shell.env, shell.folder)


@pytest.fixture
def folder(shell: Shell) -> Path:
    """Return the folder that the ranks run in."""
    return shell.folder


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory, few_dir: Path) -> Path:
    """Return a small checkpoint, made once: 1,000 samples, 500 of them for validation."""
    path = tmp_path_factory.mktemp("trained") / "checkpoint.pt"
    small = TrainConfig(model="linear", subset=500, val_size=500, epochs=2, batch_size=50)
    list(train(replace(small, dataset="qmnist", data_dir=str(few_dir), output=str(path))))
    return path


@pytest.fixture(scope="session")
def skilled(mnist_dir: Path) -> Path:
    """Return a checkpoint that reads 98 % of the test images, shared as the data folder is."""
    path = mnist_dir.parent / "skilled.pt"
    options = ["-q", "--config", "fast", "--subset", "20000", "--threads", "1"]
    with FileLock(path.with_suffix(".lock")):
        if not path.exists():
            command = [BIN / "mnist-train", *options, "--data-dir", mnist_dir, "-o", path]
            subprocess.run(command, check=True, capture_output=True, timeout=600)
    return path


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    yield from started_browser()


@pytest.fixture
def asked(few_dir: Path, tmp_path: Path) -> CompareConfig:
    """Return a comparison of softmax regressions on 300 samples: 20, 6 and 2 updates a run."""
    return CompareConfig(
        dataset="qmnist",
        model="linear",
        subset=300,
        batch_sizes="30,100,full",
        seeds=2,
        epochs=2,
        lr=0.02,
        data_dir=str(few_dir),
        output=str(tmp_path / "comparison"),
    )


@pytest.fixture
def small(few_dir: Path, tmp_path: Path) -> Configure:
    """Return a maker of configs: 200 samples, 4 updates an epoch, 2 epochs, every step told."""

    def make(**changes: Any) -> TrainConfig:
        batch = {} if changes.get("mode") == "batch" else {"batch_size": 50}
        base = TrainConfig(
            dataset="qmnist",
            subset=200,
            epochs=2,
            log_interval=1,
            data_dir=str(few_dir),
            output=str(tmp_path / "checkpoint.pt"),
        )
        return replace(base, **{**batch, **changes})

    return make


@pytest.fixture(scope="session")
def digits(mnist: Dataset) -> dict[str, bytes]:
    """Return the first 300 test images, which are more than one batch, as PNG files."""
    images = [Image.fromarray(pixels) for pixels in mnist.test.images[:300].numpy()]
    return {f"{number}.png": encoded(image, "PNG") for number, image in enumerate(images)}


@pytest.fixture
def many_files(tmp_path: Path, digits: dict[str, bytes]) -> list[str]:
    """Return the names of 300 images in the folder of the programs."""
    for name, content in digits.items():
        (tmp_path / name).write_bytes(content)
    return [*digits]


@pytest.fixture
def files(tmp_path: Path, digits: dict[str, bytes]) -> list[str]:
    """Return the names of ten images in the folder of the programs."""
    names = [*digits][:10]
    for name in names:
        (tmp_path / name).write_bytes(digits[name])
    return names
