"""A rank that takes times: of shares, of sums, and of whole updates, in turn.

`python -m torch.distributed.run --nproc-per-node N -m benchmarks.scaling.timings OUT WHAT ROUNDS`
"""

import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.distributed as dist

from benchmarks.scaling.points import ALL, NETWORKS, OWN, Point, What, to_json
from mnist_cli.config.train import TrainConfig
from mnist_cli.data.datasets import Dataset, load_dataset, train_val_split
from mnist_cli.errors import MnistError
from mnist_cli.models.networks import build_model
from mnist_cli.runtime.device import keep_freed_memory
from mnist_cli.runtime.distributed.group import TAIL, ProcessGroup
from mnist_cli.runtime.distributed.ranks import RankInfo
from mnist_cli.runtime.distributed.torch_group import TorchProcessGroup, join
from mnist_cli.runtime.threads import ThreadPool
from mnist_cli.training.distributed import GradientAllReduce, RunningSums
from mnist_cli.training.state import TrainingState
from mnist_cli.training.trainer import Trainer

Task = Callable[[], float]  # returns seconds
SHARES = (1, 4, 16, 64, 256, 1024, 4096, ALL)
UPDATES = (64, 256, 1024, ALL)
FLOATS = (1_000, 7_855, 33_087, 100_000, 235_151, 1_000_000)
QUICK_SHARES, QUICK_UPDATES, QUICK_FLOATS = (16, 64, 512), (64, 512), (1_000, 235_151)
EPOCH = 4096  # samples of the epochs of smaller updates; each is made of 64 of them at most


class Alone(ProcessGroup):
    """A group that packs as two ranks do, and then keeps the sum to itself."""

    def __init__(self) -> None:
        super().__init__(RankInfo(0, 2))

    def all_reduce(self, values: torch.Tensor) -> None:
        """Do what `TorchProcessGroup.all_reduce` does, without the sum."""
        values[-TAIL:] = torch.tensor((False, False, 0.0), dtype=values.dtype)
        values[-TAIL:].tolist()


def training(what: What, dataset: Dataset, group: ProcessGroup) -> Task:
    """Return what makes the updates of some epochs, and returns the seconds of one update."""
    size = what.size
    samples = size if size == ALL else min(64 * size, EPOCH)
    batch = {"mode": "batch"} if size == ALL else {"batch_size": size}
    config = TrainConfig(model=what.network, epochs=10_000, seed=1, **batch).resolve(60_000)
    subset = None if samples == ALL else samples
    split, _ = train_val_split(dataset.train, val_size=0, subset=subset, seed=config.seed)
    state = TrainingState(config, torch.device("cpu"))
    pool = ThreadPool(what.threads)
    trainer = Trainer(config, state, split, pool=pool, clock=float, group=group)

    def epoch() -> float:
        began = time.perf_counter()
        for _ in trainer.finish_epoch():
            pass
        state.sums = RunningSums()
        return (time.perf_counter() - began) / trainer.shape.updates

    def epochs() -> float:
        torch.set_num_threads(what.threads)
        seconds = statistics.median(epoch() for _ in range(3 if samples < ALL else 1))
        torch.set_num_threads(1)
        return seconds

    return epochs


def packing(what: What) -> Task:
    """Return what packs a gradient, and returns the seconds."""
    gradient = [p.detach().clone() for p in build_model(what.network).parameters()]
    exchange = GradientAllReduce(Alone(), gradient)
    return _mean_of(100, lambda: exchange.all_reduce(gradient, RunningSums(1.0, 1, 1), 2))


def summing(what: What, members: object) -> Task:
    """Return what adds up a vector over some ranks, and returns the seconds."""
    vector = torch.zeros(what.size)
    return _mean_of(50, lambda: dist.all_reduce(vector, group=members))


def _mean_of(times: int, action: Callable[[], object]) -> Task:
    """Return what measures the mean of so many in a row, as updates are measured.

    Some sums take many times as long as most: their median would leave out what they cost.
    """

    def timed() -> float:
        for _ in range(3):
            action()
        began = time.perf_counter()
        for _ in range(times):
            action()
        return (time.perf_counter() - began) / times

    return timed


def pair(dataset: Dataset, group: TorchProcessGroup, *, quick: bool) -> dict[What, Task]:
    """Return the tasks of two ranks: shares, each alone and both at once, and whole updates."""
    tasks: dict[What, Task] = {}
    for network in NETWORKS:
        for size in QUICK_SHARES if quick else SHARES:
            for ranks in (1, 2):
                what = What("share", size, network, ranks)
                tasks[what] = training(what, dataset, ProcessGroup())
        for size in QUICK_UPDATES if quick else UPDATES:
            both, threads = (
                What("update", size, network, 2),
                What("update", size, network, threads=2),
            )
            tasks[both] = training(both, dataset, group)
            tasks[threads] = training(threads, dataset, ProcessGroup())
        parameters = sum(p.numel() for p in build_model(network).parameters())
        what = What("packing", parameters + OWN, network)
        tasks[what] = packing(what)
    return tasks


def sums(group: TorchProcessGroup, *, quick: bool) -> dict[What, Task]:
    """Return the tasks of all-reduces over the first 2, 3, ... of the ranks."""
    tasks: dict[What, Task] = {}
    for ranks in range(2, group.size + 1):
        members = dist.new_group(list(range(ranks)))
        for size in QUICK_FLOATS if quick else FLOATS:
            what = What("sum", size, ranks=ranks)
            tasks[what] = summing(what, members)
    return tasks


def take_turns(tasks: dict[What, Task], group: TorchProcessGroup, rounds: int) -> list[Point]:
    """Do every task once a round; whoever has no part in it sleeps until it is done."""
    found: dict[What, list[float]] = {what: [] for what in tasks}
    for _ in range(rounds):
        for what, task in tasks.items():
            group.wait()
            seconds = task() if group.rank_info.rank < what.ranks else 0.0
            group.wait()
            found[what].append(seconds)
    return [Point(what, tuple(seconds)) for what, seconds in found.items()]


def main(out: str, asked: str, rounds: str, began: str) -> None:
    """Measure what is asked for: `pair`, `sums`, or only the `start`; the first rank writes."""
    quick = asked.startswith("quick-")
    torch.set_num_threads(1)
    keep_freed_memory()
    with join(sys.exit) as group:
        dataset = load_dataset("mnist", "data")
        if isinstance(group, TorchProcessGroup):
            group.wait()
        started = Point(What("start", 0, ranks=group.size), (time.time() - float(began),))
        points = [started]
        if isinstance(group, TorchProcessGroup) and asked.endswith("pair"):
            points += take_turns(pair(dataset, group, quick=quick), group, int(rounds))
        elif isinstance(group, TorchProcessGroup) and asked.endswith("sums"):
            points += take_turns(sums(group, quick=quick), group, int(rounds))
        if group.is_main:
            Path(out).write_text(json.dumps(to_json(points)))


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except MnistError as error:
        sys.exit(f"error: {error}")
