"""The groups of benchmarks: each function yields the rows of one group."""

import json
import statistics
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.measure import Row, exponent, in_turn, peak_mb, run, until_line

IMPORT_TORCH = 'python -c "import torch"'


class Bench:
    """The folders of the runs, and whether to make few of them."""

    def __init__(self, folder: Path, *, quick: bool) -> None:
        self.data = folder / "data"
        self.output = folder / "model.pt"
        self.quick = quick
        self.train("--model", "linear", "--epochs", "1")  # unpacks the data, fills the disk cache

    def train(self, *options: object) -> dict[str, Any]:
        """Run `mnist-train` and return its last event, with the seconds of the process."""
        ran = run("mnist-train", "-q", "--json", *options, *self.places)
        return {**ran.last, "process": ran.seconds}

    def batch_mode_peak(self, *options: object) -> float:
        """Return the largest memory of a training in batch mode, in MB."""
        return peak_mb("mnist-train", "-q", "--mode", "batch", *options, *self.places)

    @property
    def places(self) -> tuple[object, ...]:
        """The options that name the folders."""
        return ("--data-dir", self.data, "-o", self.output)

    def python(self, module: str, *options: object) -> dict[str, Any]:
        """Run a module of the benchmarks and return what it printed last."""
        return run("python", "-m", f"benchmarks.{module}", *options, "--data-dir", self.data).last


def time_to_99(bench: Bench) -> Iterator[Row]:
    """Measure whole processes, from command to exit."""
    seeds = range(3 if bench.quick else 10)
    runs = [bench.train("--config", "fast", "--seed", seed) for seed in seeds[: len(seeds) // 2]]
    reference, note = [], ""
    if not bench.quick:
        ran = run("python", "-m", "benchmarks.references.tutorial", "--data-dir", bench.data)
        epochs = [json.loads(line) for line in ran.out.splitlines()]
        reference = [ran.seconds]
        note = f"; reference {epochs[-1]['accuracy']:.2%} after {len(epochs)} epochs, one run"
    runs += [bench.train("--config", "fast", "--seed", seed) for seed in seeds[len(seeds) // 2 :]]
    percent = [100 * run["test_accuracy"] for run in runs]
    mean, deviation = statistics.mean(percent), statistics.stdev(percent)
    yield Row(
        "to 99 % test accuracy, --config fast",
        "s",
        [run["process"] for run in runs],
        "tutorial program",
        reference,
        at_least=None if bench.quick else 60,
        note=f"{mean:.2f} ± {deviation:.2f} % over {len(percent)} seeds, "
        f"{min(percent):.2f} to {max(percent):.2f}{note}",
    )
    yield Row("mean accuracy of --config fast", "%", [mean], at_least=99.0)


def default(bench: Bench) -> Iterator[Row]:
    """Measure the default command."""
    runs = [bench.train("--seed", seed) for seed in range(1 if bench.quick else 5)]
    percent = [100 * run["test_accuracy"] for run in runs]
    mean = statistics.mean(percent)
    yield Row("default command", "s", [run["process"] for run in runs], at_most=20)
    yield Row("mean accuracy of the default", "%", [mean], at_least=99.4, note=f"each: {percent}")


def same_work(bench: Bench) -> Iterator[Row]:
    """Compare an epoch of the same network in updates of 64, training alone."""
    for model, target in (("mlp", 3.0), ("cnn", None)):
        references: dict[str, Callable[[], dict[str, Any]]] = {
            "article's loop": partial(bench.python, "references.article", "--model", model)
        }
        if not bench.quick:
            references["Keras on torch"] = partial(
                bench.python, "references.keras_torch", "--model", model
            )
            if model == "mlp":
                references["scikit-learn"] = partial(bench.python, "references.sklearn_mlp")

        def ours(model: str = model) -> float:
            return bench.train("--model", model, "--epochs", 1)["train_seconds"]

        tasks = [partial(_seconds, task) for task in references.values()]
        mine, *theirs = in_turn(1 if bench.quick else 3, ours, *tasks)
        for name, seconds in zip(references, theirs, strict=True):
            at_least = target if name == "article's loop" else None
            rate = f"{60_000 / statistics.median(mine):,.0f} samples/s"
            yield Row(f"epoch of {model}", "s", mine, name, seconds, at_least=at_least, note=rate)

    updates = 30 if bench.quick else 100
    mine, theirs = in_turn(
        1 if bench.quick else 3,
        lambda: bench.python("own_loop", "tutorial", "--updates", updates)["seconds"],
        lambda: bench.python("references.article", "--model", "tutorial", "--batches", updates)[
            "seconds"
        ],
    )
    yield Row(
        f"tutorial's network rewritten, {updates} updates",
        "s",
        mine,
        "article's loop",
        theirs,
        at_least=1.5,
    )


def _seconds(task: Callable[[], dict[str, Any]]) -> float:
    return task()["seconds"]


def input_pipeline(bench: Bench) -> Iterator[Row]:
    """Compare the rates at which batches of 64 floating-point images come."""

    def rate(kind: str) -> float:
        few = ("--batches", 300) if kind in "02" else ()
        return bench.python("pipeline", kind, *few)["samples_per_second"]

    turns = 1 if bench.quick else 3
    kinds = ("ours", "default", "0", "2")
    ours, default, alone, workers = in_turn(turns, *(partial(rate, kind) for kind in kinds))
    loader = "DataLoader over torchvision"
    better = {"more_is_better": True}
    yield Row("input", "samples/s", ours, f"{loader}, 0 workers", alone, at_least=50, **better)
    yield Row("input", "samples/s", ours, f"{loader}, 2 workers", workers, **better)
    training = bench.train("--epochs", 1)["train_seconds"]
    share = [100 * (60_000 / rate) / training for rate in default]
    yield Row("input, augmented as by default", "samples/s", default, more_is_better=True)
    yield Row("share of that input in an epoch of the default", "%", share, at_most=10)


def programs(bench: Bench) -> Iterator[Row]:
    """Compare whole processes with `import torch`."""
    turns = 3 if bench.quick else 5
    data = ("--data-dir", bench.data)
    bench.train("--config", "fast")
    evaluation, shown, numbered, imported = in_turn(
        turns,
        lambda: run("mnist-eval", bench.output, *data).seconds,
        lambda: run("mnist-train", "--help").seconds,
        lambda: run("mnist-train", "--version").seconds,
        lambda: run("python", "-c", "import torch").seconds,
    )
    yield Row("mnist-eval", "s", evaluation, IMPORT_TORCH, imported, at_least=1 / 1.6)
    yield Row("mnist-train --help", "s", shown, IMPORT_TORCH, imported, at_least=4)
    yield Row("mnist-train --version", "s", numbered, IMPORT_TORCH, imported, at_least=4)
    first, again = in_turn(
        turns,
        lambda: until_line("Epoch", "mnist-train", "--log-interval", "1", *data),
        lambda: run("python", "-c", "import torch").seconds,
    )
    yield Row("first line of progress", "s", first, IMPORT_TORCH, again)


def batch_mode(bench: Bench) -> Iterator[Row]:
    """Compare batch mode with mini-batches in speed, and in memory with smaller sets."""
    turns, updates = (1, 2) if bench.quick else (3, 5)

    def rate(size: int) -> float:
        ran = bench.train("--batch-size", size, "--epochs", 1, "--augment", "none")
        return ran["samples_seen"] / ran["train_seconds"]

    def batch(samples: int) -> float:
        ran = bench.train("--mode", "batch", "--subset", samples, "--epochs", updates)
        return ran["samples_seen"] / ran["train_seconds"]

    sizes = (256, 512, 1024)
    small, whole, *others = in_turn(
        turns, partial(batch, 6_000), partial(batch, 60_000), *(partial(rate, n) for n in sizes)
    )
    best = max(others, key=statistics.median)
    yield Row(
        "batch mode",
        "samples/s",
        whole,
        f"mini-batch's best ({sizes[others.index(best)]})",
        best,
        more_is_better=True,
        at_least=0.9,
        note=f"{60_000 / statistics.median(whole):.2f} s an update; "
        f"{statistics.median(small):,.0f} samples/s with 6,000 samples",
    )
    few, peak, naive = (
        statistics.median(figures)
        for figures in in_turn(
            turns,
            lambda: bench.batch_mode_peak("--epochs", 2, "--subset", 6_000),
            lambda: bench.batch_mode_peak("--epochs", 2),
            lambda: bench.batch_mode_peak("--epochs", 1, "--micro-batch-size", 60_000),
        )
    )
    yield Row("peak memory of batch mode", "MB", [peak], "in one pass", [naive])
    yield Row("peak memory, 60,000 samples", "MB", [peak], at_most=600)
    yield Row("peak memory, 6,000 samples", "MB", [few], at_most=600)
    yield Row("memory of 60,000 by that of 6,000", "", [peak / few], at_most=1.15)


def growth(bench: Bench) -> Iterator[Row]:
    """Fit how seconds grow, and compare the arithmetic with a matrix product."""
    work: dict[str, tuple[str, list[int], Callable[[int], float]]] = {
        "samples (epoch of cnn)": (
            "s an epoch",
            [7_500, 15_000, 30_000, 60_000],
            lambda n: bench.train("--epochs", 1, "--subset", n)["train_seconds"],
        ),
        "batch size (update of cnn)": (
            "s an update",
            [16, 64, 256, 1024],
            lambda n: _update_seconds(bench, n),
        ),
        "parameters (update of a perceptron)": (
            "s an update",
            [64, 256, 1024, 4096],
            lambda n: bench.python("own_loop", n, "--updates", 100)["seconds"] / 100,
        ),
        "threads (epoch of cnn)": (
            "s an epoch",
            [1, 2],
            lambda n: bench.train("--epochs", 1, "--threads", n)["train_seconds"],
        ),
    }
    for name, (unit, sizes, task) in work.items():
        results = in_turn(1, *(partial(task, size) for size in sizes))
        medians = [statistics.median(seconds) for seconds in results]
        counts = [795 * n + 10 for n in sizes] if name.startswith("parameters") else sizes
        points = ", ".join(f"{n:,}: {s:.4g}" for n, s in zip(counts, medians, strict=True))
        power = exponent(counts, medians)
        yield Row(f"seconds ~ {name} ^", "", [power], note=f"{points} {unit}")
    ran = run("python", "-m", "benchmarks.peak", "--data-dir", bench.data).last
    yield Row(
        "arithmetic of the default's training", "GFLOP/s", [ran["training"]], "matrix product",
        [ran["peak"]], more_is_better=True,
        note=f"{ran['operations'] / 1e6:.2f} MFLOP a sample, forward and backward",
    )  # fmt: skip


def _update_seconds(bench: Bench, size: int) -> float:
    ran = bench.train(
        "--epochs", 1, "--batch-size", size, "--max-updates", min(200, 60_000 // size)
    )
    return ran["train_seconds"] / ran["update"]


GROUPS = {
    "time-to-99": time_to_99,
    "default": default,
    "same-work": same_work,
    "input": input_pipeline,
    "programs": programs,
    "batch-mode": batch_mode,
    "growth": growth,
}


def measure(names: list[str], *, quick: bool) -> Iterator[tuple[str, Row]]:
    """Yield the rows of some groups as they come."""
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder), quick=quick)
        for name in names:
            for row in GROUPS[name](bench):
                yield name, row
