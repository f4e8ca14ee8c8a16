"""Estimates of the gradient noise scale from the squared norms of gradients of two batch sizes."""

import math
from collections.abc import Sequence
from dataclasses import astuple, dataclass

import torch

_CLEARLY = 3  # standard errors above zero
_FEWEST_UPDATES = 10  # whose spread is trusted as a standard error


@dataclass(frozen=True)
class Ratio:
    """The ratio of two means over the same draws, and standard errors.

    `value` and `error` are None where the denominator is not at least three standard errors above
    zero, so that the ratio could be any number, or the numerator is negative.
    """

    numerator: float
    numerator_error: float
    denominator: float
    denominator_error: float
    value: float | None
    error: float | None


def ratio_of_means(draws: Sequence[tuple[float, float]]) -> Ratio:
    """Return the ratio of the means over at least two draws of (numerator, denominator).

    Its standard error is the jackknife's: that of the ratios with each draw left out in turn
    (Efron & Tibshirani 1993, chapter 11).
    """
    values = torch.tensor(draws, dtype=torch.float64)
    count = len(draws)
    mean = values.mean(0)
    numerator, denominator = mean.tolist()
    errors = (values.std(0) / math.sqrt(count)).tolist()
    value = error = None
    if _is_clear(numerator, denominator, errors[1]):
        value = numerator / denominator
        rest = (count * mean - values) / (count - 1)  # clearly positive denominators stay positive
        error = math.sqrt(count - 1) * float((rest[:, 0] / rest[:, 1]).std(correction=0))
    return Ratio(numerator, errors[0], denominator, errors[1], value, error)


def _is_clear(numerator: float, denominator: float, denominator_error: float) -> bool:
    return denominator > _CLEARLY * denominator_error and numerator >= 0


def two_size_estimate(
    sizes: tuple[float, float], squares: tuple[float, float], population: float = math.inf
) -> tuple[float, float]:
    """Return unbiased estimates of tr Σ and |G|² from squared norms of mean gradients.

    `squares` are those of a small and a large batch, which may contain the small one. Since
    E|g_B|² = |G|² + tr Σ / B for samples drawn with replacement, two sizes of B give two equations
    (McCandlish et al. 2018, appendix A.1). Without replacement, from a `population` of N samples,
    1 / B becomes (1 / B - 1 / N) N / (N - 1) in them. The mean of the squares of several small
    batches, weighted by their sizes, has the expectation of one batch of their mean size.
    """
    small, big = sizes
    gradient_square = (big * squares[1] - small * squares[0]) / (big - small)
    trace = (squares[0] - squares[1]) / (1 / small - 1 / big)
    return trace * (1 - 1 / population), gradient_square + trace / population


@dataclass
class NoiseSums:
    """Running sums over updates: of the estimates of tr Σ and |G|², and of their products.

    Each update gives a pair of estimates, from the norms of the gradients of its first
    micro-batches and of the whole.
    """

    updates: float = 0.0
    trace: float = 0.0
    gradient_square: float = 0.0
    trace_by_trace: float = 0.0
    trace_by_square: float = 0.0
    square_by_square: float = 0.0

    def add(self, trace: float, gradient_square: float) -> None:
        """Add the estimates from an update, unless a norm overflowed."""
        if not (math.isfinite(trace) and math.isfinite(gradient_square)):
            return
        self.updates += 1
        self.trace += trace
        self.gradient_square += gradient_square
        self.trace_by_trace += trace * trace
        self.trace_by_square += trace * gradient_square
        self.square_by_square += gradient_square * gradient_square

    def values(self) -> tuple[float, ...]:
        """Return the sums in the order of the fields, as checkpoints hold them."""
        return astuple(self)

    def ratio(self) -> Ratio | None:
        """Return tr Σ / |G|², the noise scale in samples; None after fewer than ten updates.

        It is the ratio of the means over the updates. Its standard error is that of a ratio
        estimator (Cochran 1977, section 2.11): the jackknife's to first order, from sums alone.
        """
        count = self.updates
        if count < _FEWEST_UPDATES:
            return None
        trace, square = self.trace / count, self.gradient_square / count

        def covariance(products: float, first: float, second: float) -> float:
            """Return that of the two means."""
            return (products / count - first * second) / (count - 1)

        trace_variance = max(covariance(self.trace_by_trace, trace, trace), 0.0)  # rounding
        square_variance = max(covariance(self.square_by_square, square, square), 0.0)
        value = error = None
        if _is_clear(trace, square, math.sqrt(square_variance)):
            value = trace / square
            mixed = covariance(self.trace_by_square, trace, square)
            variance = trace_variance - 2 * value * mixed + value * value * square_variance
            error = math.sqrt(max(variance, 0.0)) / square
        errors = (math.sqrt(trace_variance), math.sqrt(square_variance))
        return Ratio(trace, errors[0], square, errors[1], value, error)
