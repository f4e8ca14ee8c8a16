"""One's own data as a data set: its name, its test set, its classes."""

import os
from pathlib import Path

import pytest
import torch

from mnist_cli.config.own_data import begun_name, is_begun_data, number_of_classes, shown_data
from mnist_cli.data.datasets import load_dataset
from mnist_cli.data.own.named import known_data, relabelled
from mnist_cli.data.splits import Split, train_test_split
from mnist_cli.errors import DataError, UsageError
from tests.helpers.own_data import write_csv


@pytest.fixture
def table(few: Split, tmp_path: Path) -> Path:
    return write_csv(tmp_path / "train.csv", few)


def test_a_table_becomes_a_data_set_with_a_test_set(table: Path, few: Split) -> None:
    dataset = load_dataset(str(table), table.parent / "data", test_size=20)
    assert (len(dataset.train), len(dataset.test)) == (80, 20)
    assert dataset.classes == tuple("0123456789")
    both = torch.cat([dataset.train.images, dataset.test.images]).flatten(1).long()
    assert both.sum(0).equal(few.images.flatten(1).long().sum(0))
    assert (dataset.test.labels.bincount(minlength=10) - few.labels.bincount() / 5).abs().max() < 1
    known = known_data(dataset.name)
    assert known is not None
    assert known.origin.path == str(table)
    assert any("20 samples are held out to test on" in line for line in known.summary)


def test_the_test_set_is_the_same_in_every_process_and_for_every_seed(few: Split) -> None:
    first, again = (train_test_split(few, 20)[1] for _ in range(2))
    assert first.images.equal(again.images)


@pytest.mark.parametrize(
    ("test_size", "why"),
    [(100.0, "takes 100 of the 100 samples"), (1.5, "neither a whole number nor below 1")],
)
def test_impossible_test_sizes_are_refused(table: Path, test_size: float, why: str) -> None:
    with pytest.raises(UsageError, match=why):
        load_dataset(str(table), table.parent / "data", test_size=test_size)


def test_the_name_tells_other_samples_apart(table: Path, few: Split) -> None:
    data = table.parent / "data"
    name = load_dataset(str(table), data).name
    assert is_begun_data(name)
    assert (shown_data(name), number_of_classes(name)) == ("train.csv", 10)
    other = write_csv(table.parent / "other" / "train.csv", few)
    assert load_dataset(str(other), data).name == name
    few.images[3, 14, 14] ^= 1
    write_csv(other, few)
    assert load_dataset(str(other), data).name != name


def test_names_of_files_do_not_confuse_the_name_of_data() -> None:
    for path in ("a@10-b.csv", "\u202e\n.csv", "x" * 300):
        name = begun_name(path, 26, "0" * 64)
        assert is_begun_data(name)
        assert number_of_classes(name) == 26


def test_labels_are_those_of_the_checkpoints_classes() -> None:
    split = Split(
        torch.zeros(3, 28, 28, dtype=torch.uint8), torch.tensor([0, 1, 1]).byte(), ("1", "7")
    )
    found = relabelled(split, tuple("0123456789"), "two.csv")
    assert found.labels.tolist() == [1, 7, 7]
    assert len(found.classes) == 10
    with pytest.raises(DataError, match=r"two.csv has the class 7, which the checkpoint does not"):
        relabelled(split, ("0", "1"), "two.csv")


def test_what_was_read_is_kept_until_the_file_changes(
    table: Path, few: Split, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = table.parent / "data"
    before = load_dataset(str(table), data)
    (table.parent / "checkpoint.pt").write_text("what lies beside a table is not read")
    with monkeypatch.context() as patch:
        patch.setattr(
            "mnist_cli.data.own.cache.read_own", lambda *_: pytest.fail("it was read again")
        )
        assert load_dataset(str(table), data).train.images.equal(before.train.images)
    write_csv(table, few.at(slice(50)))
    assert len(load_dataset(str(table), data).train) == 40


def test_another_table_of_the_same_size_and_time_is_read(table: Path, few: Split) -> None:
    before = load_dataset(str(table), table.parent / "data")
    status = table.stat()
    text = table.read_text()
    swapped = text.replace("\n1,", "\n_,").replace("\n2,", "\n1,").replace("\n_,", "\n2,")
    table.write_text(swapped)
    os.utime(table, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert (table.stat().st_size, table.stat().st_mtime_ns) == (status.st_size, status.st_mtime_ns)
    after = load_dataset(str(table), table.parent / "data")
    assert after.name != before.name
    assert int((after.train.labels == 1).sum() + (after.test.labels == 1).sum()) == int(
        (few.labels == 2).sum()
    )
