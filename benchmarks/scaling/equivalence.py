"""`python -m benchmarks.scaling.equivalence`: one process against 2, 3 and 4 ranks, a table.

Each case is trained for 50 updates. The figure is the largest relative difference of a loss from
one process's, of all 50. One process with other micro-batches shows what rounding does by itself.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.scaling.cases import CASES, TOLERANCE, UPDATES

OTHER_PIECES = 100  # samples in a micro-batch, instead of 512
Losses = dict[str, list[list[float]]]  # by precision, case and update


def losses_with(ranks: int, data_dir: str = "data", micro_batch_size: int = 512) -> Losses:
    """Return the losses that so many ranks have.

    Raises:
        RuntimeError: they failed.

    """
    program = [sys.executable]
    if ranks > 1:
        program += ["-m", "torch.distributed.run", "--nproc-per-node", str(ranks)]
    program += ["-m", "benchmarks.scaling.worker"]
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "losses.json"
        command = [*program, str(out), data_dir, str(micro_batch_size)]
        env = {**os.environ, "OMP_NUM_THREADS": "1"}
        done = subprocess.run(
            command, capture_output=True, text=True, env=env, check=False, timeout=600
        )
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)}\n{done.stderr[-2000:]}")
        losses: Losses = json.loads(out.read_text())
    return losses


def difference(ours: list[float], theirs: list[float]) -> float:
    """Return the largest relative difference."""
    assert len(ours) == len(theirs) == UPDATES
    return max(abs(a - b) / abs(b) for a, b in zip(ours, theirs, strict=True))


def main() -> None:
    """Print the table; exit with 1 if a difference is too large."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scaling.equivalence")
    parser.add_argument("--ranks", type=int, nargs="+", default=[2, 3, 4])
    parser.add_argument("--data-dir", default="data")
    options = parser.parse_args()
    one = losses_with(1, options.data_dir)
    others = {"other pieces": losses_with(1, options.data_dir, OTHER_PIECES)}
    others |= {f"{ranks} ranks": losses_with(ranks, options.data_dir) for ranks in options.ranks}
    too_large = 0
    for dtype, most in TOLERANCE.items():
        table = Table(title=f"Largest relative difference of {UPDATES} losses, {dtype}")
        table.add_column("case")
        table.add_column("sizes")
        for heading in others:
            table.add_column(heading, justify="right")
        for place, case in enumerate(CASES):
            judged = dtype == "float64" or not case.chaotic
            found = [
                difference(losses[dtype][place], one[dtype][place]) for losses in others.values()
            ]
            wrong = [judged and not difference <= most for difference in found]
            too_large += sum(wrong)
            cells = [f"{d:.1e}{' !' if w else ''}" for d, w in zip(found, wrong, strict=True)]
            table.add_row(case.name, case.about if judged else "chaotic: not judged", *cells)
        Console(width=None if sys.stdout.isatty() else 120).print(table)
    limits = ", ".join(f"{most:g} in {dtype}" for dtype, most in TOLERANCE.items())
    print(f"Asked for: at most {limits}. Too large: {too_large}.")
    sys.exit(1 if too_large else 0)


if __name__ == "__main__":
    main()
