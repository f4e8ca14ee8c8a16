"""Means with their deviations, the test of a difference, and straight lines through points."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

SIGNIFICANCE_LEVEL = 0.05  # a difference is called clear when chance alone would show it less often


@dataclass(frozen=True)
class Sample:
    """The mean of `count` values, and their standard deviation (with `count` - 1)."""

    mean: float
    deviation: float
    count: int


@dataclass(frozen=True)
class Difference:
    """The difference of two means, its standard error, and the test of it (Welch 1947).

    `p` is the probability of a difference as large if the true means were equal; it is 1 where
    there is no telling, because a mean is of one value or no value deviates.
    """

    value: float
    error: float
    t: float
    degrees: float
    p: float


def sample(values: Sequence[float]) -> Sample:
    """Return the mean and deviation of at least one value."""
    mean = math.fsum(values) / len(values)
    squares = math.fsum((value - mean) ** 2 for value in values)
    return Sample(mean, math.sqrt(squares / (len(values) - 1)) if values[1:] else 0.0, len(values))


def difference(a: Sample, b: Sample, resolution: float = 0.0) -> Difference:
    """Return the difference of two means, `a` - `b`, by Welch's t-test.

    Values that were read off a grid with steps of `resolution` deviate by 1/√12 of it unseen, which
    is added. Where nothing deviates beyond rounding, there is no telling.
    """
    value = a.mean - b.mean
    parts = [(s.deviation**2 + resolution**2 / 12) / s.count for s in (a, b)]
    error = math.sqrt(sum(parts))
    if min(a.count, b.count) < 2 or error <= 1e-9 * max(abs(a.mean), abs(b.mean)):
        return Difference(value, math.nan, math.nan, 0, 1.0)
    degrees = sum(parts) ** 2 / sum(
        part**2 / (s.count - 1) for part, s in zip(parts, (a, b), strict=True)
    )
    t = value / error
    return Difference(value, error, t, degrees, two_sided(t, degrees))


def two_sided(t: float, degrees: float) -> float:
    """Return the probability that Student's t is farther from zero than `t`.

    With t = √d tan θ, the density becomes cos^(d-1) θ, which Simpson's rule integrates.
    """
    pieces = 2000
    width = math.atan(abs(t) / math.sqrt(degrees)) / pieces
    heights: list[float] = [math.cos(width * k) ** (degrees - 1) for k in range(pieces + 1)]
    inside = heights[0] + heights[-1] + 4 * sum(heights[1::2]) + 2 * sum(heights[2:-1:2])
    scale = math.lgamma((degrees + 1) / 2) - math.lgamma(degrees / 2)
    return max(0.0, 1 - 2 * math.exp(scale) / math.sqrt(math.pi) * inside * width / 3)


def holm(probabilities: Sequence[float], tests: int | None = None) -> list[float]:
    """Return the probabilities of several tests, corrected for their number (Holm 1979).

    `tests` is that number where there could have been more: had other values come out best.
    """
    number = len(probabilities) if tests is None else tests
    order = sorted(range(len(probabilities)), key=lambda k: probabilities[k])
    corrected = [0.0] * len(probabilities)
    highest = 0.0
    for place, k in enumerate(order):
        highest = max(highest, min(1.0, probabilities[k] * (number - place)))
        corrected[k] = highest
    return corrected


def slope(xs: Sequence[float], ys: Sequence[float]) -> float:
    """Return the slope of the straight line through points, by least squares."""
    x, y = math.fsum(xs) / len(xs), math.fsum(ys) / len(ys)
    both = math.fsum((a - x) * (b - y) for a, b in zip(xs, ys, strict=True))
    return both / math.fsum((a - x) ** 2 for a in xs)


def reading(points: Sequence[tuple[float, float]], x: float) -> float | None:
    """Return the height of a curve at `x`, on the straight line between its neighbours.

    `points` are in order; `None` outside them. Of several crossings the first counts.
    """
    for (x0, y0), (x1, y1) in pairwise(points):
        if min(x0, x1) <= x <= max(x0, x1):
            return y0 if x0 == x1 else y0 + (y1 - y0) * (x - x0) / (x1 - x0)
    return None


def median(values: Sequence[float]) -> float:
    """Return the middle value, or the mean of the two in the middle."""
    order, half = sorted(values), len(values) // 2
    return order[half] if len(order) % 2 else (order[half - 1] + order[half]) / 2


def knee(sizes: Sequence[float], updates: Sequence[float]) -> tuple[float, float] | None:
    """Return (S, K) of the curve S (1 + K / B) that fits updates to a target by batch size B.

    With small batches each doubling halves the updates; with ones far above the knee K none are
    saved (McCandlish et al. 2018, equation 2.11). Least squares of the logarithms, by K on a fine
    grid, since S follows from K. `None` with fewer than three sizes, or if no knee lies among them.
    """
    if len(sizes) < 3 or min(updates) <= 0:
        return None

    def fit(k: float) -> tuple[float, float]:
        rests = [math.log(u) - math.log1p(k / b) for b, u in zip(sizes, updates, strict=True)]
        mean = math.fsum(rests) / len(rests)
        return math.fsum((rest - mean) ** 2 for rest in rests), mean

    low, high = math.log(min(sizes)), math.log(max(sizes))
    candidates = [math.exp(low + (high - low) * n / 2000) for n in range(2001)]
    best = min(candidates, key=lambda k: fit(k)[0])
    if best in (candidates[0], candidates[-1]):
        return None
    return math.exp(fit(best)[1]), best
