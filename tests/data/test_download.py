"""Downloads by torchvision's own code, from mirrors on the loopback, good and bad."""

import gzip
import importlib
import io
import logging
import socket
import sys
import threading
from pathlib import Path
from types import ModuleType

import pytest
import torch

from mnist_cli.data.catalogue import CATALOGUE
from mnist_cli.data.datasets import Dataset, load_dataset, load_test
from mnist_cli.data.download import import_datasets
from mnist_cli.errors import DataError
from tests.data.conftest import Answer, Mirrors

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


def test_the_real_files_come_through_whole(
    tmp_path: Path,
    mirrors: Mirrors,
    mnist_raw: dict[str, bytes],
    mnist: Dataset,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    theirs = import_datasets().KMNIST
    monkeypatch.setattr(theirs, "resources", mirrors.publish("all", mnist_raw))
    monkeypatch.setattr(theirs, "mirrors", [f"{mirrors.url}/all/"])
    dataset = load_dataset("kmnist", tmp_path)
    assert torch.equal(dataset.train.images, mnist.train.images)
    assert torch.equal(dataset.test.labels, mnist.test.labels)


def test_qmnist_gets_both_its_splits(
    tmp_path: Path, mirrors: Mirrors, few_raw: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    resources = {}
    for split, kind in (("train", "train"), ("test", "t10k")):
        classes = torch.tensor(list(few_raw[f"{kind}-labels-idx1-ubyte"][8:]))
        rows = torch.zeros(len(classes), 8, dtype=torch.int32)
        rows[:, 0] = classes
        header = b"\0\0\x0c\2" + len(rows).to_bytes(4, "big") + (8).to_bytes(4, "big")
        labels = header + rows.numpy().astype(">i4").tobytes()
        files = {
            f"qmnist-{split}-images-idx3-ubyte": few_raw[f"{kind}-images-idx3-ubyte"],
            f"qmnist-{split}-labels-idx2-int": labels,
        }
        resources[split] = [
            (f"{mirrors.url}/q/{name}", md5) for name, md5 in mirrors.publish("q", files)
        ]
    monkeypatch.setattr(import_datasets().QMNIST, "resources", resources)
    assert_is_few(load_dataset("qmnist", tmp_path), few_raw)


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
