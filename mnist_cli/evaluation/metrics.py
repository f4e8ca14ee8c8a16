"""Metrics of an evaluation: accuracy and its interval, precision and recall, calibration."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from torch import Tensor

from mnist_cli.data.catalogue import DIGITS
from mnist_cli.evaluation.label_errors import known_label_errors
from mnist_cli.events import ClassMetrics, Doubt, Evaluated
from mnist_cli.models.checkpoint import Checkpoint
from mnist_cli.models.networks import weights_sha256

BINS = 15
DOUBTS = 20  # labels that are listed
_Z = 1.959964  # the normal quantile of a level of 95 %


@dataclass(frozen=True)
class EvaluationResult:
    """Sums over a split: the loss, and a confusion matrix `int64 [C, C]` (true, predicted).

    `classes` are the names of the C classes.
    """

    loss_sum: float
    confusion: Tensor
    classes: tuple[str, ...] = DIGITS

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
        """The fraction of samples that are predicted correctly."""
        return self.correct / self.samples

    @property
    def accuracy_interval(self) -> tuple[float, float]:
        """The 95 % confidence interval of the accuracy."""
        return wilson_interval(self.correct, self.samples)

    @property
    def loss(self) -> float:
        """The mean cross-entropy, in nats."""
        return self.loss_sum / self.samples

    @cached_property
    def per_class(self) -> list[ClassMetrics]:
        """Precision, recall and F1 of each class; 0 where there are no samples to divide by."""
        hits = self.confusion.diagonal()
        actual, predicted = self.confusion.sum(1), self.confusion.sum(0)
        columns = (
            actual.tolist(),
            _divide(hits, predicted),
            _divide(hits, actual),
            _divide(2 * hits, actual + predicted),
        )
        return [ClassMetrics(digit, *row) for digit, row in enumerate(zip(*columns, strict=True))]


def _divide(numerators: Tensor, denominators: Tensor) -> list[float]:
    values: list[float] = (numerators.double() / denominators.clamp(min=1)).tolist()
    return values


@dataclass(frozen=True, kw_only=True)
class CorruptedEvaluation(EvaluationResult):
    """The result for a split whose images are corrupted; `example` is the first of them."""

    example: Tensor  # uint8 [28, 28]


@dataclass(frozen=True, kw_only=True)
class CheckpointEvaluation(EvaluationResult):
    """The result for a checkpoint on a split of a data set, with the logits of each sample.

    Images are `uint8 [N, 28, 28]`, labels `int64 [N]` and logits `float32 [N, C]`, all on the CPU.
    `augmented` is the result with test-time augmentation, if it was asked for, and `corrupted` has
    the results of each corruption, in the order of its strengths.
    """

    path: str
    checkpoint: Checkpoint
    dataset: str
    split: str
    seconds: float
    images: Tensor
    labels: Tensor
    logits: Tensor
    augmented: EvaluationResult | None = None
    corrupted: Mapping[str, Sequence[CorruptedEvaluation]] | None = None

    @cached_property
    def predictions(self) -> Tensor:
        """The predicted class of each sample, `int64 [N]`.

        It is the argmax of the logits: the probabilities of two classes can tie.
        """
        return self.logits.argmax(1)

    @cached_property
    def probabilities(self) -> Tensor:
        """The probability of each class, `float64 [N, C]`."""
        return self.logits.double().softmax(1)

    @cached_property
    def confidences(self) -> Tensor:
        """The probability of each prediction, `float64 [N]`."""
        return self.probabilities.max(1).values

    @cached_property
    def is_correct(self) -> Tensor:
        """Whether each prediction is correct, `bool [N]`."""
        return self.predictions == self.labels

    @cached_property
    def calibration(self) -> "Calibration":
        """The calibration of the predictions."""
        return calibrate(self.confidences, self.is_correct)

    def misclassified(self, limit: int | None = None) -> list[int]:
        """Return the indices of misclassified samples, the most confident first."""
        incorrect = (~self.is_correct).nonzero().flatten()
        order = self.confidences[incorrect].argsort(descending=True, stable=True)
        indices: list[int] = incorrect[order][:limit].tolist()
        return indices

    @cached_property
    def label_errors(self) -> frozenset[int]:
        """The indices of the samples whose label is known to be wrong."""
        return known_label_errors(self.images, self.labels)

    def doubted(self, limit: int) -> list[Doubt]:
        """Return the samples to whose label the network gives the least probability."""
        given = self.probabilities.gather(1, self.labels[:, None])[:, 0]
        order = given.argsort(stable=True)[:limit].tolist()
        return [
            Doubt(
                index=index,
                label=int(self.labels[index]),
                label_probability=float(given[index]),
                prediction=int(self.predictions[index]),
                probability=float(self.confidences[index]),
                known_error=index in self.label_errors,
            )
            for index in order
        ]

    @cached_property
    def event(self) -> Evaluated:
        """The event that reports the result."""
        augmented = self.augmented
        return Evaluated(
            seconds=self.seconds,
            checkpoint=self.path,
            split=self.split,
            samples=self.samples,
            correct=self.correct,
            accuracy=self.accuracy,
            loss=self.loss,
            weights_sha256=weights_sha256(self.checkpoint.weights),
            per_class=self.per_class,
            confusion=self.confusion.tolist(),
            classes=list(self.classes),
            tta_correct=augmented.correct if augmented else None,
            tta_accuracy=augmented.accuracy if augmented else None,
            tta_loss=augmented.loss if augmented else None,
            corruptions=None
            if self.corrupted is None
            else {name: [r.accuracy for r in each] for name, each in self.corrupted.items()},
            doubted=None if self.corrupted is None else self.doubted(DOUBTS),
        )


def wilson_interval(correct: int, samples: int) -> tuple[float, float]:
    """Return the 95 % confidence interval of a fraction of correct predictions.

    Wilson's score interval (1927): unlike mean ± z standard errors it holds near 0 and 1, too.
    """
    # scipy.stats.binomtest has it as well, but its import takes longer (0.9 s of processor time)
    # than the evaluation of a small network.
    fraction = correct / samples
    spread = _Z * math.sqrt(fraction * (1 - fraction) / samples + _Z * _Z / (4 * samples * samples))
    centre = fraction + _Z * _Z / (2 * samples)
    scale = 1 + _Z * _Z / samples
    return max(0.0, (centre - spread) / scale), min(1.0, (centre + spread) / scale)


@dataclass(frozen=True)
class Bin:
    """The predictions whose probability lies between `low` and `high`."""

    low: float
    high: float
    count: int
    confidence: float  # the mean of their probabilities
    accuracy: float  # the fraction of them that is correct


@dataclass(frozen=True)
class Calibration:
    """How accuracy depends on confidence, in `BINS` bins of equal width; empty ones are left out.

    Predictions are calibrated if they are correct as often as their probabilities say.
    """

    bins: tuple[Bin, ...]

    @property
    def samples(self) -> int:
        """The number of predictions."""
        return sum(each.count for each in self.bins)

    @property
    def error(self) -> float:
        """The expected calibration error (Guo et al. 2017): the mean gap, weighted by counts."""
        gaps = (each.count * abs(each.accuracy - each.confidence) for each in self.bins)
        return sum(gaps) / self.samples

    @property
    def confidence(self) -> float:
        """The mean probability of the predictions."""
        return sum(each.count * each.confidence for each in self.bins) / self.samples

    @property
    def accuracy(self) -> float:
        """The fraction of the predictions that is correct."""
        return sum(each.count * each.accuracy for each in self.bins) / self.samples


def calibrate(confidences: Tensor, is_correct: Tensor) -> Calibration:
    """Return the calibration of predictions: probabilities `float64 [N]`, correct `bool [N]`."""
    numbers = (confidences * BINS).long().clamp(max=BINS - 1)
    bins = []
    for number in range(BINS):
        inside = numbers == number
        count = int(inside.sum())
        if count:
            columns = (confidences, is_correct.double())
            means = (float(values[inside].sum()) / count for values in columns)
            bins.append(Bin(number / BINS, (number + 1) / BINS, count, *means))
    return Calibration(tuple(bins))


_MAX_IN_CURVES = {"loss": 1e6, "accuracy": 1.0}


def learning_curves(entries: list[dict[str, Any]]) -> dict[str, list[tuple[int, float]]]:
    """Return the curves in a checkpoint's history, such as `train_loss`, as (epoch, value) pairs.

    Numbers that cannot be right are left out, since the checkpoint may come from somebody else.
    """
    curves: dict[str, list[tuple[int, float]]] = {}
    for entry in entries:
        epoch = entry.get("epoch")
        if entry.get("event") != "epoch" or type(epoch) is not int or not 0 < epoch < 1 << 31:
            continue
        for metric, maximum in _MAX_IN_CURVES.items():
            for split in ("train", "test", "val"):
                value: Any = entry.get(f"{split}_{metric}")
                if type(value) in (int, float) and 0 <= value <= maximum:
                    curves.setdefault(f"{split}_{metric}", []).append((epoch, float(value)))
    return curves
