"""Evaluate a network, or a checkpoint, on a split. Every mean is a sum that is divided once."""

import logging
import math
import time
from contextlib import suppress

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mnist_cli.config.own_data import are_same_data, shown_data
from mnist_cli.config.programs import EvalConfig
from mnist_cli.config.quoting import printable, quote
from mnist_cli.config.sources import flag
from mnist_cli.data.augment import shifts_of
from mnist_cli.data.catalogue import class_names
from mnist_cli.data.datasets import load_dataset, load_test
from mnist_cli.data.own.named import (
    OwnDataArguments,
    is_same_file,
    log_summary,
    own_data_options,
    relabelled,
)
from mnist_cli.data.splits import Dataset, Split, train_val_split
from mnist_cli.errors import CheckpointError, DataError, UsageError
from mnist_cli.evaluation.corruptions import CORRUPTIONS, STRENGTHS, corrupted
from mnist_cli.evaluation.metrics import (
    CheckpointEvaluation,
    CorruptedEvaluation,
    EvaluationResult,
)
from mnist_cli.models.checkpoint import Checkpoint, load_checkpoint
from mnist_cli.models.networks import log_mean_probabilities
from mnist_cli.runtime.device import (
    ThreadPool,
    check_torch_modes,
    pick_device,
    threads_for,
    threads_set,
)
from mnist_cli.runtime.distributed.group import AGREED_ENTRIES, ProcessGroup

_log = logging.getLogger(__name__)


def evaluate(
    model: nn.Module,
    split: Split,
    batch_size: int = 1000,
    pool: ThreadPool | None = None,
    group: ProcessGroup | None = None,
    *,
    logits_out: Tensor | None = None,
) -> EvaluationResult:
    """Return the loss and the confusion matrix of `model` on `split`.

    The model computes in evaluation mode and without gradients, and is in its former mode
    afterwards. Model and split are on the same device. `batch_size` bounds the memory that a
    thread needs, and changes the loss by rounding only. The threads of the pool compute whole
    batches. So do the ranks of a group; their sums are added in the order of the batches, so that
    the result equals that of one process to the last bit. `logits_out`, `float32 [N, classes]` on
    the CPU, receives the logits of the samples that this rank computes.

    Raises:
        UsageError: an argument has another type, or `batch_size` is not positive.
        StopRequested, PeerError: see `ProcessGroup.all_reduce`.

    """
    if not isinstance(model, nn.Module):
        raise UsageError(f"model={quote(model)} is no torch.nn.Module")
    if not isinstance(split, Split):
        raise UsageError(f"split={quote(split)} is no Split")
    if type(batch_size) is not int or batch_size < 1:
        raise UsageError(f"batch_size={quote(batch_size)} is not an integer of at least 1")
    check_torch_modes(gradients=False)
    group = group or ProcessGroup()
    starts = range(0, len(split), batch_size)
    own = group.shard(len(starts))
    # The loss of each batch, then the confusion matrix: as doubles, which hold counts exactly.
    classes = len(split.classes)
    sums = torch.zeros(len(starts) + classes * classes + AGREED_ENTRIES, dtype=torch.float64)
    losses = sums[: len(starts)]
    confusion = sums[len(starts) : -AGREED_ENTRIES]

    def evaluate_batch(start: int) -> tuple[Tensor, Tensor]:
        images, labels = split[start : start + batch_size]
        with torch.inference_mode():  # applies to the current thread only
            logits = model(images)
            if logits_out is not None:
                logits_out[start : start + batch_size] = logits
            return _loss_and_confusion(logits, labels.long())

    was_training = model.training
    model.eval()
    try:
        with group.defer_stop():
            results = (pool or ThreadPool()).map(evaluate_batch, starts[own])
            for number, (loss, counts) in enumerate(results, start=own.start):
                losses[number] = loss
                confusion += counts
        group.all_reduce(sums)
    finally:
        model.train(was_training)
    return EvaluationResult(
        sum(losses.tolist()), confusion.long().view(classes, classes), split.classes
    )


def _loss_and_confusion(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return the sum of the losses, `float64 []`, and the confusion matrix, `int64 [C * C]`."""
    classes = logits.shape[1]
    losses = F.cross_entropy(logits, labels, reduction="none").cpu()  # MPS has no doubles
    cells = (labels * classes + logits.argmax(1)).cpu()
    return losses.double().sum(), torch.bincount(cells, minlength=classes * classes)


class ShiftAverage(nn.Module):
    """A network with test-time augmentation, for evaluation.

    Its probabilities are the means of the network's over nine images: the image as it is, and its
    shifts by one pixel up, down, left, right and diagonally, with edges filled with 0.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, pixels: Tensor) -> Tensor:
        """Return the logarithms of the mean probabilities: `[N, 28, 28]` → `[N, classes]`."""
        logits = [self.network(shifted) for shifted in shifts_of(pixels)]
        return log_mean_probabilities(torch.stack(logits, 1))


@threads_set()
def evaluate_checkpoint(path: str, config: EvalConfig) -> CheckpointEvaluation:
    """Return the metrics of a checkpoint on a split, and its prediction for each sample.

    With `tta`, the result with test-time augmentation is measured besides: see `ShiftAverage`.

    Raises:
        CheckpointError: see `load_checkpoint`; or the network's logits overflow.
        DataError: see `load_dataset`.
        UsageError: the device is not available, or the training held no samples out.

    """
    started = time.perf_counter()
    device = pick_device(config.device)
    checkpoint = load_checkpoint(path, config.model)
    checkpoint.check_named()
    name, split = _load_split(checkpoint, config)
    model = checkpoint.build_model().to(device)
    logits = torch.empty(len(split), len(split.classes))
    on_device = split.to(device)
    augmented = corrupted_results = None
    with ThreadPool(threads_for(device)) as pool:
        result = evaluate(model, on_device, config.batch_size, pool, logits_out=logits)
        if config.tta:
            augmented = evaluate(ShiftAverage(model), on_device, config.batch_size, pool)
        if config.corruptions:
            corrupted_results = {
                name: [
                    _evaluate_corrupted(model, corrupted(on_device, name, strength), config, pool)
                    for strength in STRENGTHS
                ]
                for name in CORRUPTIONS
            }
    if not math.isfinite(result.loss):
        name = "standard input" if path == "-" else path
        raise CheckpointError(
            f"{name}: its network computes no finite numbers, its loss is {result.loss}; "
            "train it with a lower --lr"
        )
    return CheckpointEvaluation(
        loss_sum=result.loss_sum,
        confusion=result.confusion,
        classes=result.classes,
        path=path,
        checkpoint=checkpoint,
        dataset=name,
        split=config.split,
        seconds=time.perf_counter() - started,
        images=split.images,
        labels=split.labels.long(),
        logits=logits,
        augmented=augmented,
        corrupted=corrupted_results,
    )


def _evaluate_corrupted(
    model: nn.Module, split: Split, config: EvalConfig, pool: ThreadPool
) -> CorruptedEvaluation:
    result = evaluate(model, split, config.batch_size, pool)
    return CorruptedEvaluation(
        result.loss_sum, result.confusion, result.classes, example=split.images[0].cpu()
    )


def _load_split(checkpoint: Checkpoint, config: EvalConfig) -> tuple[str, Split]:
    """Return the name of the data set, and the samples of it to evaluate on.

    Those to train on and to validate with are divided as in the training.
    """
    given = _how_to_read(config)
    if config.dataset is None and any(given.values()):
        names = ", ".join(flag(name) for name, value in given.items() if value)
        raise UsageError(f"{names} needs --dataset PATH; leave it out")
    trained, asked = checkpoint.config, config.dataset or checkpoint.config.dataset
    if config.split == "test" and class_names(asked) is not None:
        split = load_test(asked, config.data_dir)
        return asked, relabelled(split, checkpoint.classes, asked)
    dataset = _load(checkpoint, config)
    name = shown_data(dataset.name)
    if config.split == "test":
        return name, relabelled(dataset.test, checkpoint.classes, name)
    if not are_same_data(dataset.name, trained.dataset):
        advice = "which has other samples now"
        if config.dataset is not None:
            advice = f"which the checkpoint was trained on; leave --dataset {printable(asked)} out"
        raise UsageError(
            f"--split {config.split} is a part of {shown_data(trained.dataset)}, {advice}"
        )
    train, val = train_val_split(
        dataset.train, val_size=trained.val_size, subset=trained.subset, seed=trained.seed
    )
    if config.split == "train":
        return name, train
    if config.split != "val":
        raise UsageError(f"--split {config.split}: choose test, train or val")
    if not len(val):
        raise UsageError(
            "--split val: this training held no samples out; train with --val-size 5000"
        )
    return name, val


def _how_to_read(config: EvalConfig) -> OwnDataArguments:
    """Return how other data than those of the training are to be read: all are test samples."""
    return {
        "test_size": None,
        "label_column": config.label_column,
        "max_value": config.max_value,
        "transposed": config.transposed,
    }


def _load(checkpoint: Checkpoint, config: EvalConfig) -> Dataset:
    """Return the data set to evaluate on.

    One's own data are divided as in the training if they are the same. Of other data without a
    test set, all samples are one.
    """
    trained, origin = checkpoint.config, checkpoint.data
    asked = config.dataset or (origin.path if origin else trained.dataset)
    given = _how_to_read(config)
    if origin is not None and is_same_file(asked, origin.path) and not any(given.values()):
        return _load_again(asked, checkpoint, config)
    if origin is not None and class_names(asked) is None:
        with suppress(UsageError, DataError):  # they are others, or too few for the same test set
            same = load_dataset(asked, config.data_dir, **own_data_options(trained))
            if are_same_data(same.name, trained.dataset):
                return same
    dataset = load_dataset(asked, config.data_dir, **given)
    log_summary(dataset)
    return dataset


def _load_again(path: str, checkpoint: Checkpoint, config: EvalConfig) -> Dataset:
    """Return one's own data from where they were in the training, and warn if they have changed."""
    trained = checkpoint.config
    try:
        dataset = load_dataset(path, config.data_dir, **own_data_options(trained))
    except DataError as error:
        raise DataError(
            f"{error}\nthe checkpoint was trained on it; name the data with --dataset PATH"
        ) from error
    if not are_same_data(dataset.name, trained.dataset):
        _log.warning(
            "%s has other samples than when the network was trained, so it may have been trained "
            "on some of these test samples",
            printable(path),
        )
    return dataset
