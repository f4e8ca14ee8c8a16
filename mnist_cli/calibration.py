"""How far an accuracy, and the probabilities of a network, can be believed."""

import math
from dataclasses import dataclass

from torch import Tensor

BINS = 15


def wilson_interval(correct: int, samples: int, z: float = 1.959964) -> tuple[float, float]:
    """Return the interval in which the true share of correct readings lies, 95 times of 100.

    Wilson's score interval (1927): unlike the usual mean ± z deviations it is right near 0 and 1.
    `z` is the normal quantile of the level.
    """
    share = correct / samples
    spread = z * math.sqrt(share * (1 - share) / samples + z * z / (4 * samples * samples))
    centre = share + z * z / (2 * samples)
    scale = 1 + z * z / samples
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


def calibration(probabilities: Tensor, labels: Tensor) -> Calibration:
    """Return the calibration of readings, `float64 [N, 10]`, of samples with `labels [N]`."""
    confidence, read = probabilities.max(1)
    right = (read == labels.long()).double()
    place = (confidence * BINS).long().clamp(max=BINS - 1)
    bins = []
    for number in range(BINS):
        inside = place == number
        count = int(inside.sum())
        if count:
            means = (float(values[inside].sum()) / count for values in (confidence, right))
            bins.append(Bin(number / BINS, (number + 1) / BINS, count, *means))
    return Calibration(tuple(bins))
