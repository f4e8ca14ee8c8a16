"""The coefficients that fit what was measured, and how far off they are."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from benchmarks.scaling.points import Measurement, Point
from benchmarks.scaling.predict import BYTES, Line, Link, Training, ring


def relative_least_squares(
    terms: Sequence[Sequence[float]], seconds: Sequence[float]
) -> list[float]:
    """Return the coefficients c >= 0 of least Σ ((terms · c - seconds) / seconds)².

    A relative error of a microsecond's point weighs as much as one of a second's. A coefficient
    that would be negative is taken for zero.
    """
    weighted = torch.tensor(terms, dtype=torch.float64)
    weighted /= torch.tensor(seconds, dtype=torch.float64)[:, None]
    kept = list(range(weighted.shape[1]))
    ones = weighted.new_ones(len(weighted), 1)
    while True:
        scale = weighted[:, kept].norm(dim=0)  # sizes span many orders of magnitude
        found = torch.linalg.lstsq(weighted[:, kept] / scale, ones).solution[:, 0] / scale
        if bool((found >= 0).all()):
            break
        kept.pop(int((found * scale).argmin()))
    coefficients = [0.0] * weighted.shape[1]
    for place, value in zip(kept, found.tolist(), strict=True):
        coefficients[place] = value
    return coefficients


def fit_line(sizes: Sequence[float], seconds: Sequence[float]) -> Line:
    """Return the line c0 + c1 · size."""
    return Line(*relative_least_squares([(1.0, size) for size in sizes], seconds))


def fit_ring(ranks: Sequence[int], sizes: Sequence[float], seconds: Sequence[float]) -> Link:
    """Return the link with which a ring's formula fits all-reduces of so many bytes."""
    terms = [
        (ring(p, n, Link(1, 0)), ring(p, n, Link(0, 1))) for p, n in zip(ranks, sizes, strict=True)
    ]
    return Link(*relative_least_squares(terms, seconds))


@dataclass(frozen=True)
class Residual:
    """A point, and what the fit, or the prediction, makes of it."""

    point: Point
    fitted: float

    @property
    def error(self) -> float:
        """How much too large the fit is, relative to what was measured."""
        return self.fitted / self.point.seconds - 1


def median_error(residuals: Sequence[Residual]) -> float:
    """Return the median size of the errors."""
    return statistics.median(abs(residual.error) for residual in residuals)


def largest_error(residuals: Sequence[Residual]) -> float:
    """Return the largest size of an error."""
    return max(abs(residual.error) for residual in residuals)


class Model:
    """Everything that is fitted to a measurement.

    `alone` and `busy` have a line for each network: of a process that computes by itself, and of
    one beside which another does. `pair` and `crowd` are the links that fit the sums of two ranks,
    and of three and four, for which two cores are too few.
    """

    def __init__(self, measured: Measurement) -> None:
        self.measured = measured
        self.networks = tuple(measured.parameters)
        self.alone = {network: self._line(network, 1) for network in self.networks}
        self.busy = {network: self._line(network, 2) for network in self.networks}
        self.pair = self._link(measured.of("sum", ranks=2))
        self.crowd = self._link([p for p in measured.of("sum") if p.what.ranks > 2])

    def training(self, network: str, *, busy: bool = False) -> Training:
        """Return the costs of a network's updates."""
        (packing,) = self.measured.of("packing", network=network)
        size = BYTES * self.measured.floats(network)
        return Training((self.busy if busy else self.alone)[network], packing.seconds, size)

    def of_shares(self, network: str, ranks: int) -> list[Residual]:
        """Return how a network's line fits."""
        line = (self.alone if ranks == 1 else self.busy)[network]
        points = self.measured.of("share", network=network, ranks=ranks)
        return [Residual(point, line.at(point.what.size)) for point in points]

    def of_sums(self) -> list[Residual]:
        """Return how the links fit."""
        return [
            Residual(
                point,
                ring(
                    point.what.ranks,
                    BYTES * point.what.size,
                    self.pair if point.what.ranks == 2 else self.crowd,
                ),
            )
            for point in self.measured.of("sum")
        ]

    def of_updates(self) -> list[Residual]:
        """Return how whole updates of two ranks, to which nothing was fitted, are predicted."""
        return [
            Residual(
                point,
                self.training(network, busy=True).seconds(point.what.size, 2, self.pair),
            )
            for network in self.networks
            for point in self.measured.of("update", network=network, ranks=2)
        ]

    def _line(self, network: str, ranks: int) -> Line:
        points = self.measured.of("share", network=network, ranks=ranks)
        return fit_line([p.what.size for p in points], [p.seconds for p in points])

    @staticmethod
    def _link(points: Sequence[Point]) -> Link:
        return fit_ring(
            [p.what.ranks for p in points],
            [BYTES * p.what.size for p in points],
            [p.seconds for p in points],
        )
