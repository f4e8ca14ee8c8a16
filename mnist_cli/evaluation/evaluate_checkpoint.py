"""One evaluation, from checkpoint to event."""

import math
import time
from dataclasses import dataclass

from torch import Tensor

from mnist_cli.config.inference import EvalConfig
from mnist_cli.data.datasets import Split, load_dataset, load_test, part
from mnist_cli.errors import CheckpointError, UsageError
from mnist_cli.evaluation.evaluate import logits_of, score_of
from mnist_cli.events import ClassScore, Evaluated
from mnist_cli.models.checkpoint import Checkpoint, load_checkpoint
from mnist_cli.models.digest import weights_sha256
from mnist_cli.runtime.device import pick_device, threads_for
from mnist_cli.runtime.threads import ThreadPool


@dataclass(frozen=True)
class Readings:
    """How each sample was read, all on the CPU.

    Images are `uint8 [N, 28, 28]`, labels and the classes that were read `int64 [N]`,
    probabilities `float64 [N, 10]`.
    """

    images: Tensor
    labels: Tensor
    read: Tensor
    probabilities: Tensor

    @property
    def confidence(self) -> Tensor:
        """The probability of each reading, `float64 [N]`."""
        return self.probabilities.max(1).values

    @property
    def right(self) -> Tensor:
        """Whether each reading is right, `bool [N]`."""
        return self.read == self.labels

    def mistakes(self, most: int | None = None) -> list[int]:
        """Return the numbers of samples that were read wrong, from 0 on, the surest first."""
        wrong = (~self.right).nonzero().flatten()
        order = self.confidence[wrong].argsort(descending=True, stable=True)
        found: list[int] = wrong[order][:most].tolist()
        return found


@dataclass(frozen=True)
class Examination:
    """A checkpoint, its scores on a split of a data set, and how each sample was read."""

    checkpoint: Checkpoint
    dataset: str
    event: Evaluated
    readings: Readings


def examine(path: str, config: EvalConfig) -> Examination:
    """Return the scores of a checkpoint on a split, and how each sample was read.

    Raises:
        CheckpointError: see `load_checkpoint`; or the network's logits overflow.
        DataError: see `load_dataset`.
        UsageError: the device is not there, or the run held nothing out for validation.

    """
    began = time.perf_counter()
    device = pick_device(config.device)
    checkpoint = load_checkpoint(path)
    dataset = config.dataset or checkpoint.config.dataset
    split = _split(checkpoint, dataset, config)
    model = checkpoint.build_model().to(device)
    logits = logits_of(model, split.to(device), config.batch_size, ThreadPool(threads_for(device)))
    readings = _readings(split, logits)
    result = score_of(logits, readings.labels, config.batch_size)
    if not math.isfinite(result.loss):
        name = "standard input" if path == "-" else path
        raise CheckpointError(
            f"{name}: its network computes no finite numbers, its loss is {result.loss}; "
            "train it with a lower --lr"
        )
    samples = result.confusion.sum(1).tolist()
    scores = zip(samples, result.precision, result.recall, result.f1, strict=True)
    event = Evaluated(
        seconds=time.perf_counter() - began,
        checkpoint=path,
        split=config.split,
        samples=result.samples,
        correct=result.correct,
        accuracy=result.accuracy,
        loss=result.loss,
        weights_sha256=weights_sha256(checkpoint.weights),
        per_class=[ClassScore(digit, *figures) for digit, figures in enumerate(scores)],
        confusion=result.confusion.tolist(),
    )
    return Examination(checkpoint, dataset, event, readings)


def _readings(split: Split, logits: Tensor) -> Readings:
    probabilities = logits.double().softmax(1)
    # The largest of two logits may be so little larger that their probabilities are the same.
    return Readings(split.images, split.labels.long(), logits.argmax(1), probabilities)


def _split(checkpoint: Checkpoint, dataset: str, config: EvalConfig) -> Split:
    """Return the samples to score; train and val are parted as the training parted them."""
    trained = checkpoint.config
    if config.split == "test":
        return load_test(dataset, config.data_dir)
    if dataset != trained.dataset:
        raise UsageError(
            f"--split {config.split} is a part of {trained.dataset}, which the checkpoint was "
            f"trained on; leave --dataset {dataset} out"
        )
    train, val = part(
        load_dataset(dataset, config.data_dir).train,
        val_size=trained.val_size,
        subset=trained.subset,
        seed=trained.seed,
    )
    if config.split == "train":
        return train
    if not len(val):
        raise UsageError(
            "--split val: this training held no samples out; train with --val-size 5000"
        )
    return val
