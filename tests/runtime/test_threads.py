"""Pieces that are shared out among threads."""

import threading
import time

import pytest
import torch

from mnist_cli.runtime.threads import ThreadPool


@pytest.mark.parametrize("size", [1, 2, 3])
@pytest.mark.parametrize("items", [0, 1, 2, 7])
def test_results_come_in_order(size: int, items: int) -> None:
    assert list(ThreadPool(size).map(lambda item: item * item, range(items))) == [
        item * item for item in range(items)
    ]


def test_as_many_items_are_computed_at_a_time_as_there_are_threads() -> None:
    meeting = threading.Barrier(3, timeout=20)  # nobody leaves before three are there
    arrivals = list(ThreadPool(3).map(lambda _item: meeting.wait(), range(6)))
    assert sorted(arrivals) == [0, 0, 1, 1, 2, 2]


def test_little_is_computed_ahead_of_the_reader() -> None:
    begun = []
    results = ThreadPool(2).map(begun.append, range(50))
    next(results)
    time.sleep(0.05)
    assert len(begun) <= 4


def test_each_thread_computes_alone_while_items_are_shared_out() -> None:
    torch.set_num_threads(2)
    pool = ThreadPool(2)
    assert list(pool.map(lambda _item: torch.get_num_threads(), range(4))) == [1, 1, 1, 1]
    assert torch.get_num_threads() == 2
    assert list(pool.map(lambda _item: torch.get_num_threads(), [0])) == [2]  # too few to share


@pytest.mark.parametrize("wrong", [0, 1])
def test_an_error_reaches_the_caller_and_leaves_the_team_usable(wrong: int) -> None:
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


def test_what_goes_on_in_a_team_leaves_other_threads_alone() -> None:
    torch.set_num_threads(2)
    results = ThreadPool(2).map(lambda item: item, range(6))
    assert next(results) == 0
    assert torch.get_num_threads() == 2
    results.close()  # type: ignore[attr-defined]
    assert torch.get_num_threads() == 2
