"""Fixtures: a few real samples as NumPy arrays."""

from dataclasses import dataclass

import pytest

from mnist_cli.data.datasets import Dataset
from mnist_cli.data.own.samples import Samples
from tests.helpers.own_data import Array


@dataclass(frozen=True)
class Few:
    """Images `uint8 [N, 28, 28]` and labels `uint8 [N]`."""

    images: Array
    labels: Array

    def __getitem__(self, index: slice) -> "Few":
        return Few(self.images[index], self.labels[index])

    def is_in(self, samples: Samples | None, classes: tuple[str, ...]) -> bool:
        """Return True if samples are these, in any order, and have the same labels by name."""
        if samples is None or samples.labels is None or len(samples) != len(self.images):
            return False
        names = [str(label) for label in self.labels]
        found = [classes[label] for label in samples.labels]
        mine = sorted(zip(names, map(bytes, self.images.reshape(-1, 784)), strict=True))
        theirs = sorted(zip(found, map(bytes, samples.images.reshape(-1, 784)), strict=True))
        return mine == theirs


@pytest.fixture(scope="session")
def some(mnist: Dataset) -> Few:
    """Return 200 training samples."""
    return Few(mnist.train.images[:200].numpy().copy(), mnist.train.labels[:200].numpy().copy())
