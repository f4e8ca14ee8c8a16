"""`mnist-compare --profile`: speed and memory of training against the batch size.

Each measurement is made by a process of its own, `python -m mnist_cli.comparison.profiling`, so
that its peak memory is that of one batch size. All sizes are measured once in each round, so that
what else happens on the machine meets all of them.
"""

import json
import logging
import math
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from statistics import mean, median

from mnist_cli.comparison.events import ProfileEnd, ProfileRound, Throughput
from mnist_cli.comparison.run import command_of, plan_run
from mnist_cli.comparison.variants import Variant, variants_of
from mnist_cli.config.compare import FULL, CompareConfig, resolve
from mnist_cli.data.datasets import load_dataset
from mnist_cli.data.own.named import own_data_options
from mnist_cli.data.splits import train_val_split
from mnist_cli.events import Event, Step
from mnist_cli.runtime.cores import BusyCores
from mnist_cli.runtime.device import (
    ThreadPool,
    keep_freed_memory,
    machine,
    peak_memory,
    pick_device,
    threads_for,
    threads_set,
)
from mnist_cli.training.loop import RunningSums, micro_batches
from mnist_cli.training.state import TrainingState
from mnist_cli.training.trainer import Trainer

SIZES = "1,4,16,64,256,1024,4096,full"  # unless others are asked for
ROUNDS = 3
NEARLY = 0.95  # of the highest throughput: more is nothing that is gained
_SECONDS = 0.3  # of updates, in each measurement
_LR = 1e-6  # the weights hardly change
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Measured:
    """The samples that were trained on in `seconds`, and the peak memory of the process."""

    samples: int
    seconds: float
    peak_bytes: int | None
    busy_share: float | None
    machine: str


@dataclass(frozen=True)
class _Case:
    """A batch size that is computed in `passes` micro-batches an update."""

    variant: Variant
    config: CompareConfig
    samples: int
    passes: int


def profile(config: CompareConfig) -> Iterator[Event]:
    """Measure all batch sizes; yield a `Throughput` for each, then a `ProfileEnd`.

    Raises:
        UsageError, DataError: options contradict each other, or the data.

    """
    began = time.perf_counter()
    resolve(config)
    config = replace(config, batch_sizes=_sizes(config))
    cases = list(_cases(config))
    results: dict[_Case, list[Measured]] = {case: [] for case in cases}
    for number in range(1, ROUNDS + 1):
        for case in cases:
            if len(results[case]) == number - 1:  # it has not failed
                results[case] += _measured(case)
        yield ProfileRound(time.perf_counter() - began, number, ROUNDS)
    found = [_throughput(case, results[case], time.perf_counter() - began) for case in cases]
    yield from found
    yield _end(config, found, [m for each in results.values() for m in each])


def _sizes(config: CompareConfig) -> str:
    return SIZES if config.batch_sizes == CompareConfig.batch_sizes else config.batch_sizes


def _cases(config: CompareConfig) -> Iterator[_Case]:
    """Yield each batch size with micro-batches and, where it has several, in one pass."""
    dataset = load_dataset(config.dataset, config.data_dir, **own_data_options(config))
    train, _ = train_val_split(dataset.train, val_size=0, subset=config.subset, seed=config.seed)
    if config.batch_sizes == SIZES and len(train) <= 4096:  # the sizes are not those asked for
        few = [s for s in SIZES.split(",") if s == FULL or int(s) < len(train)]
        config = replace(config, batch_sizes=",".join(few))
    for variant in variants_of(replace(config, profile=False), lambda _: len(train)):
        size = len(train) if variant.batch_size == FULL else int(variant.batch_size)
        passes = len(micro_batches(size, config.micro_batch_size))
        yield _Case(variant, config, size, passes)
        if passes > 1:
            yield _Case(variant, replace(config, micro_batch_size=size), size, 1)


def _measured(case: _Case) -> list[Measured]:
    """Return the measurement that another process makes, or nothing if it fails."""
    order = json.dumps([case.variant.batch_size, asdict(case.config)])
    done = subprocess.run(
        [sys.executable, "-m", "mnist_cli.comparison.profiling"],
        input=order,
        capture_output=True,
        text=True,
        check=False,
        start_new_session=True,  # Ctrl-C comes to this process, which kills it
    )
    if done.returncode:
        reason = [*done.stderr.split("\n"), f"it ended with {done.returncode}"]
        last = next(line for line in reversed(reason) if line)
        _log.warning("%s in %d passes: %.200s", case.variant.phrase, case.passes, last)
        return []
    return [Measured(**json.loads(done.stdout))]


def measure(batch_size: int | str, config: CompareConfig) -> Measured:
    """Train with a batch size until its updates have taken some tenths of a second.

    The first update is not timed: it shuffles the samples.
    """
    busy = BusyCores()
    with threads_set(config.threads):
        device = pick_device(config.device)
        dataset = load_dataset(config.dataset, config.data_dir, **own_data_options(config))
        train, _ = train_val_split(
            dataset.train, val_size=0, subset=config.subset, seed=config.seed
        )
        resolved = resolve(replace(config, profile=False, batch_sizes=FULL))
        resolved = replace(resolved, dataset=dataset.name)
        run = plan_run(resolved, Variant(batch_size), config.seed, _LR, samples=len(train))
        with ThreadPool(threads_for(device)) as pool:
            state = TrainingState(run.config, device)
            trainer = Trainer(
                run.config,
                state,
                train.to(device),
                pool=pool,
                clock=time.perf_counter,
                fills_caches=True,
            )
            samples, seconds = _train(trainer)
            share = busy.share_taken(pool.size)
        return Measured(samples, seconds, peak_memory(device), share, machine(device))


def _train(trainer: Trainer) -> tuple[int, float]:
    """Return the samples of updates and the seconds that they took, without the first update."""
    first: tuple[int, float] | None = None
    while True:
        with closing(trainer.train_epoch()) as events:
            for event in events:
                if not isinstance(event, Step):
                    continue
                now = (trainer.samples_seen, trainer.train_seconds)
                first = first or now
                if now[1] - first[1] >= _SECONDS:
                    return now[0] - first[0], now[1] - first[1]
        trainer.state.sums = RunningSums()


def _throughput(case: _Case, measured: Sequence[Measured], seconds: float) -> Throughput:
    rates = [each.samples / each.seconds for each in measured] if len(measured) == ROUNDS else []
    peaks = [each.peak_bytes for each in measured if each.peak_bytes is not None]
    return Throughput(
        seconds,
        batch_size=case.variant.batch_size,
        samples=case.samples,
        passes=case.passes,
        samples_per_second=median(rates) if rates else None,
        lowest=min(rates, default=None),
        highest=max(rates, default=None),
        peak_bytes=int(median(peaks)) if rates and peaks else None,
    )


def _end(config: CompareConfig, found: list[Throughput], measured: list[Measured]) -> ProfileEnd:
    rates = {each.batch_size: 0.0 for each in found}
    for each in found:
        rates[each.batch_size] = max(rates[each.batch_size], each.samples_per_second or 0.0)
    with_micro_batches = {each.batch_size: each for each in reversed(found)}.values()
    fit = fit_update_seconds(
        [
            (e.samples, e.samples / e.samples_per_second)
            for e in with_micro_batches
            if e.samples_per_second
        ]
    )
    shares = [each.busy_share for each in measured if each.busy_share is not None]
    return ProfileEnd(
        max(each.seconds for each in found),
        enough=enough(rates),
        update_seconds=fit and fit[0],
        sample_seconds=fit and fit[1],
        busy_share=mean(shares) if shares else None,
        machine=measured[0].machine if measured else "",
        command=command_of(config),
    )


def enough(rates: dict[int | str, float]) -> int | str | None:
    """Return the first batch size whose throughput is within 5 % of the highest of all.

    `rates` are by batch size. It is None if that is the largest size: still larger ones may be
    faster, unless the largest is batch mode.
    """
    ordered = sorted(rates, key=lambda size: math.inf if size == FULL else int(size))
    sizes = [size for size in ordered if rates[size] >= NEARLY * max(rates.values()) > 0]
    if not sizes or (sizes[0] == ordered[-1] != FULL):
        return None
    return sizes[0]


def fit_update_seconds(times: Sequence[tuple[int, float]]) -> tuple[float, float] | None:
    """Return a and b of a + b·B fitted to the seconds of updates of B samples.

    The sum of the squared relative errors is minimal. It is None for fewer than two sizes.
    """
    rows = [(1 / seconds, samples / seconds) for samples, seconds in times]
    aa, ab, bb = (sum(row[i] * row[j] for row in rows) for i, j in ((0, 0), (0, 1), (1, 1)))
    a1, b1 = (sum(row[i] for row in rows) for i in (0, 1))
    determinant = aa * bb - ab * ab
    if len({samples for samples, _ in times}) < 2:
        return None
    return (bb * a1 - ab * b1) / determinant, (aa * b1 - ab * a1) / determinant


if __name__ == "__main__":
    keep_freed_memory()
    size, options = json.loads(sys.stdin.read())
    sys.stdout.write(json.dumps(asdict(measure(size, CompareConfig(**options)))))
