"""Data sets in files as those of MNIST, made by the tests."""

import struct
from pathlib import Path

from torch import Tensor

from mnist_cli.data.catalogue import CATALOGUE
from mnist_cli.data.splits import Split


def idx_bytes(values: Tensor) -> bytes:
    """Return the IDX file of bytes of any shape."""
    sizes = struct.pack(f">{values.ndim}I", *values.shape)
    return bytes([0, 0, 8, values.ndim]) + sizes + values.contiguous().numpy().tobytes()


def write_raw(raw: Path, train: Split, test: Split) -> None:
    """Write the four files of a data set to a folder."""
    raw.mkdir(parents=True, exist_ok=True)
    for name, split in (("train", train), ("t10k", test)):
        (raw / f"{name}-images-idx3-ubyte").write_bytes(idx_bytes(split.images))
        (raw / f"{name}-labels-idx1-ubyte").write_bytes(idx_bytes(split.labels))


def write_qmnist(raw: Path, train: Split, test: Split) -> None:
    """Write the four files of QMNIST, each of whose labels is the first of eight numbers."""
    raw.mkdir(parents=True, exist_ok=True)
    train_images, train_labels, test_images, test_labels = CATALOGUE["qmnist"].files
    for split, images, labels in (
        (train, train_images, train_labels),
        (test, test_images, test_labels),
    ):
        (raw / images).write_bytes(idx_bytes(split.images))
        header = struct.pack(">HBBII", 0, 0x0C, 2, len(split), 8)
        rows = (struct.pack(">8i", label, *[0] * 7) for label in split.labels.tolist())
        (raw / labels).write_bytes(header + b"".join(rows))
