"""Tests of torchvision: imported late, and with the same folders."""

from pathlib import Path

import pytest
import torch

from mnist_cli.data.datasets import load_dataset
from mnist_cli.data.download import import_datasets
from mnist_cli.data.splits import Dataset
from tests.data.conftest import Mirrors
from tests.helpers.shell import Done, Shell

pytestmark = pytest.mark.slow


def test_torchvision_is_imported_only_when_it_is_needed(shell: Shell) -> None:
    program = (
        "# forked\n"
        "import sys, warnings\n"
        "warnings.simplefilter('error')\n"
        "assert 'torchvision' not in sys.modules\n"
        "from mnist_cli.data.download import import_datasets\n"
        "assert 'torchvision' not in sys.modules\n"
        "datasets = import_datasets()\n"
        "import torchvision\n"
        "assert datasets.MNIST is torchvision.datasets.MNIST\n"
    )
    assert shell("python", "-c", program) == Done(0, "", "")


def assert_same_as_torchvision(root: Path, ours: Dataset) -> None:
    for train, split in ((True, ours.train), (False, ours.test)):
        theirs = import_datasets().MNIST(root, train=train, download=False)
        assert theirs.data.equal(split.images)
        assert theirs.targets.equal(split.labels.long())


def test_torchvision_reads_a_folder_made_here(mnist_dir: Path, mnist: Dataset) -> None:
    assert_same_as_torchvision(mnist_dir, mnist)


def test_a_folder_that_torchvision_made_works(
    tmp_path: Path,
    mnist: Dataset,
    mnist_raw: dict[str, bytes],
    mirrors: Mirrors,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    theirs = import_datasets().MNIST
    monkeypatch.setattr(theirs, "resources", mirrors.publish("mnist", mnist_raw))
    monkeypatch.setattr(theirs, "mirrors", [f"{mirrors.url}/mnist/"])
    theirs(tmp_path, download=True)
    before = sorted(tmp_path.rglob("*"))
    ours = load_dataset("mnist", tmp_path)
    assert sorted(tmp_path.rglob("*")) == before
    assert torch.equal(ours.train.images, mnist.train.images)
    assert_same_as_torchvision(tmp_path, ours)
