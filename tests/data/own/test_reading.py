"""Every kind of data becomes the same samples, or is refused in words."""

import os
import pickle
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mnist_cli.data.own.fitting import fit
from mnist_cli.data.own.reading import OwnData, ReadOptions, read_images, read_own
from mnist_cli.errors import DataError, MnistError, UsageError
from tests.data.own.conftest import Few
from tests.helpers.own_data import (
    HEADER,
    Array,
    class_folders,
    idx,
    npy,
    npz,
    packed,
    png,
    rows,
    write,
    write_all,
    zipped,
)

Made = tuple[Path, ReadOptions]
Maker = Callable[[Path, Few], Path]


def text(lines: list[str]) -> bytes:
    return ("\n".join(lines) + "\n").encode()


def _numbered(some: Few) -> list[str]:
    return [f"{number},{row}" for number, row in enumerate(rows(some.images, some.labels))]


# Each makes a file or folder of 200 real samples, which has to be read exactly.
READ: dict[str, Maker] = {
    "label first": lambda d, s: write(d / "a.csv", rows(s.images, s.labels)),
    "label last": lambda d, s: write(d / "a.csv", rows(s.images, s.labels, last=True)),
    "header": lambda d, s: write(d / "a.csv", [HEADER, *rows(s.images, s.labels)]),
    "header, label last": lambda d, s: write(
        d / "a.csv", [HEADER[6:] + ",Class", *rows(s.images, s.labels, last=True)]
    ),
    "header of numbers": lambda d, s: write(
        d / "a.csv", ["label," + ",".join(map(str, range(784))), *rows(s.images, s.labels)]
    ),
    "no word in the header": lambda d, s: write(
        d / "a.csv", [",".join(map(str, range(785))), *rows(s.images, s.labels)]
    ),
    "tabs, label last": lambda d, s: write(
        d / "a.tra", rows(s.images, s.labels, separator="\t", last=True)
    ),
    "spaces": lambda d, s: write(d / "a.txt", rows(s.images, s.labels, separator="  ")),
    "semicolons": lambda d, s: write(d / "a.csv", rows(s.images, s.labels, separator=";")),
    "byte-order mark, CRLF": lambda d, s: write(
        d / "a.csv",
        b"\xef\xbb\xbf" + text([HEADER, *rows(s.images, s.labels)]).replace(b"\n", b"\r\n"),
    ),
    "CRLF, label last": lambda d, s: write(
        d / "a.csv", text(rows(s.images, s.labels, last=True)).replace(b"\n", b"\r\n")
    ),
    "CR": lambda d, s: write(d / "a.csv", text(rows(s.images, s.labels)).replace(b"\n", b"\r")),
    "no end of the last line": lambda d, s: write(d / "a.csv", text(rows(s.images, s.labels))[:-1]),
    "trailing separators": lambda d, s: write(
        d / "a.csv", [row + "," for row in rows(s.images, s.labels)]
    ),
    "trailing separators, but not in the header": lambda d, s: write(
        d / "a.csv", [HEADER, *(row + "," for row in rows(s.images, s.labels))]
    ),
    "blank lines and comments": lambda d, s: write(
        d / "a.csv", ["# digits", "", *"\n \n#\n".join(rows(s.images, s.labels)).split("\n"), ""]
    ),
    "quotes": lambda d, s: write(
        d / "a.csv", ['"' + row.replace(",", '","') + '"' for row in rows(s.images, s.labels)]
    ),
    "spaces behind commas": lambda d, s: write(
        d / "a.csv", [row.replace(",", " , ") for row in rows(s.images, s.labels)]
    ),
    "index": lambda d, s: write(d / "a.csv", _numbered(s)),
    "index and header": lambda d, s: write(d / "a.csv", ["," + HEADER, *_numbered(s)]),
    "0 to 1": lambda d, s: write(d / "a.csv", rows(s.images / 255, s.labels)),
    "-1 to 1": lambda d, s: write(d / "a.csv", rows(s.images / 127.5 - 1, s.labels)),
    "floats 0 to 255": lambda d, s: write(
        d / "a.csv", [row.replace(",", ".0,") + "e0" for row in rows(s.images, s.labels)]
    ),
    "inverted": lambda d, s: write(d / "a.csv", rows(255 - s.images, s.labels)),
    "gzip": lambda d, s: write(d / "a.csv.gz", packed(text(rows(s.images, s.labels)))),
    "two gzip members": lambda d, s: write(
        d / "a", packed(text(rows(*_of(s[:77])))) + packed(text(rows(*_of(s[77:])))) + bytes(9)
    ),
    "zip": lambda d, s: write(d / "a.zip", zipped({"a.csv": text(rows(s.images, s.labels))})),
    "IDX": lambda d, s: _idx_pair(d, s, "digits-images", "digits-labels") / "digits-images",
    "IDX in a folder, any name": lambda d, s: _idx_pair(d, s, "a.bin", "b.bin"),
    "IDX, packed": lambda d, s: _idx_pair(d, s, "images.gz", "labels.gz", packed),
    "IDX, beside the same, packed": lambda d, s: _idx_pair(
        _idx_pair(d, s, "images.gz", "labels.gz", packed), s, "images", "labels"
    ),
    "IDX in a zip": lambda d, s: write(
        d / "a.zip", zipped({"raw/images": idx(s.images), "raw/labels": idx(s.labels)})
    ),
    "npz": lambda d, s: write(d / "a.npz", npz(x_train=s.images, y_train=s.labels)),
    "npz, flat": lambda d, s: write(d / "a.npz", npz(X=s.images.reshape(-1, 784), y=s.labels)),
    "npz without names": lambda d, s: write(d / "a.npz", npz(arr_0=s.images, arr_1=s.labels)),
    "npz, channels": lambda d, s: write(
        d / "a.npz", npz(images=s.images[:, None], labels=s.labels[:, None])
    ),
    "npz in a folder": lambda d, s: write(d / "a.npz", npz(X=s.images, y=s.labels)).parent,
    "two npz": lambda d, s: (
        write(
            write(d / "k-train-imgs.npz", npz(arr_0=s.images)).parent / "k-train-labels.npz",
            npz(arr_0=s.labels),
        ).parent
    ),
    "Fortran, big-endian": lambda d, s: write(
        d / "a.npz", npz(x=np.asfortranarray(s.images.astype(">f8")), y=s.labels.astype(">i2"))
    ),
    "labels as floats and words": lambda d, s: write(
        d / "a.npz", npz(x=s.images, y=np.array([f"{label}.0" for label in s.labels]))
    ),
    "npy": lambda d, s: _npy_pair(d, s) / "images.npy",
    "npy, by its labels": lambda d, s: _npy_pair(d, s) / "labels.npy",
    "npy in a folder": lambda d, s: _npy_pair(d, s) / "",
    "class folders": lambda d, s: class_folders(d, s.images, s.labels),
    "class folders, inverted": lambda d, s: class_folders(d, 255 - s.images, s.labels),
    "class folders in folders": lambda d, s: class_folders(
        d / "a" / "b", s.images, s.labels
    ).parents[1],
    "class folders in a zip": lambda d, s: write(
        d / "a.zip",
        zipped(
            {
                f"set/{label}/{number}.png": png(image)
                for number, (image, label) in enumerate(zip(s.images, s.labels, strict=True))
            }
        ),
    ),
    "labels in names": lambda d, s: write_all(
        d,
        {
            f"{label}_{number}.png": png(image)
            for number, (image, label) in enumerate(zip(s.images, s.labels, strict=True))
        },
    ),
}


def _of(some: Few) -> tuple[np.ndarray, np.ndarray]:
    return some.images, some.labels


def _with(images: Array, value: float) -> Array:
    """Return images with another value in the fourth, at row 5 and column 6."""
    changed = images.astype(float)
    changed[3, 4, 5] = value
    return changed


def _idx_pair(
    folder: Path, some: Few, images: str, labels: str, pack: Callable[[bytes], bytes] = bytes
) -> Path:
    write(folder / images, pack(idx(some.images)))
    write(folder / labels, pack(idx(some.labels)))
    return folder


def _npy_pair(folder: Path, some: Few) -> Path:
    write(folder / "images.npy", npy(some.images))
    write(folder / "labels.npy", npy(some.labels))
    return folder


@pytest.mark.parametrize("kind", READ)
def test_every_kind_has_the_same_images_and_labels(kind: str, some: Few, tmp_path: Path) -> None:
    own = read_own(READ[kind](tmp_path / "data", some))
    assert own.classes == tuple("0123456789")
    assert own.test is None
    assert some.is_in(own.train, own.classes)
    assert own.light_ground == ("inverted" in kind)
    assert own.summary[0] == f"{own.summary[0].split(': ')[0]}: 200 samples"
    assert any("10 classes: 0 (" in line for line in own.summary)
    assert own.train.images.flags.writeable, "as PyTorch wants it"


DIVIDED: dict[str, Maker] = {
    "pair of tables": lambda d, s: _tables(d, s, "train.csv", "test.csv") / "train.csv",
    "pair of tables in a folder": lambda d, s: _tables(d, s, "train.csv", "test.csv"),
    "stems": lambda d, s: _tables(d, s, "mnist_train.csv", "mnist_test.csv") / "mnist_train.csv",
    "capitals": lambda d, s: _tables(d, s, "Training.csv", "Testing.csv") / "Training.csv",
    "optdigits": lambda d, s: _tables(d, s, "digits.tra", "digits.tes") / "digits.tra",
    "tables in a zip": lambda d, s: write(
        d / "a.zip",
        zipped(
            {
                "train.csv": text(rows(*_of(s[:120]))),
                "test.csv": text(rows(*_of(s[120:]))),
                "sample_submission.csv": b"ImageId,Label\n1,0\n2,0\n",
            }
        ),
    ),
    "IDX": lambda d, s: _idx_pair(
        _idx_pair(d, s[:120], "train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
        s[120:],
        "t10k-images-idx3-ubyte",
        "t10k-labels-idx1-ubyte",
    ),
    "npz": lambda d, s: write(
        d / "a.npz",
        npz(
            x_train=s.images[:120],
            y_train=s.labels[:120],
            x_test=s.images[120:],
            y_test=s.labels[120:],
            x_val=s.images[:9],
            y_val=s.labels[:9],
        ),
    ),
    "npy": lambda d, s: write_all(
        d,
        {
            "trainX.npy": npy(s.images[:120]),
            "trainY.npy": npy(s.labels[:120]),
            "testX.npy": npy(s.images[120:]),
            "testY.npy": npy(s.labels[120:]),
        },
    ),
    "folders": lambda d, s: (
        class_folders(
            class_folders(d / "train", s.images[:120], s.labels[:120]).parent / "test",
            s.images[120:],
            s.labels[120:],
        ).parent
    ),
}


def _tables(folder: Path, some: Few, train: str, test: str) -> Path:
    write(folder / train, rows(*_of(some[:120])))
    write(folder / test, rows(*_of(some[120:])))
    return folder


@pytest.mark.parametrize("kind", DIVIDED)
def test_training_and_test_samples_are_told_apart(kind: str, some: Few, tmp_path: Path) -> None:
    own = read_own(DIVIDED[kind](tmp_path / "data", some))
    assert some[:120].is_in(own.train, own.classes)
    assert some[120:].is_in(own.test, own.classes)
    assert "120 training and 80 test samples" in own.summary[0]
    assert any("left out" in line for line in own.summary) == (kind == "npz")


# Each makes what is refused, with words of the message and its exit code.
DATA, USAGE = 3, 2
REFUSED: dict[str, tuple[Callable[[Path, Few], Path | Made], str]] = {
    "nothing": (lambda d, s: d / "none.csv", "No such file or directory; name"),
    "empty file": (lambda d, s: write(d / "a", b""), "is empty"),
    "empty folder": (lambda d, s: write(d / ".DS_Store", b"x").parent, "is empty"),
    "LFS": (
        lambda d, s: write(
            d / "a.npz", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n"
        ),
        "git lfs pull",
    ),
    "LFS in a folder": (
        lambda d, s: (
            write(
                _idx_pair(d, s, "images", "old").joinpath("labels"),
                b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
            ).parent
        ),
        "labels is a Git LFS pointer.*git lfs pull",
    ),
    "LFS as a picture": (
        lambda d, s: write(
            class_folders(d, s.images, s.labels) / "3" / "x.png",
            b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
        ).parents[1],
        "3/x.png is a Git LFS pointer.*git lfs pull",
    ),
    "pickle": (lambda d, s: write(d / "mnist.pkl", pickle.dumps([1])), "is a pickle"),
    "packed pickle": (
        lambda d, s: write(d / "mnist.pkl.gz", packed(pickle.dumps([1]))),
        "is a pickle",
    ),
    "torch.save": (lambda d, s: write(d / "a.pt", zipped({"a/data.pkl": b"x"})), "torch.save"),
    "Parquet": (lambda d, s: write(d / "a.parquet", b"PAR1" + bytes(99)), "Parquet.*read_parquet"),
    "HDF5": (lambda d, s: write(d / "a.h5", b"\x89HDF\r\n\x1a\n" + bytes(99)), "HDF5.*h5py"),
    "MATLAB": (
        lambda d, s: write(d / "a.mat", b"MATLAB 5.0 MAT-file" + bytes(99)),
        "MATLAB.*loadmat",
    ),
    "ARFF": (
        lambda d, s: write(d / "a.arff", "% digits\n@RELATION mnist\n@DATA\n"),
        "ARFF.*loadarff",
    ),
    "libsvm": (
        lambda d, s: write(d / "a", "5 153:3 154:18\n0 128:51 129:159 130:253\n"),
        "libsvm.*load_svmlight_file",
    ),
    "spreadsheet": (
        lambda d, s: write(d / "a.xlsx", zipped({"[Content_Types].xml": b"<x/>"})),
        "save it as CSV",
    ),
    "old spreadsheet": (lambda d, s: write(d / "a.tra", b"\xd0\xcf\x11\xe0" + bytes(9)), "as CSV"),
    "JSON": (lambda d, s: write(d / "a.json", '{"a": [1]}'), "JSON"),
    "web page": (lambda d, s: write(d / "a.csv", "<!DOCTYPE html><html>"), "download"),
    "UTF-16": (
        lambda d, s: write(d / "a.csv", HEADER.encode("utf-16")),
        "UTF-16; save it as UTF-8",
    ),
    "tar": (lambda d, s: write(d / "a.tar", bytes(257) + b"ustar" + bytes(300)), "tar archive"),
    "one picture": (lambda d, s: write(d / "a.png", png(s.images[0])), "one picture"),
    "unknown": (
        lambda d, s: write(d / "a.bin", b"\x07\x00\x01\x02"),
        "unknown kind.*'07 00 01 02'",
    ),
    "one-hot tail": (
        lambda d, s: write(
            d / "semeion.data",
            [
                " ".join(
                    f"{v:.4f}"
                    for v in np.concatenate([image[:16, :16].ravel() > 99, np.eye(10)[label]])
                )
                for image, label in zip(s.images, s.labels, strict=True)
            ],
        ),
        "10 columns of which one is 1.*one-hot.*argmax",
    ),
    "one column a sample": (
        lambda d, s: write(
            d / "a.csv", [",".join(map(str, row)) for row in s.images.reshape(200, -1).T]
        ),
        "784 rows of 200 cells.*one column a sample; transpose",
    ),
    "answers": (
        lambda d, s: write(d / "s.csv", "ImageId,Label\n1,7\n2,2\n"),
        "no pixels.*submission",
    ),
    "no labels": (
        lambda d, s: write(
            d / "test.csv", [HEADER[6:], *(r[2:] for r in rows(s.images, s.labels))]
        ),
        "no labels.*mnist-predict",
    ),
    "no square": (
        lambda d, s: write(d / "a.csv", [r.rsplit(",", 5)[0] for r in rows(s.images, s.labels)]),
        "780 numbers a row.*no square",
    ),
    "colours in a table": (
        lambda d, s: write(
            d / "a.csv", rows(np.concatenate([s.images[:5]] * 3, 1), s.labels[:5], last=True)
        ),
        "no square|three colours",
    ),
    "both ends could be labels": (
        lambda d, s: write(
            d / "a.csv",
            [
                f"{r},{n % 7}"
                for n, r in enumerate(x.rsplit(",", 1)[0] for x in rows(s.images, s.labels))
            ],
        ),
        "column 1 and column 785 could both be the labels.*--label-column 1 or --label-column -1",
    ),
    "two columns of labels": (
        lambda d, s: write(
            d / "a.csv", [HEADER.replace("pixel7,", "class,"), *rows(s.images, s.labels)]
        ),
        "'label' and 'class' may be the labels.*--label-column",
    ),
    "one class": (
        lambda d, s: (
            write(d / "a.csv", rows(s.images, np.full(200, 3))),
            ReadOptions(label_column="1"),
        ),
        r"one class \(3\); 2 to 62",
    ),
    "63 classes": (
        lambda d, s: (
            write(d / "a.csv", [HEADER, *rows(s.images, np.arange(200) % 63)]),
            ReadOptions(),
        ),
        "63 different labels .*at most 62",
    ),
    "63 classes in an npz": (
        lambda d, s: write(d / "a.npz", npz(x=s.images, y=np.arange(200) % 63)),
        "63 different labels",
    ),
    "63 folders": (
        lambda d, s: class_folders(d, s.images, np.arange(200) % 63),
        "63 classes.*2 to 62",
    ),
    "one folder": (lambda d, s: class_folders(d, s.images[:9], ["a"] * 9), "1 class"),
    "label of a fraction": (
        lambda d, s: write(d / "a.npz", npz(x=s.images, y=s.labels + 0.5)),
        "label 0.5 of sample .* whole number",
    ),
    "weights": (
        lambda d, s: write(d / "a.npz", npz(W1=np.zeros((784, 30)), b1=np.zeros(30))),
        "weights of a network",
    ),
    "one-hot npz": (
        lambda d, s: write(d / "a.npz", npz(x=s.images, y=np.eye(10)[s.labels])),
        r"one-hot\?.*argmax",
    ),
    "colours in an npz": (
        lambda d, s: write(d / "a.npz", npz(x=np.zeros((9, 28, 28, 3)), y=np.arange(9))),
        "colours",
    ),
    "fewer labels": (
        lambda d, s: write(d / "a.npz", npz(x=s.images, y=s.labels[:150])),
        "150 labels .* 200 images",
    ),
    "several arrays": (
        lambda d, s: write(d / "a.npz", npz(x=s.images, a=s.labels, b=s.labels)),
        "several arrays",
    ),
    "objects": (
        lambda d, s: write(d / "a.npz", npz(x=np.array([1, None]), y=s.labels[:2])),
        "Python objects.*numpy.stack",
    ),
    "complex": (
        lambda d, s: write(d / "a.npz", npz(x=s.images * 1j, y=s.labels)),
        "'complex128'",
    ),
    "several splits of EMNIST": (
        lambda d, s: _idx_pair(
            _idx_pair(
                d,
                s,
                "emnist-letters-train-images-idx3-ubyte",
                "emnist-letters-train-labels-idx1-ubyte",
            ),
            s,
            "emnist-digits-train-images-idx3-ubyte",
            "emnist-digits-train-labels-idx1-ubyte",
        ),
        r"several splits of EMNIST \(digits, letters\)",
    ),
    "scale of 16": (
        lambda d, s: write(d / "a.csv", rows(s.images // 16, s.labels)),
        "from 0 to 15.*--max-value 15",
    ),
    "standardised": (
        lambda d, s: write(d / "a.csv", rows((s.images - 33.3) / 78.6, s.labels)),
        "standardised",
    ),
    "16 bits": (
        lambda d, s: write(d / "a.npz", npz(x=s.images.astype(int) * 257, y=s.labels)),
        "up to 65535.*--max-value 65535",
    ),
    "nothing shown": (
        lambda d, s: write(d / "a.npz", npz(x=s.images * 0, y=s.labels)),
        "shows nothing",
    ),
    "NaN": (
        lambda d, s: write(
            d / "a.csv",
            [
                r.replace(",0,", ",nan,", n == 6) if n == 6 else r
                for n, r in enumerate(rows(s.images, s.labels))
            ],
        ),
        "line 7, column 2: 'nan' is not a number",
    ),
    "infinite": (
        lambda d, s: write(d / "a.npz", npz(x=_with(s.images, np.inf), y=s.labels)),
        "sample 4 has inf at row 5, column 6",
    ),
    "overflow": (
        lambda d, s: write(
            d / "a.csv",
            [r + "e300" * (n == 3) for n, r in enumerate(rows(s.images + 1.0, s.labels))],
        ),
        "line 4, column 785: '1e300' is far too large",
    ),
    "a picture that is none": (
        lambda d, s: write(class_folders(d, s.images, s.labels) / "3" / "x.png", b"x").parents[1],
        "3/x.png: it is not a valid PNG",
    ),
    "pictures without labels": (
        lambda d, s: write(d / "img_1.png", png(s.images[0])).parent,
        "img_1.png; put those of each class into a folder",
    ),
    "counted pictures": (
        lambda d, s: write_all(d, {f"{n}.png": png(s.images[n]) for n in range(30)}),
        "pictures without labels",
    ),
    "pictures beside folders": (
        lambda d, s: write(class_folders(d, s.images, s.labels) / "x.png", png(s.images[0])).parent,
        "x.png lies beside the folders",
    ),
    "pictures too deep": (
        lambda d, s: write(
            class_folders(d, s.images, s.labels) / "3" / "a" / "x.png", png(s.images[0])
        ).parents[2],
        "3/a/x.png lies deeper",
    ),
    "no training folder": (
        lambda d, s: class_folders(d / "test", s.images, s.labels).parent,
        "test, but none for training",
    ),
    "another folder beside train": (
        lambda d, s: (
            class_folders(
                class_folders(d / "train", s.images, s.labels).parent / "more", s.images, s.labels
            ).parent
        ),
        "nothing else",
    ),
    "several tables": (
        lambda d, s: _tables(_tables(d, s, "a.csv", "b.csv"), s, "train.csv", "test.csv"),
        "several tables.*name the one",
    ),
    "sizes differ": (
        lambda d, s: write(
            _tables(d, s, "train.csv", "test.csv") / "test.csv",
            rows(s.images[:, :20, :20], s.labels),
        ).with_name("train.csv"),
        "differ in size: 28 by 28 .* and 20 by 20",
    ),
    "ragged": (
        lambda d, s: write(
            d / "a.csv", [r + ",0" * (n == 9) for n, r in enumerate(rows(s.images, s.labels))]
        ),
        "line 10 has 786 cells, but the lines before have 785",
    ),
    "ragged by two lines": (
        lambda d, s: write(
            d / "a.csv",
            [
                r + ",0" if n == 9 else r.rsplit(",", 1)[0] if n == 10 else r
                for n, r in enumerate(rows(s.images, s.labels))
            ],
        ),
        "line 10 has 786 cells",
    ),
    "empty cell": (
        lambda d, s: write(
            d / "a.csv",
            [
                r.replace(",0,", ",,", 1) if n == 4 else r
                for n, r in enumerate(rows(s.images, s.labels))
            ],
        ),
        "line 5, column 2: '' is not a number",
    ),
    "header that is not UTF-8": (
        lambda d, s: write(
            d / "a.csv",
            text([HEADER, *rows(s.images, s.labels)]).replace(b"label", b"\xe9tiquette"),
        ),
        "header is not UTF-8; save",
    ),
    "decimal comma": (
        lambda d, s: write(
            d / "a.csv",
            [r.replace(".", ",") for r in rows(s.images / 255, s.labels, separator=";")],
        ),
        "'0,.*is not a number.*decimal point",
    ),
    "header alone": (lambda d, s: write(d / "a.csv", HEADER), "header, but no rows"),
    "comments alone": (lambda d, s: write(d / "a.csv", "# a\n\n"), "no lines"),
    "zero bytes": (
        lambda d, s: write(d / "a.csv", text(rows(s.images, s.labels)) + b"\0\n"),
        "zero bytes",
    ),
    "label that is not UTF-8": (
        lambda d, s: write(
            d / "a.csv", text([HEADER, *rows(s.images, s.labels)]).replace(b"\n5,", b"\n\xe9t\xe9,")
        ),
        "line 2, column 1 .'label'. is not UTF-8",
    ),
    "label that is empty": (
        lambda d, s: write(
            d / "a.csv", text([HEADER, *rows(s.images, s.labels)]).replace(b"\n4,", b"\n,")
        ),
        "line 4, column 1 .'label'. has no label",
    ),
    "prose": (
        lambda d, s: write(d / "a.txt", "This is a text.\nIt has two lines.\n"),
        "cells|number",
    ),
    # What options do not fit.
    "no such column": (
        lambda d, s: (
            write(d / "a.csv", [HEADER, *rows(s.images, s.labels)]),
            ReadOptions(label_column="digit"),
        ),
        "--label-column 'digit'.*header begins with label, pixel0.*1 to 785",
    ),
    "no such number": (
        lambda d, s: (
            write(d / "a.csv", rows(s.images, s.labels)),
            ReadOptions(label_column="786"),
        ),
        "--label-column '786'",
    ),
    "column of an npz": (
        lambda d, s: (
            write(d / "a.npz", npz(x=s.images, y=s.labels)),
            ReadOptions(label_column="1"),
        ),
        "is no table",
    ),
    "column of pictures": (
        lambda d, s: (class_folders(d, s.images, s.labels), ReadOptions(label_column="1")),
        "is no table",
    ),
    "scale of pictures": (
        lambda d, s: (class_folders(d, s.images, s.labels), ReadOptions(max_value=16)),
        "--max-value is for numbers",
    ),
    "scale too small": (
        lambda d, s: (write(d / "a.csv", rows(s.images, s.labels)), ReadOptions(max_value=16)),
        "--max-value 16 does not fit .*0 to 255",
    ),
    "scale of nothing": (
        lambda d, s: (write(d / "a.csv", rows(s.images, s.labels)), ReadOptions(max_value=0.0)),
        "--max-value 0: it must be more than 0",
    ),
}
OPTIONS = [name for name in REFUSED if REFUSED[name][1].startswith(("--", "is no"))]


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_refused_is_named_in_one_line_that_says_what_to_do(
    kind: str, some: Few, tmp_path: Path
) -> None:
    make, words = REFUSED[kind]
    made = make(tmp_path / "data", some)
    path, options = made if isinstance(made, tuple) else (made, ReadOptions())
    with pytest.raises(MnistError, match=f"(?s){words}") as raised:
        read_own(path, options)
    assert raised.type is (UsageError if kind in OPTIONS else DataError)
    said = str(raised.value)
    assert "\n" not in said
    assert len(said) < 500
    assert str(path) in said or path.name in said or kind == "scale of nothing" or "--" in said


def test_kaggles_test_file_is_for_predicting(some: Few, tmp_path: Path) -> None:
    write(tmp_path / "train.csv", [HEADER, *rows(some.images, some.labels)])
    pixels = [row.split(",", 1)[1] for row in rows(some.images[:50], some.labels[:50])]
    test = write(tmp_path / "test.csv", [HEADER[6:], *pixels])
    for path in (tmp_path / "train.csv", tmp_path):
        own = read_own(path)
        assert own.test is None
        assert f"{test} has no labels, so it is no test set; mnist-predict reads it" in own.summary
    assert (read_images(test) == some.images[:50]).all()
    for column in ("label", "1", "-785"):  # the option is for the training samples
        options = ReadOptions(label_column=column)
        assert read_own(tmp_path / "train.csv", options).test is None
        assert (read_images(test, options) == some.images[:50]).all()
    assert (read_images(tmp_path / "train.csv") == some.images).all()


def test_a_test_file_without_labels_is_known_by_its_first_line(some: Few, tmp_path: Path) -> None:
    """It may have 28,000 rows, which nothing needs before they are predicted."""
    train = write(tmp_path / "train.csv", [HEADER, *rows(some.images, some.labels)])
    write(tmp_path / "test.csv", [HEADER[6:], "no number"])
    assert any("test.csv has no labels" in line for line in read_own(train).summary)
    write(tmp_path / "test.csv", [HEADER, *rows(some.images, some.labels)[:60], "no number"])
    with pytest.raises(DataError, match="test.csv, line 62"):
        read_own(train)


def test_arrays_are_read_without_labels_and_with_the_polarity_of_the_training(
    some: Few, tmp_path: Path
) -> None:
    path = write(tmp_path / "new.npy", npy(255 - some.images))
    assert (read_images(path) == some.images).all()
    assert (read_images(path, light_ground=False) == 255 - some.images).all()
    assert (read_images(path, light_ground=True) == some.images).all()
    with pytest.raises(DataError, match="no labels"):
        read_own(path)
    both = {"x_train": some.images, "y_train": some.labels, "x_test": some.images[:9]}
    path = write(tmp_path / "both.npz", npz(**both, y_test=some.labels[:9]))
    with pytest.raises(DataError, match="training and test images; save those to be predicted"):
        read_images(path)


def test_classes_are_in_natural_order_and_have_their_own_names(some: Few, tmp_path: Path) -> None:
    names = np.array(["き", "Trouser", "10", "9", "2", "b", "B", "a b", "é", "Z"])[some.labels]
    table = write(tmp_path / "a.csv", [HEADER, *rows(some.images, names)])
    words = write(tmp_path / "b.csv", rows(some.images, names, last=True))
    array = write(tmp_path / "c.npz", npz(x=some.images, y=names))
    folder = class_folders(tmp_path / "d", some.images, names)
    for path in (table, words, array, folder):
        own = read_own(path)
        assert own.classes == ("2", "9", "10", "B", "Trouser", "Z", "a b", "b", "é", "き")
        assert Few(some.images, names).is_in(own.train, own.classes)
        assert "classes that differ by capitals alone: B, b" in own.summary


def test_whole_numbers_are_one_class_however_they_are_written(some: Few, tmp_path: Path) -> None:
    written = [[str(n), f"{n}.0", f"0{n}", f" {n}"][k % 4] for k, n in enumerate(some.labels)]
    own = read_own(write(tmp_path / "a.csv", [HEADER, *rows(some.images, written)]))
    assert some.is_in(own.train, own.classes)


def test_the_names_of_folders_are_those_of_the_classes(some: Few, tmp_path: Path) -> None:
    names = np.array([f"{label:02}" for label in some.labels])
    own = read_own(class_folders(tmp_path, some.images, names))
    assert own.classes == tuple(f"{label:02}" for label in range(10))
    assert Few(some.images, names).is_in(own.train, own.classes)


def test_a_set_without_some_classes_has_only_those_that_are_present(
    some: Few, tmp_path: Path
) -> None:
    chosen = np.isin(some.labels, (1, 7))
    few = Few(some.images[chosen], some.labels[chosen])
    own = read_own(write(tmp_path / "a.csv", rows(few.images, few.labels)))
    assert own.classes == ("1", "7")
    assert few.is_in(own.train, own.classes)
    shifted = read_own(write(tmp_path / "b.csv", rows(some.images, some.labels + 1)))
    assert shifted.classes == tuple(map(str, range(1, 11)))


def test_classes_that_only_one_part_has_are_told(some: Few, tmp_path: Path) -> None:
    train = some.labels != 3
    test = some.labels != 8
    write(tmp_path / "train.csv", rows(some.images[train], some.labels[train]))
    write(tmp_path / "test.csv", rows(some.images[test], some.labels[test]))
    own = read_own(tmp_path / "train.csv")
    assert len(own.classes) == 10
    assert "only in training samples, but in no test sample: 8" in own.summary
    assert "only in test samples, but in no training sample: 3" in own.summary


def test_emnist_is_turned_upright_and_its_letters_have_names(some: Few, tmp_path: Path) -> None:
    stored = Few(some.images.swapaxes(1, 2).copy(), some.labels + 1)
    letters = np.array([*" ABCDEFGHIJ"])[stored.labels]
    name = "emnist-letters-train-{}-ubyte"
    images = write(tmp_path / "e" / name.format("images-idx3"), idx(stored.images))
    write(tmp_path / "e" / name.format("labels-idx1"), idx(stored.labels))
    table = write(tmp_path / "emnist-letters-train.csv", rows(stored.images, stored.labels))
    for path, options in (
        (images, ReadOptions()),
        (images.parent, ReadOptions()),
        (table, ReadOptions()),
        (table, ReadOptions(transposed=True)),
    ):
        own = read_own(path, options)
        assert own.classes == tuple("ABCDEFGHIJ")
        assert Few(some.images, letters).is_in(own.train, own.classes)
        assert "EMNIST's letters: labels named, and images turned upright" in own.summary
    assert (read_images(table) == some.images).all()
    other = write(tmp_path / "other.csv", rows(stored.images, stored.labels))
    own = read_own(other, ReadOptions(transposed=True))
    assert (own.train.images == some.images).all()
    assert "rows and columns of the images were exchanged" in own.summary
    wrong = write(tmp_path / "emnist-digits-test.csv", rows(some.images, some.labels + 1))
    with pytest.raises(DataError, match="EMNIST's digits has no label 10"):
        read_own(wrong)


@pytest.mark.parametrize("option", ["label", "1", "-785"])
def test_the_column_of_the_labels_may_be_named(option: str, some: Few, tmp_path: Path) -> None:
    lines = rows(some.images, some.labels)
    lines = [f"{line.rsplit(',', 1)[0]},{n % 7}" for n, line in enumerate(lines)]  # both ends
    header = HEADER.replace("label", "of").replace("pixel783", "x")
    path = write(tmp_path / "a.csv", [header.replace("of,", "label,"), *lines])
    own = read_own(path, ReadOptions(label_column=option))
    assert (own.train.labels == some.labels).all()
    pixels = some.images.copy()
    pixels[:, -1, -1] = np.arange(200) % 7
    assert (own.train.images == pixels).all(), "the other end is a pixel"


def test_a_column_of_labels_in_the_middle(some: Few, tmp_path: Path) -> None:
    lines = [row.split(",") for row in rows(some.images, some.labels)]
    moved = [",".join([*cells[1:400], f"'{cells[0]}'", *cells[400:]]) for cells in lines]
    path = write(tmp_path / "a.csv", moved)
    own = read_own(path, ReadOptions(label_column="400"))
    assert own.classes == tuple(f"'{n}'" for n in range(10))
    assert (own.train.images == some.images).all()


def test_one_bit_is_no_ink_or_full_ink(some: Few, tmp_path: Path) -> None:
    bits = some.images > 127
    black_and_white = Few(bits.astype(np.uint8) * 255, some.labels)
    for path in (
        write(tmp_path / "a.npz", npz(x=bits, y=some.labels)),
        write(tmp_path / "b.npz", npz(x=bits.astype(np.uint8), y=some.labels)),
        write(tmp_path / "c.csv", rows(bits.astype(int), some.labels)),
        class_folders(tmp_path / "d", bits, some.labels),
    ):
        own = read_own(path)
        assert black_and_white.is_in(own.train, own.classes), path


def test_a_known_maximum_is_full_ink(some: Few, tmp_path: Path) -> None:
    sixteenths = (some.images / 255 * 16).round().astype(int)
    path = write(tmp_path / "a.csv", rows(sixteenths, some.labels))
    own = read_own(path, ReadOptions(max_value=16))
    assert (own.train.images == (sixteenths * (255 / 16)).round()).all()
    assert any("0 to 16, of 0 to 16 (--max-value)" in line for line in own.summary)
    # The scale is that of the option, also where no value reaches it.
    fainter = write(tmp_path / "b.csv", rows(sixteenths // 2, some.labels))
    assert read_own(fainter, ReadOptions(max_value=16)).train.images.max() == round(8 * 255 / 16)


def test_optdigits_are_read_and_fitted(some: Few, tmp_path: Path) -> None:
    """8 by 8 pixels from 0 to 16, the label last, no header; the first pixel is always 0."""
    small = np.stack([np.asarray(Image.fromarray(i).resize((8, 8))) for i in some.images]) // 16
    small[:, 0, 0] = 0
    path = write(tmp_path / "optdigits.tra", rows(small, some.labels, last=True))
    with pytest.raises(DataError, match="--max-value 15"):
        read_own(path)
    own = read_own(path, ReadOptions(max_value=16))
    assert (own.train.labels == some.labels).all()
    assert (own.train.images == fit((small / 16 * 255).round().astype(np.uint8))).all()
    assert "images of 8 by 8, fitted into 28 by 28" in own.summary


@pytest.mark.parametrize("ground", [0, 255])
def test_a_corner_that_is_rarely_written_on_is_no_label(
    ground: int, some: Few, tmp_path: Path
) -> None:
    images = some.images.copy() if ground == 0 else 255 - some.images
    images[::50, -1, -1] = (3, 9, 200, 7)
    own = read_own(write(tmp_path / "a.csv", rows(images, some.labels)))
    assert (own.train.labels == some.labels).all()
    # One that is written on often might be a label.
    images[::7, -1, -1] = np.arange(29) % 5
    with pytest.raises(DataError, match="could both be the labels"):
        read_own(write(tmp_path / "b.csv", rows(images, some.labels)))


def test_the_scale_is_that_of_the_whole_set_not_of_a_part(some: Few, tmp_path: Path) -> None:
    write(tmp_path / "train.csv", rows(some.images, some.labels))
    write(tmp_path / "test.csv", rows(some.images // 255, some.labels))  # by itself: 0 to 1
    own = read_own(tmp_path / "train.csv")
    assert own.test is not None
    assert own.test.images.max() == 1


def test_litter_is_no_class_and_no_file_outside_is_read(some: Few, tmp_path: Path) -> None:
    folder = class_folders(tmp_path / "d", some.images, some.labels)
    for name in (".DS_Store", "._0", "Thumbs.db", "3/Thumbs.db", "3/._x.png", "3/.x.png"):
        write(folder / name, b"x")
    for name in (".ipynb_checkpoints", "__MACOSX", ".git"):
        write(folder / name / "x.png", b"no picture")
    write(folder / "README.md", b"# digits")
    os.mkfifo(folder / "3" / "pipe.png")
    (folder / "empty").mkdir()
    own = read_own(folder)
    assert some.is_in(own.train, own.classes)
    assert "left out as no pictures: 1, such as README.md" in own.summary
    (folder / "3" / "again.png").symlink_to(next((folder / "3").glob("0*.png")))
    assert len(read_own(folder).train) == 201, "a link within the folder"
    outside = write(tmp_path / "secret.png", png(some.images[0]))
    (folder / "3" / "out.png").symlink_to(outside)
    with pytest.raises(DataError, match="3/out.png is a link out of the folder"):
        read_own(folder)
    (folder / "3" / "out.png").unlink()
    (folder / "loop").symlink_to(folder)
    with pytest.raises(DataError, match="loop is a link to a folder"):
        read_own(folder)


def test_a_fifo_or_a_device_is_never_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "train.csv")
    for path in (tmp_path / "train.csv", Path("/dev/zero"), Path("/dev/null")):
        with pytest.raises(DataError, match="is not a regular file"):
            read_own(path)
    with pytest.raises(DataError, match="is empty"):
        read_own(tmp_path)


def test_validation_pictures_are_left_out_and_unlabelled_ones_are_no_test_set(
    some: Few, tmp_path: Path
) -> None:
    class_folders(tmp_path / "train", some.images, some.labels)
    class_folders(tmp_path / "valid", some.images[:30], some.labels[:30])
    write(tmp_path / "test" / "test" / "img_1.png", png(some.images[0]))
    own = read_own(tmp_path)
    assert some.is_in(own.train, own.classes)
    assert own.test is None
    assert any("valid is left out, 30 pictures" in line for line in own.summary)
    assert "test has no labels, so it is no test set; mnist-predict reads it" in own.summary


def test_idx_of_any_type_and_qmnists_labels(some: Few, tmp_path: Path) -> None:
    header = struct.pack(">II", 0xC02, 200) + struct.pack(">I", 8)
    labels = np.zeros((200, 8), dtype=">i4")
    labels[:, 0], labels[:, 1:] = some.labels, 77
    write(
        tmp_path / "images",
        bytes([0, 0, 0x0D, 3])
        + idx(some.images)[4:16]
        + (some.images / 255).astype(">f4").tobytes(),
    )
    write(tmp_path / "labels", header + labels.tobytes())
    own = read_own(tmp_path)
    assert some.is_in(own.train, own.classes)


def test_what_was_found_is_told(some: Few, tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", ["," + HEADER, *_numbered(some)])
    counts = ", ".join(f"{n} ({np.count_nonzero(some.labels == n)})" for n in range(10))
    own: OwnData = read_own(path)
    assert own.summary == (
        f"{path}: 200 samples",
        "table with a header, 200 rows of 784 pixels",
        "labels: column 2 ('label')",
        "column 1 ('') counts the rows and is left out",
        "values: 0 to 255, taken as 0 to 255",
        "light on a dark ground, as MNIST is",
        f"10 classes: {counts}",
    )


def test_an_array_that_is_not_compressed_may_be_larger_than_a_list_of_files(tmp_path: Path) -> None:
    images = np.zeros(
        (25_000, 28, 28), np.uint8
    )  # 19.6 MB; the list of a zip's files has 17 at most
    images[:, 10:20, 14] = 255
    np.savez(tmp_path / "data.npz", x_train=images, y_train=np.arange(25_000) % 3)
    assert len(read_own(tmp_path / "data.npz").train) == 25_000
