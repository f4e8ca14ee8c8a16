"""What was read once, kept as IDX files in a folder of the data folder.

A set lies in a folder that is named by a fingerprint of its files and options. The description is
written last: without it, or if anything does not fit it, the set is read again.
"""

import contextlib
import hashlib
import json
import os
import re
import struct
import zlib
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import numpy as np

from mnist_cli.config.own_data import MAX_CLASSES, MAX_NAME
from mnist_cli.data.catalogue import IMAGE_SHAPE
from mnist_cli.data.own.reading import read_own, read_with
from mnist_cli.data.own.samples import (
    MAX_SAMPLES,
    MIN_CLASSES,
    Images,
    OwnData,
    ReadOptions,
    Samples,
)
from mnist_cli.data.own.sources import is_litter
from mnist_cli.errors import OutputError
from mnist_cli.runtime.files import write_atomic

_FORMAT = 3
_DESCRIPTION = "own.json"
_MAX_DESCRIPTION = 1 << 18
_MAX_LINES, _MAX_LINE = 100, 5000
_MAX_SETS = 8
_NAMES = {
    ("train", "images"): "train-images-idx3-ubyte",
    ("train", "labels"): "train-labels-idx1-ubyte",
    ("test", "images"): "t10k-images-idx3-ubyte",
    ("test", "labels"): "t10k-labels-idx1-ubyte",
}
_MAX_FILE = 16 + MAX_SAMPLES * IMAGE_SHAPE[0] * IMAGE_SHAPE[1]


def load_own(path: Path, options: ReadOptions, cache: Path | None) -> OwnData:
    """Return the data set at a path, from the folder `cache` if it was read before.

    If that folder cannot be written, the set is read each time.

    Raises:
        DataError, UsageError: see `read_own`.

    """
    if cache is None or not _can_be_looked_at(path):
        return read_own(path, options)
    fingerprint = _fingerprint(path, options)
    folder = cache / fingerprint[:32]
    kept = _load(folder, fingerprint)
    if kept is not None:
        return kept
    own = read_own(path, options)
    if _fingerprint(path, options) == fingerprint:  # nothing was written meanwhile
        with contextlib.suppress(OSError, OutputError):
            _store(own, folder, fingerprint)
            _remove_oldest(cache, folder)
    return own


def _can_be_looked_at(path: Path) -> bool:
    try:
        path.stat()
    except (OSError, ValueError):  # reading it will say what is wrong
        return False
    return True


def _fingerprint(path: Path, options: ReadOptions) -> str:
    """Return a digest of the options, and of name, size and time of each file that may be read."""
    files = []
    for file in _files(path):
        with contextlib.suppress(OSError, ValueError):
            status = file.stat()
            times = status.st_mtime_ns, status.st_ctime_ns
            files.append([os.path.relpath(file, path), status.st_size, *times, status.st_ino])
    described = json.dumps([_FORMAT, str(path.absolute()), asdict(options), sorted(files)])
    return hashlib.sha256(described.encode()).hexdigest()


def _files(path: Path) -> Iterator[Path]:
    if not path.is_dir():
        yield from (path, *read_with(path))
        return
    for here, folders, files in os.walk(path):
        folders[:] = [name for name in folders if not is_litter(name)]
        yield from (Path(here, name) for name in files if not is_litter(name))


def _store(own: OwnData, folder: Path, fingerprint: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / _DESCRIPTION).unlink(missing_ok=True)
    checksums = {}
    for (part, what), name in _NAMES.items():
        samples = own.train if part == "train" else own.test
        if samples is None:
            continue
        values = samples.images if what == "images" else samples.labels
        if values is None:
            return
        header = struct.pack(f">4B{values.ndim}I", 0, 0, 8, values.ndim, *values.shape)
        data = header + values.tobytes()
        write_atomic(folder / name, data)
        checksums[name] = zlib.crc32(data)
    description = {
        "fingerprint": fingerprint,
        "classes": own.classes,
        "summary": own.summary,
        "light_ground": own.light_ground,
        "checksums": checksums,
    }
    write_atomic(folder / _DESCRIPTION, json.dumps(description).encode())


def _load(folder: Path, fingerprint: str) -> OwnData | None:
    """Return a set that was kept, or None if it is not there or anything in it does not fit."""
    try:
        description = json.loads(_read(folder / _DESCRIPTION, _MAX_DESCRIPTION))
        if description["fingerprint"] != fingerprint:
            return None
        classes, summary = _texts(description["classes"]), _texts(description["summary"])
        checksums, light = description["checksums"], description["light_ground"]
        names_fit = all(0 < len(name) <= MAX_NAME and name.isprintable() for name in classes)
        if not (names_fit and MIN_CLASSES <= len(set(classes)) == len(classes) <= MAX_CLASSES):
            return None
        if len(summary) > _MAX_LINES or any(len(line) > _MAX_LINE for line in summary):
            return None
        if not isinstance(light, bool) or not isinstance(checksums, dict):
            return None
        train = _samples(folder, "train", checksums, len(classes))
        has_test = _NAMES["test", "images"] in checksums
        test = _samples(folder, "test", checksums, len(classes)) if has_test else None
    except (OSError, ValueError, KeyError, TypeError, RecursionError, struct.error):
        return None
    return OwnData(train, test, classes, summary, light)


def _texts(value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise ValueError("not a list of texts")
    return tuple(value)


def _samples(folder: Path, part: str, checksums: dict[str, object], classes: int) -> Samples:
    """Return the samples of a part.

    Raises:
        OSError, ValueError, KeyError: a file is missing or does not fit.

    """
    images = _values(folder, _NAMES[part, "images"], checksums, 3)
    labels = _values(folder, _NAMES[part, "labels"], checksums, 1)
    if images.shape[1:] != IMAGE_SHAPE or len(images) != len(labels) or not len(labels):
        raise ValueError("shapes do not fit")
    if labels.max() >= classes:
        raise ValueError("a label is no class")
    return Samples(images, labels)


def _values(folder: Path, name: str, checksums: dict[str, object], dimensions: int) -> Images:
    data = _read(folder / name, _MAX_FILE)
    if zlib.crc32(data) != checksums[name] or data[:4] != bytes([0, 0, 8, dimensions]):
        raise ValueError("damaged")
    shape = struct.unpack_from(f">{dimensions}I", data, 4)
    # `data` is a bytearray, as PyTorch wants memory that may be written to.
    values = np.frombuffer(data, np.uint8, offset=4 + 4 * dimensions)
    return values.reshape(shape)


def _read(path: Path, most: int) -> bytearray:
    """Return a regular file of limited size.

    Raises:
        OSError, ValueError: it is none.

    """
    if not path.is_file():
        raise ValueError("not a regular file")
    size = path.stat().st_size
    if size > most:
        raise ValueError("too large")
    data = bytearray(size)
    with path.open("rb") as file:
        if file.readinto(data) != size:
            raise ValueError("truncated")
    return data


def _remove_oldest(cache: Path, kept: Path) -> None:
    """Remove the sets that were kept longest ago, beyond a number of them."""
    sets = [
        folder
        for folder in cache.iterdir()
        if re.fullmatch("[0-9a-f]{32}", folder.name) and (folder / _DESCRIPTION).is_file()
    ]
    sets.sort(key=lambda folder: (folder == kept, (folder / _DESCRIPTION).stat().st_mtime))
    for folder in sets[:-_MAX_SETS]:
        for name in (_DESCRIPTION, *_NAMES.values()):
            (folder / name).unlink(missing_ok=True)
        folder.rmdir()
