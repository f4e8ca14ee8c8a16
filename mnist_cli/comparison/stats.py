"""Statistics of a comparison: means, tests, interpolation and the critical batch size."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from scipy.special import stdtr  # half the import time of scipy.stats

SIGNIFICANCE_LEVEL = 0.05


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
    mean = math.fsum(values) / len(values)
    squares = math.fsum((value - mean) ** 2 for value in values)
    return MeanAndDeviation(
        mean, math.sqrt(squares / (len(values) - 1)) if values[1:] else 0.0, len(values)
    )


def welch_test(a: MeanAndDeviation, b: MeanAndDeviation, resolution: float = 0.0) -> float | None:
    """Return the p-value of Welch's two-sided t-test (1947) for the difference of two means.

    Values that were rounded to steps of `resolution` have an additional variance of
    `resolution`²/12. The result is None if either is the mean of one value, or if neither has a
    variance.
    """
    if min(a.count, b.count) < 2:
        return None
    squared = [(s.deviation**2 + resolution**2 / 12) / s.count for s in (a, b)]
    error = math.sqrt(sum(squared))
    if error <= 1e-9 * max(abs(a.mean), abs(b.mean)):
        return None
    degrees = error**4 / sum(
        square**2 / (s.count - 1) for square, s in zip(squared, (a, b), strict=True)
    )
    return float(2 * stdtr(degrees, -abs(a.mean - b.mean) / error))


def holm(probabilities: Sequence[float], tests: int | None = None) -> list[float]:
    """Return the p-values of several tests, corrected for their number (Holm 1979).

    `tests` is the number of tests if it is larger than that of the p-values. SciPy has no such
    correction.
    """
    number = len(probabilities) if tests is None else tests
    order = sorted(range(len(probabilities)), key=lambda k: probabilities[k])
    corrected = [0.0] * len(probabilities)
    highest = 0.0
    for rank, k in enumerate(order):
        highest = max(highest, min(1.0, probabilities[k] * (number - rank)))
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
