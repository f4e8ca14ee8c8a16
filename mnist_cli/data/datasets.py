"""Data sets as tensors: load them, and divide them into training and validation samples.

The files have the IDX format: two zero bytes, one byte for the type (0x08 unsigned byte, 0x0C
32-bit integer), one for the number of dimensions, the dimensions as 32-bit big-endian integers,
then the values in C order, big-endian too. Source: the description on the MNIST page of LeCun,
Cortes and Burges.
"""

import math
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

import torch

from mnist_cli.config.quoting import quote
from mnist_cli.config.reading import expand_home
from mnist_cli.data.catalogue import CATALOGUE, CLASSES, IMAGE_SHAPE, DatasetFiles
from mnist_cli.data.download import download, unpack, verify
from mnist_cli.errors import DataError, UsageError
from mnist_cli.runtime.seeding import stream


@dataclass(frozen=True)
class Split:
    """Images `uint8 [N, 28, 28]` and labels `uint8 [N]`."""

    images: torch.Tensor
    labels: torch.Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: torch.Tensor | slice) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the images and labels at `index`: views for a slice, else one copy of each."""
        if isinstance(index, slice):
            return self.images[index], self.labels[index]
        # Seven times as fast as `images[index]`, which copies pixel by pixel.
        return self.images.index_select(0, index), self.labels.index_select(0, index)

    @property
    def device(self) -> torch.device:
        """The device that holds the samples."""
        return self.labels.device

    def to(self, device: torch.device) -> "Split":
        """Return the split with its tensors on a device."""
        return Split(self.images.to(device), self.labels.to(device))


@dataclass(frozen=True)
class Dataset:
    """The training and the test samples of a data set."""

    train: Split
    test: Split


def train_val_split(
    train: Split, *, val_size: int, subset: int | None, seed: int
) -> tuple[Split, Split]:
    """Return the training and the held-out samples, drawn by the seed.

    Both keep the proportions of the classes. The held-out samples depend on `seed` and `val_size`
    alone, so that trainings on subsets of different sizes use the same validation samples.

    Raises:
        UsageError: more samples are requested than there are.

    """
    if val_size >= len(train):
        raise UsageError(
            f"--val-size {val_size} leaves none of the {len(train):,} samples to train on"
        )
    if subset is not None and val_size + subset > len(train):
        raise UsageError(
            f"--val-size {val_size} and --subset {subset} ask for more than the {len(train):,} "
            "training samples"
        )
    if not val_size and subset is None:
        return train, Split(train.images[:0], train.labels[:0])
    order = torch.randperm(len(train), generator=stream(seed, "split"))
    held_out, rest = _take(train.labels, order, val_size)
    kept = rest if subset is None else _take(train.labels, rest, subset)[0]
    return Split(*train[kept.sort().values]), Split(*train[held_out.sort().values])


def _take(
    labels: torch.Tensor, order: torch.Tensor, count: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Divide `order` into `count` indices that keep the class proportions, and the others.

    By the largest remainder method: each class gets its exact quota rounded down, and the classes
    with the largest remainders get one more.
    """
    classes = labels[order].long()
    sizes = torch.bincount(classes, minlength=CLASSES)
    exact = sizes.double() * count / len(order)
    quota = exact.floor().long()
    remainders = (exact - quota).argsort(descending=True, stable=True)
    quota[remainders[: count - int(quota.sum())]] += 1
    rank = torch.empty_like(order)  # of each sample among those of its class
    for digit in range(CLASSES):
        where = classes == digit
        rank[where] = torch.arange(int(sizes[digit]))
    taken = rank < quota[classes]
    return order[taken], order[~taken]


_DTYPES = {0x08: (torch.uint8, 1), 0x0C: (torch.int32, 4)}
_MAX_DIMENSIONS = 3
_ADVICE = "replace or delete it"


def parse_idx(data: bytearray, source: str) -> torch.Tensor:
    """Return the values of an IDX file as a tensor of its shape, `uint8` or `int32`.

    A `uint8` tensor shares its memory with `data`.

    Raises:
        DataError: not an IDX file, or its length is not what its header says.

    """
    if len(data) < 4 or data[0] or data[1] or data[2] not in _DTYPES:
        start = bytes(data[:4]).hex(" ")
        raise DataError(f"{source} is not an IDX file: it begins with '{start}'; {_ADVICE}")
    dtype, width = _DTYPES[data[2]]
    dimensions = data[3]
    header = 4 + 4 * dimensions
    if not 1 <= dimensions <= _MAX_DIMENSIONS or len(data) < header:
        raise DataError(
            f"{source} is damaged: its header promises {dimensions} dimensions; {_ADVICE}"
        )
    shape = struct.unpack_from(f">{dimensions}I", data, 4)
    expected = header + width * math.prod(shape)
    if len(data) != expected:
        raise DataError(
            f"{source} is {'truncated' if len(data) < expected else 'too long'}: it has "
            f"{len(data):,} bytes, its header promises {expected:,}; {_ADVICE}"
        )
    if expected == header:
        raise DataError(f"{source} is empty: its header promises the shape {shape}; {_ADVICE}")
    values = torch.frombuffer(data, dtype=torch.uint8, offset=header)
    if dtype is torch.int32:
        values = values.view(-1, 4).flip(1).contiguous().view(torch.int32)  # big-endian
    return values.view(shape)


_MAX_BYTES = 1 << 26  # of a file, packed or not; the largest, of MNIST, has 47 MB
_MAX_MEMBERS = 100  # of a gzip file; mostly there is one


def load_dataset(name: str, data_dir: str | Path = "data") -> Dataset:
    """Return a data set; if it is not in `data_dir`, put it there first.

    MNIST is unpacked from the package; the others are downloaded by torchvision.

    Raises:
        UsageError: there is no such data set, or the folder has no name.
        DataError: files are damaged, or are missing and cannot be obtained.

    """
    source = _files_of(name)
    folder = _ensure(name, source.files, data_dir)
    train = _load_split(folder, source.train_images, source.train_labels, name)
    return Dataset(train, _load_split(folder, source.test_images, source.test_labels, name))


def load_test(name: str, data_dir: str | Path = "data") -> Split:
    """Return only the test samples of a data set, for which it needs only the test files.

    Raises:
        UsageError, DataError: see `load_dataset`.

    """
    source = _files_of(name)
    folder = _ensure(name, (source.test_images, source.test_labels), data_dir)
    return _load_split(folder, source.test_images, source.test_labels, name)


def _files_of(name: str) -> DatasetFiles:
    if name not in CATALOGUE:
        raise UsageError(f"there is no data set {quote(name)}; choose {', '.join(CATALOGUE)}")
    return CATALOGUE[name]


def _ensure(name: str, files: tuple[str, ...], data_dir: str | Path) -> Path:
    """Put the files that are missing in their folder, and return it."""
    if not isinstance(data_dir, str | Path) or not str(data_dir):
        raise UsageError(f"--data-dir {quote(data_dir)}: name a folder")
    root = Path(expand_home(data_dir))
    source = CATALOGUE[name]
    folder = source.raw(root)
    found = {file: _find(folder, file) for file in files}
    missing = [file for file, path in found.items() if path is None]
    if missing and name == "mnist":
        unpack(missing, root)
    elif missing:
        try:
            download(source, root)
        except DataError:
            for path in found.values():
                if path is not None:  # if it is damaged, that is what has to be mended
                    _read(path)
            raise
    return folder


def _find(folder: Path, file: str) -> Path | None:
    """Return the path of a file or, if there is none, of its .gz."""
    try:
        paths = (folder / file, folder / f"{file}.gz")
        found = next((path for path in paths if path.is_file()), None)
        if found is None and any(path.exists() for path in paths):  # a FIFO would be waited for
            raise DataError(f"{folder / file} is not a regular file; {_ADVICE}")
        return found
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
    values = parse_idx(contents, str(path))
    if name == "mnist":
        verify(file, contents, source=str(path))
    return values


def _read(path: Path) -> bytearray:
    try:
        contents = bytearray(min(path.stat().st_size, _MAX_BYTES + 1))
        with path.open("rb") as file:
            del contents[file.readinto(contents) :]
        if path.suffix == ".gz" and len(contents) <= _MAX_BYTES:
            contents = _decompress(contents)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"cannot read {path}: {error}; replace or delete it") from error
    if len(contents) > _MAX_BYTES:
        raise DataError(f"{path} holds more than {_MAX_BYTES:,} bytes: not a data set like MNIST")
    return contents


def _decompress(packed: bytes | bytearray) -> bytearray:
    """Return the contents of a gzip file, up to a byte more than allowed.

    `gzip` limits neither the members that it reads nor the zeros behind them.
    """
    contents = bytearray()
    for _ in range(_MAX_MEMBERS):
        unpacker = zlib.decompressobj(16 + zlib.MAX_WBITS)
        contents += unpacker.decompress(packed, _MAX_BYTES + 1 - len(contents))
        if len(contents) > _MAX_BYTES:
            return contents
        if not unpacker.eof:
            raise EOFError("it is truncated")
        packed = unpacker.unused_data.lstrip(b"\0")
        if not packed:
            return contents
    raise EOFError(f"it has more than {_MAX_MEMBERS} members")
