"""Conclusions from the results of a comparison: estimates and tests, as data.

`mnist_cli.output.compare_findings` writes them as sentences.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from statistics import linear_regression
from typing import ClassVar

from mnist_cli.comparison.events import Tuned
from mnist_cli.comparison.lr_search import STABLE_LOSS
from mnist_cli.comparison.results import Results, Values
from mnist_cli.comparison.run_training import CHECK_GROWTH
from mnist_cli.comparison.stats import (
    SIGNIFICANCE_LEVEL,
    MeanAndDeviation,
    fit_critical_batch_size,
    holm,
    mean_and_deviation,
    welch_test,
)
from mnist_cli.config.compare import CompareConfig
from mnist_cli.events import Event
from mnist_cli.training.probes.alignment import AlignmentProbe

EDGE_TOLERANCE = 0.15  # of 2 / learning rate: what counts as being at the edge of stability


@dataclass(frozen=True)
class Diverged:
    """The number of runs of a batch size that diverged."""

    batch_size: int | str
    lr: float
    diverged: int
    seeds: int


@dataclass(frozen=True)
class TargetMissed:
    """The number of runs of a batch size that missed the target, and their last accuracy."""

    batch_size: int | str
    missed: int
    seeds: int
    accuracy: MeanAndDeviation


@dataclass(frozen=True)
class TargetsMissed:
    """The batch sizes that did not reach the target with every seed."""

    missed: list[TargetMissed]


@dataclass(frozen=True)
class Ranked:
    """The estimate of a batch size, and the p-value of its difference from the best.

    `p` is corrected for the number of tests; it is `None` if no test was possible.
    """

    batch_size: int | str
    estimate: MeanAndDeviation
    p: float | None = None

    @property
    def is_significant(self) -> bool:
        """True if the difference from the best is significant."""
        return self.p is not None and self.p < SIGNIFICANCE_LEVEL


@dataclass(frozen=True)
class Ranking:
    """Batch sizes sorted by a quantity, the best first.

    `at` is the value at which they are compared, such as an equal number of updates.
    """

    quantity: str
    best: Ranked
    others: list[Ranked]
    at: float | None = None

    @property
    def p(self) -> float | None:
        """The smallest p-value; `None` if every batch size has a single seed."""
        if all(ranked.estimate.count < 2 for ranked in (self.best, *self.others)):
            return None
        return min(1.0 if ranked.p is None else ranked.p for ranked in self.others)


@dataclass(frozen=True)
class CriticalBatchSize:
    """The fit of updates to the target, `updates` · (1 + `batch_size` / B); `None` without a fit.

    `noise_scales` are the medians of those measured first and last in the runs.
    """

    updates: float | None = None
    batch_size: float | None = None
    noise_scales: tuple[float, float] | None = None


@dataclass(frozen=True)
class LossIncreases:
    """By batch size: the updates on which the full training loss increased, and those monitored."""

    increases: dict[int | str, tuple[int, int]]
    evenly_spread: bool


@dataclass(frozen=True)
class LearningRates:
    """The search of a batch size's learning rate."""

    tuned: Tuned
    is_used: bool
    has_range: bool


@dataclass(frozen=True)
class Sharpness:
    """The sharpness at the end of the runs of a batch size, measured on `samples` samples.

    `edge` is the last edge of stability; `near_edge` of the `probes` were close to theirs.
    """

    batch_size: int | str
    last: MeanAndDeviation
    samples: int
    edge: float | None
    near_edge: int
    probes: int
    momentum: float


@dataclass(frozen=True)
class GradientExponent:
    """The power of B with which the deviation of a batch's gradient from the full one falls."""

    exponent: MeanAndDeviation


@dataclass(frozen=True)
class PathShare:
    """The fraction of the variance of the weights that the plane of the paths holds."""

    share: float
    seed: int


@dataclass(frozen=True)
class SameLearningRate:
    """A caveat: all batch sizes had the same learning rate."""

    lr: float


@dataclass(frozen=True)
class SeveralMachines:
    """A caveat: the seconds were measured on several machines."""

    machines: list[str]


@dataclass(frozen=True)
class FewSeeds:
    """A caveat: there are too few seeds."""

    seeds: int


Finding = (
    Diverged
    | TargetsMissed
    | Ranking
    | CriticalBatchSize
    | LossIncreases
    | LearningRates
    | Sharpness
    | GradientExponent
    | PathShare
    | SameLearningRate
    | SeveralMachines
    | FewSeeds
)


@dataclass(frozen=True)
class Conclusions(Event):
    """The findings of a comparison. As JSON they are written as a `Verdict`."""

    name: ClassVar[str] = "conclusions"
    lasting: ClassVar[bool] = False
    findings: list[Finding]


def conclusions(seconds: float, config: CompareConfig, results: Results) -> Conclusions:
    """Return the findings from the results of a comparison."""
    findings: list[Finding] = [
        *_divergence(results),
        *(_target(results) if config.until_accuracy is not None else _outcome(results)),
        *_equal_axes(config, results),
        *_equal_loss(results),
        *_loss_increases(config, results),
        *(
            LearningRates(tuned, config.lr_rule == "tuned", config.lr_range)
            for tuned in results.tuned
        ),
        *_gradient_exponent(results),
        *_sharpness(config, results),
        *([PathShare(results.plane.share, results.plane.seed)] if results.plane else []),
        *_caveats(config, results),
    ]
    return Conclusions(seconds, findings)


def _divergence(results: Results) -> Iterator[Diverged]:
    for size in results.batch_sizes:
        ends = [run.end for run in results.runs_of(size)]
        diverged = sum(end.reason == "diverged" for end in ends)
        if diverged:
            yield Diverged(size, ends[0].lr, diverged, len(ends))


def _outcome(results: Results) -> Iterator[Ranking]:
    """Rank the accuracies at the end of the budget, of the batch sizes that have all of them."""
    accuracies = results.end_values(lambda end: end.test_accuracy)
    if len(accuracies) > 1:
        yield rank("test accuracy", accuracies, higher=True)


def _target(results: Results) -> Iterator[Finding]:
    """Rank the updates, samples and seconds to the target."""
    missed = []
    for size in results.batch_sizes:
        ends = [run.end for run in results.runs_of(size)]
        short = [end for end in ends if end.reason == "gave-up"]
        if short:
            accuracy = mean_and_deviation([end.val_accuracy or 0.0 for end in short])
            missed.append(TargetMissed(size, len(short), len(ends), accuracy))
    if missed:
        yield TargetsMissed(missed)
    for quantity, name in (
        ("updates", "update"),
        ("samples", "samples_seen"),
        ("seconds", "train_seconds"),
    ):
        costs = results.target_costs(name)
        if len(costs) > 1:
            yield rank(quantity, costs, higher=False, resolution=CHECK_GROWTH - 1)
    yield from _critical_batch_size(results)


def _critical_batch_size(results: Results) -> Iterator[CriticalBatchSize]:
    costs = results.target_costs("update")
    sizes = [float(results.update_size(size)) for size in costs]
    fit = fit_critical_batch_size(
        sizes, [mean_and_deviation(values).mean for values in costs.values()]
    )
    if fit:
        yield CriticalBatchSize(*fit, results.noise_scales())
    elif len(costs) > 2:
        yield CriticalBatchSize()


def _equal_axes(config: CompareConfig, results: Results) -> Iterator[Ranking]:
    """Rank the training losses at equal updates, samples and seconds."""
    if config.until_accuracy is not None:
        return
    for axis in ("updates", "samples", "seconds"):
        x, losses = results.at_equal(axis, lambda point: point.train_loss)
        if len(losses) > 1 and x > 0:
            yield rank(f"equal {axis}", losses, higher=False, at=x)


def _equal_loss(results: Results) -> Iterator[Ranking]:
    loss, accuracies = results.at_equal_loss(lambda point: point.test_accuracy)
    if len(accuracies) > 1 and loss <= STABLE_LOSS:
        yield rank("equal training loss", accuracies, higher=True, at=loss)


def _loss_increases(config: CompareConfig, results: Results) -> Iterator[LossIncreases]:
    increases = {}
    for size in results.batch_sizes:
        ends = [run.end for run in results.runs_of(size) if run.end.reason != "diverged"]
        monitored = sum(end.watched for end in ends)
        if monitored:
            increases[size] = (sum(end.rises for end in ends), monitored)
    if increases:
        evenly_spread = config.epochs is not None or config.updates is not None
        yield LossIncreases(increases, evenly_spread)


def _sharpness(config: CompareConfig, results: Results) -> Iterator[Sharpness]:
    for size in results.batch_sizes:
        completed = [run for run in results.runs_of(size) if run.end.reason != "diverged"]
        runs = [run.sharpness for run in completed if run.sharpness]
        if not runs:
            continue
        probes = [probe for run in runs for probe in run]
        edges = [(p.sharpness, p.stable_up_to) for p in probes if p.stable_up_to is not None]
        yield Sharpness(
            batch_size=size,
            last=mean_and_deviation([run[-1].sharpness for run in runs]),
            samples=probes[0].samples,
            edge=edges[-1][1] if edges else None,
            near_edge=sum(abs(value / edge - 1) <= EDGE_TOLERANCE for value, edge in edges),
            probes=len(edges),
            momentum=config.momentum or 0.0,
        )


def _gradient_exponent(results: Results) -> Iterator[GradientExponent]:
    slopes = exponents(results)
    if slopes:
        yield GradientExponent(mean_and_deviation(slopes))


def exponents(results: Results) -> list[float]:
    """Return the slope of log gradient deviation against log batch size for each probed state."""
    states: dict[tuple[int, int, int | str], list[AlignmentProbe]] = {}
    for run in results.runs:
        for probe in run.alignment:
            # Before the first update all runs of a seed are in the same state.
            batch_size = run.end.batch_size if probe.update else ""
            probes = states.setdefault((run.end.seed, probe.update, batch_size), [])
            if 0 < probe.deviation < math.inf and all(
                p.batch_size != probe.batch_size for p in probes
            ):
                probes.append(probe)
    return [
        linear_regression(
            [math.log(p.batch_size) for p in probes],
            [math.log(p.as_if_independent) for p in probes],
        ).slope
        for probes in states.values()
        if len(probes) > 1
    ]


def _caveats(config: CompareConfig, results: Results) -> Iterator[Finding]:
    if config.lr_rule == "fixed" and len(results.batch_sizes) > 1:
        yield SameLearningRate(results.ends[0].lr)
    machines = sorted({end.machine for end in results.ends})
    if len(machines) > 1:
        yield SeveralMachines(machines)
    if config.seeds < 3:
        yield FewSeeds(config.seeds)


def rank(
    quantity: str,
    values: Values,
    *,
    higher: bool,
    at: float | None = None,
    resolution: float = 0.0,
) -> Ranking:
    """Rank batch sizes, and test the differences from the best.

    Accuracies, of which the `higher` is better, are compared directly. Costs and losses vary by
    factors, so their logarithms are compared. `resolution` is the relative distance of the steps at
    which values were measured. The tests are corrected for the number of all pairs, since any
    batch size could have been the best.
    """
    samples = {size: mean_and_deviation(numbers) for size, numbers in values.items()}
    best, *others = sorted(samples, key=lambda s: -samples[s].mean if higher else samples[s].mean)
    scaled = samples
    if not higher:
        scaled = {
            s: mean_and_deviation([math.log(v) for v in numbers]) for s, numbers in values.items()
        }
    tests = [welch_test(scaled[best], scaled[size], resolution) for size in others]
    pairs = len(samples) * len(others) // 2
    corrected = holm([1.0 if p is None else p for p in tests], pairs)
    ranked = [
        Ranked(size, samples[size], None if test is None else p)
        for size, p, test in zip(others, corrected, tests, strict=True)
    ]
    return Ranking(quantity, Ranked(best, samples[best]), ranked, at)
