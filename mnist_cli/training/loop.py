"""The training loop: a generator of events, one path for batch and mini-batch."""

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mnist_cli.data.batches import Batch, EpochShape
from mnist_cli.data.catalogue import CLASSES
from mnist_cli.errors import DivergedError
from mnist_cli.events import Progress, Step
from mnist_cli.runtime.distributed.group import ProcessGroup
from mnist_cli.runtime.threads import ThreadPool
from mnist_cli.training.distributed import Gradient, GradientAllReduce, RunningSums
from mnist_cli.training.optim import Optimizer


@dataclass(frozen=True)
class Plan:
    """What is fixed during an epoch.

    `learning_rate` is a function of the update's number. Updates are numbered from 0, from the
    start of training, and so are the steps of the epoch: `first` is the one to begin with.
    """

    epoch: int
    first: int
    shape: EpochShape
    micro_batch_size: int
    learning_rate: Callable[[int], float]
    label_smoothing: float
    clock: Callable[[], float]


def fit(
    model: nn.Module,
    optimizer: Optimizer,
    batches: Iterable[Batch],
    plan: Plan,
    running: RunningSums,
    *,
    pool: ThreadPool,
    group: ProcessGroup | None = None,
) -> Iterator[Step | Progress]:
    """Make one update from each batch, the first being step `plan.first` of the epoch.

    Of several ranks, each has its share of every batch, and all make the same update.

    Yields a `Progress` after each micro-batch; after the last one of an update a `Step` comes
    before it. An update that is abandoned before its `Step` leaves weights, optimizer and sums
    untouched.

    Raises:
        DivergedError: the loss or the gradient is not finite; the update was not made.
        StopRequested, PeerError: see `ProcessGroup.all_reduce`; the update was not made.

    """
    group = group or ProcessGroup()
    model.train()
    parameters: list[Tensor] = list(model.parameters())
    wanted = smoothed_classes(plan.label_smoothing).to(parameters[0])
    exchange = GradientAllReduce(group, parameters)
    seen_before = (plan.epoch - 1) * plan.shape.samples
    for step, (images, labels) in enumerate(batches, start=plan.first):
        size = plan.shape.size_of(step)
        update = (plan.epoch - 1) * plan.shape.updates + step
        lr = plan.learning_rate(update)
        share = Update(model, parameters, images, labels, size, wanted)
        gradient: Gradient = []
        sums = RunningSums()
        pieces = micro_batches(len(labels), plan.micro_batch_size)
        with group.defer_interrupt():
            for part, piece in pool.map(share.part, pieces):
                gradient = list(torch._foreach_add(gradient, part)) if gradient else part
                sums.add(piece)
                if sums.samples < len(labels):
                    yield _progress(plan, lr, running, sums, group.size)
        gradient, sums = exchange.all_reduce(gradient, sums, size)
        loss = sums.loss_sum / size
        if not math.isfinite(loss):
            raise _diverged(f"the loss of update {update + 1} is {loss}", lr)
        if not is_finite(gradient):
            raise _diverged(f"the gradient of update {update + 1} is not finite", lr)
        optimizer.step(gradient, lr)
        running.add(sums)
        yield Step(
            seconds=plan.clock(),
            epoch=plan.epoch,
            step=step + 1,
            update=update + 1,
            samples_seen=seen_before + running.samples,
            loss=loss,
            lr=lr,
        )
        yield _progress(plan, lr, running, RunningSums(), group.size)


def micro_batches(size: int, most: int) -> list[slice]:
    """Divide samples into as few equal parts as have at most `most`; none into none."""
    parts = -(-size // most)
    bounds = [part * size // parts for part in range(parts + 1)] if parts else []
    return [slice(*ends) for ends in pairwise(bounds)]


def is_finite(gradient: Gradient) -> bool:
    """Tell whether every value is finite: one pass of a kernel made for mixed precision."""
    found = gradient[0].new_zeros((), dtype=torch.float32)
    torch._amp_foreach_non_finite_check_and_unscale_(gradient, found, torch.ones_like(found))
    return not bool(found)


def _diverged(what: str, lr: float) -> DivergedError:
    return DivergedError(
        f"training diverged: {what} at a learning rate of {lr:g}; use a smaller --lr"
    )


def smoothed_classes(smoothing: float) -> Tensor:
    """Return a row for each class, `[10, 10]`: the probabilities that its samples should get."""
    return torch.eye(CLASSES, dtype=torch.float64) * (1 - smoothing) + smoothing / CLASSES


def _progress(
    plan: Plan, lr: float, running: RunningSums, under_way: RunningSums, ranks: int
) -> Progress:
    """Return how far an update is; the other ranks' shares are taken to be as far as this one."""
    samples = running.samples + under_way.samples
    seen_before = (plan.epoch - 1) * plan.shape.samples
    return Progress(
        plan.clock(),
        seen_before + running.samples + under_way.samples * ranks,
        (running.loss_sum + under_way.loss_sum) / samples,
        (running.correct + under_way.correct) / samples,
        lr,
    )


@dataclass(frozen=True)
class Update:
    """An update of `size` samples under way, or a rank's share of it.

    `wanted` has a row of wanted probabilities for each class.
    """

    model: nn.Module
    parameters: list[Tensor]
    images: Tensor
    labels: Tensor
    size: int
    wanted: Tensor

    def part(self, part: slice) -> tuple[Gradient, RunningSums]:
        """Return the part that some of its samples have in the gradient of the update's mean loss.

        It is the gradient of their summed loss divided by the size of the update, so that the
        parts add up to the same whatever they are, and whichever ranks have them. By the logits,
        the gradient of the cross-entropy is the predicted probabilities less the wanted ones;
        smoothed labels change what is wanted, and not the loss that is reported.
        """
        targets = self.labels[part].long()
        logits = self.model(self.images[part])
        log_likelihood = F.log_softmax(logits.detach(), 1)
        loss_sum = F.nll_loss(log_likelihood, targets, reduction="sum")
        correct = log_likelihood.argmax(1).eq_(targets).sum()
        excess = log_likelihood.exp_().sub_(self.wanted[targets]).div_(self.size)
        # By the logits, the product's gradient is `excess`. Given to `grad` directly, it would
        # make PyTorch import its symbolic shapes, which takes a third of a second.
        product = torch.dot(logits.view(-1), excess.view(-1))
        gradient = torch.autograd.grad(product, self.parameters)
        return list(gradient), RunningSums(loss_sum.item(), int(correct.item()), len(targets))
