"""The updates of one epoch, as a generator of events: the same for batch and mini-batch."""

import math
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from typing import cast

import torch
from torch import Tensor, _foreach_copy_, nn
from torch.nn import functional as F

from mnist_cli.data.batches import Batch, EpochShape, TrainingShape
from mnist_cli.errors import DivergedError
from mnist_cli.events import Progress, Step
from mnist_cli.models.networks import trained_parameters
from mnist_cli.runtime.device import ThreadPool
from mnist_cli.runtime.distributed.group import AGREED_ENTRIES, ProcessGroup
from mnist_cli.runtime.seeding import stream_seed
from mnist_cli.training.noise_estimate import NoiseSums, two_size_estimate
from mnist_cli.training.optim import Optimizer
from mnist_cli.training.weight_average import WeightAverage

Gradient = list[Tensor]
Targets = Callable[[Tensor, Tensor], Tensor]  # of images and labels [n]: probabilities [n, 10]

_MEASURED = 2  # micro-batches of an update whose gradients' norms are taken, at most


@dataclass
class RunningSums:
    """The sums of loss, correct predictions and samples over the samples trained on so far.

    `squares` sums b |g|² over micro-batches whose gradients were measured: g is the mean gradient
    of the b samples. `noise` sums what whole updates tell of the gradient's noise.
    """

    loss_sum: float = 0.0
    correct: int = 0
    samples: int = 0
    squares: float = 0.0
    noise: NoiseSums = field(default_factory=NoiseSums)

    def add(self, other: "RunningSums") -> None:
        """Add the sums over other samples, except for the noise."""
        self.loss_sum += other.loss_sum
        self.correct += other.correct
        self.samples += other.samples
        self.squares += other.squares


@dataclass(frozen=True)
class EpochPlan:
    """What stays the same during an epoch.

    `learning_rate` is a function of the update's number. Updates count from 0 since the start of
    training, steps from 0 since the start of the epoch; `first` is the step to begin with. If the
    gradient's noise is to be estimated, `drawn_from` is the number of samples that the updates are
    drawn from at random: infinite if with replacement. `reads` is for a device that computes while
    the host goes on: it returns True for the updates, counted from 1, after which the host waits
    for the losses. Each update then has to be a single micro-batch. So it has with a `seed`, of
    the numbers that the network draws, or changes its buffers: see `in_one_piece`.
    """

    epoch: int
    first: int
    training: TrainingShape
    micro_batch_size: int
    learning_rate: Callable[[int], float]
    label_smoothing: float
    clock: Callable[[], float]
    drawn_from: float | None = None
    precision: str = "float32"
    reads: Callable[[int], bool] | None = None
    seed: int | None = None
    classes: int = 10

    def measured_slices(self, step: int, slices: list[slice]) -> list[slice]:
        """Return those of a rank's micro-batches whose gradients are measured: two at most.

        All of them would hardly tell more: the whole has most of the noise in |G|². A smaller last
        update is left out, whose estimate would be the noisiest, and so is the update of an epoch
        that has no other, since it is not drawn at random.
        """
        size = self.shape.size_of(step)
        is_whole = slices[:1] == [slice(0, size)]
        is_alone = self.shape.updates == 1
        if self.drawn_from is None or size < self.shape.update_size or is_whole or is_alone:
            return []
        return slices[:_MEASURED]

    @cached_property
    def shape(self) -> EpochShape:
        """The division of the epoch."""
        return self.training.epoch_shape(self.epoch)

    @cached_property
    def updates_before(self) -> int:
        """The updates of the epochs before this one."""
        return self.training.updates_before(self.epoch)

    @cached_property
    def samples_before(self) -> int:
        """The samples of the epochs before this one."""
        return self.training.samples_before(self.epoch)


def fit(
    model: nn.Module,
    optimizer: Optimizer,
    batches: Iterable[Batch],
    plan: EpochPlan,
    epoch_sums: RunningSums,
    *,
    pool: ThreadPool,
    group: ProcessGroup | None = None,
    teacher: nn.Module | None = None,
    average: WeightAverage | None = None,
) -> Iterator[Step | Progress]:
    """Make one update from each batch, beginning with step `plan.first` of the epoch.

    With a `teacher`, its probabilities are the targets instead of the labels. The weights after
    each update are added to the `average`.

    Each rank of a group gets its shard of every batch, and all ranks make the same update.

    Yields a `Progress` after every micro-batch, preceded by a `Step` when it completes an update.
    An update that is abandoned before its `Step` leaves weights, optimizer and `epoch_sums`
    unchanged.

    Raises:
        DivergedError: the loss or the gradient is not finite; the update was not made.
        StopRequested, PeerError: see `ProcessGroup.all_reduce`; the update was not made.

    """
    group = group or ProcessGroup()
    model.train()
    parameters: list[Tensor] = [*trained_parameters(model)]
    targets = label_targets(plan.label_smoothing, plan.classes, parameters[0])
    if teacher is not None:
        targets = teacher_targets(teacher, plan.precision)
    gradient_all_reduce = GradientAllReduce(group, parameters)
    unread = UnreadUpdates(parameters[0].device)
    for step, (images, labels) in enumerate(batches, start=plan.first):
        size = plan.shape.size_of(step)
        number = plan.updates_before + step
        lr = plan.learning_rate(number)
        divisor = plan.shape.divisor_of(step)
        slices = micro_batches(len(labels), plan.micro_batch_size)
        measured = plan.measured_slices(step, slices)
        update = Update(
            model, parameters, images, labels, divisor, targets, measured, plan.precision
        )
        gradient: Gradient = []
        sums = RunningSums()
        if plan.reads is not None:
            gradient, micro_sums = update.gradient_of(slice(None))
            unread.add(micro_sums, gradient, number, lr)
            optimizer.step(gradient, lr, unless=unread.not_finite)
            if average is not None:
                average.add(parameters, number + 1)
            if plan.reads(number + 1):
                *before, last = unread.read(optimizer)
                for each in before:
                    epoch_sums.add(each)
                yield from _end_of_update(plan, step, epoch_sums, last)
            continue
        with in_one_piece(model, plan.seed, number), group.defer_stop():
            for addend, micro_sums in pool.map(update.gradient_of, slices):
                gradient = list(torch._foreach_add(gradient, addend)) if gradient else addend
                sums.add(micro_sums.read())
                if sums.samples < len(labels):
                    yield _progress(plan, lr, epoch_sums, sums, group.size)
        own = sums
        gradient, sums = gradient_all_reduce.all_reduce(gradient, sums, size)
        loss = sums.loss_sum / size
        if not math.isfinite(loss):
            raise _diverged(optimizer, number, lr, loss)
        if not is_finite(gradient):
            raise _diverged(optimizer, number, lr)
        if measured and plan.drawn_from is not None:
            # Only from this rank's micro-batches: a longer vector would be summed in other
            # segments by three ranks or more, and round otherwise.
            count = measured[-1].stop
            squares = (own.squares / count, square_norm(gradient))
            sizes = (count / len(measured), size)
            epoch_sums.noise.add(*two_size_estimate(sizes, squares, plan.drawn_from))
        optimizer.step(gradient, lr)
        if average is not None:
            average.add(parameters, number + 1)
        yield from _end_of_update(plan, step, epoch_sums, sums)


@contextmanager
def in_one_piece(model: nn.Module, seed: int | None, number: int) -> Iterator[None]:
    """Make the update in the block repeatable, for a network that draws numbers or has a state.

    The numbers are those of the seed and the number of the update. If the update is abandoned, the
    buffers are as they were. Without a seed nothing is done.
    """
    if seed is None:
        yield
        return
    before = [buffer.clone() for buffer in model.buffers()]
    devices = sorted({p.device.index or 0 for p in model.parameters() if p.device.type == "cuda"})
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(stream_seed(seed, "network", number))
        try:
            yield
        except BaseException:
            for buffer, value in zip(model.buffers(), before, strict=True):
                buffer.copy_(value)
            raise


def _diverged(
    optimizer: Optimizer, number: int, lr: float, loss: float | None = None
) -> DivergedError:
    """Return the error of an update, counted from 0, whose loss or gradient is not finite."""
    what = f"gradient of update {number + 1} is not finite"
    if loss is not None:
        what = f"loss of update {number + 1} is {loss}"
    return optimizer.diverged(f"the {what}", lr)


def _end_of_update(
    plan: EpochPlan, step: int, epoch_sums: RunningSums, sums: RunningSums
) -> Iterator[Step | Progress]:
    """Add the sums of an update to those of the epoch; yield its events."""
    epoch_sums.add(sums)
    number, loss = plan.updates_before + step, sums.loss_sum / sums.samples
    lr = plan.learning_rate(number)
    yield Step(
        seconds=plan.clock(),
        epoch=plan.epoch,
        step=step + 1,
        update=number + 1,
        samples_seen=plan.samples_before + epoch_sums.samples,
        loss=loss,
        lr=lr,
        updates_per_epoch=plan.shape.updates,
    )
    nothing = RunningSums()
    yield _progress(plan, lr, epoch_sums, nothing, update=number + 1, update_loss=loss)


@dataclass(frozen=True)
class MicroBatchSums:
    """The sums of a micro-batch, still on the device: `totals` are its loss and correct samples."""

    totals: Tensor
    samples: int
    squares: float = 0.0

    def read(self) -> RunningSums:
        """Return the sums as numbers, for which the host waits."""
        loss_sum, correct = self.totals.tolist()
        return RunningSums(loss_sum, int(correct), self.samples, self.squares)


class UnreadUpdates:
    """The sums of updates that a device has been asked for, and the host has not read yet.

    `not_finite` is 1 as soon as a loss or a gradient is not finite. The updates from then on change
    nothing, if the optimizer is given it.
    """

    def __init__(self, device: torch.device) -> None:
        self.not_finite = torch.zeros((), device=device)
        self._one = torch.ones((), device=device)
        self._rows: list[Tensor] = []
        self._updates: list[tuple[int, float, int]] = []

    def add(self, sums: MicroBatchSums, gradient: Gradient, number: int, lr: float) -> None:
        """Add update `number`, counted from 0, which has a single micro-batch."""
        torch._amp_foreach_non_finite_check_and_unscale_(gradient, self.not_finite, self._one)
        is_bad = sums.totals[:1].isfinite().logical_not_().to(self.not_finite)
        self.not_finite.copy_(torch.maximum(self.not_finite, is_bad[0]))
        self._rows.append(torch.cat([sums.totals, self.not_finite.view(1).to(sums.totals)]))
        self._updates.append((number, lr, sums.samples))

    def read(self, optimizer: Optimizer) -> list[RunningSums]:
        """Return the sums of each update; the host waits for the device.

        Raises:
            DivergedError: the loss or the gradient of one is not finite.

        """
        rows, updates = torch.stack(self._rows).tolist(), self._updates
        self._rows, self._updates = [], []
        for (loss_sum, _, is_bad), (number, lr, samples) in zip(rows, updates, strict=True):
            if is_bad:
                loss = loss_sum / samples
                raise _diverged(optimizer, number, lr, None if math.isfinite(loss) else loss)
        return [
            RunningSums(loss_sum, int(correct), samples)
            for (loss_sum, correct, _), (_, _, samples) in zip(rows, updates, strict=True)
        ]


@dataclass(frozen=True)
class Update:
    """One update; `images` and `labels` may be a rank's shard of its samples.

    `divisor` is the number by which the summed gradient is divided: that of all its samples, unless
    `EpochShape.divisor_of` says otherwise. `targets` returns the target probabilities of images
    and labels. The sums of the `measured` micro-batches have the squared norms of their gradients.
    """

    model: nn.Module
    parameters: list[Tensor]
    images: Tensor
    labels: Tensor
    divisor: int
    targets: Targets
    measured: Container[slice] = ()
    precision: str = "float32"

    def gradient_of(self, micro_batch: slice) -> tuple[Gradient, MicroBatchSums]:
        """Return what a micro-batch adds to the gradient of the update's mean loss, and its sums.

        This is the gradient of the micro-batch's summed loss divided by the update's divisor. So
        the gradients of all micro-batches add up to that of the mean, however the samples are
        divided among micro-batches and ranks. Label smoothing and a teacher change the target
        probabilities, but not the loss that is reported. The loss of an ensemble is the mean of its
        members' losses, but each member's gradient is that of its own loss.
        """
        images, labels = self.images[micro_batch], self.labels[micro_batch].long()
        logits = forward(self.model, images, self.precision)
        members = logits.shape[1] if logits.ndim == 3 else 1
        each = labels.repeat_interleave(members) if members > 1 else labels
        log_likelihood = F.log_softmax(logits.detach().flatten(0, -2), 1)
        loss_sum = F.nll_loss(log_likelihood, each, reduction="sum") / members
        joint = log_likelihood.view(len(labels), members, -1)
        prediction = (joint.logsumexp(1) if members > 1 else joint[:, 0]).argmax(1)
        correct = prediction.eq_(labels).sum()
        # The gradient of the cross-entropy by the logits: predicted less target probabilities.
        logit_gradient = (
            log_likelihood.exp_().sub_(self._targets_of(images, labels, members)).div_(self.divisor)
        )
        # The gradient of this product with respect to the logits is `logit_gradient`. Passing that
        # as `grad_outputs` makes PyTorch import its symbolic shapes: a third of a second.
        product = torch.dot(logits.view(-1), logit_gradient.view(-1))
        gradient = list(torch.autograd.grad(product, self.parameters))
        squares = 0.0
        if micro_batch in self.measured:
            squares = square_norm(gradient) * self.divisor**2 / len(labels)
        totals = torch.stack([loss_sum, correct.to(loss_sum)])  # counts below 2^24 are exact
        return gradient, MicroBatchSums(totals, len(labels), squares)

    def _targets_of(self, images: Tensor, labels: Tensor, members: int) -> Tensor:
        """Return the target probabilities of each member for each sample, `[n * members, C]`."""
        targets = self.targets(images, labels)
        return targets.repeat_interleave(members, 0) if members > 1 else targets


class GradientAllReduce:
    """Sums the gradients of all ranks in one vector, together with the running sums.

    `torch.nn.parallel.DistributedDataParallel` would average the ranks' gradients, which is wrong
    where their shards differ by a sample; it would send them in several buckets, at every
    micro-batch unless told otherwise; and it hooks into `loss.backward()`, which the loop does not
    call. Here one vector is summed once an update; it also holds the loss and what the ranks must
    agree on.
    """

    def __init__(self, group: ProcessGroup, parameters: Sequence[Tensor]) -> None:
        self._group = group
        if group.size > 1:
            count = sum(parameter.numel() for parameter in parameters)
            self._vector = parameters[0].new_zeros(count + 2 + AGREED_ENTRIES)
            self._sums = self._vector[count : count + 2]
            self._gradient: Gradient = []
            start = 0
            for parameter in parameters:  # with the strides of the parameter
                self._gradient.append(
                    self._vector.as_strided(parameter.shape, parameter.stride(), start)
                )
                start += parameter.numel()

    def all_reduce(
        self, gradient: Gradient, sums: RunningSums, size: int
    ) -> tuple[Gradient, RunningSums]:
        """Return the gradient and the sums over all ranks, for an update of `size` samples.

        A rank without samples passes empty ones. The gradient is valid until the next call.

        Raises:
            StopRequested, PeerError: see `ProcessGroup.all_reduce`.

        """
        if self._group.size == 1:
            return gradient, sums
        if gradient:
            _foreach_copy_(self._gradient, gradient)
        else:
            self._vector.zero_()
        self._sums.copy_(self._sums.new_tensor([sums.loss_sum, sums.correct]))
        self._group.all_reduce(self._vector)
        loss_sum, correct = self._sums.tolist()
        return self._gradient, RunningSums(loss_sum, int(correct), size)


def label_targets(label_smoothing: float, classes: int, like: Tensor) -> Targets:
    """Return the target probabilities that labels have, with the device and type of a tensor."""
    table = torch.eye(classes, dtype=torch.float64) * (1 - label_smoothing)
    table = (table + label_smoothing / classes).to(like)
    return lambda _images, labels: table[labels]


def teacher_targets(teacher: nn.Module, precision: str = "float32") -> Targets:
    """Return the probabilities of a trained network as target probabilities (Hinton et al. 2015).

    They are computed for the images as they are trained on. The network stays as it is.
    """
    teacher.eval().requires_grad_(requires_grad=False)
    return lambda images, _labels: forward(teacher, images, precision).softmax(1)


def forward(model: nn.Module, images: Tensor, precision: str) -> Tensor:
    """Return the logits of a network that computes in a precision, `float32` or `bfloat16`.

    In `bfloat16`, convolutions and dense layers are computed with rounded inputs and weights, and
    sums of float32. The logits are as precise as the weights.
    """
    if precision != "bfloat16":
        return cast("Tensor", model(images))
    with torch.autocast(images.device.type, torch.bfloat16):
        return cast("Tensor", model(images).float())


def micro_batches(size: int, largest: int) -> list[slice]:
    """Divide `size` samples into as few equal micro-batches as have at most `largest` samples."""
    count = -(-size // largest)
    bounds = [k * size // count for k in range(count + 1)] if count else []
    return [slice(*ends) for ends in pairwise(bounds)]


def square_norm(gradient: Gradient) -> float:
    """Return the sum of the squares of all values; infinite if it overflows."""
    return math.fsum(float(norm) ** 2 for norm in torch._foreach_norm(gradient))


def is_finite(gradient: Gradient) -> bool:
    """Return True if every value is finite.

    The kernel for mixed precision checks all tensors in one pass.
    """
    found = gradient[0].new_zeros((), dtype=torch.float32)
    torch._amp_foreach_non_finite_check_and_unscale_(gradient, found, torch.ones_like(found))
    return not bool(found)


def _progress(
    plan: EpochPlan,
    lr: float,
    epoch_sums: RunningSums,
    sums: RunningSums,
    ranks: int = 1,
    *,
    update: int | None = None,
    update_loss: float | None = None,
) -> Progress:
    """Return the progress of an epoch; the other ranks are assumed to be as far as this one."""
    samples = epoch_sums.samples + sums.samples
    of_all_ranks = epoch_sums.samples + sums.samples * ranks
    return Progress(
        seconds=plan.clock(),
        epoch=plan.epoch,
        epoch_share=min(of_all_ranks / plan.shape.samples, 1.0),
        samples_seen=plan.samples_before + of_all_ranks,
        loss=(epoch_sums.loss_sum + sums.loss_sum) / samples,
        accuracy=(epoch_sums.correct + sums.correct) / samples,
        lr=lr,
        update=update,
        update_loss=update_loss,
    )
