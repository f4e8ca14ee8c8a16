"""Statistics of a comparison: means, tests, interpolation and the critical batch size."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import linear_regression

import numpy as np
from scipy.special import nctdtr, stdtr, stdtrit  # a third of the import time of scipy.stats

SIGNIFICANCE_LEVEL = 0.05
POWER = 0.8
MOST_PAIRS = 100
_LARGEST_EFFECT = 100.0  # two pairs show it; with far larger ones SciPy takes seconds


@dataclass(frozen=True)
class MeanAndDeviation:
    """The mean of `count` values, and their standard deviation (with `count` - 1)."""

    mean: float
    deviation: float
    count: int


def mean_and_deviation(values: Sequence[float]) -> MeanAndDeviation:
    """Return the mean and standard deviation of at least one value.

    A noise scale may be infinite, which `statistics.stdev` does not accept.
    """
    if min(values) == max(values):  # or a rounded mean would differ from all of them
        return MeanAndDeviation(float(values[0]), 0.0, len(values))
    mean = math.fsum(values) / len(values)
    squares = math.fsum((value - mean) ** 2 for value in values)
    return MeanAndDeviation(mean, math.sqrt(squares / (len(values) - 1)), len(values))


@dataclass(frozen=True)
class Difference:
    """The mean difference of two paired samples, and what it says about that of all pairs.

    `low` and `high` are the ends of the 95 % confidence interval, `p` is the p-value of the
    two-sided paired t-test; all three are `None` for a single pair. `count` pairs were measured,
    and about `needed` pairs show such a difference in four of five experiments, at the level of
    the test: `None` if the differences do not vary, or if that is more than `MOST_PAIRS`.
    """

    mean: float
    low: float | None
    high: float | None
    p: float | None
    count: int
    needed: int | None


def paired_difference(
    a: Sequence[float],
    b: Sequence[float],
    resolution: float = 0.0,
    level: float = SIGNIFICANCE_LEVEL,
) -> Difference:
    """Return the mean of `a` - `b` over pairs, with its interval and test (Student 1908).

    Values that were rounded to steps of `resolution` have an additional variance of
    `resolution`²/12 each. `level` is that of the test for which `Difference.needed` is meant.
    """
    differences = mean_and_deviation([x - y for x, y in zip(a, b, strict=True)])
    mean, count = differences.mean, differences.count
    if count < 2:
        return Difference(mean, None, None, None, count, None)
    deviation = math.sqrt(differences.deviation**2 + resolution**2 / 6)
    error = deviation / math.sqrt(count)
    if error <= 1e-12 * max(abs(mean), *map(abs, a), *map(abs, b)):  # no variance but rounding
        same = abs(mean) <= 1e-12 * max(*map(abs, a), *map(abs, b))
        return Difference(mean, mean, mean, 1.0 if same else 0.0, count, None)
    margin = error * float(stdtrit(count - 1, 0.975))
    p = float(2 * stdtr(count - 1, -abs(mean) / error))
    return Difference(
        mean, mean - margin, mean + margin, p, count, _pairs_needed(abs(mean) / deviation, level)
    )


def _pairs_needed(effect: float, level: float) -> int | None:
    """Return the pairs with which a paired t-test at `level` has a power of 80 %.

    `effect` is the mean of the differences divided by their standard deviation. The power is that
    of the noncentral t-distribution (Cohen 1988).
    """
    counts, effect = np.arange(2, MOST_PAIRS + 1), min(effect, _LARGEST_EFFECT)
    critical = stdtrit(counts - 1, 1 - level / 2)
    is_enough = 1 - nctdtr(counts - 1, effect * np.sqrt(counts), critical) >= POWER
    return int(counts[is_enough.argmax()]) if is_enough.any() else None


def holm(probabilities: Sequence[float]) -> list[float]:
    """Return the p-values of several tests, corrected for their number (Holm 1979).

    SciPy has no such correction.
    """
    order = sorted(range(len(probabilities)), key=lambda k: probabilities[k])
    corrected = [0.0] * len(probabilities)
    highest = 0.0
    for rank, k in enumerate(order):
        highest = max(highest, min(1.0, probabilities[k] * (len(probabilities) - rank)))
        corrected[k] = highest
    return corrected


def interpolate(points: Sequence[tuple[float, float]], x: float) -> float | None:
    """Return the linearly interpolated y at `x`, or None outside the points.

    `points` are in the order of the curve. If it passes `x` several times, the first counts.
    """
    for (x0, y0), (x1, y1) in pairwise(points):
        if min(x0, x1) <= x <= max(x0, x1):
            return y0 if x0 == x1 else y0 + (y1 - y0) * (x - x0) / (x1 - x0)
    return None


def fit_power(x: Sequence[float], y: Sequence[float]) -> tuple[float, float]:
    """Return the power of positive `x` with which `y` grows, and its standard error.

    It is the slope of the line through the logarithms, of three points at least, by least squares.
    """
    xs, ys = ([math.log(each) for each in values] for values in (x, y))
    slope, intercept = linear_regression(xs, ys)
    rests = math.fsum((b - slope * a - intercept) ** 2 for a, b in zip(xs, ys, strict=True))
    mean = math.fsum(xs) / len(xs)
    spread = math.fsum((a - mean) ** 2 for a in xs)
    return slope, math.sqrt(rests / (len(xs) - 2) / spread)


def fit_critical_batch_size(
    sizes: Sequence[float], updates: Sequence[float]
) -> tuple[float, float] | None:
    """Return (S, C) of the curve S (1 + C / B) that fits updates to a target by batch size B.

    With small batches, doubling the batch halves the updates; far above the critical batch size C
    it saves none (McCandlish et al. 2018, equation 2.11). The logarithms are fitted by least
    squares, with C on a fine grid, since S follows from C. The result is None for fewer than three
    sizes, or if C is outside their range.
    """
    if len(sizes) < 3 or min(updates) <= 0:
        return None

    def fit(c: float) -> tuple[float, float]:
        rests = [math.log(u) - math.log1p(c / b) for b, u in zip(sizes, updates, strict=True)]
        mean = math.fsum(rests) / len(rests)
        return math.fsum((rest - mean) ** 2 for rest in rests), mean

    low, high = math.log(min(sizes)), math.log(max(sizes))
    candidates = [math.exp(low + (high - low) * n / 2000) for n in range(2001)]
    best = min(candidates, key=lambda c: fit(c)[0])
    if best in (candidates[0], candidates[-1]):
        return None
    return math.exp(fit(best)[1]), best
