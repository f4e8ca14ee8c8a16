"""`python -m benchmarks.scaling.measure`: time the parts of an update with two ranks.

Writes `results/scaling.json`. Everything is measured in turn, several
times. All-reduces and copies are means of many in a row, since a median would hide the few that
take long.
"""

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from importlib.metadata import version

import torch
import torch.distributed as dist

from benchmarks.scaling.model import ALL, EXTRA, NETWORKS, RESULT, What
from mnist_cli.config.train import TrainConfig
from mnist_cli.data.datasets import load_dataset
from mnist_cli.data.splits import Dataset, train_val_split
from mnist_cli.models.networks import build_model, count_parameters
from mnist_cli.runtime.device import ThreadPool, keep_freed_memory, processor
from mnist_cli.runtime.distributed.group import ProcessGroup
from mnist_cli.runtime.distributed.ranks import RankInfo
from mnist_cli.runtime.distributed.torch_group import TorchProcessGroup, join
from mnist_cli.training.loop import GradientAllReduce, RunningSums
from mnist_cli.training.state import TrainingState
from mnist_cli.training.trainer import Trainer

Task = Callable[[], float]  # returns seconds
SHARES = (1, 4, 16, 64, 256, 1024, 4096, ALL)
UPDATES = (64, 256, 1024, ALL)
FLOATS = (1_000, 7_855, 33_087, 100_000, 235_151, 1_000_000)
EPOCH = 4096  # samples of an epoch of smaller updates
ROUNDS = 4


def training(what: What, dataset: Dataset, group: ProcessGroup) -> Task:
    """Return a task that runs epochs, and returns the seconds of one update."""
    samples = what.size if what.size == ALL else min(64 * what.size, EPOCH)
    batch = {"mode": "batch"} if what.size == ALL else {"batch_size": what.size}
    config = TrainConfig(model=what.network, epochs=10_000, seed=1, **batch).resolve(ALL)
    subset = None if samples == ALL else samples
    split, _ = train_val_split(dataset.train, val_size=0, subset=subset, seed=config.seed)
    state = TrainingState(config, torch.device("cpu"))
    pool = ThreadPool(what.threads)
    trainer = Trainer(config, state, split, pool=pool, clock=float, group=group)

    def epoch() -> float:
        began = time.perf_counter()
        for _ in trainer.train_epoch():
            pass
        state.sums = RunningSums()
        return (time.perf_counter() - began) / trainer.shape.epoch_shape(1).updates

    def epochs() -> float:
        torch.set_num_threads(what.threads)
        seconds = statistics.median(epoch() for _ in range(3 if samples < ALL else 1))
        torch.set_num_threads(1)
        return seconds

    return epochs


def repeated(times: int, action: Callable[[], object]) -> Task:
    """Return a task that repeats an action, and returns the mean seconds."""

    def task() -> float:
        for _ in range(3):
            action()
        began = time.perf_counter()
        for _ in range(times):
            action()
        return (time.perf_counter() - began) / times

    return task


def packing(network: str) -> Task:
    """Return a task that copies a gradient to the vector and back, without an all-reduce."""
    gradient = [p.detach().clone() for p in build_model(network).parameters()]
    local = GradientAllReduce(ProcessGroup(RankInfo(0, 2)), gradient)
    return repeated(100, lambda: local.all_reduce(gradient, RunningSums(1.0, 1, 1), 2))


def all_tasks(dataset: Dataset, group: ProcessGroup) -> dict[What, Task]:
    """Return everything that is measured with two ranks."""
    tasks: dict[What, Task] = {}
    for size in FLOATS:
        vector = torch.zeros(size)
        tasks[What("sum", size, ranks=2)] = repeated(50, lambda v=vector: dist.all_reduce(v))
    for network in NETWORKS:
        for size in SHARES:
            for ranks in (1, 2):
                what = What("share", size, network, ranks)
                tasks[what] = training(what, dataset, ProcessGroup())
        for size in UPDATES:
            both = What("update", size, network, 2)
            threads = What("update", size, network, threads=2)
            tasks[both] = training(both, dataset, group)
            tasks[threads] = training(threads, dataset, ProcessGroup())
        floats = count_parameters(build_model(network)) + EXTRA
        tasks[What("packing", floats, network)] = packing(network)
    return tasks


def measure_as_rank(group: TorchProcessGroup) -> None:
    """Run every task once a round, while ranks without a part in it sleep; rank 0 writes."""
    tasks = all_tasks(load_dataset("mnist", "data"), group)
    times: dict[What, list[float]] = {what: [] for what in tasks}
    for _ in range(ROUNDS):
        for what, task in tasks.items():
            group.wait()
            times[what].append(task() if group.rank_info.rank < what.ranks else 0.0)
            group.wait()
    if group.is_main:
        machine = {
            "date": time.strftime("%F"),
            "processor": processor(),
            "cores": os.cpu_count(),
            **{package: version(package) for package in ("mnist_cli", "torch")},
        }
        parameters = {name: count_parameters(build_model(name)) for name in NETWORKS}
        points = [{**asdict(what), "rounds": rounds} for what, rounds in times.items()]
        content = {"machine": machine, "parameters": parameters, "points": points}
        RESULT.write_text(json.dumps(content, indent=1) + "\n")


def main() -> None:
    """Start two ranks; in a rank, measure."""
    if RankInfo.from_env().size == 1:
        command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
        command += ["-m", "benchmarks.scaling.measure"]
        sys.exit(subprocess.call(command, env={**os.environ, "OMP_NUM_THREADS": "1"}))
    torch.set_num_threads(1)
    keep_freed_memory()
    with join(sys.exit) as group:
        if isinstance(group, TorchProcessGroup):
            measure_as_rank(group)


if __name__ == "__main__":
    main()
