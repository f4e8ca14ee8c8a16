"""Checkpoints that another training begins with, or learns from."""

import logging

import torch

from mnist_cli.config.compare import CompareConfig
from mnist_cli.config.network_file import begun, is_named, named_file, shown_name
from mnist_cli.config.own_data import are_same_data, shown_data
from mnist_cli.config.quoting import printable
from mnist_cli.config.train import TrainConfig
from mnist_cli.data.own.named import is_same_file, known_data
from mnist_cli.data.splits import Dataset, Split, split_indices
from mnist_cli.errors import UsageError
from mnist_cli.models.checkpoint import Checkpoint, decode, encode, load_checkpoint
from mnist_cli.runtime.distributed.group import ProcessGroup

_log = logging.getLogger(__name__)


def load_weights(
    option: str,
    path: str,
    config: TrainConfig | CompareConfig | None,
    group: ProcessGroup | None = None,
) -> Checkpoint:
    """Return the checkpoint in a file that an option names.

    With a `config`, it has to have the network of that config. Rank 0 of a group reads the file and
    broadcasts it, since other machines may not have it.

    Raises:
        UsageError: it has another network.
        CheckpointError: see `load_checkpoint`.

    """
    group = group or ProcessGroup()
    if group.is_main:
        checkpoint = load_checkpoint(path)
        if group.size > 1:
            group.broadcast(encode(checkpoint))
    else:
        checkpoint = decode(group.broadcast(None) or b"", printable(path))
    if config is None:
        return checkpoint
    model = begun(config.model)
    if checkpoint.network_file is not None and is_named(model):
        checkpoint = checkpoint.with_network(named_file(model).model)
        checkpoint.build_model()  # raises unless the weights are those of the network in the file
    found, members = checkpoint.config.model, checkpoint.config.members
    if found != model:
        raise UsageError(
            f"--model {shown_name(model)} differs from the {shown_name(found)} of {option} "
            f"{printable(path)}; "
            "leave --model out, or begin with a checkpoint of the same network"
        )
    if members != config.members:
        raise UsageError(
            f"--members {config.members} differs from the {members} of {option} "
            f"{printable(path)}; give --members {members}, or begin with a checkpoint of as many"
        )
    return checkpoint


def warn_of_seen_samples(
    option: str, initial: Checkpoint, config: TrainConfig, samples: Split
) -> None:
    """Warn if a checkpoint was trained on samples that a config holds out of `samples`.

    An `option` named it. What the checkpoint itself began with is not known here.
    """
    before = initial.config
    known = known_data(config.dataset)
    if known is not None and initial.data is not None:
        is_same = are_same_data(before.dataset, config.dataset)
        if not is_same and is_same_file(known.origin.path, initial.data.path):
            _log.warning(
                "%s: the checkpoint was trained on other samples of %s, maybe on some of these "
                "test samples, so that accuracies may be too high; give the same --test-size",
                *(option, printable(known.origin.path)),
            )
    if not config.val_size or not are_same_data(before.dataset, config.dataset):
        return
    try:
        seen, _ = _split(before, samples)
    except UsageError:  # its data set was a larger one
        return
    _, held_out = _split(config, samples)
    count = int(torch.isin(held_out, seen).sum())
    if not count:
        return
    advice = "it held none out itself: train it with --val-size"
    if before.val_size:
        seed = "" if before.seed == config.seed else f"--seed {before.seed} "
        advice = f"hold out what it held out, with {seed}--val-size {before.val_size}"
    _log.warning(
        "%s: the checkpoint was trained on %s of the %s validation samples, so that "
        "accuracies on them are too high; %s",
        *(option, f"{count:,}", f"{len(held_out):,}", advice),
    )


def check_number_of_classes(option: str, other: Checkpoint, dataset: Dataset) -> None:
    """Raise UsageError if a checkpoint has a network for another number of classes than the data.

    An `option` named it.
    """
    if len(other.classes) != len(dataset.classes):
        raise UsageError(
            f"{option}: the checkpoint's network has {len(other.classes)} classes, and "
            f"{shown_data(dataset.name)} has {len(dataset.classes)}; give one with as many"
        )


def warn_of_other_classes(teacher: Checkpoint, dataset: Dataset) -> None:
    """Warn if a teacher was trained on other classes than those of a data set."""
    if teacher.classes != dataset.classes:
        taught, data = shown_data(teacher.config.dataset), shown_data(dataset.name)
        _log.warning(
            "--teacher: the checkpoint was trained on %s, whose classes are not those of %s: what "
            "it predicts means nothing there; give one that was trained on %s",
            *(taught, data, data),
        )


def _split(config: TrainConfig, samples: Split) -> tuple[torch.Tensor, torch.Tensor]:
    return split_indices(
        samples.labels, val_size=config.val_size, subset=config.subset, seed=config.seed
    )
