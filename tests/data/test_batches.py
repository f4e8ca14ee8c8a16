from collections.abc import Callable

import pytest
import scipy.stats
import torch
from torch import Tensor

from mnist_cli.config.options import LAST_BATCHES
from mnist_cli.data.batches import (
    EpochShape,
    TrainingShape,
    epoch_updates,
)
from mnist_cli.data.splits import Split


def numbered(samples: int) -> Split:
    """Return a split whose labels are the samples' numbers, so that a batch shows its indices."""
    return Split(torch.zeros(samples, 28, 28, dtype=torch.uint8), torch.arange(samples))


def order_of(samples: int = 1000, **options: object) -> list[int]:
    defaults = {"size": 64, "seed": 0, "epoch": 1, "shuffle": True}
    loader = epoch_updates(numbered(samples), **{**defaults, **options})  # type: ignore[arg-type]
    return torch.cat([labels for _images, labels in loader]).tolist()


@pytest.mark.parametrize("size", [1, 7, 64, 999, 1000])
@pytest.mark.parametrize("shuffle", [True, False])
def test_every_sample_is_used_once_an_epoch(size: int, shuffle: bool) -> None:
    assert sorted(order_of(size=size, shuffle=shuffle)) == list(range(1000))


def test_batch_mode_is_one_update_an_epoch() -> None:
    loader = epoch_updates(numbered(1000), size=1000, seed=0, epoch=1, shuffle=True)
    assert [len(labels) for _images, labels in loader] == [1000]


def test_1000_samples_in_batches_of_100_are_ten_updates() -> None:
    loader = epoch_updates(numbered(1000), size=100, seed=0, epoch=1, shuffle=True)
    assert [len(labels) for _images, labels in loader] == [100] * 10
    assert EpochShape(60_000, 64).updates == 938  # 937 full ones and one of 32


def test_samples_seen_counts_the_ragged_update_once() -> None:
    shape = TrainingShape(1, (EpochShape(100, 30),))
    assert [shape.samples_seen(u) for u in range(6)] == [0, 30, 60, 90, 100, 130]


def test_a_training_is_divided_into_epochs_of_the_same_shape() -> None:
    shape = TrainingShape(2, (EpochShape(100, 30),))
    assert shape.updates == 8
    assert [shape.place_of(update) for update in (0, 3, 4, 7, 8)] == [
        *((1, 0), (1, 3), (2, 0), (2, 3), (3, 0))
    ]
    assert [shape.epochs_begun(updates) for updates in (0, 1, 4, 5, 8)] == [0, 1, 1, 2, 2]


def test_the_sizes_of_a_schedule_have_equal_shares_of_the_epochs() -> None:
    """100 samples in batches of 20, 40 and 80: 5, 3 and 2 updates an epoch."""
    shapes = tuple(EpochShape(100, size) for size in (20, 40, 80))
    shape = TrainingShape(6, shapes)
    assert [shape.epoch_shape(epoch).update_size for epoch in range(1, 7)] == [
        *(20, 20, 40, 40, 80, 80)
    ]
    assert shape.updates == 10 + 6 + 4
    places = [(epoch, step) for epoch in range(1, 7) for step in range((5, 3, 2)[(epoch - 1) // 2])]
    assert [shape.place_of(update) for update in range(20)] == places
    assert [shape.updates_before(epoch) for epoch in range(1, 8)] == [0, 5, 10, 13, 16, 18, 20]
    assert [shape.samples_before(epoch) for epoch in (1, 2, 7)] == [0, 100, 600]
    assert [shape.samples_seen(updates) for updates in (0, 4, 5, 9, 10, 11, 13, 17, 18, 20)] == [
        *(0, 80, 100, 180, 200, 240, 300, 480, 500, 600)
    ]
    assert [shape.epochs_begun(updates) for updates in (10, 11, 20)] == [2, 3, 6]
    assert shape.place_of(21) == (7, 1)  # what lies beyond the plan is like its end


@pytest.mark.parametrize(
    ("epochs", "lengths"),
    [(3, (1, 1, 1)), (4, (1, 1, 2)), (5, (1, 2, 2)), (7, (2, 2, 3)), (9, (3, 3, 3))],
)
def test_earlier_stages_are_shorter_where_the_epochs_cannot_be_divided(
    epochs: int, lengths: tuple[int, ...]
) -> None:
    shape = TrainingShape(epochs, tuple(EpochShape(8, size) for size in (1, 2, 4)))
    sizes = [shape.epoch_shape(epoch).update_size for epoch in range(1, epochs + 1)]
    assert tuple(map(sizes.count, (1, 2, 4))) == lengths
    assert sizes == sorted(sizes)
    assert shape.updates == sum(map(int.__mul__, lengths, (8, 4, 2)))


def test_each_size_drops_its_own_rest() -> None:
    shape = TrainingShape(2, (EpochShape(100, 30, "drop"), EpochShape(100, 60, "drop")))
    assert shape.updates == 3 + 1
    assert [shape.samples_seen(updates) for updates in range(5)] == [0, 30, 60, 90, 150]


def test_a_ragged_batch_is_kept_dropped_or_scaled() -> None:
    keep, drop, scale = (EpochShape(100, 30, last) for last in ("keep", "drop", "scale"))
    assert [(shape.updates, shape.samples) for shape in (keep, drop, scale)] == [
        *((4, 100), (3, 90), (4, 100))
    ]
    seen = [
        [TrainingShape(2, (shape,)).samples_seen(updates) for updates in range(6)]
        for shape in (keep, drop, scale)
    ]
    assert seen == [seen[0], [0, 30, 60, 90, 120, 150], seen[0]]
    assert [keep.divisor_of(step) for step in range(4)] == [30, 30, 30, 10]
    assert [scale.divisor_of(step) for step in range(4)] == [30, 30, 30, 30]
    assert {EpochShape(90, 30, last).samples for last in LAST_BATCHES} == {90}


@pytest.mark.parametrize("size", [7, 30, 64, 600])
def test_what_is_dropped_is_the_end_of_each_epochs_order(size: int) -> None:
    for options in ({"shuffle": False}, {}, {"replacement": True}):
        whole = order_of(size=size, **options)
        assert order_of(size=size, last_batch="drop", **options) == whole[: 1000 // size * size]
        assert order_of(size=size, last_batch="scale", **options) == whole


def test_the_order_comes_from_seed_and_epoch_alone() -> None:
    torch.manual_seed(1)
    first = order_of(seed=5, epoch=3)
    torch.manual_seed(2)
    assert order_of(seed=5, epoch=3) == first
    assert order_of(seed=5, epoch=4) != first
    assert order_of(seed=6, epoch=3) != first


def test_the_global_random_stream_is_left_alone() -> None:
    before = torch.get_rng_state()
    order_of()
    assert torch.equal(before, torch.get_rng_state())


def test_with_replacement_all_draws_are_equally_likely() -> None:
    """The two draws of an update, of three samples, are each of the nine pairs equally often."""
    pairs = [
        tuple(labels.tolist())
        for epoch in range(3000)
        for _, labels in epoch_updates(
            numbered(3), size=2, seed=0, epoch=epoch, replacement=True, first=0
        )
        if len(labels) == 2
    ]
    counts = [pairs.count((a, b)) for a in range(3) for b in range(3)]
    assert sum(counts) == 3000
    assert scipy.stats.chisquare(counts).pvalue > 0.001


def test_with_replacement_an_epoch_has_as_many_updates_whatever_their_size() -> None:
    drawn = order_of(replacement=True)
    assert [order_of(replacement=True, size=size) for size in (1, 7, 999, 1000)] == [drawn] * 4
    assert len(drawn) == 1000
    assert 600 < len(set(drawn)) < 665  # 1 - 1/e of them: 632 ± 10
    assert order_of(replacement=True, first=5) == drawn[5 * 64 :]
    assert order_of(replacement=True, epoch=2) != drawn
    assert order_of(replacement=True, seed=1) != drawn


@pytest.mark.parametrize("size", [7, 300, 1000])
def test_ranks_share_what_is_drawn_with_replacement(size: int) -> None:
    def third(rank: int) -> Callable[[int], slice]:
        return lambda count: slice(rank * count // 3, (rank + 1) * count // 3)

    ranks = [
        epoch_updates(numbered(1000), size=size, seed=0, epoch=1, replacement=True, shard=third(r))
        for r in range(3)
    ]
    drawn = [torch.cat([labels for _, labels in shards]) for shards in zip(*ranks, strict=True)]
    assert torch.cat(drawn).tolist() == order_of(replacement=True)


def test_without_shuffling_the_order_is_that_of_the_data() -> None:
    assert order_of(shuffle=False) == list(range(1000))


@pytest.mark.parametrize("shuffle", [True, False])
def test_an_epoch_can_be_entered_at_any_update(shuffle: bool) -> None:
    whole = order_of(shuffle=shuffle)
    assert order_of(shuffle=shuffle, first=5) == whole[5 * 64 :]


@pytest.mark.parametrize(("size", "fetches"), [(64, 1), (100, 1), (200, 1), (600, 2), (1000, 1)])
def test_about_a_thousand_samples_are_fetched_by_one_indexing_operation(
    size: int, fetches: int
) -> None:
    class Counting(Split):
        calls = 0

        def __getitem__(self, index: Tensor | slice) -> tuple[Tensor, Tensor]:
            type(self).calls += 1
            return super().__getitem__(index)

    split = numbered(1000)
    list(epoch_updates(Counting(split.images, split.labels), size=size, seed=0, epoch=1))
    assert Counting.calls == fetches


def test_batch_mode_copies_no_images() -> None:
    split = numbered(1000)
    (batch,) = epoch_updates(split, size=1000, seed=0, epoch=1)
    assert batch[0].data_ptr() == split.images.data_ptr()
