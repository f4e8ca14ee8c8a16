"""The training loop: a generator of events, one path for batch and mini-batch."""

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional as F

from mnist_cli.augment import shift
from mnist_cli.errors import DivergedError
from mnist_cli.events import Progress, Step
from mnist_cli.loaders import Batch, EpochShape
from mnist_cli.optim import Optimizer


@dataclass
class Tally:
    """Sums over samples that were trained on."""

    loss_sum: float = 0.0
    correct: int = 0
    samples: int = 0

    def add(self, other: "Tally") -> None:
        """Add the sums over other samples."""
        self.loss_sum += other.loss_sum
        self.correct += other.correct
        self.samples += other.samples


@dataclass(frozen=True)
class Plan:
    """What is fixed during an epoch.

    `learning_rate` is a function of the update's number; `shifts` of that number and the update's
    size, and returns `[size, 2]`. Updates are numbered from 0, from the start of training, and so
    are the steps of the epoch: `first` is the one to begin with.
    """

    epoch: int
    first: int
    shape: EpochShape
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

    Yields a `Progress` after each micro-batch; after the last one of an update a `Step` comes
    before it. An update that is abandoned before its `Step` leaves weights, optimizer and tally
    untouched.

    Raises:
        DivergedError: the loss is not finite; the update that it belongs to was not made.

    """
    model.train()
    seen_before = (plan.epoch - 1) * plan.shape.samples
    for step, (images, labels) in enumerate(batches, start=plan.first):
        update = (plan.epoch - 1) * plan.shape.updates + step
        lr = plan.learning_rate(update)
        optimizer.zero_grad()
        sums = Tally()
        for piece in _gradients(model, images, labels, plan, update):
            sums.add(piece)
            if sums.samples < len(labels):
                yield _progress(plan, seen_before, tally, sums)
        loss = sums.loss_sum / len(labels)
        if not math.isfinite(loss):
            raise DivergedError(
                f"training diverged: the loss of update {update + 1} is {loss} at a learning rate "
                f"of {lr:g}; use a smaller --lr"
            )
        optimizer.step(lr)
        tally.add(sums)
        yield Step(
            seconds=plan.clock(),
            epoch=plan.epoch,
            step=step + 1,
            update=update + 1,
            samples_seen=seen_before + tally.samples,
            loss=loss,
            lr=lr,
        )
        yield _progress(plan, seen_before, tally, Tally())


def _progress(plan: Plan, seen_before: int, tally: Tally, under_way: Tally) -> Progress:
    samples = tally.samples + under_way.samples
    return Progress(
        plan.clock(),
        seen_before + samples,
        (tally.loss_sum + under_way.loss_sum) / samples,
        (tally.correct + under_way.correct) / samples,
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
