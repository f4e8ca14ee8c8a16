"""The batches of an epoch: shuffled, fetched in a few large operations and, if asked, augmented."""

from bisect import bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Sampler

from mnist_cli.config.batch_schedule import check_enough_samples, growing_sizes
from mnist_cli.config.train import TrainConfig
from mnist_cli.data.augment import Augmentation, Item, Unchanged
from mnist_cli.data.splits import Split
from mnist_cli.errors import UsageError
from mnist_cli.runtime.seeding import stream

Batch = tuple[Tensor, Tensor]
FETCH = 1024  # samples fetched by one operation, unless an update has more


@dataclass(frozen=True)
class EpochShape:
    """The division of an epoch into updates of `update_size` samples; the last may be smaller.

    With a `last_batch` of `drop` there is no smaller one; with `scale` its summed gradient is
    divided by `update_size`, as those of the others are.
    """

    training_samples: int
    update_size: int
    last_batch: str = "keep"

    @property
    def samples(self) -> int:
        """The number of samples in the updates of an epoch."""
        dropped = self.training_samples % self.update_size if self.last_batch == "drop" else 0
        return self.training_samples - dropped

    @property
    def updates(self) -> int:
        """The number of updates in an epoch."""
        return -(-self.samples // self.update_size)

    def size_of(self, step: int) -> int:
        """Return the number of samples in update `step` of the epoch, counted from 0."""
        return min(self.update_size, self.samples - step * self.update_size)

    def divisor_of(self, step: int) -> int:
        """Return the number by which the summed gradient of update `step` is divided."""
        return self.update_size if self.last_batch == "scale" else self.size_of(step)


@dataclass(frozen=True)
class _Stage:
    """Epochs of the same shape; the counts are those of the stages before."""

    shape: EpochShape
    epochs_before: int
    updates_before: int
    samples_before: int


@dataclass(frozen=True)
class TrainingShape:
    """The division of a training of `epochs` epochs into updates.

    The epochs are divided among stages, one for each of the `shapes`: equally, or with one epoch
    less in the first stages. The last stage also has what lies beyond the planned epochs. Updates
    count from 0 since the start of training, steps from 0 since that of the epoch, epochs from 1.
    """

    epochs: int
    shapes: tuple[EpochShape, ...]

    @cached_property
    def _stages(self) -> list[_Stage]:
        stages = []
        length, longer = divmod(self.epochs, len(self.shapes))
        epochs = updates = samples = 0
        for place, shape in enumerate(self.shapes, start=1):
            stages.append(_Stage(shape, epochs, updates, samples))
            more = length + (place > len(self.shapes) - longer)
            epochs += more
            updates += more * shape.updates
            samples += more * shape.samples
        return stages

    @property
    def updates(self) -> int:
        """The number of updates in all planned epochs."""
        return self.updates_before(self.epochs + 1)

    def epoch_shape(self, epoch: int) -> EpochShape:
        """Return the division of an epoch."""
        return self._stage_of(epoch).shape

    def updates_before(self, epoch: int) -> int:
        """Return the number of updates in the epochs before an epoch."""
        stage = self._stage_of(epoch)
        return stage.updates_before + (epoch - 1 - stage.epochs_before) * stage.shape.updates

    def samples_before(self, epoch: int) -> int:
        """Return the number of samples in the updates of the epochs before an epoch."""
        stage = self._stage_of(epoch)
        return stage.samples_before + (epoch - 1 - stage.epochs_before) * stage.shape.samples

    def place_of(self, update: int) -> tuple[int, int]:
        """Return the epoch and the step of an update."""
        later = bisect_right(self._stages, update, key=lambda stage: stage.updates_before)
        stage = self._stages[later - 1]
        epochs, step = divmod(update - stage.updates_before, stage.shape.updates)
        return stage.epochs_before + epochs + 1, step

    def epochs_begun(self, updates: int) -> int:
        """Return the number of epochs that the first `updates` updates belong to."""
        return self.place_of(updates - 1)[0] if updates else 0

    def samples_seen(self, updates: int) -> int:
        """Return the number of samples in the first `updates` updates."""
        epoch, step = self.place_of(updates)
        return self.samples_before(epoch) + step * self.epoch_shape(epoch).update_size

    def _stage_of(self, epoch: int) -> _Stage:
        later = bisect_right(self._stages, epoch - 1, key=lambda stage: stage.epochs_before)
        return self._stages[later - 1]


Shard = Callable[[int], slice]  # takes the size of an update, returns the samples to fetch


def full_batch(count: int) -> slice:
    """Return all samples of an update: the shard of a single process."""
    return slice(0, count)


class FetchSampler(Sampler[Item]):
    """The indices of an epoch's samples, update by update; small updates are fetched together.

    Updates of `FETCH` samples or more are restricted to a `shard`. Without an `order` the indices
    are slices, which fetch views instead of copies.
    """

    def __init__(
        self,
        shape: EpochShape,
        order: Tensor | None,
        *,
        first: int,
        shard: Shard,
    ) -> None:
        self.together = max(1, FETCH // shape.update_size)
        self._shard = shard if self.together == 1 else full_batch
        self._shape = shape
        self._steps = range(first, shape.updates, self.together)
        self._order = order

    def __iter__(self) -> Iterator[Item]:
        size = self._shape.update_size
        for step in self._steps:
            first = step * size
            shard = self._shard(min(self.together * size, self._shape.samples - first))
            samples = slice(first + shard.start, first + shard.stop)
            yield samples if self._order is None else self._order[samples], samples.start


def epoch_updates(
    dataset: Split | Augmentation,
    *,
    size: int,
    seed: int,
    epoch: int,
    shuffle: bool = True,
    replacement: bool = False,
    last_batch: str = "keep",
    first: int = 0,
    shard: Shard = full_batch,
) -> Iterator[Batch]:
    """Yield the images and labels of each update of an epoch, starting with update `first`.

    Each rank gets only its `shard` of an update, possibly empty. The order depends on (seed, epoch)
    alone; an update of all samples is not shuffled. With `replacement` as many samples are drawn as
    there are, each from all of them, whatever was drawn before.
    """
    dataset = Unchanged(dataset) if isinstance(dataset, Split) else dataset
    samples = len(dataset.split)
    shape = EpochShape(samples, size, last_batch)
    order = None
    if replacement:
        order = torch.randint(samples, (samples,), generator=stream(seed, "draws", epoch))
    elif shuffle and size < samples:
        order = torch.randperm(samples, generator=stream(seed, "order", epoch))
    if order is not None:
        order = order.to(dataset.split.device)
    sampler = FetchSampler(shape, order, first=first, shard=shard)
    fetches: DataLoader[Batch] = DataLoader(
        dataset.at_epoch(epoch),
        batch_size=None,
        sampler=sampler,
        collate_fn=_identity,  # type: ignore[arg-type]  # its argument is a batch already
        generator=torch.Generator(),  # or it would use the global generator
    )
    for images, labels in fetches:
        if sampler.together == 1:
            yield images, labels
        else:
            for batch in zip(images.split(size), labels.split(size), strict=True):
                if shard is full_batch:
                    yield batch
                else:
                    own = shard(len(batch[1]))
                    yield batch[0][own], batch[1][own]


def training_updates(
    dataset: Split | Augmentation,
    config: TrainConfig,
    shape: TrainingShape,
    update: int,
    shard: Shard = full_batch,
) -> Iterator[Batch]:
    """Yield the batches of a training from an update, counted from 0, to the end of its epoch."""
    epoch, first = shape.place_of(update)
    return epoch_updates(
        dataset,
        size=shape.epoch_shape(epoch).update_size,
        seed=config.seed if config.order_seed is None else config.order_seed,
        epoch=epoch,
        shuffle=config.shuffle,
        replacement=config.replacement,
        last_batch=config.last_batch,
        first=first,
        shard=shard,
    )


def _identity(batch: Batch) -> Batch:
    return batch


def training_shape(config: TrainConfig, samples: int) -> TrainingShape:
    """Return the division of a training into updates: a single one an epoch in batch mode.

    Raises:
        UsageError: a batch size is larger than the training set.

    """
    sizes = growing_sizes(config.batch_schedule)
    if sizes:
        check_enough_samples(config.batch_schedule, samples)
        shapes = tuple(EpochShape(samples, size, config.last_batch) for size in sizes)
        return TrainingShape(config.epochs, shapes)
    size = samples if config.batch_size is None else config.batch_size
    if size > samples:
        raise UsageError(
            f"--batch-size {size} is more than the {samples:,} training samples; "
            "use a smaller one, or --mode batch for one update from all of them"
        )
    return TrainingShape(config.epochs, (EpochShape(samples, size, config.last_batch),))
