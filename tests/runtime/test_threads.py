"""Tests of the thread pool."""

import threading
from collections.abc import Iterator

import pytest
import torch

from mnist_cli.runtime.device import ThreadPool


@pytest.mark.parametrize("size", [1, 2, 3])
@pytest.mark.parametrize("items", [0, 1, 2, 7])
def test_results_come_in_order(size: int, items: int) -> None:
    assert list(ThreadPool(size).map(lambda item: item * item, range(items))) == [
        item * item for item in range(items)
    ]


def test_all_threads_compute_at_the_same_time() -> None:
    barrier = threading.Barrier(3, timeout=20)
    arrivals = list(ThreadPool(3).map(lambda _item: barrier.wait(), range(6)))
    assert sorted(arrivals) == [0, 0, 1, 1, 2, 2]


def test_at_most_one_item_per_thread_is_computed_ahead() -> None:
    submitted: list[int] = []

    class Items(list[int]):
        def __iter__(self) -> Iterator[int]:
            for item in range(50):
                submitted.append(item)
                yield item

    next(ThreadPool(2).map(lambda item: item, Items(range(50))))
    assert submitted == [0, 1, 2]


def test_each_thread_of_the_pool_uses_one_core() -> None:
    torch.set_num_threads(2)
    pool = ThreadPool(2)
    assert list(pool.map(lambda _item: torch.get_num_threads(), range(4))) == [1, 1, 1, 1]
    assert torch.get_num_threads() == 2
    assert list(pool.map(lambda _item: torch.get_num_threads(), [0])) == [
        2
    ]  # fewer items than threads


@pytest.mark.parametrize("wrong", [0, 1])
def test_an_error_reaches_the_caller_and_leaves_the_pool_usable(wrong: int) -> None:
    torch.set_num_threads(2)
    pool = ThreadPool(2)

    def check(item: int) -> int:
        if item == wrong:
            raise ValueError(f"item {item}")
        return item

    with pytest.raises(ValueError, match=f"item {wrong}"):
        list(pool.map(check, range(2)))
    assert torch.get_num_threads() == 2
    assert list(pool.map(check, [5, 6])) == [5, 6]


def test_the_pool_does_not_change_the_threads_of_its_caller() -> None:
    torch.set_num_threads(2)
    results = ThreadPool(2).map(lambda item: item, range(6))
    assert next(results) == 0
    assert torch.get_num_threads() == 2
    results.close()  # type: ignore[attr-defined]
    assert torch.get_num_threads() == 2
