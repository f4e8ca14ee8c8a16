"""DataLoaders that fetch a whole update with one indexing operation."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Sampler

from mnist_cli.data import Split
from mnist_cli.runtime import stream

Batch = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class EpochShape:
    """How an epoch over so many samples is divided into updates of a size, the last one ragged."""

    samples: int
    update_size: int

    @property
    def updates(self) -> int:
        """The updates of an epoch."""
        return -(-self.samples // self.update_size)

    def samples_seen(self, update: int) -> int:
        """Return the samples that the first `update` updates of a training see."""
        epochs, steps = divmod(update, self.updates)
        return epochs * self.samples + steps * self.update_size


class UpdateSampler(Sampler[Tensor | slice]):
    """The index sets of an epoch's updates: every sample once, the last update perhaps smaller.

    Without an `order` they are slices, which fetch views instead of copies.
    """

    def __init__(self, shape: EpochShape, order: Tensor | None, first: int = 0) -> None:
        self._shape = shape
        self._order = order
        self._first = first

    def __len__(self) -> int:
        return self._shape.updates - self._first

    def __iter__(self) -> Iterator[Tensor | slice]:
        size = self._shape.update_size
        for start in range(self._first * size, self._shape.samples, size):
            index = slice(start, start + size)
            yield index if self._order is None else self._order[index]


def epoch_loader(
    split: Split, *, size: int, seed: int, epoch: int, shuffle: bool, first: int = 0
) -> DataLoader[Batch]:
    """Return the loader of one epoch's updates, from update number `first` (from 0) on.

    The order comes from (seed, epoch) alone. An update of all samples has no order: it is a set.
    """
    samples = len(split)
    order = None
    if shuffle and size < samples:
        order = torch.randperm(samples, generator=stream(seed, "order", epoch))
        order = order.to(split.images.device)
    return DataLoader(
        split,  # type: ignore[arg-type]  # it is indexed by tensors and slices
        batch_size=None,
        sampler=UpdateSampler(EpochShape(samples, size), order, first),
        collate_fn=_as_it_is,  # type: ignore[arg-type]  # it gets what the split returns
        generator=torch.Generator(),  # or it would draw from the global stream
    )


def _as_it_is(batch: Batch) -> Batch:
    return batch
