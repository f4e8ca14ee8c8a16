"""Tests of MNIST from the package: verified, atomic, in torchvision's layout."""

import errno
import gzip
import hashlib
import lzma
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from mnist_cli.data.catalogue import MNIST_SHA256
from mnist_cli.data.datasets import Dataset, load_dataset
from mnist_cli.data.download import unpack
from mnist_cli.errors import DataError


def everything_below(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


UNPACKED = sorted(["MNIST", "MNIST/raw", *(f"MNIST/raw/{name}" for name in MNIST_SHA256)])


@pytest.fixture
def copy(tmp_path: Path, mnist_dir: Path) -> Path:
    """Return a folder of links to MNIST, one of which a test may replace."""
    raw = tmp_path / "copy" / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for name in MNIST_SHA256:
        (raw / name).symlink_to(mnist_dir / "MNIST" / "raw" / name)
    return raw


def test_unpacked_files_are_the_original_ones(mnist_raw: dict[str, bytes]) -> None:
    digests = {name: hashlib.sha256(data).hexdigest() for name, data in mnist_raw.items()}
    assert digests == MNIST_SHA256


@pytest.mark.parametrize("name", MNIST_SHA256)
def test_one_changed_bit_is_found(copy: Path, mnist_raw: dict[str, bytes], name: str) -> None:
    damaged = bytearray(mnist_raw[name])
    damaged[-1] ^= 1  # the last pixel or label: still a good IDX file, and a class from 0 to 9
    (copy / name).unlink()
    (copy / name).write_bytes(damaged)
    with pytest.raises(DataError, match="SHA-256 differs") as raised:
        load_dataset("mnist", copy.parents[1])
    assert str(copy / name) in str(raised.value)


@pytest.mark.parametrize("name", MNIST_SHA256)
def test_a_truncated_file_is_found(copy: Path, mnist_raw: dict[str, bytes], name: str) -> None:
    (copy / name).unlink()
    (copy / name).write_bytes(mnist_raw[name][:-1])
    with pytest.raises(DataError, match="truncated") as raised:
        load_dataset("mnist", copy.parents[1])
    assert str(copy / name) in str(raised.value)


@pytest.mark.parametrize("damage", ["truncated", "flipped", "not gzip"])
def test_a_damaged_gz_is_found(copy: Path, mnist_raw: dict[str, bytes], damage: str) -> None:
    name = "t10k-labels-idx1-ubyte"
    packed = bytearray(gzip.compress(mnist_raw[name]))
    middle = len(packed) // 2
    packed[middle] ^= 0xFF if damage == "flipped" else 0
    (copy / name).unlink()
    (copy / f"{name}.gz").write_bytes(
        {"truncated": packed[:middle], "flipped": packed, "not gzip": mnist_raw[name]}[damage]
    )
    with pytest.raises(DataError) as raised:
        load_dataset("mnist", copy.parents[1])
    assert str(copy / f"{name}.gz") in str(raised.value)


FOUR_AT_ONCE = """
import os, sys, time
from mnist_cli.data.datasets import load_dataset

wait, start = os.pipe()
children = []
for late in range(4):  # forked after the import of torch, so that they start together
    child = os.fork()
    if not child:
        os.close(start)
        os.read(wait, 1)  # until the parent closes the other end
        time.sleep(late / 10)  # one unpacks, which takes a second, while the next one looks
        os._exit(len(load_dataset("mnist", sys.argv[1]).train) != 60_000)
    children.append(child)
os.close(start)
sys.exit(any([os.waitpid(child, 0)[1] for child in children]))
"""


def test_programs_that_start_at_once_all_get_the_data(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FOUR_AT_ONCE, tmp_path / "data"],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert everything_below(tmp_path / "data") == UNPACKED
    for name, digest in MNIST_SHA256.items():
        contents = (tmp_path / "data" / "MNIST" / "raw" / name).read_bytes()
        assert hashlib.sha256(contents).hexdigest() == digest


def test_a_folder_with_gz_files_is_used_as_it_is(
    tmp_path: Path,
    mnist: Dataset,
    mnist_raw: dict[str, bytes],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for name, contents in mnist_raw.items():
        (raw / f"{name}.gz").write_bytes(gzip.compress(contents, compresslevel=1))
    before = everything_below(tmp_path)
    monkeypatch.setattr(
        "mnist_cli.data.datasets.unpack", lambda *_: pytest.fail("unpacked what is there")
    )
    dataset = load_dataset("mnist", tmp_path)
    assert everything_below(tmp_path) == before
    for loaded, expected in ((dataset.train, mnist.train), (dataset.test, mnist.test)):
        assert torch.equal(loaded.images, expected.images)
        assert torch.equal(loaded.labels, expected.labels)


def test_only_what_is_missing_is_unpacked(copy: Path) -> None:
    (copy / "t10k-labels-idx1-ubyte").unlink()
    assert len(load_dataset("mnist", copy.parents[1]).test) == 10_000
    assert [name for name in MNIST_SHA256 if not (copy / name).is_symlink()] == [
        "t10k-labels-idx1-ubyte"
    ]


@pytest.mark.parametrize("folder", ["file/below", "q" * 300, "loop"])  # 255 is a name's limit
def test_an_unusable_folder_is_an_error_that_names_the_option(tmp_path: Path, folder: str) -> None:
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with pytest.raises(DataError, match="--data-dir") as raised:
        load_dataset("mnist", tmp_path / folder)
    assert str(tmp_path / folder) in str(raised.value)


def test_a_full_disk_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DataError, match="No space left"):
        unpack(["t10k-labels-idx1-ubyte"], tmp_path)
    assert everything_below(tmp_path) == ["MNIST", "MNIST/raw"]


@pytest.mark.parametrize(
    "packed",
    [None, b"not xz", lzma.compress(b"x" * 99)[:-9], lzma.compress(b"other data")],
    ids=["missing", "not xz", "truncated", "other data"],
)
def test_a_damaged_package_is_never_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, packed: bytes | None
) -> None:
    (tmp_path / "mnist").mkdir()
    if packed is not None:
        (tmp_path / "mnist" / "t10k-labels-idx1-ubyte.xz").write_bytes(packed)
    monkeypatch.setattr("importlib.resources.files", lambda _: tmp_path)
    with pytest.raises(DataError, match="installed package"):
        unpack(["t10k-labels-idx1-ubyte"], tmp_path / "data")
    assert everything_below(tmp_path / "data") == ["MNIST", "MNIST/raw"]
