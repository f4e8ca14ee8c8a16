"""The training loop: a generator of events, one path for batch and mini-batch."""

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional as F

from mnist_cli.augment import shift
from mnist_cli.errors import DivergedError
from mnist_cli.events import Progress, Step
from mnist_cli.loaders import Batch
from mnist_cli.optim import Optimizer


@dataclass
class Tally:
    """Sums over the samples that an epoch has trained on so far."""

    loss_sum: float = 0.0
    correct: int = 0
    samples: int = 0


@dataclass(frozen=True)
class Plan:
    """What is fixed during an epoch.

    `learning_rate` is a function of the update's number; `shifts` of that number and the update's
    size, and returns `[size, 2]`. Updates are
    numbered from 0, from the start of training, and so are the steps of the epoch: `first` is the
    one to begin with.
    """

    epoch: int
    first: int
    samples: int
    updates_per_epoch: int
    micro_batch_size: int
    learning_rate: Callable[[int], float]
    shifts: Callable[[int, int], Tensor] | None
    label_smoothing: float
    clock: Callable[[], float]


def fit(
    model: nn.Module,
    optimizer: Optimizer,
    batches: Iterable[Batch],
    plan: Plan,
    tally: Tally,
) -> Iterator[Step | Progress]:
    """Make one update from each batch, the first being step `plan.first` of the epoch.

    Yields a `Step` after each update, and a `Progress` after each micro-batch but the last. An
    update that is abandoned at a `Progress` leaves weights, optimizer and tally untouched.

    Raises:
        DivergedError: the loss is not finite; the update that it belongs to was not made.

    """
    model.train()
    seen_before = (plan.epoch - 1) * plan.samples
    for step, (images, labels) in enumerate(batches, start=plan.first):
        update = (plan.epoch - 1) * plan.updates_per_epoch + step
        lr = plan.learning_rate(update)
        optimizer.zero_grad()
        mean = Tally()
        for part in _gradients(model, images, labels, plan, update):
            mean.loss_sum += part.loss_sum
            mean.correct += part.correct
            mean.samples += part.samples
            if mean.samples < len(labels):
                yield Progress(plan.clock(), seen_before + tally.samples + mean.samples)
        loss = mean.loss_sum / len(labels)
        if not math.isfinite(loss):
            raise DivergedError(
                f"training diverged: the loss of update {update + 1} is {loss} at a learning rate "
                f"of {lr:g}; use a smaller --lr"
            )
        optimizer.step(lr)
        tally.loss_sum += mean.loss_sum
        tally.correct += mean.correct
        tally.samples += mean.samples
        yield Step(
            seconds=plan.clock(),
            epoch=plan.epoch,
            step=step + 1,
            update=update + 1,
            samples_seen=seen_before + tally.samples,
            loss=loss,
            lr=lr,
        )


def _gradients(
    model: nn.Module, images: Tensor, labels: Tensor, plan: Plan, update: int
) -> Iterator[Tally]:
    """Add up the gradient of the mean loss over an update, a micro-batch at a time.

    Each contributes the gradient of its summed loss divided by the size of the update, so that
    the total is the same whatever the pieces, a ragged last one included.
    """
    size = len(labels)
    shifts = plan.shifts(update, size) if plan.shifts else None
    for start in range(0, size, plan.micro_batch_size):
        piece = slice(start, start + plan.micro_batch_size)
        inputs = images[piece] if shifts is None else shift(images[piece], shifts[piece])
        targets = labels[piece].long()
        logits = model(inputs)
        log_likelihood = F.log_softmax(logits, 1)
        loss_sum = F.nll_loss(log_likelihood, targets, reduction="sum")
        objective = loss_sum
        if plan.label_smoothing:
            uniform = -log_likelihood.mean(1).sum()
            objective = loss_sum.lerp(uniform, plan.label_smoothing)
        (objective / size).backward()  # type: ignore[no-untyped-call]
        correct = (logits.detach().argmax(1) == targets).sum()
        yield Tally(loss_sum.item(), int(correct.item()), len(targets))
