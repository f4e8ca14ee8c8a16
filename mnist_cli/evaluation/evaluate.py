"""Evaluate a network, or a checkpoint, on a split. Every mean is a sum that is divided once."""

import math
import time

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mnist_cli.config.programs import EvalConfig
from mnist_cli.config.quoting import quote
from mnist_cli.data.augment import shifts_of
from mnist_cli.data.catalogue import CLASSES
from mnist_cli.data.datasets import Split, load_dataset, load_test, train_val_split
from mnist_cli.errors import CheckpointError, UsageError
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
    the result equals that of one process to the last bit. `logits_out`, `float32 [N, 10]` on the
    CPU, receives the logits of the samples that this rank computes.

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
    sums = torch.zeros(len(starts) + CLASSES * CLASSES + AGREED_ENTRIES, dtype=torch.float64)
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
    return EvaluationResult(sum(losses.tolist()), confusion.long().view(CLASSES, CLASSES))


def _loss_and_confusion(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return the sum of the losses, `float64 []`, and the confusion matrix, `int64 [100]`."""
    losses = F.cross_entropy(logits, labels, reduction="none").cpu()  # MPS has no doubles
    cells = (labels * CLASSES + logits.argmax(1)).cpu()
    return losses.double().sum(), torch.bincount(cells, minlength=CLASSES * CLASSES)


class ShiftAverage(nn.Module):
    """A network with test-time augmentation, for evaluation.

    Its probabilities are the means of the network's over nine images: the image as it is, and its
    shifts by one pixel up, down, left, right and diagonally, with edges filled with 0.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, pixels: Tensor) -> Tensor:
        """Return the logarithms of the mean probabilities: `[N, 28, 28]` → `[N, 10]`."""
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
    dataset = config.dataset or checkpoint.config.dataset
    split = _load_split(checkpoint, dataset, config)
    model = checkpoint.build_model().to(device)
    logits = torch.empty(len(split), CLASSES)
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
        path=path,
        checkpoint=checkpoint,
        dataset=dataset,
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
    return CorruptedEvaluation(result.loss_sum, result.confusion, split.images[0].cpu())


def _load_split(checkpoint: Checkpoint, dataset: str, config: EvalConfig) -> Split:
    """Return the samples to evaluate on; train and val are divided as in the training."""
    trained = checkpoint.config
    if config.split == "test":
        return load_test(dataset, config.data_dir)
    if dataset != trained.dataset:
        raise UsageError(
            f"--split {config.split} is a part of {trained.dataset}, which the checkpoint was "
            f"trained on; leave --dataset {dataset} out"
        )
    train, val = train_val_split(
        load_dataset(dataset, config.data_dir).train,
        val_size=trained.val_size,
        subset=trained.subset,
        seed=trained.seed,
    )
    if config.split == "train":
        return train
    if config.split != "val":
        raise UsageError(f"--split {config.split}: choose test, train or val")
    if not len(val):
        raise UsageError(
            "--split val: this training held no samples out; train with --val-size 5000"
        )
    return val
