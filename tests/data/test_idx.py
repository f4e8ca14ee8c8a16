"""IDX files: what they hold comes out, and what is wrong with them is said."""

import gzip
import re
import struct
import tracemalloc
from pathlib import Path

import pytest
import torch

from mnist_cli.data.datasets import load_dataset, load_test, parse_idx
from mnist_cli.errors import DataError

UBYTE, INT = 0x08, 0x0C


def idx_file(kind: int, sizes: tuple[int, ...], values: bytes) -> bytearray:
    header = struct.pack(f">BBBB{len(sizes)}I", 0, 0, kind, len(sizes), *sizes)
    return bytearray(header + values)


def test_real_files_have_the_shapes_of_mnist(mnist_raw: dict[str, bytes]) -> None:
    found = {name: parse_idx(bytearray(data), name) for name, data in mnist_raw.items()}
    assert {name: (values.dtype, tuple(values.shape)) for name, values in found.items()} == {
        "train-images-idx3-ubyte": (torch.uint8, (60_000, 28, 28)),
        "train-labels-idx1-ubyte": (torch.uint8, (60_000,)),
        "t10k-images-idx3-ubyte": (torch.uint8, (10_000, 28, 28)),
        "t10k-labels-idx1-ubyte": (torch.uint8, (10_000,)),
    }
    # The first five labels of each split, as everyone knows them; the pixel by struct, not torch.
    assert found["train-labels-idx1-ubyte"][:5].tolist() == [5, 0, 4, 1, 9]
    assert found["t10k-labels-idx1-ubyte"][:5].tolist() == [7, 2, 1, 0, 4]
    offset = 16 + 59_999 * 784 + 14 * 28 + 10  # header, images before, rows before, column
    pixel = mnist_raw["train-images-idx3-ubyte"][offset]
    assert found["train-images-idx3-ubyte"][59_999, 14, 10] == pixel


def test_values_are_in_c_order_and_integers_are_big_endian() -> None:
    assert parse_idx(idx_file(UBYTE, (2, 3), bytes(range(6))), "f").tolist() == [
        [0, 1, 2],
        [3, 4, 5],
    ]
    numbers = [1, -2, 2**31 - 1, -(2**31), 258, 0]  # both ends of the range, and two bytes
    parsed = parse_idx(idx_file(INT, (3, 2), struct.pack(">6i", *numbers)), "f")
    assert parsed.dtype == torch.int32
    assert parsed.flatten().tolist() == numbers
    assert parsed.shape == (3, 2)


GOOD = idx_file(UBYTE, (2, 2), b"1234")


@pytest.mark.parametrize(
    ("data", "words"),
    [
        pytest.param(b"", "not an IDX file", id="no bytes"),
        pytest.param(GOOD[:3], "not an IDX file", id="half a magic number"),
        pytest.param(b"\x1f\x8b" + GOOD[2:], "not an IDX file", id="gzip's magic number"),
        pytest.param(GOOD[:2] + b"\x0d" + GOOD[3:], "not an IDX file", id="floats"),
        pytest.param(idx_file(UBYTE, (), b"1"), "promises 0 dimensions", id="no dimension"),
        pytest.param(
            idx_file(UBYTE, (1, 1, 1, 1), b"1"), "promises 4 dimensions", id="one too many"
        ),
        pytest.param(GOOD[:11], "promises 2 dimensions", id="half a header"),
        pytest.param(GOOD[:-1], "truncated: it has 15 bytes", id="truncated"),
        pytest.param(GOOD + b"5", "too long: it has 17 bytes", id="trailing byte"),
        pytest.param(idx_file(INT, (2,), b"12345678")[:-1], "truncated", id="half an integer"),
        pytest.param(idx_file(UBYTE, (0,), b""), "empty", id="no entries"),
        pytest.param(idx_file(UBYTE, (5, 0, 28), b""), "empty", id="no rows"),
        pytest.param(idx_file(UBYTE, (2**32 - 1,) * 3, b"1"), "truncated", id="2^96 bytes"),
        # 2^16 * 2^16 * 2^32 is 0 where 64 bits overflow, and would pass for empty.
        pytest.param(
            idx_file(UBYTE, (2**31, 2**31, 4), b"1"), "truncated", id="2^64, 0 in 64 bits"
        ),
    ],
)
def test_what_is_not_whole_is_refused_by_name(data: bytes, words: str) -> None:
    with pytest.raises(DataError, match=words) as raised:
        parse_idx(bytearray(data), "the/file")
    assert str(raised.value).startswith("the/file ")
    assert "replace or delete it" in str(raised.value)


@pytest.fixture
def kmnist(tmp_path: Path, few_raw: dict[str, bytes]) -> Path:
    """Return the folder of a small data set without known checksums, ready to be damaged."""
    folder = tmp_path / "KMNIST" / "raw"
    folder.mkdir(parents=True)
    for name, contents in few_raw.items():
        (folder / name).write_bytes(contents)
    return folder


IMAGES, LABELS = "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"


@pytest.mark.parametrize(
    ("name", "contents", "words"),
    [
        pytest.param(LABELS, idx_file(UBYTE, (1_000,), b"\x0a" * 1_000), "a label", id="label 10"),
        pytest.param(
            LABELS, idx_file(INT, (1_000,), b"\xff" * 4_000), "a label", id="label minus one"
        ),
        pytest.param(
            LABELS, idx_file(UBYTE, (999,), bytes(999)), "999 labels for 1,000", id="a label less"
        ),
        pytest.param(
            IMAGES, idx_file(UBYTE, (1, 28, 27), bytes(756)), "28 by 28", id="narrow images"
        ),
        pytest.param(IMAGES, idx_file(UBYTE, (784,), bytes(784)), "28 by 28", id="a flat image"),
        pytest.param(
            IMAGES, idx_file(INT, (1, 28, 28), bytes(4 * 784)), "28 by 28", id="wide pixels"
        ),
    ],
)
def test_files_that_do_not_fit_each_other_are_refused_by_name(
    kmnist: Path, name: str, contents: bytes, words: str
) -> None:
    assert len(load_test("kmnist", kmnist.parents[1])) == 1_000
    (kmnist / name).write_bytes(contents)
    with pytest.raises(DataError, match=words) as raised:
        load_test("kmnist", kmnist.parents[1])
    assert str(kmnist / name) in str(raised.value)


def test_the_class_of_a_qmnist_sample_is_its_first_number(
    tmp_path: Path, few_raw: dict[str, bytes]
) -> None:
    folder = tmp_path / "QMNIST" / "raw"
    folder.mkdir(parents=True)
    for split, original in (("train", "train"), ("test", "t10k")):
        images = few_raw[f"{original}-images-idx3-ubyte"]
        (folder / f"qmnist-{split}-images-idx3-ubyte").write_bytes(images)
        classes = few_raw[f"{original}-labels-idx1-ubyte"][8:]  # without the header
        # QMNIST's eight numbers: class, NIST series, writer, index, NIST class, position, 0, 0.
        rows = [
            struct.pack(">8i", digit, 4, 3_600, 77, 48, i, 0, 0) for i, digit in enumerate(classes)
        ]
        labels = idx_file(INT, (len(rows), 8), b"".join(rows))
        (folder / f"qmnist-{split}-labels-idx2-int").write_bytes(labels)
    dataset = load_dataset("qmnist", tmp_path)
    assert dataset.train.labels.dtype == torch.uint8
    assert bytes(dataset.train.labels.tolist()) == few_raw["train-labels-idx1-ubyte"][8:]
    assert bytes(dataset.test.labels.tolist()) == few_raw["t10k-labels-idx1-ubyte"][8:]


@pytest.mark.parametrize("ending", ["", ".gz"])
def test_a_file_of_any_size_is_read_in_bounded_memory(
    kmnist: Path, monkeypatch: pytest.MonkeyPatch, ending: str
) -> None:
    limit = 1 << 20  # more than the 784,016 bytes of the good images
    monkeypatch.setattr("mnist_cli.data.datasets._MAX_BYTES", limit)
    assert len(load_test("kmnist", kmnist.parents[1])) == 1_000
    (kmnist / IMAGES).unlink()
    with (kmnist / (IMAGES + ending)).open("wb") as file:
        if ending:  # 256 times as much as the limit, in 266 kB: gzip files can be chained
            file.write(gzip.compress(bytes(limit)) * 256)
        else:
            file.truncate(256 * limit)
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match=re.escape(f"{IMAGES}{ending} holds more than")):
            load_test("kmnist", kmnist.parents[1])
        assert tracemalloc.get_traced_memory()[1] < 4 * limit  # pieces, their sum, and a copy
    finally:
        tracemalloc.stop()
