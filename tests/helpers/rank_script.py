"""What a rank does besides training; prints the result as JSON: `script.py TASK ARGUMENTS`."""

import json
import os
import sys
from dataclasses import replace
from typing import Any
from unittest.mock import patch

import torch
import torch.distributed as dist

from benchmarks.scaling.cases import CASES, Case, losses_of
from mnist_cli.config.train import TrainConfig
from mnist_cli.data import datasets
from mnist_cli.data.datasets import load_dataset
from mnist_cli.errors import PeerError
from mnist_cli.evaluation.evaluate import evaluate
from mnist_cli.models.checkpoint import load_checkpoint
from mnist_cli.runtime.distributed.group import AGREED_ENTRIES, ProcessGroup
from mnist_cli.runtime.distributed.torch_group import join
from mnist_cli.runtime.signals import StopSignals
from mnist_cli.training.state import TrainingState
from mnist_cli.training.train import train
from tests.torture.amount import count

# What makes each case quicker, where it takes seconds; its sizes stay as odd.
LESS: list[dict[str, object]] = [
    {},
    {},
    {},
    {"batch_size": 25, "subset": 511},
    {"batch_size": 517, "subset": 2003, "model": "linear"},  # more than 512: fetched by shares
    {"batch_size": 25, "subset": 311, "model": "quick"},
    {},
    {"subset": 157, "micro_batch_size": 25},
    {"subset": 47, "micro_batch_size": 10},
    {"batch_size": 25, "subset": 511},
    {"subset": 157, "micro_batch_size": 25},
]
QUICK = [
    replace(case, config=replace(case.config, **less))  # type: ignore[arg-type]
    for case, less in zip(CASES, LESS, strict=True)
]
SAMPLED = TrainConfig(
    model="mlp",
    optimizer="sgd",
    momentum=0.0,
    schedule="constant",
    lr=0.01,
    batch_size=65,
    subset=1000,
    epochs=4,
    replacement=True,
    last_batch="scale",
)
GROWING = replace(
    SAMPLED, batch_schedule="65:520", replacement=False, last_batch="keep"
)  # 16, 8, 4 and 2 updates an epoch; the last of these fetches its own samples
QUICK.append(Case(GROWING.resolve(1000), "growing batch"))
QUICK.append(Case(SAMPLED.resolve(1000), "drawn with replacement, last batch scaled"))


def all_losses(group: ProcessGroup, *dtypes: str) -> dict[str, list[list[float]]]:
    """Return the losses of each case that is judged in these precisions."""
    dataset = load_dataset("mnist", os.environ["MNIST_DATA_DIR"])
    return {
        dtype: [
            losses_of(case.config, dtype, dataset, group, updates=count(20, 50))
            for case in judged_in(dtype)
        ]
        for dtype in dtypes
    }


def judged_in(dtype: str) -> list[Case]:
    """Return the cases whose losses are compared in a precision."""
    return [case for case in QUICK if dtype == "float64" or not case.chaotic]


def score(group: ProcessGroup, path: str) -> list[object]:
    """Return the loss and accuracy of a checkpoint in full, of a split with a ragged batch."""
    checkpoint = load_checkpoint(path)
    state = TrainingState(checkpoint.config, torch.device("cpu"))
    state.model.load_state_dict(checkpoint.weights)
    dataset = load_dataset("mnist", os.environ["MNIST_DATA_DIR"])
    found = evaluate(state.model, dataset.test, batch_size=1234, group=group)
    return [found.loss.hex(), found.accuracy.hex(), found.confusion.tolist()]


def unpacked(group: ProcessGroup, data_dir: str) -> int:
    """Train a little, and return how often this rank has unpacked the data for that."""
    config = TrainConfig(model="linear", subset=100, epochs=1, data_dir=data_dir)
    with patch.object(datasets, "unpack", wraps=datasets.unpack) as unpack:
        list(train(config, group=group))
    return unpack.call_count


def oversized(group: ProcessGroup) -> str:
    """Let rank 1 send a hostile length; return what the other rank says."""
    if not group.is_main:
        dist.broadcast(torch.tensor([1 << 40]), 1)
        return ""
    try:
        group.broadcast(None, source=1)
    except PeerError as error:
        return str(error)
    return "accepted"


def seconds(group: ProcessGroup) -> float:
    """Return the time of the group, where each rank has another on its clock."""
    group.listen(StopSignals(), lambda: 10.0 + group.rank_info.rank)
    group.all_reduce(torch.zeros(AGREED_ENTRIES))
    return group.seconds()


TASKS: dict[str, Any] = {
    "losses": all_losses,
    "score": score,
    "unpacked": unpacked,
    "oversized": oversized,
    "seconds": seconds,
}


def main(task: str, *arguments: str) -> None:
    torch.set_num_threads(1)
    with join(sys.exit) as group:
        print(json.dumps(TASKS[task](group, *arguments)), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
