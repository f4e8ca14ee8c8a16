"""Scores of a network on a split, from sums that are divided once."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mnist_cli.data.catalogue import CLASSES
from mnist_cli.data.datasets import Split
from mnist_cli.evaluation.metrics import Score
from mnist_cli.runtime.distributed.group import TAIL, ProcessGroup
from mnist_cli.runtime.threads import ThreadPool


def evaluate(
    model: nn.Module,
    split: Split,
    batch_size: int = 1000,
    pool: ThreadPool | None = None,
    group: ProcessGroup | None = None,
) -> Score:
    """Return the score of `model` on `split`, in evaluation mode and without gradients.

    The network and the split are on the same device. `batch_size` bounds the memory that a
    thread needs, and changes the loss by no more than rounding. The pool shares the batches out;
    of several ranks, each takes whole batches, and their sums are added in the order of the
    batches, so that the score is that of one process to the last bit.

    Raises:
        StopRequested, PeerError: see `ProcessGroup.all_reduce`.

    """
    group = group or ProcessGroup()
    was_training = model.training
    model.eval()
    starts = range(0, len(split), batch_size)
    own = group.share(len(starts))
    # The loss of each batch, then the counts: as doubles, which hold them exactly.
    sums = torch.zeros(len(starts) + CLASSES * CLASSES + TAIL, dtype=torch.float64)
    losses = sums[: len(starts)]
    confusion = sums[len(starts) : -TAIL]

    def score(start: int) -> tuple[Tensor, Tensor]:
        images, labels = split[start : start + batch_size]
        with torch.inference_mode():  # a thread's own
            return _counted(model(images), labels.long())

    with group.defer_interrupt():
        found = (pool or ThreadPool()).map(score, starts[own])
        for number, (loss, counts) in enumerate(found, start=own.start):
            losses[number] = loss
            confusion += counts
    group.all_reduce(sums)
    model.train(was_training)
    counts = confusion.long().view(CLASSES, CLASSES)
    return Score(sum(losses.tolist()), counts)


def logits_of(
    model: nn.Module, split: Split, batch_size: int = 1000, pool: ThreadPool | None = None
) -> Tensor:
    """Return what `model`, in evaluation mode, computes of each sample, `float32 [N, 10]`.

    The network and the split are on the same device; the result is on the CPU.
    """
    was_training = model.training
    model.eval()

    def read(start: int) -> Tensor:
        with torch.inference_mode():  # a thread's own
            logits: Tensor = model(split[start : start + batch_size][0])
            return logits.cpu()

    found = list((pool or ThreadPool()).map(read, range(0, len(split), batch_size)))
    model.train(was_training)
    return torch.cat(found)


def score_of(logits: Tensor, labels: Tensor, batch_size: int = 1000) -> Score:
    """Return the score that `evaluate` gives where these are the logits, to the last bit.

    Logits are `float32 [N, 10]`, labels `int64 [N]`.
    """
    starts = range(0, len(labels), batch_size)
    found = [_counted(logits[n : n + batch_size], labels[n : n + batch_size]) for n in starts]
    losses, counts = zip(*found, strict=True)
    return Score(sum(map(float, losses)), torch.stack(counts).sum(0).view(CLASSES, CLASSES))


def _counted(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return the sum of the losses, `float64 []`, and of each label and reading, `int64 [100]`."""
    each = F.cross_entropy(logits, labels, reduction="none").cpu()  # MPS has no doubles
    pairs = (labels * CLASSES + logits.argmax(1)).cpu()
    return each.double().sum(), torch.bincount(pairs, minlength=CLASSES * CLASSES)
