"""One's own data as a data set: from the path that `--dataset` names to tensors."""

import hashlib
import json
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

import torch

from mnist_cli.config.own_data import DataOrigin, begun_name
from mnist_cli.config.quoting import printable
from mnist_cli.config.reading import expand_home
from mnist_cli.data.splits import Dataset, Split, train_test_split
from mnist_cli.errors import DataError, UsageError

if TYPE_CHECKING:
    from mnist_cli.config.compare import CompareConfig
    from mnist_cli.config.train import TrainConfig
    from mnist_cli.data.own.samples import Samples

# The folder, in that of the data, of what was read before: hidden, so that it is never taken for
# data itself.
_CACHE = ".own"

_log = logging.getLogger(__name__)
_known: dict[str, "OwnDataset"] = {}  # that were read in this process, by their name once begun


@dataclass(frozen=True)
class OwnDataset:
    """One's own data: the samples, where they were, and a summary of what was found."""

    dataset: Dataset
    origin: DataOrigin
    summary: tuple[str, ...]


def known_data(begun: str) -> OwnDataset | None:
    """Return the data of this name, in a training that has begun, if this process read them."""
    return _known.get(begun)


def named_as(dataset: Dataset, name: str) -> Dataset:
    """Return one's own data with the name that they had in a training that has begun."""
    if dataset.name == name:
        return dataset
    known = _known[dataset.name]
    _known[name] = replace(known, dataset=replace(dataset, name=name))
    return _known[name].dataset


class OwnDataArguments(TypedDict):
    """The arguments of `load_dataset` for one's own data."""

    test_size: float | None
    label_column: str | None
    max_value: float | None
    transposed: bool


def own_data_options(config: "TrainConfig | CompareConfig") -> OwnDataArguments:
    """Return the options of a config as arguments of `load_dataset`."""
    return {
        "test_size": config.test_size,
        "label_column": config.label_column,
        "max_value": config.max_value,
        "transposed": config.transposed,
    }


def load_own_dataset(
    path: str,
    data_dir: str | Path,
    *,
    test_size: float | None,
    label_column: str | None,
    max_value: float | None,
    transposed: bool,
) -> OwnDataset:
    """Return the data in a file or folder of one's own.

    Where they have no test set, `test_size` samples are one, the same for every seed, and with the
    classes in proportion; or all samples, if it is None.

    Raises:
        DataError: they cannot be read.
        UsageError: an option does not fit them.

    """
    from mnist_cli.data.own.cache import load_own  # noqa: PLC0415 (numpy)
    from mnist_cli.data.own.samples import ReadOptions  # noqa: PLC0415 (numpy)

    options = ReadOptions(label_column, max_value, transposed)
    own = load_own(Path(expand_home(path)), options, Path(expand_home(data_dir)) / _CACHE)
    summary = list(own.summary)
    train = _split(own.train, own.classes)
    if own.test is not None:
        test = _split(own.test, own.classes)
    elif test_size is None:
        train, test = train.at(slice(0, 0)), train
    else:
        train, test = train_test_split(train, _count(test_size, len(train)))
        summary.append(f"{len(test):,} samples are held out to test on (--test-size {test_size:g})")
    digest = hashlib.sha256(json.dumps(own.classes).encode())
    for tensor in (train.images, train.labels, test.images, test.labels):
        digest.update(tensor.contiguous().numpy().data)
    name = begun_name(path, len(own.classes), digest.hexdigest())
    result = OwnDataset(
        Dataset(train, test, name),
        DataOrigin(str(Path(expand_home(path)).absolute()), own.classes, own.light_ground),
        tuple(summary),
    )
    _known[name] = result
    return result


def _split(samples: "Samples", classes: tuple[str, ...]) -> Split:
    if samples.labels is None:
        raise DataError("the data have no labels; predict them instead: mnist-predict")
    return Split(torch.from_numpy(samples.images), torch.from_numpy(samples.labels), classes)


def _count(test_size: float, samples: int) -> int:
    """Return how many samples `--test-size` asks for."""
    count = round(test_size * samples) if test_size < 1 else int(test_size)
    if test_size >= 1 and count != test_size:
        raise UsageError(f"--test-size {test_size:g} is neither a whole number nor below 1")
    if not 1 <= count < samples:
        raise UsageError(
            f"--test-size {test_size:g} takes {count:,} of the {samples:,} samples; both the "
            "training and the test set need some"
        )
    return count


def is_same_file(one: str, other: str) -> bool:
    """Return True if two paths lead to the same file or folder."""
    return os.path.realpath(expand_home(one)) == os.path.realpath(expand_home(other))


def log_summary(dataset: Dataset) -> None:
    """Log the summary of what was found in one's own data; nothing for other data sets."""
    known = _known.get(dataset.name)
    for number, line in enumerate(known.summary if known else ()):
        _log.info("%s%s", "  " if number else "", line)


def relabelled(split: Split, classes: tuple[str, ...], where: str) -> Split:
    """Return a split with the labels that its classes, by their names, have among other ones.

    Raises:
        DataError: it has a class that they lack.

    """
    if split.classes == classes:
        return split
    there = split.labels.bincount().nonzero().flatten().tolist()
    missing = [split.classes[number] for number in there if split.classes[number] not in classes]
    if missing:
        raise DataError(
            f"{printable(where)} has {'the class' if len(missing) == 1 else 'the classes'} "
            f"{_listed(missing)}, which the checkpoint does not "
            f"know: its classes are {_listed(classes)}"
        )
    numbers = [classes.index(name) if name in classes else 0 for name in split.classes]
    table = torch.tensor(numbers, dtype=torch.uint8)
    return replace(split, labels=table[split.labels.long()], classes=classes)


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(printable(name) for name in names[:12])
    return shown + (f" and {len(names) - 12} more" if len(names) > 12 else "")
