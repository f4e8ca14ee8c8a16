"""How far an accuracy, and the probabilities of a network, can be believed."""

import math
from dataclasses import dataclass

from torch import Tensor

BINS = 15
_Z = 1.959964  # the normal quantile of a level of 95 %


def wilson_interval(correct: int, samples: int) -> tuple[float, float]:
    """Return the interval in which the true share of correct readings lies, 95 times of 100.

    Wilson's score interval (1927): unlike the usual mean ± z deviations it is right near 0 and 1.
    """
    share = correct / samples
    spread = _Z * math.sqrt(share * (1 - share) / samples + _Z * _Z / (4 * samples * samples))
    centre = share + _Z * _Z / (2 * samples)
    scale = 1 + _Z * _Z / samples
    return max(0.0, (centre - spread) / scale), min(1.0, (centre + spread) / scale)


@dataclass(frozen=True)
class Bin:
    """The readings whose probability lies in one of `BINS` equal parts of 0 to 1, from `low` on."""

    low: float
    high: float
    count: int
    confidence: float  # the mean of their probabilities
    accuracy: float  # the share of them that is right


@dataclass(frozen=True)
class Calibration:
    """Whether readings are right as often as their probabilities say; bins without any left out."""

    bins: tuple[Bin, ...]

    @property
    def samples(self) -> int:
        """The number of readings."""
        return sum(part.count for part in self.bins)

    @property
    def error(self) -> float:
        """The expected calibration error (Guo et al. 2017): the mean gap, weighted by counts."""
        gaps = (part.count * abs(part.accuracy - part.confidence) for part in self.bins)
        return sum(gaps) / self.samples

    @property
    def confidence(self) -> float:
        """The mean probability of the readings."""
        return sum(part.count * part.confidence for part in self.bins) / self.samples

    @property
    def accuracy(self) -> float:
        """The share of the readings that is right."""
        return sum(part.count * part.accuracy for part in self.bins) / self.samples


def calibration(confidence: Tensor, right: Tensor) -> Calibration:
    """Return the calibration of readings: their probabilities `float64 [N]`, `bool [N]`."""
    place = (confidence * BINS).long().clamp(max=BINS - 1)
    bins = []
    for number in range(BINS):
        inside = place == number
        count = int(inside.sum())
        if count:
            means = (float(values[inside].sum()) / count for values in (confidence, right.double()))
            bins.append(Bin(number / BINS, (number + 1) / BINS, count, *means))
    return Calibration(tuple(bins))


@dataclass(frozen=True)
class Score:
    """Sums over a split: the loss, and a confusion matrix `int64 [10, 10]` (true, predicted)."""

    loss_sum: float
    confusion: Tensor

    @property
    def samples(self) -> int:
        """The number of samples."""
        return int(self.confusion.sum())

    @property
    def correct(self) -> int:
        """The number of samples whose largest logit is that of their class."""
        return int(self.confusion.trace())

    @property
    def accuracy(self) -> float:
        """The share of correct samples."""
        return self.correct / self.samples

    @property
    def loss(self) -> float:
        """The mean cross-entropy, in nats."""
        return self.loss_sum / self.samples

    @property
    def precision(self) -> list[float]:
        """For each class: of the samples read as it, the share that are; 0 where there are none."""
        return _ratio(self.confusion.diagonal(), self.confusion.sum(0))

    @property
    def recall(self) -> list[float]:
        """For each class: of its samples, the share read as it; 0 where there are none."""
        return _ratio(self.confusion.diagonal(), self.confusion.sum(1))

    @property
    def f1(self) -> list[float]:
        """For each class: the harmonic mean of precision and recall."""
        both = self.confusion.sum(0) + self.confusion.sum(1)
        return _ratio(2 * self.confusion.diagonal(), both)


def _ratio(part: Tensor, whole: Tensor) -> list[float]:
    values: list[float] = (part.double() / whole.clamp(min=1)).tolist()
    return values
