"""Tests of the data that comes with the package and of data that is downloaded."""

import errno
import gzip
import hashlib
import importlib
import io
import logging
import os
import socket
import struct
import sys
import threading
import zipfile
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
import zstandard

from mnist_cli.data import datasets, files
from mnist_cli.data.catalogue import CATALOGUE, MNIST_SHA256
from mnist_cli.data.datasets import load_dataset, load_test
from mnist_cli.data.download import import_datasets, unpack
from mnist_cli.data.splits import Dataset
from mnist_cli.errors import DataError
from tests.data.conftest import Answer, Mirrors
from tests.helpers.shell import Done, Shell

FILES = CATALOGUE["kmnist"].files


@pytest.fixture
def kmnist(mirrors: Mirrors, few_raw: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> Mirrors:
    """Let torchvision's KMNIST come from two mirrors, `a` and `b`; `b` alone has the files."""
    theirs = import_datasets().KMNIST
    monkeypatch.setattr(theirs, "resources", mirrors.publish("b", few_raw))
    monkeypatch.setattr(theirs, "mirrors", [f"{mirrors.url}/a/", f"{mirrors.url}/b/"])
    return mirrors


@pytest.fixture
def module() -> ModuleType:
    """Return the module, whose name in the package is its function."""
    return importlib.import_module("mnist_cli.data.download")


def assert_is_few(dataset: Dataset, few_raw: dict[str, bytes]) -> None:
    for split, kind in ((dataset.train, "train"), (dataset.test, "t10k")):
        assert split.images.numpy().tobytes() == few_raw[f"{kind}-images-idx3-ubyte"][16:]
        assert split.labels.numpy().tobytes() == few_raw[f"{kind}-labels-idx1-ubyte"][8:]


def test_a_dead_mirror_is_passed_over(
    tmp_path: Path, kmnist: Mirrors, few_raw: dict[str, bytes], capfd: pytest.CaptureFixture[str]
) -> None:
    assert_is_few(load_dataset("kmnist", tmp_path), few_raw)
    assert {request[:3] for request in kmnist.requests} == {"/a/", "/b/"}
    # Whole files under their names; no archive, no temporary folder beside them.
    assert {path.name for path in tmp_path.rglob("*")} == {"KMNIST", "raw", *FILES}
    asked = len(kmnist.requests)
    assert_is_few(load_dataset("kmnist", tmp_path), few_raw)
    assert len(kmnist.requests) == asked  # the second time, nothing was missing
    assert capfd.readouterr() == ("", "")  # no terminal: neither data nor a bar


def test_qmnist_gets_both_its_splits_with_the_first_number_of_a_sample_as_its_class(
    tmp_path: Path, mirrors: Mirrors, few_raw: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    resources = {}
    for split, kind in (("train", "train"), ("test", "t10k")):
        classes = few_raw[f"{kind}-labels-idx1-ubyte"][8:]  # without the header
        # QMNIST's eight numbers: class, NIST series, writer, index, NIST class, position, 0, 0.
        rows = [struct.pack(">8i", c, 4, 3_600, 77, 48, at, 0, 0) for at, c in enumerate(classes)]
        header = struct.pack(">HBBII", 0, 0x0C, 2, len(rows), 8)
        files = {
            f"qmnist-{split}-images-idx3-ubyte": few_raw[f"{kind}-images-idx3-ubyte"],
            f"qmnist-{split}-labels-idx2-int": header + b"".join(rows),
        }
        resources[split] = [
            (f"{mirrors.url}/q/{name}", md5) for name, md5 in mirrors.publish("q", files)
        ]
    monkeypatch.setattr(import_datasets().QMNIST, "resources", resources)
    dataset = load_dataset("qmnist", tmp_path)
    assert dataset.train.labels.dtype == torch.uint8
    assert_is_few(dataset, few_raw)


def test_emnist_comes_with_all_its_splits_upright_and_from_a_on(
    tmp_path: Path, mirrors: Mirrors, few_raw: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    def transposed(contents: bytes) -> bytes:
        images = np.frombuffer(contents, np.uint8, offset=16).reshape(-1, 28, 28)
        return contents[:16] + images.transpose(0, 2, 1).tobytes()

    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as packed:
        for split, first in (("digits", 0), ("letters", 1)):
            for part, kind in (("train", "train"), ("test", "t10k")):
                images = few_raw[f"{kind}-images-idx3-ubyte"]
                labels = few_raw[f"{kind}-labels-idx1-ubyte"]
                moved = labels[:8] + bytes(label + first for label in labels[8:])
                for name, contents in (("images-idx3", transposed(images)), ("labels-idx1", moved)):
                    file = f"gzip/emnist-{split}-{part}-{name}-ubyte.gz"
                    packed.writestr(file, gzip.compress(contents, 1))
    mirrors.answers["/gzip.zip"] = Answer(body=archive.getvalue())
    theirs = import_datasets().EMNIST
    monkeypatch.setattr(theirs, "url", f"{mirrors.url}/gzip.zip")
    monkeypatch.setattr(theirs, "md5", hashlib.md5(archive.getvalue()).hexdigest())
    letters = load_dataset("emnist-letters", tmp_path)
    assert_is_few(letters, few_raw)
    assert (letters.classes[0], len(letters.classes)) == ("A", 26)
    asked = len(mirrors.requests)
    assert_is_few(load_dataset("emnist-digits", tmp_path), few_raw)
    assert len(mirrors.requests) == asked


def break_last_file(kmnist: Mirrors, answer: Answer) -> None:
    """Give another answer for the last file: three good ones are there by then."""
    for mirror in "ab":
        kmnist.answers[f"/{mirror}/{FILES[-1]}.gz"] = answer


@pytest.mark.parametrize("fault", ["truncated", "other content", "503", "refused"])
def test_a_failed_download_leaves_nothing_and_names_the_files(
    tmp_path: Path,
    kmnist: Mirrors,
    few_raw: dict[str, bytes],
    fault: str,
    capfd: pytest.CaptureFixture[str],
) -> None:
    body = gzip.compress(few_raw[FILES[-1]])
    match fault:
        case "truncated":
            break_last_file(kmnist, Answer(body=body, cut=100))
        case "other content":  # good gzip, good IDX, another MD5
            break_last_file(kmnist, Answer(body=gzip.compress(few_raw[FILES[-1]] + b"\0")))
        case "503":
            break_last_file(kmnist, Answer(503))
        case "refused":
            with socket.create_server(("127.0.0.1", 0)) as free:
                port = free.getsockname()[1]  # nobody listens there once it is closed
            import_datasets().KMNIST.mirrors[:] = [f"http://127.0.0.1:{port}/{m}/" for m in "ab"]
    with pytest.raises(DataError) as raised:
        load_dataset("kmnist", tmp_path)
    message = str(raised.value)
    assert message.count("\n") == 1  # errors have one or two lines
    assert all(name in message for name in (str(tmp_path / "KMNIST" / "raw"), *FILES))
    assert {path.name for path in tmp_path.rglob("*")} <= {"KMNIST", "raw"}
    assert capfd.readouterr() == ("", "")


def test_a_mirror_that_says_nothing_is_given_up(
    tmp_path: Path, kmnist: Mirrors, module: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert 5 <= module._TIMEOUT_SECONDS <= 60  # long enough for a slow line, short for a person
    monkeypatch.setattr(module, "_TIMEOUT_SECONDS", 0.2)
    kmnist.hang = threading.Event()
    with pytest.raises(DataError, match="timed out"):
        load_dataset("kmnist", tmp_path)
    assert socket.getdefaulttimeout() is None  # as it was


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("quiet", [False, True])
def test_progress_is_for_a_terminal_and_unless_quiet(
    tmp_path: Path, kmnist: Mirrors, quiet: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    logger = logging.getLogger("mnist_cli")
    before = logger.level
    logger.setLevel(logging.WARNING if quiet else logging.INFO)
    try:
        load_dataset("kmnist", tmp_path)
    finally:
        logger.setLevel(before)
    assert ("100" in terminal.getvalue()) is not quiet  # percent, at the end of a file


def test_without_torchvision_the_error_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing() -> ModuleType:
        raise ImportError("torchvision is not installed")

    monkeypatch.setattr("mnist_cli.data.download.import_datasets", missing)
    with pytest.raises(DataError, match="torchvision is not installed"):
        load_dataset("kmnist", tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("ending", ["", ".gz"])
def test_files_in_place_are_used_without_a_network(
    tmp_path: Path, few_raw: dict[str, bytes], ending: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "KMNIST" / "raw"
    folder.mkdir(parents=True)
    for name, contents in few_raw.items():
        (folder / (name + ending)).write_bytes(gzip.compress(contents) if ending else contents)
    monkeypatch.setattr("mnist_cli.data.datasets.download", lambda *_: pytest.fail("downloaded"))
    assert_is_few(load_dataset("kmnist", tmp_path), few_raw)
    assert len(load_test("kmnist", tmp_path)) == 1_000


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


@pytest.mark.parametrize("name", MNIST_SHA256)
def test_a_damaged_file_is_found(copy: Path, mnist_raw: dict[str, bytes], name: str) -> None:
    whole = mnist_raw[name]
    changed = whole[:-1] + bytes([whole[-1] ^ 1])  # still a good IDX file, and a class from 0 to 9
    (copy / name).unlink()
    for damaged, message in ((changed, "SHA-256 differs"), (whole[:-1], "truncated")):
        (copy / name).write_bytes(damaged)
        with pytest.raises(DataError, match=message) as raised:
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


FOUR_AT_ONCE = """\
# forked
import os, sys
from pathlib import Path
from mnist_cli.data.datasets import load_dataset

folder = Path(sys.argv[1])
children = []
for late in range(4):  # the second one begins when there is one file, and so on
    child = os.fork()
    if not child:
        while len([*folder.glob("MNIST/raw/*-ubyte")]) < late:
            os.sched_yield()
        os._exit(len(load_dataset("mnist", folder).train) != 60_000)
    children.append(child)
sys.exit(any([os.waitpid(child, 0)[1] for child in children]))
"""


def test_programs_that_start_at_once_all_get_the_data(tmp_path: Path, shell: Shell) -> None:
    assert shell("python", "-c", FOUR_AT_ONCE, str(tmp_path / "data")) == Done(0, "", "")
    assert everything_below(tmp_path / "data") == UNPACKED
    for name, digest in MNIST_SHA256.items():
        contents = (tmp_path / "data" / "MNIST" / "raw" / name).read_bytes()
        assert hashlib.sha256(contents).hexdigest() == digest


def test_a_folder_with_gz_files_is_used_as_it_is(
    copy: Path, mnist: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    for path in [*copy.glob("*labels*"), *copy.glob("t10k*images*")]:
        path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes(), 1))
        path.unlink()
    before = everything_below(copy)
    monkeypatch.setattr(
        "mnist_cli.data.datasets.unpack", lambda *_: pytest.fail("unpacked what is there")
    )
    dataset = load_dataset("mnist", copy.parents[1])
    assert everything_below(copy) == before
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
        unpack(["t10k-labels-idx1-ubyte"], tmp_path / "raw")
    assert everything_below(tmp_path) == ["raw"]


def test_without_a_folder_mnist_is_read_from_the_package(
    tmp_path: Path, mnist: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for ahead in (False, True):
        if ahead:
            files.prefetch("mnist", None)
        loaded = load_dataset("mnist")
        for split, expected in ((loaded.train, mnist.train), (loaded.test, mnist.test)):
            assert torch.equal(split.images, expected.images)
            assert torch.equal(split.labels, expected.labels)
    assert torch.equal(load_test("mnist").images, mnist.test.images)
    assert everything_below(tmp_path) == []


def test_files_that_are_not_needed_are_not_prefetched(tmp_path: Path) -> None:
    files.prefetch("mnist", str(tmp_path))
    files.prefetch("kmnist", None)
    assert not files._prefetched


@pytest.mark.parametrize(
    "packed",
    [
        None,
        b"not zstd",
        zstandard.compress(b"x" * 99)[:-4],
        zstandard.compress(b"other data"),
        zstandard.ZstdCompressor(write_content_size=False).compress(b"x" * 99),
        zstandard.compress(bytes(1 << 27)),  # twice as large as is read
    ],
    ids=["missing", "not zstd", "truncated", "other data", "of unknown size", "bomb"],
)
def test_a_damaged_package_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, packed: bytes | None
) -> None:
    package = tmp_path / "package"
    package.mkdir()
    if packed is not None:
        (package / "t10k-images-idx3-ubyte.zst").write_bytes(packed)
    for module in (files, datasets):
        monkeypatch.setattr(module, "PACKAGE", package)
    with pytest.raises(DataError, match="installed package"):
        load_test("mnist")
    with pytest.raises(DataError, match="installed package"):
        unpack(["t10k-images-idx3-ubyte"], tmp_path / "raw")
    assert everything_below(tmp_path / "raw") == []
