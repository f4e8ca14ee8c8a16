"""Damaged data sets of one's own: refused, or read as another, simpler reader reads them."""

import csv
import io
import random
import shutil
import struct
import zipfile
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mnist_cli.data.own.reading import OwnData, read_own
from tests.helpers.own_data import HEADER, npy, png, rows, write, zipped
from tests.torture.damage import damaged

Array = NDArray[Any]
_CELLS = (
    *("", " ", "-1", "256", "1e9", "1e400", "nan", "inf", "0x10", "1_0", "1,1", '"', '"1"', "a"),
    *("0.5", "+3", "٣", "9" * 400, "-", ".", "1e", "\0", "\r", "#", "\ufeff", "0 0", ";", "\t"),
)
_NAMES = ("", "a", "7", ".x", "é", "a b", "x" * 80, "10", "train", "test", "\x1b[2J", "val")


@cache
def _samples() -> tuple[Array, Array]:
    """Return 30 images of strokes, `uint8 [30, 28, 28]`, and labels from 0 to 4."""
    draw = np.random.default_rng(0)
    images = np.zeros((30, 28, 28), dtype=np.uint8)
    for image in images:
        top, left = draw.integers(3, 12, 2)
        image[top : top + 12, left : left + 4] = draw.integers(100, 255, (12, 4))
    labels = np.arange(30) * 7 % 5
    return images, labels


def table(draw: random.Random, folder: Path) -> Callable[[], object]:
    """A table with wounds in its bytes, or with other cells or lines."""
    is_last = draw.random() < 0.3
    lines = rows(*_samples(), last=is_last)
    if not is_last and draw.random() < 0.5:
        lines = [HEADER, *lines]
    if draw.random() < 0.5:
        for _ in range(draw.choice([1, 1, 2, 30])):
            _change_line(lines, draw)
    content = draw.choice(["\n", "\n", "\r\n"]).join(lines).encode()
    if draw.random() < 0.4:
        content = damaged(content, draw)
    path = write(folder / "case.csv", content)

    return _compared(path, partial(_plain_table, is_last=is_last))


def _change_line(lines: list[str], draw: random.Random) -> None:
    at = draw.randrange(len(lines))
    cells = lines[at].split(",")
    cell = draw.choice([0, len(cells) - 1, draw.randrange(len(cells))])
    match draw.randrange(6):
        case 0:
            del lines[at : at + draw.choice([1, 1, 40])]
            lines[at:at] = [] if len(lines) > 1 else ["1,2"]
            return
        case 1:
            lines.insert(at, lines[at])
            return
        case 2:
            del cells[cell]
        case 3:
            cells.insert(cell, draw.choice(_CELLS))
        case _:
            cells[cell] = draw.choice([*_CELLS, str(draw.randrange(256))])
    lines[at] = ",".join(cells)


def _plain_table(path: Path, *, is_last: bool) -> tuple[Array, list[str]] | None:
    """Return images and labels if the file is a plain one: 785 whole numbers in each line."""
    try:
        text = path.read_bytes().decode("ascii")
        found = [row for row in csv.reader(io.StringIO(text, newline="")) if row]
        if "label" in found[0][0]:
            values = np.array([[int(cell) for cell in row] for row in found[1:]])
            label = found[0].index("label")
        else:
            values = np.array([[int(cell) for cell in row] for row in found])
            label = 784 if is_last else 0
    except (ValueError, IndexError, csv.Error):
        return None
    if values.ndim != 2 or values.shape[1] != 785 or "_" in text or "#" in text:
        return None
    pixels = np.delete(values, label, axis=1)
    if pixels.min() < 0 or not 16 < pixels.max() <= 255:
        return None
    return pixels.reshape(-1, 28, 28), [str(value) for value in values[:, label]]


def array(draw: random.Random, folder: Path) -> Callable[[], object]:
    """An `.npz`, a pair of `.npy` or of IDX files, damaged whole or in one of its arrays."""
    images, labels = _samples()
    images = draw.choice([images, images / 255, images.reshape(30, -1), images[..., None]])
    images = draw.choice([images, np.asfortranarray(images), images.astype(">f4"), images])
    labels = draw.choice([labels, labels.astype("u1"), labels.astype(float), labels.astype(str)])
    files = {"x.npy": npy(images), "y.npy": npy(labels)}
    victim = draw.choice([*files])
    match draw.randrange(5):
        case 0:
            files[victim] = damaged(files[victim], draw)
        case 1:
            files[victim] = _other_header(files[victim], draw)
        case 2:
            files[draw.choice(["z.npy", "x_test.npy", "W/b.npy", "readme.txt"])] = draw.choice(
                [files[victim], npy(np.zeros(3)), npy(np.array([None, "a"])), b"text", b""]
            )
        case 3:
            changed = images.copy()
            changed.flat[draw.randrange(changed.size)] = draw.choice([0, 1, 3])
            files["x.npy"] = npy(changed[: draw.choice([30, 30, 29, 1, 0])])
        case _:
            pass
    shutil.rmtree(folder / "arrays", ignore_errors=True)
    if draw.random() < 0.3:
        for name, content in files.items():
            write(folder / "arrays" / name, content)
        path = folder / "arrays"
    else:
        content = zipped(files)
        if draw.random() < 0.4:
            content = damaged(content, draw)
        path = write(folder / "arrays" / "case.npz", content)

    return _compared(path, _plain_arrays)


def _other_header(file: bytes, draw: random.Random) -> bytes:
    """Return a .npy whose header has something else in place of one of its parts."""
    old = draw.choice([b"False", b"(30", b"28", b"<", b"i8", b"u1", b"'", b"descr", b"30"])
    new = draw.choice([b"True", b"(3", b"-28", b">", b"f8", b"|O", b"", b"shape", b"3000000000"])
    size = struct.unpack_from("<H", file, 8)[0]
    header = file[10 : 10 + size].replace(old, new, 1)
    return file[:8] + struct.pack("<H", len(header)) + header + file[10 + size :]


def _plain_arrays(path: Path) -> tuple[Array, list[str]] | None:
    """Return the images and labels that NumPy finds, if they are the only arrays."""
    try:
        if path.is_dir():
            found = {file.stem: np.load(file) for file in path.iterdir()}
        else:
            with np.load(path) as archive:
                found = {name: archive[name] for name in archive.files}
        images, labels = found["x"], found["y"]
        if len(found) > 2 or images.size != 30 * 784 or labels.size != 30:
            return None
        scale = 255 if images.max() <= 1 else 1
        values = np.round(images.astype(float).reshape(30, 28, 28) * scale)
        names = [str(v) if isinstance(v, str) else str(int(v)) for v in labels.ravel().tolist()]
    except (ValueError, KeyError, OSError, zipfile.BadZipFile, EOFError, TypeError, SyntaxError):
        return None
    return (values, names) if values.min() >= 0 else None


def folder(draw: random.Random, folder: Path) -> Callable[[], object]:
    """Pictures in class folders: names, places or bytes of some of them changed."""
    import mnist_cli.data.own.pictures  # noqa: F401 (PyTorch is not what is timed)

    root = folder / "pictures"
    shutil.rmtree(root, ignore_errors=True)
    for number, (image, label) in enumerate(zip(*_samples(), strict=True)):
        write(root / str(label) / f"{number:02}.png", png(image))
    for _ in range(draw.choice([0, 1, 1, 2, 5])):
        _change_folder(root, draw)

    return _compared(root, _plain_pictures)


def _change_folder(root: Path, draw: random.Random) -> None:
    pictures = sorted(path for path in root.rglob("*.png") if path.is_file())
    if not pictures:
        return
    path = draw.choice(pictures)
    name = draw.choice(_NAMES) or "empty"
    try:
        match draw.randrange(9):
            case 0:
                path.write_bytes(damaged(path.read_bytes(), draw))
            case 1:
                path.rename(path.with_name(f"{name}.png"))
            case 2:
                path.parent.rename(root / name)
            case 3:
                target = draw.choice([root, path, path.parent, Path("/etc/passwd"), Path("none")])
                (path.parent / f"{name}.png").symlink_to(target)
            case 4:
                write(root / name / "x.png", path.read_bytes())
            case 5:
                write(path.parent / name / "x.png", path.read_bytes())
            case 6:
                write(
                    draw.choice([root, path.parent]) / f"{name}.{draw.choice(['txt', 'png'])}", b"x"
                )
            case 7:
                size = draw.choice([(28, 28), (8, 8), (40, 30), (1, 1), (28, 29), (300, 2)])
                mode = draw.choice(["L", "RGBA", "1", "P", "LA", "I;16"])
                with Image.open(path) as image:
                    changed = image.convert("L").resize(size)
                changed.convert("I" if mode == "I;16" else mode).save(path)
            case _:
                for other in pictures:
                    with Image.open(other) as image:
                        inverted = 255 - np.asarray(image.convert("L"))
                    write(other, png(inverted))
    except (OSError, ValueError):
        return  # it was damaged before, or is there already


def _plain_pictures(root: Path) -> tuple[Array, list[str]] | None:
    """Return the pictures if all have 28 by 28 gray pixels."""
    paths = [path for path in root.rglob("*.png") if not path.name.startswith(".")]
    images, labels = [], []
    for path in paths:
        if len(path.relative_to(root).parts) != 2 or path.parent.name.startswith("."):
            return None
        with Image.open(path) as image:
            if image.size != (28, 28) or image.mode != "L":
                return None
            images.append(np.asarray(image))
        labels.append(path.parent.name)
    values = np.stack(images)
    border = np.concatenate([values[:, 0], values[:, -1], values[:, :, 0], values[:, :, -1]], 1)
    return (255 - values if border.mean() > 127.5 else values), labels


def _compared(
    path: Path, plain: Callable[[Path], tuple[Array, list[str]] | None]
) -> Callable[[], object]:
    """Return a function that reads a set, and compares it with what a plain reader finds."""

    def read() -> object:
        own = read_own(path)
        _check(own)
        expected = plain(path)
        if expected is not None:
            _compare(own, *expected)
        return own

    return read


def _check(own: OwnData) -> None:
    """Check that a set is one that can be trained on."""
    assert 2 <= len(own.classes) <= 62
    assert len(set(own.classes)) == len(own.classes)
    assert all(name.isprintable() and name for name in own.classes)
    assert all(line.isprintable() for line in own.summary)
    for part in (own.train, own.test):
        if part is not None:
            assert part.labels is not None
            assert part.images.shape == (len(part.labels), 28, 28)
            assert part.images.dtype == part.labels.dtype == np.uint8
            assert part.labels.max() < len(own.classes)


def _compare(own: OwnData, images: Array, labels: list[str]) -> None:
    """Check that a set has these samples, in any order."""
    assert own.train.labels is not None
    found = [own.classes[label] for label in own.train.labels]
    mine = sorted(zip(labels, map(bytes, images.astype(np.uint8).reshape(-1, 784)), strict=True))
    assert sorted(zip(found, map(bytes, own.train.images.reshape(-1, 784)), strict=True)) == mine
