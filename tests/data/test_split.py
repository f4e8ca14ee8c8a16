"""Parts of the training set: in proportion, disjoint, and decided by the seed alone."""

import pytest
import torch

from mnist_cli.data.datasets import Dataset, Split, train_val_split
from mnist_cli.errors import UsageError


@pytest.fixture(scope="module")
def numbered(mnist: Dataset) -> Split:
    """Return a split with the real labels, and the number of each sample for its image."""
    return Split(torch.arange(len(mnist.train)), mnist.train.labels)


def counts(split: Split) -> torch.Tensor:
    return torch.bincount(split.labels.long(), minlength=10)


@pytest.mark.parametrize(
    ("val_size", "subset"),
    [
        (5_000, None),
        (7, None),  # fewer than there are classes
        (59_999, None),  # all but one
        (0, 1_009),  # a prime: no class has an integral quota
        (0, 59_999),
    ],
)
def test_every_class_is_within_one_sample_of_its_quota(
    numbered: Split, val_size: int, subset: int | None
) -> None:
    train, val = train_val_split(numbered, val_size=val_size, subset=subset, seed=3)
    assert (len(train), len(val)) == (subset or 60_000 - val_size, val_size)
    for drawn in (train, val):
        quota = counts(numbered) * (len(drawn) / 60_000)
        assert (counts(drawn) - quota).abs().max() < 1


def test_a_subset_beside_validation_keeps_its_proportions_too(numbered: Split) -> None:
    train, val = train_val_split(numbered, val_size=9_999, subset=1_009, seed=3)
    remaining = counts(numbered) - counts(val)  # what the subset is drawn from
    assert len(train) == 1_009
    assert (counts(train) - remaining * (1_009 / 50_001)).abs().max() < 1


def test_the_parts_are_disjoint_and_together_complete(numbered: Split) -> None:
    train, val = train_val_split(numbered, val_size=5_000, subset=None, seed=0)
    assert torch.cat([train.images, val.images]).sort().values.equal(numbered.images)
    for drawn in (train, val):  # labels stay with their images
        assert drawn.labels.equal(numbered.labels[drawn.images])


def test_a_subset_and_validation_never_share_a_sample(numbered: Split) -> None:
    train, val = train_val_split(numbered, val_size=30_000, subset=30_000, seed=0)
    assert torch.cat([train.images, val.images]).sort().values.equal(numbered.images)


def test_validation_does_not_depend_on_the_subset(numbered: Split) -> None:
    vals = [
        train_val_split(numbered, val_size=1_000, subset=subset, seed=5)[1].images
        for subset in (None, 1, 1_000, 59_000)
    ]
    assert all(val.equal(vals[0]) for val in vals)


def test_the_seed_alone_decides(numbered: Split) -> None:
    def drawn(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
        train, val = train_val_split(numbered, val_size=1_000, subset=1_000, seed=seed)
        return train.images, val.images

    once = drawn(1)
    torch.manual_seed(12345)  # the global generator has no say
    again, other = drawn(1), drawn(2)
    assert all(torch.equal(a, b) for a, b in zip(once, again, strict=True))
    # Two draws of 1,000 from 60,000 have about 17 in common by chance (std 4); half is far off.
    for a, b in zip(once, other, strict=True):
        assert torch.isin(a, b).sum() < 500


def test_nothing_asked_for_is_the_whole_training_set(numbered: Split) -> None:
    train, val = train_val_split(numbered, val_size=0, subset=None, seed=9)
    assert train.images.equal(numbered.images)
    assert len(val) == 0


@pytest.mark.parametrize(
    ("val_size", "subset"), [(60_000, None), (0, 60_001), (1, 60_000), (59_001, 1_000)]
)
def test_more_than_there_is_is_a_usage_error(
    numbered: Split, val_size: int, subset: int | None
) -> None:
    with pytest.raises(UsageError, match=f"--val-size {val_size}.*60,000"):
        train_val_split(numbered, val_size=val_size, subset=subset, seed=0)


@pytest.mark.parametrize(("val_size", "subset"), [(59_999, None), (0, 60_000), (59_000, 1_000)])
def test_all_there_is_can_be_had(numbered: Split, val_size: int, subset: int | None) -> None:
    train, val = train_val_split(numbered, val_size=val_size, subset=subset, seed=0)
    assert len(train) + len(val) == 60_000
