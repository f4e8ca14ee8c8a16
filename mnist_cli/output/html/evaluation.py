"""The self-contained web page of an evaluation."""

import base64
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from torch import Tensor

from mnist_cli import __version__
from mnist_cli.config.batch_schedule import growing_sizes
from mnist_cli.config.own_data import shown_data
from mnist_cli.evaluation.corruptions import STRENGTHS
from mnist_cli.evaluation.metrics import (
    DOUBTS,
    Calibration,
    CheckpointEvaluation,
    EvaluationResult,
    learning_curves,
)
from mnist_cli.models.networks import count_parameters
from mnist_cli.runtime.html_templates import render_page

_TEMPLATE = Path(__file__).with_name("evaluation.html")
_MAX_MISTAKES = 300  # in the page: a quarter of a megabyte of pixels
_MIN_PER_CELL = 3  # mistakes of each cell of the matrix, even if they are less confident
_NOUNS = {"test": "test samples", "train": "samples trained on", "val": "samples held out"}


def render(result: CheckpointEvaluation) -> str:
    """Return the page: accuracy, digits, confusion, mistakes, calibration, learning curves."""
    config = result.checkpoint.config
    incorrect = result.samples - result.correct
    low, high = result.accuracy_interval
    return render_page(
        _TEMPLATE,
        title=f"What {result.checkpoint.network_name} gets wrong",
        accuracy=_percentage(result),
        interval=f"{100 * low:.2f} to {100 * high:.2f} %",
        counts=f"{result.correct:,} of {result.samples:,} correct, {incorrect:,} incorrect",
        subject="digit" if result.checkpoint.subject == "digit" else "class",
        classes=result.classes,
        class_rows=list(_class_rows(result)),
        matrix=_matrix(result),
        shown=_shown(incorrect),
        numbered=f"# counts the {_NOUNS[result.split]} of {result.dataset}, from 0 on.",
        strengths=STRENGTHS,
        corruption_rows=list(_corruption_rows(result)),
        corruptions=_describe_corruptions(result),
        label_errors=len(result.label_errors),
        calibration=describe_calibration(result.calibration, smoothed=bool(config.label_smoothing)),
        augmented="" if config.augment == "none" else "changed and ",
        facts=list(_facts(result)),
        data=_data(result),
    )


def _percentage(result: EvaluationResult) -> str:
    """Return the accuracy in per cent, which is 100.00 only if every prediction is correct."""
    return f"{min(100 * result.accuracy, 100 if result.correct == result.samples else 99.99):.2f}"


def describe_calibration(calibration: Calibration, *, smoothed: bool) -> str:
    """Return a sentence on how well the probabilities match the accuracy.

    `smoothed` says that the network was trained with smoothed labels.
    """
    gap = calibration.confidence - calibration.accuracy
    averages = (
        f"The mean confidence is {100 * calibration.confidence:.1f} %, "
        f"and {100 * calibration.accuracy:.1f} % of the predictions are correct"
    )
    slightly = "slightly " if calibration.error < 0.02 else ""
    if calibration.error < 0.01:
        conclusion = "the network is well calibrated"
    elif abs(gap) < 0.5 * calibration.error:  # the gaps of the bins cancel out
        conclusion = f"the network is {slightly}overconfident in places, underconfident in others"
    elif gap > 0:
        conclusion = f"the network is {slightly}overconfident"
    else:
        conclusion = f"the network is {slightly}underconfident"
        conclusion += ", as label smoothing makes it" if smoothed else ""
    error = f"The expected calibration error is {100 * calibration.error:.2f} %."
    return f"{averages}: {conclusion}. {error}"


def _shown(incorrect: int) -> str:
    if not incorrect:
        return "None: every prediction is correct."
    if incorrect <= _MAX_MISTAKES:
        return "All of them, the most confident first."
    return f"The {_MAX_MISTAKES} most confident of {incorrect:,}, the most confident first."


def _facts(result: CheckpointEvaluation) -> Iterator[str]:
    checkpoint = result.checkpoint
    config = checkpoint.config
    parameters = count_parameters(checkpoint.build_model())
    name = "standard input" if result.path == "-" else result.path
    yield f"{name}: {checkpoint.network_name}, {parameters:,} parameters"
    how = "batch mode" if config.batch_size is None else f"batches of {config.batch_size:,}"
    if sizes := growing_sizes(config.batch_schedule):
        how = f"batches that grew from {sizes[0]:,} to {sizes[-1]:,}"
    yield (
        f"trained on {shown_data(config.dataset)} in {how} with {config.optimizer}, "
        f"{checkpoint.position.update:,} updates, seed {config.seed}"
    )
    samples = f"{result.split} samples of {result.dataset}"
    yield f"evaluated on the {samples}; mean loss {result.loss:.4f}"
    if result.augmented:
        yield (
            f"with test-time augmentation {_percentage(result.augmented)} %, "
            f"{result.augmented.correct:,} of {result.samples:,} correct: the mean of the "
            "probabilities for the image and its eight shifts by one pixel"
        )
    yield f"weights {result.event.weights_sha256}"
    yield f"mnist_cli {__version__}"


def _class_rows(result: CheckpointEvaluation) -> Iterator[tuple[str, list[str]]]:
    """Yield each class with the cells of its row."""
    for metrics, row in zip(result.per_class, result.confusion.tolist(), strict=True):
        others = [(count, other) for other, count in enumerate(row) if other != metrics.digit]
        count, other = max(others, key=lambda pair: (pair[0], -pair[1]))
        times = {1: "once", 2: "twice"}.get(count, f"{count:,} times")
        ratios = (metrics.precision, metrics.recall, metrics.f1)
        percentages = [f"{100 * ratio:.2f} %" for ratio in ratios]
        most_confused = f"{result.classes[other]} ({times})" if count else "-"
        yield result.classes[metrics.digit], [f"{metrics.samples:,}", *percentages, most_confused]


@dataclass(frozen=True)
class _Cell:
    """A cell of the confusion matrix, of `total` samples in its row."""

    true: int
    predicted: int
    count: int
    total: int
    largest: int  # count of mistakes in a cell of the matrix
    classes: tuple[str, ...]

    @property
    def text(self) -> str:
        return f"{self.count:,}"

    @property
    def title(self) -> str:
        counts = f"{self.count:,} of {self.total:,}"
        if self.true == self.predicted:
            return f"{self.classes[self.true]}: {counts} correct"
        return f"{self.classes[self.true]} predicted as {self.classes[self.predicted]}: {counts}"

    @property
    def shade(self) -> str:
        if self.true == self.predicted:
            return f"{self.count / max(self.total, 1):.3f}"
        return f"{0.25 + 0.75 * (self.count / self.largest) ** 0.5:.3f}"


@dataclass(frozen=True)
class _Corrupted:
    """A cell of the table of corruptions; `number` is that of its example."""

    accuracy: float
    lost: float  # of the accuracy without corruption
    number: int

    @property
    def text(self) -> str:
        return f"{100 * self.accuracy:.1f}"

    @property
    def shade(self) -> str:
        return f"{max(0.0, self.lost):.3f}"


def _corruption_rows(result: CheckpointEvaluation) -> Iterator[tuple[str, list[_Corrupted]]]:
    """Yield each corruption with its cells, a strength each."""
    for row, (name, each) in enumerate((result.corrupted or {}).items()):
        yield (
            name,
            [
                _Corrupted(one.accuracy, 1 - one.accuracy / (result.accuracy or 1), number)
                for number, one in enumerate(each, start=row * len(STRENGTHS))
            ],
        )


def _describe_corruptions(result: CheckpointEvaluation) -> str:
    """Return a sentence on how accurate the network is on corrupted images."""
    accuracies = {
        (name, strength): one.accuracy
        for name, each in (result.corrupted or {}).items()
        for strength, one in zip(STRENGTHS, each, strict=True)
    }
    if not accuracies:
        return ""
    (name, strength), least = min(accuracies.items(), key=lambda item: item[1])
    return (
        f"As they are {_percentage(result)} % of the images are predicted correctly, with these "
        f"corruptions {100 * fmean(accuracies.values()):.1f} % on average, and least often with "
        f"{name} of strength {strength}: {100 * least:.1f} %."
    )


def _matrix(result: EvaluationResult) -> list[list[_Cell]]:
    confusion: list[list[int]] = result.confusion.tolist()
    largest = max(1, *(n for t, row in enumerate(confusion) for p, n in enumerate(row) if p != t))
    return [
        [
            _Cell(true, predicted, count, sum(row), largest, result.classes)
            for predicted, count in enumerate(row)
        ]
        for true, row in enumerate(confusion)
    ]


def _select_mistakes(result: CheckpointEvaluation) -> list[int]:
    """Return the most confident mistakes of all, then the most confident of each cell."""
    pairs = list(zip(result.labels.tolist(), result.predictions.tolist(), strict=True))
    counts: Counter[tuple[int, int]] = Counter()
    selected = []
    for order, index in enumerate(result.misclassified()):
        counts[pairs[index]] += 1
        if order < _MAX_MISTAKES or counts[pairs[index]] <= _MIN_PER_CELL:
            selected.append(index)
    return selected


def _data(result: CheckpointEvaluation) -> dict[str, Any]:
    """Return the data that the page's script draws."""
    mistakes = _select_mistakes(result)
    corrupted = result.corrupted
    doubted = [] if corrupted is None else [doubt.index for doubt in result.doubted(DOUBTS)]
    examples = [] if corrupted is None else [one.example for e in corrupted.values() for one in e]
    return {
        "split": result.split,
        "classes": result.classes,
        "listed": _MAX_MISTAKES,
        "pixels": _pixels(result.images[mistakes]),
        "mistakes": list(_samples(result, mistakes)),
        "doubted_pixels": _pixels(result.images[doubted]),
        "doubted": list(_samples(result, doubted)),
        "examples": _pixels(*examples),
        "bins": [
            [each.low, each.high, each.count, each.confidence, each.accuracy]
            for each in result.calibration.bins
        ],
        "history": learning_curves(result.checkpoint.history),
    }


def _pixels(*images: Tensor) -> str:
    """Return the bytes of images `uint8 [..., 28, 28]` as base64."""
    joined = b"".join(bytes(each.flatten().tolist()) for each in images)
    return base64.b64encode(joined).decode()


def _samples(result: CheckpointEvaluation, indices: list[int]) -> Iterator[dict[str, Any]]:
    """Yield what the page shows of samples besides their pixels."""
    for index, row in zip(indices, result.probabilities[indices].tolist(), strict=True):
        yield {
            "number": index,
            "true": int(result.labels[index]),
            "predicted": int(result.predictions[index]),
            "probabilities": [round(value, 4) for value in row],
            "known_error": index in result.label_errors,
        }
