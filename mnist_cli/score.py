"""One evaluation, from checkpoint to event."""

import time
from dataclasses import dataclass

from torch import Tensor

from mnist_cli.checkpoint import Checkpoint, load_checkpoint
from mnist_cli.data import Split, load_dataset, load_test, part
from mnist_cli.digest import weights_sha256
from mnist_cli.errors import UsageError
from mnist_cli.evaluation import evaluate, probabilities_of
from mnist_cli.events import ClassScore, Evaluated
from mnist_cli.runtime import pick_device, threads_for
from mnist_cli.team import Team
from mnist_cli.uses import EvalConfig


@dataclass(frozen=True)
class Readings:
    """How each sample was read, all on the CPU.

    Images are `uint8 [N, 28, 28]`, labels `int64 [N]`, probabilities `float64 [N, 10]`.
    """

    images: Tensor
    labels: Tensor
    probabilities: Tensor

    @property
    def read(self) -> Tensor:
        """The class of the largest probability, `int64 [N]`."""
        return self.probabilities.argmax(1)

    def mistakes(self, most: int) -> list[int]:
        """Return the numbers of samples that were read wrong, the surest first."""
        confidence = self.probabilities.max(1).values
        wrong = (self.read != self.labels).nonzero().flatten()
        order = confidence[wrong].argsort(descending=True, stable=True)
        found: list[int] = wrong[order][:most].tolist()
        return found


@dataclass(frozen=True)
class Examination:
    """A checkpoint and its scores; each sample's reading if that was asked for."""

    checkpoint: Checkpoint
    event: Evaluated
    readings: Readings | None = None


def examine(path: str, config: EvalConfig, *, each: bool) -> Examination:
    """Return the scores of a checkpoint on a split, and how `each` sample was read.

    Raises:
        CheckpointError, DataError: see `load_checkpoint` and `load_dataset`.
        UsageError: the device is not there, or the run held nothing out for validation.

    """
    began = time.perf_counter()
    device = pick_device(config.device)
    checkpoint = load_checkpoint(path)
    split = _split(checkpoint, config).to(device)
    model = checkpoint.build_model().to(device)
    team = Team(threads_for(device))
    result = evaluate(model, split, config.batch_size, team)
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
    if not each:
        return Examination(checkpoint, event)
    probabilities = probabilities_of(model, split, config.batch_size, team)
    readings = Readings(split.images.cpu(), split.labels.long().cpu(), probabilities)
    return Examination(checkpoint, event, readings)


def _split(checkpoint: Checkpoint, config: EvalConfig) -> Split:
    """Return the samples to score; train and val are parted as the training parted them."""
    trained = checkpoint.config
    dataset = config.dataset or trained.dataset
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
