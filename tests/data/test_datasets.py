"""Tests of reading IDX files and of splitting the samples."""

import gzip
import os
import re
import struct
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from mnist_cli.data.catalogue import DatasetFiles
from mnist_cli.data.datasets import load_test, parse_idx
from mnist_cli.data.files import find_file
from mnist_cli.data.splits import Dataset, Split, train_val_split
from mnist_cli.errors import DataError, UsageError

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
        (b"", "not an IDX file"),
        (GOOD[:3], "not an IDX file"),
        (b"\x1f\x8b" + GOOD[2:], "not an IDX file"),
        (GOOD[:2] + b"\x0d" + GOOD[3:], "not an IDX file"),
        (idx_file(UBYTE, (), b"1"), "promises 0 dimensions"),
        (idx_file(UBYTE, (1, 1, 1, 1), b"1"), "promises 4 dimensions"),
        (GOOD[:11], "promises 2 dimensions"),
        (GOOD[:-1], "truncated: it has 15 bytes"),
        (GOOD + b"5", "too long: it has 17 bytes"),
        (idx_file(INT, (2,), b"12345678")[:-1], "truncated"),
        (idx_file(UBYTE, (0,), b""), "empty"),
        (idx_file(UBYTE, (5, 0, 28), b""), "empty"),
        (idx_file(UBYTE, (2**32 - 1,) * 3, b"1"), "truncated"),
        # 2^16 * 2^16 * 2^32 is 0 where 64 bits overflow, and would pass for empty.
        (idx_file(UBYTE, (2**31, 2**31, 4), b"1"), "truncated"),
    ],
    ids=range(14),
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
        (LABELS, idx_file(UBYTE, (1_000,), b"\x0a" * 1_000), "a label"),
        (LABELS, idx_file(INT, (1_000,), b"\xff" * 4_000), "a label"),
        (LABELS, idx_file(UBYTE, (999,), bytes(999)), "999 labels for 1,000"),
        (IMAGES, idx_file(UBYTE, (1, 28, 27), bytes(756)), "28 by 28"),
        (IMAGES, idx_file(UBYTE, (784,), bytes(784)), "28 by 28"),
        (IMAGES, idx_file(INT, (1, 28, 28), bytes(4 * 784)), "28 by 28"),
    ],
    ids=range(6),
)
def test_files_that_do_not_fit_each_other_are_refused_by_name(
    kmnist: Path, name: str, contents: bytes, words: str
) -> None:
    assert len(load_test("kmnist", kmnist.parents[1])) == 1_000
    (kmnist / name).write_bytes(contents)
    with pytest.raises(DataError, match=words) as raised:
        load_test("kmnist", kmnist.parents[1])
    assert str(kmnist / name) in str(raised.value)


@pytest.mark.parametrize("ending", ["", ".gz"])
def test_a_file_of_any_size_is_read_in_bounded_memory(
    kmnist: Path, monkeypatch: pytest.MonkeyPatch, ending: str
) -> None:
    limit = 1 << 20  # more than the 784,016 bytes of the good images
    monkeypatch.setattr(DatasetFiles, "largest_file", limit)
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


@pytest.fixture(scope="module")
def numbered(mnist: Dataset) -> Split:
    """Return a split with the real labels, and the number of each sample for its image."""
    return Split(torch.arange(len(mnist.train)), mnist.train.labels)


def counts(split: Split) -> torch.Tensor:
    return torch.bincount(split.labels.long(), minlength=10)


@pytest.mark.parametrize(
    ("val_size", "subset"),
    [
        (0, None),
        (5_000, None),
        (7, None),  # fewer than there are classes
        (59_999, None),  # all but one
        (0, 1_009),  # a prime: no class has an integral quota
        (0, 60_000),
        (30_000, 30_000),
        (9_999, 1_009),
    ],
)
def test_the_parts_are_disjoint_and_every_class_is_within_one_sample_of_its_quota(
    numbered: Split, val_size: int, subset: int | None
) -> None:
    train, val = train_val_split(numbered, val_size=val_size, subset=subset, seed=3)
    assert (len(train), len(val)) == (subset or 60_000 - val_size, val_size)
    assert len(torch.cat([train.images, val.images]).unique()) == len(train) + len(val)
    remaining = counts(numbered) - counts(val)  # what the subset is drawn from
    for drawn, source in ((val, counts(numbered)), (train, remaining)):
        assert drawn.labels.equal(numbered.labels[drawn.images]), "labels stay with their images"
        assert (counts(drawn) - source * (len(drawn) / source.sum())).abs().max() < 1


def test_validation_does_not_depend_on_the_subset(numbered: Split) -> None:
    vals = [
        train_val_split(numbered, val_size=1_000, subset=subset, seed=5)[1].images
        for subset in (None, 1, 1_000, 59_000)
    ]
    assert all(val.equal(vals[0]) for val in vals)


def test_the_seed_alone_decides(numbered: Split) -> None:
    def drawn(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
        train, val = train_val_split(numbered, val_size=1_000, subset=1_000, seed=seed)
        return train.images, val.images

    once = drawn(1)
    torch.manual_seed(12345)  # the global generator has no say
    again, other = drawn(1), drawn(2)
    assert all(torch.equal(a, b) for a, b in zip(once, again, strict=True))
    # Two draws of 1,000 from 60,000 have about 17 in common by chance (std 4); half is far off.
    for a, b in zip(once, other, strict=True):
        assert torch.isin(a, b).sum() < 500


@pytest.mark.parametrize(
    ("val_size", "subset"), [(60_000, None), (0, 60_001), (1, 60_000), (59_001, 1_000)]
)
def test_more_than_there_is_is_a_usage_error(
    numbered: Split, val_size: int, subset: int | None
) -> None:
    with pytest.raises(UsageError, match=f"--val-size {val_size}.*60,000"):
        train_val_split(numbered, val_size=val_size, subset=subset, seed=0)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda packed: packed[:-9], "it is truncated"),
        (lambda packed: packed + b"other", "incorrect header"),
        (lambda packed: packed[:-8] + bytes(8), "incorrect data check"),
        (lambda packed: packed + gzip.compress(b"") * 1_000_000, "more than 100 members"),
        (lambda packed: packed + bytes(1 << 26), "holds more than"),
    ],
)
def test_a_packed_file_that_is_damaged_or_endless_is_refused(
    damage: Callable[[bytes], bytes], message: str, kmnist: Path
) -> None:
    packed = gzip.compress((kmnist / LABELS).read_bytes())
    (kmnist / LABELS).unlink()
    file = kmnist / f"{LABELS}.gz"
    file.write_bytes(packed + bytes(1000))  # zeros may follow, as on a tape
    assert len(load_test("kmnist", kmnist.parents[1])) == 1_000
    file.write_bytes(damage(packed))
    with pytest.raises(DataError, match=message):
        load_test("kmnist", kmnist.parents[1])


def test_a_fifo_is_no_data_file(tmp_path: Path) -> None:
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    os.mkfifo(raw / "t10k-labels-idx1-ubyte")
    with pytest.raises(DataError, match="is not a regular file"):
        load_test("mnist", tmp_path)


def test_a_file_that_appears_meanwhile_is_not_taken_for_something_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when another program puts it there between two looks."""
    look = Path.stat

    def look_then_make(path: Path, **options: bool) -> os.stat_result:
        try:
            return look(path, **options)
        finally:
            (tmp_path / "images").write_bytes(b"made by another program")

    monkeypatch.setattr(Path, "stat", look_then_make)
    assert find_file(tmp_path, "images") is None
    assert find_file(tmp_path, "images") == tmp_path / "images"
