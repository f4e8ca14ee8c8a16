"""Choose below which probability a reading is uncertain: `python -m tests.drawn.threshold`.

Each model is trained with its defaults on 50,000 samples; the other 10,000 of the training set,
never the test set, choose. The threshold is the highest probability, in hundredths, below which at
most 1 % of the samples fall that were read right. It prints the rows of
`mnist_cli/config/registry.py`,
with the share of samples that is at or above it, how many of these are right, and how many of the
mistakes are below. It takes some minutes.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import torch

from mnist_cli.config.registry import NETWORKS
from mnist_cli.data.datasets import load_dataset
from mnist_cli.data.splits import train_val_split
from mnist_cli.models.checkpoint import load_checkpoint

LOST = 0.01  # of the samples that are read right: how many may be called uncertain


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-dir", default="data")
    parser.add_argument("--models", nargs="*", default=NETWORKS)
    given = parser.parse_args()
    for name in given.models:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "checkpoint.pt"
            options = ["--model", name, "--val-size", "10000", "--data-dir", given.data_dir]
            command = [sys.executable, "-m", "mnist_cli", "train", "-q", *options, "-o", str(path)]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            print(_row(name, path, given.data_dir), flush=True)


def _row(name: str, path: Path, data_dir: str) -> str:
    """Return the table's row of a model."""
    checkpoint = load_checkpoint(path)
    trained = checkpoint.config
    train = load_dataset("mnist", data_dir).train
    _, held_out = train_val_split(train, val_size=10_000, subset=trained.subset, seed=trained.seed)
    with torch.inference_mode():
        probabilities = checkpoint.build_model().eval()(held_out.images).double().softmax(1)
    best, digit = probabilities.max(1)
    right = digit == held_out.labels
    threshold = int(best[right].quantile(LOST).item() * 100) / 100
    sure = best >= threshold
    caught = (~sure & ~right).sum() / (~right).sum()
    return (
        f'    "{name}": {threshold:.2f},  # {sure.double().mean():.1%} are above, of these '
        f"{right[sure].double().mean():.2%} right; {caught:.0%} of the mistakes below"
    )


if __name__ == "__main__":
    main()
