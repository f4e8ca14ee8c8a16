"""Conclusions from the results of a comparison: estimates and tests, as data.

`mnist_cli.output.compare_findings` writes them as sentences.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from statistics import geometric_mean, linear_regression
from typing import ClassVar

from mnist_cli.comparison.events import Tuned
from mnist_cli.comparison.lr_search import stable_loss
from mnist_cli.comparison.results import Results, Values
from mnist_cli.comparison.run_training import next_check
from mnist_cli.comparison.stats import (
    SIGNIFICANCE_LEVEL,
    Difference,
    MeanAndDeviation,
    fit_critical_batch_size,
    fit_power,
    holm,
    mean_and_deviation,
    paired_difference,
)
from mnist_cli.comparison.variants import Variant
from mnist_cli.config.compare import CompareConfig
from mnist_cli.events import Event
from mnist_cli.training.probes.alignment import AlignmentProbe

TINY = 1e-30  # a loss of zero has no logarithm
FEWEST_UPDATES = 10  # with fewer of them, losses at equal updates say nothing of the batch size
BUSY_SHARE = 0.1  # of the cores' time; if other programs take more, seconds are not comparable
FEWEST_RATES = 4  # batch sizes with a tuned rate; a line through fewer says little
EDGE_TOLERANCE = 0.15  # of 2 / learning rate: what counts as being at the edge of stability


@dataclass(frozen=True)
class Diverged:
    """The number of runs of a variant that diverged."""

    variant: Variant
    lr: float
    diverged: int
    seeds: int


@dataclass(frozen=True)
class TargetMissed:
    """The number of runs of a variant that missed the target, and their last accuracy."""

    variant: Variant
    missed: int
    seeds: int
    accuracy: MeanAndDeviation


@dataclass(frozen=True)
class TargetsMissed:
    """The variants that did not reach the target with every seed."""

    missed: list[TargetMissed]


@dataclass(frozen=True)
class Ranked:
    """A variant, and the mean and standard deviation of its value over the seeds."""

    variant: Variant
    estimate: MeanAndDeviation


@dataclass(frozen=True)
class Pair:
    """The paired difference of two variants: the value of `ahead` less that of `behind`.

    In a ranking of costs or losses it is the difference of their natural logarithms. `p` is
    corrected for the number of all pairs; it is `None` with a single seed.
    """

    ahead: Variant
    behind: Variant
    difference: Difference
    p: float | None

    @property
    def is_significant(self) -> bool:
        """True if the difference is significant."""
        return self.p is not None and self.p < SIGNIFICANCE_LEVEL


@dataclass(frozen=True)
class Ranking:
    """The variants sorted by a quantity, the best first, and the differences of all pairs.

    With `higher`, the highest value is the best and values are compared as they are; otherwise the
    lowest is, and their logarithms are compared. `at` is the value at which they are compared, such
    as an equal number of updates.
    """

    quantity: str
    higher: bool
    ranked: list[Ranked]
    pairs: list[Pair]
    at: float | None = None

    @property
    def best(self) -> Ranked:
        """The variant that is ahead."""
        return self.ranked[0]

    @property
    def seeds(self) -> int:
        """The seeds of each variant."""
        return self.best.estimate.count

    @property
    def p(self) -> float | None:
        """The smallest p-value of the best variant's differences; `None` with a single seed."""
        values = [pair.p for pair in self.pairs if pair.ahead == self.best.variant]
        return min((p for p in values if p is not None), default=None)

    def pair(self, one: Variant, other: Variant) -> Pair:
        """Return the difference of two variants, in the order of the ranking."""
        return next(pair for pair in self.pairs if {pair.ahead, pair.behind} == {one, other})


@dataclass(frozen=True)
class CriticalBatchSize:
    """The fit of updates to the target, `updates` · (1 + `batch_size` / B); `None` without a fit.

    `by_seed` are the critical batch sizes of those of `seeds` seeds that have a fit of their own.
    `noise_scales` are those measured first and last in the runs of each variant. With `--vary`
    there is a fit for each `setting`.
    """

    updates: float | None = None
    batch_size: float | None = None
    by_seed: list[float] = field(default_factory=list)
    seeds: int = 0
    noise_scales: list[tuple[Variant, float, float]] = field(default_factory=list)
    setting: str | None = None


@dataclass(frozen=True)
class LossIncrease:
    """A variant's updates on which the full training loss increased, and those monitored."""

    variant: Variant
    increased: int
    monitored: int


@dataclass(frozen=True)
class LossIncreases:
    """How often single updates increased the full training loss."""

    increases: list[LossIncrease]
    evenly_spread: bool


@dataclass(frozen=True)
class LearningRates:
    """The search of a variant's learning rate."""

    variant: Variant
    tuned: Tuned
    is_used: bool
    has_range: bool


@dataclass(frozen=True)
class RateExponent:
    """The power of the batch size with which the tuned learning rates of a setting grow.

    It is that of the line through the logarithms, by least squares, over batches of `smallest` to
    `largest` samples; `error` is its standard error.
    """

    exponent: float
    error: float
    smallest: int
    largest: int
    setting: str | None = None


@dataclass(frozen=True)
class Sharpness:
    """The sharpness at the end of the runs of a variant, measured on `samples` samples.

    `edge` is the last edge of stability; `near_edge` of the `probes` were close to theirs.
    """

    variant: Variant
    last: MeanAndDeviation
    samples: int
    edge: float | None
    near_edge: int
    probes: int
    momentum: float


@dataclass(frozen=True)
class GradientExponent:
    """The power of B with which the deviation of a batch's gradient from the full one falls.

    It is fitted in each state of the network in which it was measured, and averaged over the
    states of a seed: they share their batches. `exponent` is the mean over the seeds.
    """

    exponent: MeanAndDeviation
    states: int


@dataclass(frozen=True)
class PathShare:
    """The fraction of the variance of the weights that the plane of the paths holds."""

    share: float
    seed: int


@dataclass(frozen=True)
class SameLearningRate:
    """A caveat: all variants had the same learning rate."""

    lr: float


@dataclass(frozen=True)
class SeveralMachines:
    """A caveat: the seconds were measured on several machines."""

    machines: list[str]


@dataclass(frozen=True)
class BusyMachine:
    """A caveat: during `busy` of the runs other programs took up to `share` of the cores' time."""

    busy: int
    runs: int
    share: float


@dataclass(frozen=True)
class TunedWithFewSeeds:
    """A caveat: the learning rates were chosen with some seeds, which the tests take as given."""

    seeds: int


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
    | RateExponent
    | Sharpness
    | GradientExponent
    | PathShare
    | SameLearningRate
    | SeveralMachines
    | BusyMachine
    | TunedWithFewSeeds
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
            LearningRates(
                results.variant(tuned.batch_size, tuned.setting),
                tuned,
                is_used=config.lr_rule == "tuned",
                has_range=config.lr_range,
            )
            for tuned in results.tuned
        ),
        *(_rate_exponents(results) if config.lr_rule == "tuned" else ()),
        *_gradient_exponent(results),
        *_sharpness(results),
        *([PathShare(results.plane.share, results.plane.seed)] if results.plane else []),
        *_caveats(config, results),
    ]
    return Conclusions(seconds, findings)


def _divergence(results: Results) -> Iterator[Diverged]:
    for variant in results.variants:
        ends = [run.end for run in results.runs_of(variant)]
        diverged = sum(end.reason == "diverged" for end in ends)
        if diverged:
            yield Diverged(variant, ends[0].lr, diverged, len(ends))


def _outcome(results: Results) -> Iterator[Ranking]:
    """Rank the accuracies at the end of the budget, of the variants that have all of them."""
    accuracies = results.end_values(lambda end: end.test_accuracy)
    if len(accuracies) > 1:
        step = 1 / results.start.test_samples
        yield rank("test accuracy", accuracies, higher=True, resolution=step)


def _target(results: Results) -> Iterator[Finding]:
    """Rank the updates, samples and seconds to the target."""
    missed = []
    for variant in results.variants:
        ends = [run.end for run in results.runs_of(variant)]
        short = [end for end in ends if end.reason == "gave-up"]
        if short:
            accuracy = mean_and_deviation([end.val_accuracy or 0.0 for end in short])
            missed.append(TargetMissed(variant, len(short), len(ends), accuracy))
    if missed:
        yield TargetsMissed(missed)
    reached = [update for updates in results.target_costs("update").values() for update in updates]
    step = max((math.log(next_check(round(each)) / each) for each in reached if each), default=0.0)
    for quantity, name in (
        ("updates", "update"),
        ("samples", "samples_seen"),
        ("seconds", "train_seconds"),
    ):
        costs = results.target_costs(name)
        if len(costs) > 1:
            yield rank(quantity, costs, higher=False, resolution=step)
    yield from _critical_batch_size(results)


def _critical_batch_size(results: Results) -> Iterator[CriticalBatchSize]:
    """Fit the updates to the target by batch size, for each setting."""
    costs = results.target_costs("update")
    for setting in dict.fromkeys(variant.setting for variant in costs):
        variants = [variant for variant in costs if variant.setting == setting]
        if len(variants) < 3:
            continue
        scales = results.noise_scales()
        measured = [(each, *scales[each]) for each in results.variants if each in scales]
        noise = [one for one in measured if one[0].setting == setting]
        fit = fit_of_updates(results, variants)
        if not fit:
            yield CriticalBatchSize(setting=setting)
            continue
        seeds = range(len(costs[variants[0]]))
        each = [fit_of_updates(results, variants, seed) for seed in seeds if len(seeds) > 1]
        by_seed = [found[1] for found in each if found]
        yield CriticalBatchSize(*fit, by_seed, len(seeds), noise, setting)


def fit_of_updates(
    results: Results, variants: Sequence[Variant], seed: int | None = None
) -> tuple[float, float] | None:
    """Return the fit of the updates to the target, as `fit_critical_batch_size` does.

    They are the geometric means over the seeds, or those of the seed with the index `seed`.
    """
    costs = results.target_costs("update")
    updates = [
        geometric_mean(costs[variant]) if seed is None else costs[variant][seed]
        for variant in variants
    ]
    return fit_critical_batch_size([results.update_size(each) for each in variants], updates)


def _equal_axes(config: CompareConfig, results: Results) -> Iterator[Ranking]:
    """Rank the training losses at equal updates, samples and seconds."""
    if config.until_accuracy is not None:
        return
    for axis in ("updates", "samples", "seconds"):
        x, losses = results.at_equal(axis, lambda point: point.train_loss)
        if len(losses) > 1 and x >= (FEWEST_UPDATES if axis == "updates" else 0):
            yield rank(f"equal {axis}", losses, higher=False, at=x)


def _equal_loss(results: Results) -> Iterator[Ranking]:
    loss, accuracies = results.at_equal_loss(lambda point: point.test_accuracy)
    if len(accuracies) > 1 and loss <= stable_loss(results.start.classes):
        step = 1 / results.start.test_samples
        yield rank("equal training loss", accuracies, higher=True, at=loss, resolution=step)


def _loss_increases(config: CompareConfig, results: Results) -> Iterator[LossIncreases]:
    increases = []
    for variant in results.variants:
        ends = [run.end for run in results.runs_of(variant) if run.end.reason != "diverged"]
        monitored = sum(end.watched for end in ends)
        if monitored:
            increases.append(LossIncrease(variant, sum(end.rises for end in ends), monitored))
    if increases:
        evenly_spread = config.epochs is not None or config.updates is not None
        yield LossIncreases(increases, evenly_spread)


def _sharpness(results: Results) -> Iterator[Sharpness]:
    for variant in results.variants:
        completed = [run for run in results.runs_of(variant) if run.end.reason != "diverged"]
        runs = [run.sharpness for run in completed if run.sharpness]
        if not runs:
            continue
        probes = [probe for run in runs for probe in run]
        edges = [(p.sharpness, p.stable_up_to) for p in probes if p.stable_up_to is not None]
        yield Sharpness(
            variant=variant,
            last=mean_and_deviation([run[-1].sharpness for run in runs]),
            samples=probes[0].samples,
            edge=edges[-1][1] if edges else None,
            near_edge=sum(abs(value / edge - 1) <= EDGE_TOLERANCE for value, edge in edges),
            probes=len(edges),
            momentum=results.start.value_of(variant, "momentum"),
        )


def _rate_exponents(results: Results) -> Iterator[RateExponent]:
    """Fit the tuned rates by batch size, for each setting that was tuned with four sizes or more.

    Searches that ended at their edge, and rates with which all seeds diverged, are left out.
    """
    for setting in dict.fromkeys(variant.setting for variant in results.variants):
        points = {}
        for tuned in results.tuned:
            variant = results.variant(tuned.batch_size, tuned.setting)
            ends = [run.end for run in results.runs_of(variant)]
            works = any(end.reason != "diverged" for end in ends)
            if variant.setting == setting and works and not tuned.at_edge:
                points[results.update_size(variant)] = tuned.lr
        if len(points) < FEWEST_RATES:
            continue
        slope, error = fit_power(list(points), list(points.values()))
        yield RateExponent(slope, error, min(points), max(points), setting)


def _gradient_exponent(results: Results) -> Iterator[GradientExponent]:
    slopes = exponents(results)
    if slopes:
        by_seed = [mean_and_deviation(each).mean for each in slopes.values()]
        states = sum(len(each) for each in slopes.values())
        yield GradientExponent(mean_and_deviation(by_seed), states)


def exponents(results: Results) -> dict[int, list[float]]:
    """Return the slopes of log gradient deviation against log batch size, by seed.

    There is one for each state of the network that was probed.
    """
    states: dict[tuple[int, int, Variant | str | None], list[AlignmentProbe]] = {}
    for run in results.runs:
        for probe in run.alignment:
            # Before the first update the batch size has had no effect.
            state = run.variant if probe.update else run.variant.setting
            probes = states.setdefault((run.end.seed, probe.update, state), [])
            known = {p.batch_size for p in probes}
            if 0 < probe.deviation < math.inf and probe.batch_size not in known:
                probes.append(probe)
    slopes: dict[int, list[float]] = {}
    for (seed, _, _), probes in states.items():
        if len(probes) > 1:
            sizes = [math.log(p.batch_size) for p in probes]
            deviations = [math.log(p.as_if_independent) for p in probes]
            slopes.setdefault(seed, []).append(linear_regression(sizes, deviations).slope)
    return slopes


def _caveats(config: CompareConfig, results: Results) -> Iterator[Finding]:
    rates = {end.lr for end in results.ends}
    if config.lr_rule == "fixed" and len(results.variants) > 1 and len(rates) == 1:
        yield SameLearningRate(results.ends[0].lr)
    if config.lr_rule == "tuned" and config.seeds > 1:
        yield TunedWithFewSeeds(min(config.tune_seeds, config.seeds))
    machines = sorted({end.machine for end in results.ends})
    if len(machines) > 1:
        yield SeveralMachines(machines)
    shares = [end.busy_share or 0.0 for end in results.ends]
    if busy := [share for share in shares if share > BUSY_SHARE]:
        yield BusyMachine(len(busy), len(shares), max(busy))
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
    """Rank variants, and test the differences of all pairs.

    The runs of a seed begin with the same weights and, where they can, see the same samples in the
    same order, so their differences are tested. Accuracies, of which the `higher` is better, are
    compared directly. Costs and losses vary by factors, so their logarithms are compared.
    `resolution` is the distance of the steps at which values were measured, relative for the
    latter. The p-values are corrected for the number of all pairs, since any variant could have
    been the best.
    """
    compared = {
        variant: numbers if higher else [math.log(max(v, TINY)) for v in numbers]
        for variant, numbers in values.items()
    }
    sign = -1 if higher else 1
    order = sorted(compared, key=lambda each: sign * math.fsum(compared[each]))
    pairs = list(combinations(order, 2))
    level = SIGNIFICANCE_LEVEL / len(pairs)
    differences = [paired_difference(compared[a], compared[b], resolution, level) for a, b in pairs]
    tested = holm([1.0 if each.p is None else each.p for each in differences])
    return Ranking(
        quantity,
        higher,
        [Ranked(variant, mean_and_deviation(values[variant])) for variant in order],
        [
            Pair(*pair, found, None if found.p is None else p)
            for pair, found, p in zip(pairs, differences, tested, strict=True)
        ],
        at,
    )
