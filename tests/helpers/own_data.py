"""Data sets of one's own in files of every kind, made of the real MNIST."""

import gzip
import io
import struct
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mnist_cli.data.splits import Split

Array = NDArray[Any]
HEADER = "label," + ",".join(f"pixel{number}" for number in range(784))


def idx(values: Array) -> bytes:
    """Return an IDX file of bytes."""
    sizes = struct.pack(f">{values.ndim}I", *values.shape)
    return bytes([0, 0, 8, values.ndim]) + sizes + values.astype(np.uint8).tobytes()


def rows(
    images: Array, labels: Iterable[object], *, separator: str = ",", last: bool = False
) -> list[str]:
    """Return lines of a table, the label first or last."""
    lines = []
    for image, label in zip(images.reshape(len(images), -1).tolist(), labels, strict=True):
        cells = [f"{value:.9g}" for value in image]
        lines.append(separator.join([*cells, str(label)] if last else [str(label), *cells]))
    return lines


def write(path: Path, content: str | bytes | list[str]) -> Path:
    """Write a file, and the folders that it lies in; a list is lines."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, list):
        content = "\n".join(content) + "\n"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def write_all(folder: Path, files: Mapping[str, bytes]) -> Path:
    """Write files into a folder, and return it."""
    for name, content in files.items():
        write(folder / name, content)
    return folder


def npy(values: Array) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, values, allow_pickle=values.dtype.hasobject)
    return buffer.getvalue()


def zipped(files: Mapping[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def npz(**arrays: Array) -> bytes:
    return zipped({f"{name}.npy": npy(values) for name, values in arrays.items()})


def png(image: Array) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    return buffer.getvalue()


def class_folders(folder: Path, images: Array, labels: Iterable[object]) -> Path:
    """Write pictures into a folder for each class; their names sort as the samples do."""
    for number, (image, label) in enumerate(zip(images, labels, strict=True)):
        write(folder / str(label) / f"{number:05}.png", png(image))
    return folder


def packed(content: bytes) -> bytes:
    return gzip.compress(content, 1)


def write_csv(path: Path, split: Split, *, labelled: bool = True) -> Path:
    """Write a table as Kaggle's: a header, then the label and 784 pixels a row."""
    path.parent.mkdir(parents=True, exist_ok=True)
    names = [f"pixel{number}" for number in range(784)]
    lines = [",".join(["label", *names] if labelled else names)]
    rows = zip(split.labels.tolist(), split.images.flatten(1).tolist(), strict=True)
    for label, pixels in rows:
        first = [split.classes[label]] if labelled else []
        lines.append(",".join([*first, *map(str, pixels)]))
    path.write_text("\n".join(lines) + "\n")
    return path
