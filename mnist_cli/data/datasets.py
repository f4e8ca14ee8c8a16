"""Load a data set: from its folder, the package, or a download."""

import gzip
import zlib
from pathlib import Path

import torch

from mnist_cli.data import bundled, idx
from mnist_cli.data.catalogue import CATALOGUE, CLASSES, IMAGE_SHAPE, Source
from mnist_cli.data.download import download
from mnist_cli.data.split import Dataset, Split, train_val_split
from mnist_cli.errors import DataError

__all__ = ["Dataset", "Split", "load_dataset", "load_test", "train_val_split"]

_MAX_BYTES = 1 << 26  # of an unpacked file; the largest, of MNIST, has 47 MB


def load_dataset(name: str, data_dir: str | Path = "data") -> Dataset:
    """Return a data set; if it is not in `data_dir`, put it there first.

    MNIST is unpacked from the package; the others are downloaded by torchvision.

    Raises:
        DataError: files are damaged, or are missing and cannot be obtained.

    """
    source = CATALOGUE[name]
    folder = _ensure(name, source, Path(data_dir))
    train = _load_split(folder, source.train_images, source.train_labels, name)
    return Dataset(train, _load_split(folder, source.test_images, source.test_labels, name))


def load_test(name: str, data_dir: str | Path = "data") -> Split:
    """Return only the test samples of a data set; if it is not in `data_dir`, put it there first.

    Raises:
        DataError: files are damaged, or are missing and cannot be obtained.

    """
    source = CATALOGUE[name]
    folder = _ensure(name, source, Path(data_dir))
    return _load_split(folder, source.test_images, source.test_labels, name)


def _ensure(name: str, source: Source, data_dir: Path) -> Path:
    folder = source.raw(data_dir)
    missing = [file for file in source.files if _find(folder, file) is None]
    if missing and name == "mnist":
        bundled.unpack(missing, data_dir)
    elif missing:
        download(source, data_dir)
    return folder


def _find(folder: Path, file: str) -> Path | None:
    """Return the path of a file or, if there is none, of its .gz."""
    try:
        paths = (folder / file, folder / f"{file}.gz")
        return next((path for path in paths if path.is_file()), None)
    except OSError as error:  # no permission, or a name that is too long
        raise DataError(
            f"cannot look into {folder}: {error.strerror}; name another folder with --data-dir"
        ) from error


def _load_split(folder: Path, images_file: str, labels_file: str, name: str) -> Split:
    images = _load(folder, images_file, name)
    labels = _load(folder, labels_file, name)
    if images.dtype != torch.uint8 or tuple(images.shape[1:]) != IMAGE_SHAPE:
        raise DataError(
            f"{folder / images_file}: expected images of 28 by 28, found {list(images.shape)}"
        )
    if labels.ndim == 2:  # QMNIST: the class, then the origin of the sample
        labels = labels[:, 0]
    if labels.ndim != 1 or len(labels) != len(images):
        raise DataError(
            f"{folder / labels_file}: {len(labels):,} labels for {len(images):,} images"
        )
    if labels.min() < 0 or labels.max() >= CLASSES:
        raise DataError(f"{folder / labels_file}: a label is not a class from 0 to 9")
    return Split(images, labels.to(torch.uint8))


def _load(folder: Path, file: str, name: str) -> torch.Tensor:
    path = _find(folder, file)
    if path is None:
        raise DataError(f"{folder / file} is missing; delete {folder} to have it made again")
    contents = _read(path)
    values = idx.parse(contents, str(path))
    if name == "mnist":
        bundled.verify(file, contents, source=str(path))
    return values


def _read(path: Path) -> bytearray:
    try:
        if path.suffix == ".gz":
            with gzip.open(path) as file:
                contents = bytearray(file.read(_MAX_BYTES + 1))
        else:
            contents = bytearray(min(path.stat().st_size, _MAX_BYTES + 1))
            with path.open("rb") as file:
                del contents[file.readinto(contents) :]
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"cannot read {path}: {error}; replace or delete it") from error
    if len(contents) > _MAX_BYTES:
        raise DataError(f"{path} holds more than {_MAX_BYTES:,} bytes: not a data set like MNIST")
    return contents
