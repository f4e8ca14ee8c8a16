"""A rank that trains cases, and writes the losses to a file."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import torch

from benchmarks.scaling.cases import CASES, UPDATES
from mnist_cli.config.train import TrainConfig
from mnist_cli.data.datasets import Dataset, load_dataset, train_val_split
from mnist_cli.errors import MnistError
from mnist_cli.events import Step
from mnist_cli.runtime.distributed.group import ProcessGroup
from mnist_cli.runtime.distributed.torch_group import join
from mnist_cli.runtime.threads import ThreadPool
from mnist_cli.training.distributed import RunningSums
from mnist_cli.training.optim import build_optimizer
from mnist_cli.training.state import TrainingState
from mnist_cli.training.trainer import Trainer


def losses_of(
    config: TrainConfig, dtype: str, dataset: Dataset, group: ProcessGroup
) -> list[float]:
    """Return the loss of each update, before it."""
    samples, _ = train_val_split(dataset.train, val_size=0, subset=config.subset, seed=config.seed)
    state = TrainingState(config, torch.device("cpu"))
    state.model.to(getattr(torch, dtype))
    state.optimizer = build_optimizer(state.model, config)
    trainer = Trainer(config, state, samples, pool=ThreadPool(), clock=float, group=group)
    losses: list[float] = []
    while len(losses) < UPDATES:
        losses += [event.loss for event in trainer.finish_epoch() if isinstance(event, Step)]
        state.sums = RunningSums()
    return losses[:UPDATES]


def main(out: str, data_dir: str, micro_batch_size: str) -> None:
    """Train every case in both precisions."""
    torch.set_num_threads(1)
    size = int(micro_batch_size)
    with join(sys.exit) as group:
        dataset = load_dataset("mnist", data_dir)
        found = {
            dtype: [
                losses_of(replace(case.config, micro_batch_size=size), dtype, dataset, group)
                for case in CASES
            ]
            for dtype in ("float32", "float64")
        }
        if group.is_main:
            Path(out).write_text(json.dumps(found))


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except MnistError as error:
        sys.exit(f"error: {error}")
