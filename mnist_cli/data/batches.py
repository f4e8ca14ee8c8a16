"""DataLoaders that fetch a whole update, or several small ones, with one indexing operation."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Sampler

from mnist_cli.config.train import TrainConfig
from mnist_cli.data.augment import ShiftAugmented
from mnist_cli.data.datasets import Split
from mnist_cli.errors import UsageError
from mnist_cli.runtime.seeding import stream

Batch = tuple[Tensor, Tensor]
Index = Tensor | slice
Item = Index | tuple[Index, int]  # the number is the turn of the first sample to be shifted
FETCH = 1024  # samples that are fetched together, if an update has fewer


@dataclass(frozen=True)
class EpochShape:
    """How an epoch over so many samples is divided into updates of a size, the last one ragged."""

    samples: int
    update_size: int

    @property
    def updates(self) -> int:
        """The updates of an epoch."""
        return -(-self.samples // self.update_size)

    def size_of(self, step: int) -> int:
        """Return the samples in an update of the epoch, counted from 0."""
        return min(self.update_size, self.samples - step * self.update_size)

    def samples_seen(self, update: int) -> int:
        """Return the samples that the first `update` updates of a training see."""
        epochs, steps = divmod(update, self.updates)
        return epochs * self.samples + steps * self.update_size


Shard = Callable[[int], slice]  # of so many samples of an update, those to fetch


def full_batch(count: int) -> slice:
    """Return the share of who is alone."""
    return slice(0, count)


class FetchSampler(Sampler[Item]):
    """The samples of an epoch in the order of its updates, several small updates at a time.

    Every sample comes once, or of updates that come one at a time those of a `share`. Without an
    `order` there are slices, which fetch views and no copies. With a `turn`, that of the epoch's
    first sample, each item has that of its first one.
    """

    def __init__(
        self,
        shape: EpochShape,
        order: Tensor | None,
        *,
        first: int,
        turn: int | None,
        share: Shard,
    ) -> None:
        self.together = max(1, FETCH // shape.update_size)
        self._share = share if self.together == 1 else full_batch
        self._shape = shape
        self._steps = range(first, shape.updates, self.together)
        self._order = order
        self._turn = turn

    def __iter__(self) -> Iterator[Item]:
        size = self._shape.update_size
        for step in self._steps:
            place = step * size
            part = self._share(min(self.together * size, self._shape.samples - place))
            run = slice(place + part.start, place + part.stop)
            index = run if self._order is None else self._order[run]
            yield index if self._turn is None else (index, self._turn + run.start)


def epoch_updates(
    dataset: Split | ShiftAugmented,
    *,
    size: int,
    seed: int,
    epoch: int,
    shuffle: bool = True,
    first: int = 0,
    share: Shard = full_batch,
) -> Iterator[Batch]:
    """Yield the samples of an epoch's updates, from update number `first` (from 0) on.

    Of each update there is only the `share`, which may be empty. The order comes from (seed, epoch)
    alone. An update of all samples has no order: it is a set.
    """
    shape = EpochShape(len(dataset), size)
    order = None
    if shuffle and size < shape.samples:
        order = torch.randperm(shape.samples, generator=stream(seed, "order", epoch))
        order = order.to(dataset.device)
    turn = epoch if isinstance(dataset, ShiftAugmented) else None
    sampler = FetchSampler(shape, order, first=first, turn=turn, share=share)
    fetches: DataLoader[Batch] = DataLoader(
        dataset,  # type: ignore[arg-type]  # it is indexed by what the sampler yields
        batch_size=None,
        sampler=sampler,
        collate_fn=_as_it_is,  # type: ignore[arg-type]  # it gets what the dataset returns
        generator=torch.Generator(),  # or it would draw from the global stream
    )
    for images, labels in fetches:
        if sampler.together == 1:
            yield images, labels
        else:
            for batch in zip(images.split(size), labels.split(size), strict=True):
                if share is full_batch:
                    yield batch
                else:
                    part = share(len(batch[1]))
                    yield batch[0][part], batch[1][part]


def _as_it_is(batch: Batch) -> Batch:
    return batch


def epoch_shape(config: TrainConfig, samples: int) -> EpochShape:
    """Return how a training set is divided into updates: one of all samples in batch mode.

    Raises:
        UsageError: a batch is larger than the training set.

    """
    size = samples if config.batch_size is None else config.batch_size
    if size > samples:
        raise UsageError(
            f"--batch-size {size} is more than the {samples:,} training samples; "
            "use a smaller one, or --mode batch for one update from all of them"
        )
    return EpochShape(samples, size)
