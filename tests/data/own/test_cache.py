"""What was read is kept, and is never trusted more than the files themselves."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from mnist_cli.data.own import cache
from mnist_cli.data.own.cache import load_own
from mnist_cli.data.own.samples import OwnData, ReadOptions
from mnist_cli.errors import DataError
from tests.data.own.conftest import Few
from tests.helpers.own_data import class_folders, rows, write

NONE = ReadOptions()


def same(one: OwnData, other: OwnData) -> bool:
    """Return True if two sets are equal, bit for bit."""
    pairs = [(one.train, other.train)]
    if one.test is not None and other.test is not None:
        pairs.append((one.test, other.test))
    return (
        (one.classes, one.summary, one.light_ground, one.test is None)
        == (other.classes, other.summary, other.light_ground, other.test is None)
        and all((a.images == b.images).all() for a, b in pairs)
        and all(np.array_equal(a.labels, b.labels) for a, b in pairs)
    )


@pytest.fixture
def table(some: Few, tmp_path: Path) -> Path:
    """Return a pair of tables."""
    write(tmp_path / "d" / "test.csv", rows(some.images[:50], some.labels[:50]))
    return write(tmp_path / "d" / "train.csv", rows(some.images, some.labels))


def reads(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Return a list that grows with each reading of the files themselves."""
    real, seen = cache.read_own, []

    def read(path: Path, options: ReadOptions) -> OwnData:
        seen.append(path)
        return real(path, options)

    monkeypatch.setattr(cache, "read_own", read)
    return seen


def test_a_set_is_read_once(table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = reads(monkeypatch)
    first = load_own(table, NONE, tmp_path / "kept")
    again = load_own(table, NONE, tmp_path / "kept")
    assert seen == [table]
    assert same(first, again)
    assert again.train.images.flags.writeable, "as PyTorch wants it"
    (folder,) = (tmp_path / "kept").iterdir()
    assert sorted(path.name for path in folder.iterdir()) == [
        "own.json",
        "t10k-images-idx3-ubyte",
        "t10k-labels-idx1-ubyte",
        "train-images-idx3-ubyte",
        "train-labels-idx1-ubyte",
    ]
    assert same(first, load_own(table, NONE, None))


def test_it_is_read_again_if_files_or_options_change(
    some: Few, table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = reads(monkeypatch)
    kept = tmp_path / "kept"
    load_own(table, NONE, kept)
    load_own(table, ReadOptions(transposed=True), kept)
    assert len(seen) == 2
    os.utime(table, ns=(1, 1))
    load_own(table, NONE, kept)
    assert len(seen) == 3
    table.with_name("test.csv").unlink()
    assert load_own(table, NONE, kept).test is None
    assert len(seen) == 4
    folder = class_folders(tmp_path / "c", some.images, some.labels)
    load_own(folder, NONE, kept)
    load_own(folder, NONE, kept)
    assert len(seen) == 5
    next(folder.rglob("*.png")).unlink()
    assert len(load_own(folder, NONE, kept).train) == 199
    assert len(seen) == 6


def _json(**changes: object) -> object:
    return lambda data: json.dumps(json.loads(data) | changes).encode()


DAMAGE = {
    "own.json": [
        lambda data: data[:-1],
        lambda data: b"[]",
        lambda data: b"[" * 100_000,
        lambda data: b"9" * 100_000,
        _json(fingerprint="0" * 64),
        _json(classes=["a"]),
        _json(classes=["a"] * 10),
        _json(classes=list("0123456")),
        _json(classes=[str(n) for n in range(63)]),
        _json(classes=["\x1b[2J", *"123456789"]),
        _json(classes="0123456789"),
        _json(summary=[1]),
        _json(summary=["x" * 10_000]),
        _json(light_ground=1),
        _json(checksums={}),
        _json(checksums=[]),
    ],
    "train-images-idx3-ubyte": [
        lambda data: data[:-1],
        lambda data: data[:3],
        lambda data: b"",
        lambda data: data + b"x",
        lambda data: data[:-1] + bytes([data[-1] ^ 1]),
    ],
    "t10k-labels-idx1-ubyte": [lambda data: data[:-1] + b"\x0a", lambda data: data[:-1]],
}


@pytest.mark.parametrize(
    ("name", "number"), [(name, n) for name, kinds in DAMAGE.items() for n in range(len(kinds))]
)
def test_what_is_damaged_is_read_again(
    name: str, number: int, table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = load_own(table, NONE, tmp_path / "kept")
    (folder,) = (tmp_path / "kept").iterdir()
    path = folder / name
    path.write_bytes(DAMAGE[name][number](path.read_bytes()))
    seen = reads(monkeypatch)
    assert same(first, load_own(table, NONE, tmp_path / "kept"))
    assert seen == [table]
    assert same(first, load_own(table, NONE, tmp_path / "kept"))
    assert len(seen) == 1, "it was mended"


def test_a_missing_file_a_fifo_and_a_huge_one_are_read_again(
    table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = load_own(table, NONE, tmp_path / "kept")
    (folder,) = (tmp_path / "kept").iterdir()
    path = folder / "own.json"
    path.unlink()
    os.mkfifo(path)
    seen = reads(monkeypatch)
    assert cache._load(folder, "") is None, "without waiting for a writer"
    path.unlink()
    with path.open("wb") as file:
        file.truncate(1 << 40)
    assert same(first, load_own(table, NONE, tmp_path / "kept"))
    (folder / "train-labels-idx1-ubyte").unlink()
    assert same(first, load_own(table, NONE, tmp_path / "kept"))
    assert len(seen) == 2


def test_a_folder_that_cannot_be_written_does_no_harm(table: Path, tmp_path: Path) -> None:
    (tmp_path / "kept").write_bytes(b"a file")
    assert same(load_own(table, NONE, None), load_own(table, NONE, tmp_path / "kept"))
    assert same(load_own(table, NONE, None), load_own(table, NONE, Path("/proc/kept")))


def test_an_error_is_not_kept(tmp_path: Path) -> None:
    for _ in range(2):
        with pytest.raises(DataError, match="No such file"):
            load_own(tmp_path / "none", NONE, tmp_path / "kept")
    assert not (tmp_path / "kept").exists()


def test_only_a_few_sets_are_kept(
    some: Few, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache, "_MAX_SETS", 2)
    write(tmp_path / "kept" / "mine" / "own.json", b"not of the program")
    path = write(tmp_path / "a.csv", rows(some.images[:99], some.labels[:99]))
    for size in (1, 2, 3, 4):
        load_own(path, ReadOptions(max_value=255 + size), tmp_path / "kept")
    kept = {folder.name for folder in (tmp_path / "kept").iterdir()}
    assert len(kept) == 3
    assert "mine" in kept
    seen = reads(monkeypatch)
    load_own(path, ReadOptions(max_value=259), tmp_path / "kept")
    load_own(path, ReadOptions(max_value=258), tmp_path / "kept")
    assert not seen, "the latest ones"
