"""What a run costs, in counts that do not depend on the machine: passes and memory."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mnist_cli import TrainConfig, train
from mnist_cli.models.layers import Normalize
from tests.helpers.shell import BIN
from tests.torture.amount import count


@pytest.mark.parametrize(
    "options",
    [
        {"mode": "batch", "epochs": 3},
        {"mode": "mini-batch", "epochs": 2, "batch_size": 64},
        {"mode": "mini-batch", "epochs": 1, "batch_size": 700, "micro_batch_size": 300},
    ],
)
def test_an_epoch_is_one_pass_over_the_training_set_and_one_over_the_test_set(
    options: dict[str, object], mnist_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = {True: 0, False: 0}
    forward = Normalize.forward

    def counting(layer: Normalize, pixels: object) -> object:
        seen[layer.training] += len(pixels)  # type: ignore[arg-type]
        return forward(layer, pixels)  # type: ignore[arg-type]

    config = TrainConfig(
        model="linear",
        subset=1000,
        data_dir=str(mnist_dir),
        output=str(tmp_path / "x.pt"),
        **options,  # type: ignore[arg-type]
    )
    events = train(config)
    next(events)  # the network was built, and tried on a few samples
    monkeypatch.setattr(Normalize, "forward", counting)
    list(events)
    assert seen == {True: 1000 * config.epochs, False: 10_000 * config.epochs}


# A small process starts the program, whose peak begins with that of the process it is forked from.
LAUNCHER = """
import os, sys
child = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ)
_, status, usage = os.wait4(child, 0)
print(usage.ru_maxrss)
sys.exit(os.waitstatus_to_exitcode(status))
"""


def peak_mb(*command: str) -> float:
    """Return the largest memory of a process."""
    done = subprocess.run(
        [sys.executable, "-S", "-c", LAUNCHER, *command],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "OMP_NUM_THREADS": str(count(1, 2))},
    )
    return int(done.stdout.splitlines()[-1]) / 1024


@pytest.mark.slow
def test_the_memory_of_batch_mode_hardly_grows_with_the_set(
    mnist_dir: Path, tmp_path: Path
) -> None:
    most = count(12_000, 60_000)
    batch_mode = (str(BIN / "mnist-train"), *"-q --mode batch --epochs 1".split())
    batch_mode += ("--data-dir", str(mnist_dir), "-o", str(tmp_path / "x.pt"), "--subset")
    # How far two threads run ahead of the sum is chance, some 15 MB of it.
    few, all_of_them = (
        min(peak_mb(*batch_mode, str(samples)) for _ in range(count(1, 3)))
        for samples in (most // 10, most)
    )
    images = most * 0.9 * 28 * 28 / 2**20  # what there is more to keep
    assert all_of_them <= few + images + 25
    # PyTorch's build for CUDA takes 200 MB more than the one for CPUs.
    assert all_of_them <= peak_mb(sys.executable, "-c", "import torch") + 300
