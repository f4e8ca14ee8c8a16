"""Data sets as tensors: those of the catalogue, by their names, and one's own, by their paths.

The files have the IDX format: two zero bytes, one byte for the type (0x08 unsigned byte, 0x0C
32-bit integer), one for the number of dimensions, the dimensions as 32-bit big-endian integers,
then the values in C order, big-endian too. Source: the description on the MNIST page of LeCun,
Cortes and Burges.
"""

import math
import struct
from pathlib import Path

import torch

from mnist_cli.config.own_data import is_data_path
from mnist_cli.config.quoting import quote
from mnist_cli.data.catalogue import CATALOGUE, IMAGE_SHAPE, DatasetFiles
from mnist_cli.data.download import download, unpack
from mnist_cli.data.files import (
    ADVICE,
    DOWNLOADS,
    PACKAGE,
    find_file,
    folder_of,
    read_file,
    read_packaged,
    verify,
)
from mnist_cli.data.own.named import known_data, load_own_dataset
from mnist_cli.data.splits import Dataset, Split
from mnist_cli.errors import DataError, UsageError

_DTYPES = {0x08: (torch.uint8, 1), 0x0C: (torch.int32, 4)}
_MAX_DIMENSIONS = 3


def parse_idx(data: bytearray, source: str) -> torch.Tensor:
    """Return the values of an IDX file as a tensor of its shape, `uint8` or `int32`.

    A `uint8` tensor shares its memory with `data`.

    Raises:
        DataError: not an IDX file, or its length is not what its header says.

    """
    if len(data) < 4 or data[0] or data[1] or data[2] not in _DTYPES:
        start = bytes(data[:4]).hex(" ")
        raise DataError(f"{source} is not an IDX file: it begins with '{start}'; {ADVICE}")
    dtype, width = _DTYPES[data[2]]
    dimensions = data[3]
    header = 4 + 4 * dimensions
    if not 1 <= dimensions <= _MAX_DIMENSIONS or len(data) < header:
        raise DataError(
            f"{source} is damaged: its header promises {dimensions} dimensions; {ADVICE}"
        )
    shape = struct.unpack_from(f">{dimensions}I", data, 4)
    expected = header + width * math.prod(shape)
    if len(data) != expected:
        raise DataError(
            f"{source} is {'truncated' if len(data) < expected else 'too long'}: it has "
            f"{len(data):,} bytes, its header promises {expected:,}; {ADVICE}"
        )
    if expected == header:
        raise DataError(f"{source} is empty: its header promises the shape {shape}; {ADVICE}")
    values = torch.frombuffer(data, dtype=torch.uint8, offset=header)
    if dtype is torch.int32:
        values = values.view(-1, 4).flip(1).contiguous().view(torch.int32)  # big-endian
    return values.view(shape)


def load_dataset(
    name: str | Path,
    data_dir: str | Path | None = None,
    *,
    test_size: float | None = 0.2,
    label_column: str | None = None,
    max_value: float | None = None,
    transposed: bool = False,
) -> Dataset:
    """Return a data set: of the catalogue by its name, or one's own by its path.

    Without a `data_dir`, MNIST is read from the package, and others from the folder `data`. What is
    not in a folder is put there first: MNIST from the package, others by torchvision's downloads.

    The other options are for one's own data: how many samples are held out to test on if there is
    no test set (a number, or a share below 1; all, if it is None), the column of the labels, the
    largest value of a pixel, and whether rows and columns of the images are to be exchanged.

    Raises:
        UsageError: there is no such data set, the folder has no name, or an option does not fit.
        DataError: files are damaged, or are missing and cannot be obtained.

    """
    if isinstance(name, Path):
        name = str(name)
    if isinstance(name, str) and name not in CATALOGUE:
        if (known := known_data(name)) is not None:
            return known.dataset
        if is_data_path(name):
            folder = DOWNLOADS if data_dir is None else data_dir
            return load_own_dataset(
                name,
                folder,
                test_size=test_size,
                label_column=label_column,
                max_value=max_value,
                transposed=transposed,
            ).dataset
    source = _files_of(name)
    folder = _ensure(name, source.files, data_dir)
    train = _load_split(folder, source.train_images, source.train_labels, name)
    return Dataset(train, _load_split(folder, source.test_images, source.test_labels, name), name)


def load_test(name: str, data_dir: str | Path | None = None) -> Split:
    """Return the test samples of a data set of the catalogue, for which only they are needed.

    Raises:
        UsageError, DataError: see `load_dataset`.

    """
    source = _files_of(name)
    folder = _ensure(name, (source.test_images, source.test_labels), data_dir)
    return _load_split(folder, source.test_images, source.test_labels, name)


def _files_of(name: object) -> DatasetFiles:
    if name not in CATALOGUE:
        raise UsageError(f"there is no data set {quote(name)}; choose {', '.join(CATALOGUE)}")
    return CATALOGUE[name]


def _ensure(name: str, files: tuple[str, ...], data_dir: str | Path | None) -> Path:
    """Put the files that are missing in their folder, and return it."""
    folder = folder_of(name, data_dir)
    if folder == PACKAGE:
        return folder
    found = {file: find_file(folder, file) for file in files}
    missing = [file for file, path in found.items() if path is None]
    if missing and name == "mnist":
        unpack(missing, folder)
    elif missing:
        try:
            download(name, folder)
        except DataError:
            for path in found.values():
                if path is not None:  # if it is damaged, that is what has to be mended
                    read_file(path)
            raise
    return folder


def _load_split(folder: Path, images_file: str, labels_file: str, name: str) -> Split:
    source = CATALOGUE[name]
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
    first, last = source.first_label, source.first_label + len(source.classes) - 1
    if labels.min() < first or labels.max() > last:
        raise DataError(
            f"{folder / labels_file}: a label is not a class from {first} to {last}; {ADVICE}"
        )
    if source.transposed:
        images = images.transpose(1, 2).contiguous()
    return Split(images, labels.to(torch.uint8) - first, source.classes)


def _load(folder: Path, file: str, name: str) -> torch.Tensor:
    if folder == PACKAGE:
        return parse_idx(read_packaged(file), file)
    path = find_file(folder, file)
    if path is None:
        raise DataError(f"{folder / file} is missing; delete {folder} to have it made again")
    contents = read_file(path, CATALOGUE[name].largest_file)
    values = parse_idx(contents, str(path))
    if name == "mnist":
        verify(file, contents, source=str(path))
    return values
