"""Samples a second of this package and of a DataLoader over torchvision's MNIST, as JSON."""

import argparse
import itertools
import json
import time
from collections.abc import Iterable
from typing import Any

from torch.utils.data import DataLoader

from benchmarks.references import torchvision_mnist
from mnist_cli.config.train import TrainConfig
from mnist_cli.data.augment import augmented
from mnist_cli.data.batches import epoch_updates
from mnist_cli.data.datasets import load_dataset
from mnist_cli.models.layers import Normalize


def samples_per_second(batches: Iterable[Any], most: int | None) -> float:
    """Take the batches, or the first few, and return the rate at which they come after the first.

    That one may have had to wait until workers were started.
    """
    batches = iter(batches)
    next(batches)
    began, samples = time.perf_counter(), 0
    for _images, labels in itertools.islice(batches, most):
        samples += len(labels)
    return samples / (time.perf_counter() - began)


def main() -> None:
    """Measure one kind of pipeline."""
    parser = argparse.ArgumentParser()
    parser.add_argument("kind", choices=["ours", "default", "0", "2"])
    parser.add_argument("--data-dir", default="data")
    parser.add_argument("--batches", type=int)
    options = parser.parse_args()

    if options.kind in ("ours", "default"):
        split = load_dataset("mnist", options.data_dir).train
        default = TrainConfig().resolve(len(split))
        dataset = augmented(split, default) if options.kind == "default" else split
        normalize = Normalize()  # the reference's ToTensor makes floating-point images, too

        def batches(epoch: int) -> Iterable[Any]:
            updates = epoch_updates(dataset, size=64, seed=0, epoch=epoch)
            return ((normalize(images), labels.long()) for images, labels in updates)

        samples_per_second(batches(1), 10)
        rate = samples_per_second(batches(2), None)
    else:
        train = torchvision_mnist(options.data_dir, train=True)
        loader = DataLoader(train, batch_size=64, shuffle=True, num_workers=int(options.kind))
        rate = samples_per_second(loader, options.batches)
    print(json.dumps({"samples_per_second": rate}))


if __name__ == "__main__":
    main()
