"""`python -m benchmarks.scaling.speed`: two ranks against one process, whole programs in turn."""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import torch

ONE = (sys.executable, "-m", "mnist_cli")
TWO = (sys.executable, "-m", "mnist_cli.cli.torchrun", "--nproc-per-node", "2", "-m", "mnist_cli")
TRAIN = ("train", "--mode", "batch", "--epochs", "8", "--json", "-q", "--model")
COMPARE = (
    *("compare", "--model", "mlp", "--subset", "20000", "--batch-sizes", "32,64,256,1024"),
    *("--seeds", "2", "--epochs", "2", "--json", "-q", "--threads", "1"),
)


@dataclass(frozen=True)
class Pair:
    """Two ranks with a thread each, and one process beside it with some threads."""

    about: str
    command: tuple[str, ...]
    threads: str
    rounds: int
    unit: str
    wanted: float


PAIRS = [
    Pair("batch mode, mlp", (*TRAIN, "mlp"), "2", 5, "samples/s", 0.9),
    Pair("batch mode, cnn", (*TRAIN, "cnn"), "2", 3, "samples/s", 0.9),
    Pair("mnist-compare, 8 arms", COMPARE, "1", 3, "runs/hour", 1.5),
]


def speed(pair: Pair, ranks: int, data_dir: str) -> float:
    """Return how fast a program was: a training by its updates, a comparison as a whole."""
    with tempfile.TemporaryDirectory() as folder:
        program = TWO if ranks == 2 else ONE
        env = {**os.environ, "OMP_NUM_THREADS": pair.threads if ranks == 1 else "1"}
        env["PYTHONPATH"] = str(Path.cwd())
        began = time.perf_counter()
        done = subprocess.run(
            [*program, *pair.command, "--data-dir", data_dir],
            cwd=folder,
            env=env,
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        seconds = time.perf_counter() - began
    end = json.loads(done.stdout.splitlines()[-1])
    if pair.unit == "samples/s":
        return float(end["samples_seen"] / end["train_seconds"])
    return 3600 / seconds


def main() -> None:
    """Print medians and ratios; exit with 1 if a ratio is lower than wanted."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scaling.speed")
    parser.add_argument("--data-dir", default="data")
    data_dir = str(Path(parser.parse_args().data_dir).resolve())
    print(f"{os.cpu_count()} cores, PyTorch {torch.__version__}; medians, in turn")
    too_slow = 0
    for pair in PAIRS:
        found: dict[int, list[float]] = {1: [], 2: []}
        for _ in range(pair.rounds):
            for ranks, speeds in found.items():
                speeds.append(speed(pair, ranks, data_dir))
        one, two = (statistics.median(speeds) for speeds in found.values())
        ratios = [b / a for a, b in zip(*found.values(), strict=True)]
        too_slow += two / one < pair.wanted
        print(
            f"{pair.about}: one process, threads {pair.threads}: {one:,.0f} {pair.unit}; "
            f"two ranks: {two:,.0f}; ratio {two / one:.2f} "
            f"({min(ratios):.2f} to {max(ratios):.2f} in {pair.rounds} rounds), "
            f"wanted {pair.wanted}",
            flush=True,
        )
    sys.exit(1 if too_slow else 0)


if __name__ == "__main__":
    main()
