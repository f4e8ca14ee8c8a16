"""`python -m benchmarks.scaling.equivalence`: losses of 2, 3 and 4 ranks against one process.

Prints the largest relative difference of 50 losses for each case, and exits with 1 if one is too
large. A single process with other micro-batches shows the effect of rounding alone.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from benchmarks.scaling.cases import CASES, TOLERANCE, losses_of
from mnist_cli.data.datasets import load_dataset
from mnist_cli.runtime.distributed.torch_group import join

Losses = dict[str, list[list[float]]]  # by precision, case and update


def losses_with(ranks: int, data_dir: str = "data", micro_batch_size: int = 512) -> Losses:
    """Return the losses of all cases trained with a number of ranks.

    Raises:
        RuntimeError: a rank failed.

    """
    program = [sys.executable]
    if ranks > 1:
        program += ["-m", "torch.distributed.run", "--nproc-per-node", str(ranks)]
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "losses.json"
        arguments = ["--worker", str(out), str(micro_batch_size), "--data-dir", data_dir]
        command = [*program, "-m", "benchmarks.scaling.equivalence", *arguments]
        env = {**os.environ, "OMP_NUM_THREADS": "1"}
        done = subprocess.run(
            command, capture_output=True, text=True, env=env, check=False, timeout=600
        )
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)}\n{done.stderr[-2000:]}")
        losses: Losses = json.loads(out.read_text())
    return losses


def train_as_rank(out: Path, micro_batch_size: int, data_dir: str) -> None:
    """Train every case in both precisions; rank 0 writes the losses."""
    torch.set_num_threads(1)
    with join(sys.exit) as group:
        dataset = load_dataset("mnist", data_dir)
        configs = [replace(case.config, micro_batch_size=micro_batch_size) for case in CASES]
        losses = {
            dtype: [losses_of(config, dtype, dataset, group) for config in configs]
            for dtype in TOLERANCE
        }
        if group.is_main:
            out.write_text(json.dumps(losses))


def difference(ours: list[float], theirs: list[float]) -> float:
    """Return the largest relative difference of two lists of losses."""
    return max(abs(a - b) / abs(b) for a, b in zip(ours, theirs, strict=True))


def main() -> None:
    """Print the table; exit with 1 if a difference is too large."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scaling.equivalence")
    parser.add_argument("--ranks", type=int, nargs="+", default=[2, 3, 4])
    parser.add_argument("--data-dir", default="data")
    parser.add_argument("--worker", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        train_as_rank(Path(options.worker[0]), int(options.worker[1]), options.data_dir)
        return
    one = losses_with(1, options.data_dir)
    others = {"other micro-batches": losses_with(1, options.data_dir, 100)}
    others |= {f"{ranks} ranks": losses_with(ranks, options.data_dir) for ranks in options.ranks}
    too_large = 0
    for dtype, limit in TOLERANCE.items():
        table = Table("case", "sizes", *others, title=f"Largest relative difference, {dtype}")
        for number, case in enumerate(CASES):
            is_checked = dtype == "float64" or not case.chaotic
            found = [
                difference(losses[dtype][number], one[dtype][number]) for losses in others.values()
            ]
            too_large += is_checked * sum(not value <= limit for value in found)
            about = case.about if is_checked else "chaotic: not checked"
            table.add_row(case.name, about, *(f"{value:.1e}" for value in found))
        Console(width=None if sys.stdout.isatty() else 120).print(table)
    print(f"Limits: {TOLERANCE}. Too large: {too_large}.")
    sys.exit(1 if too_large else 0)


if __name__ == "__main__":
    main()
