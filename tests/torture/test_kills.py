"""`kill -9` at random moments: the file is whole, and the rest ends with the same weights."""

import json
import random
import shutil
import time
from collections import Counter
from pathlib import Path

import pytest

from mnist_cli.models.checkpoint import load_checkpoint
from tests.helpers.fork_server import Child, ForkServer
from tests.torture.amount import count

# Trainings of about a second that save all the time, with the ways that a training can differ.
TRAININGS = {
    "linear": "--model linear --subset 5000 --val-size 500 --epochs 3 --save-every 5 "
    "--batch-size 30 --no-shuffle --schedule constant",
    "cnn": "--model cnn --subset 2560 --epochs 2 --save-every 4 --batch-size 64",
    "batch": "--model mlp --mode batch --subset 2000 --micro-batch-size 100 --epochs 15",
    "lenet": "--model lenet --subset 960 --epochs 2 --save-every 1 --optimizer sgd "
    "--schedule cosine --batch-size 32",
    "quick": "--model quick --subset 5120 --epochs 2 --save-every 2 --batch-size 128",
    "average": "--model quick --subset 2560 --epochs 2 --save-every 2 --batch-size 128 --ema 0.9 "
    "--augment affine --members 2",
}
LAST = "t10k-labels-idx1-ubyte"  # of the files that are unpacked
CHAINS = 6  # tests that share the kills, so that they can run in parallel


@pytest.mark.parametrize(
    "chain", [0, *(pytest.param(n, marks=pytest.mark.torture) for n in range(1, CHAINS))]
)
def test_killed_at_random_moments_a_training_ends_as_if_it_was_not(
    chain: int, fork_server: ForkServer, mnist_dir: Path, tmp_path: Path
) -> None:
    draw = random.Random(chain)
    name = list(TRAININGS)[chain % len(TRAININGS)]
    options = [*TRAININGS[name].split(), "--json", "-o", "checkpoint.pt"]
    env = {key: value for key, value in fork_server.env.items() if key != "MNIST_DATASET"}
    wanted, took = uninterrupted(fork_server, options, tmp_path, env)
    sums: Counter[str] = Counter()
    while sums["kills"] < count(1, 500 // CHAINS):
        folder = tmp_path / "run"
        folder.mkdir()
        path = folder / "checkpoint.pt"
        # Every fourth has no data yet, and may be killed while it unpacks.
        fresh = draw.random() < 0.25
        data = folder.parent / "fresh" if fresh else mnist_dir
        code = None
        while code != 0:
            resume = ["--resume", "checkpoint.pt"] if path.exists() else options
            child = fork_server.start(
                "mnist-train", *resume, "--json", "--data-dir", str(data), folder=folder, env=env
            )
            unpacked = (data / "MNIST" / "raw" / LAST).exists()
            if unpacked and draw.random() < 0.7:  # or else perhaps before it begins
                wait_for_start(child, tmp_path / "out")
            time.sleep(draw.uniform(0, took * 0.6 if unpacked else 2.5))
            if not child.has_ended():
                child.kill()
            code = child.wait()
            if code == -9:
                sums["kills"] += 1
                sums[f"killed while {phase(folder, data)}"] += 1
            else:
                assert code == 0, (tmp_path / "err").read_text()
            if path.exists():
                load_checkpoint(path)  # raises, unless it is whole
                sums["files checked, all valid"] += 1
        end = json.loads((tmp_path / "out").read_text().splitlines()[-1])
        assert end["weights_sha256"] == wanted, dict(sums)
        sums["trainings ended, all with the digest of an uninterrupted one"] += 1
        assert [path.name for path in folder.iterdir()] == ["checkpoint.pt"]
        for place in (folder, folder.parent / "fresh"):
            shutil.rmtree(place, ignore_errors=True)
    print(f"{name}: {dict(sums)}")


def uninterrupted(
    fork_server: ForkServer, options: list[str], folder: Path, env: dict[str, str]
) -> tuple[str, float]:
    """Return the digest of a training, and the seconds that it takes."""
    (folder / "whole").mkdir()
    began = time.monotonic()
    assert fork_server.run("mnist-train", *options, folder=folder / "whole", env=env) == 0
    took = time.monotonic() - began
    end = json.loads((folder / "out").read_text().splitlines()[-1])
    assert end["event"] == "end"
    return end["weights_sha256"], took


def wait_for_start(child: Child, out: Path) -> None:
    while not child.has_ended() and not (out.exists() and out.stat().st_size):
        time.sleep(0.01)


def phase(folder: Path, data: Path) -> str:
    """Return what a program was doing when it was killed, by what it left."""
    if list(folder.glob(".*.tmp")):
        return "saving"
    if list(data.glob("MNIST/raw/.*.tmp")) or not (data / "MNIST/raw").exists():
        return "unpacking"
    told = (folder.parent / "out").read_text().splitlines()
    return "training or scoring" if told else "beginning"
