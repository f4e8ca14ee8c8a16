"""Tests of the device, its memory and its threads."""

import hashlib
import platform
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest
import torch

from mnist_cli.errors import UsageError
from mnist_cli.runtime import cores, device
from mnist_cli.runtime.device import ThreadPool, pick_device, threads_for, threads_set
from mnist_cli.runtime.distributed.ranks import RankInfo
from mnist_cli.runtime.seeding import stream, stream_seed


def test_a_stream_depends_on_its_address_alone() -> None:
    first = torch.rand(5, generator=stream(3, "order", 2))
    assert torch.equal(first, torch.rand(5, generator=stream(3, "order", 2)))


def test_neighbouring_addresses_are_different_streams() -> None:
    addresses = [(s, name, e) for s in range(5) for name in ("order", "noise") for e in range(20)]
    assert len({stream_seed(*address) for address in addresses}) == len(addresses)


def test_the_hash_of_an_address_never_changes() -> None:
    """Another hash would silently change what every seed trains."""
    digest = hashlib.sha256(b"7/order/3").digest()
    assert stream_seed(7, "order", 3) == int.from_bytes(digest[:8], "little") >> 1


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_a_device_that_is_not_there_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="finds no cuda device here; use --device cpu or auto"):
        pick_device("cuda")


def test_auto_with_fewer_gpus_than_ranks_uses_the_cpu_and_says_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    for rank in range(3):
        assert pick_device("auto", RankInfo(rank, 3, rank, 3)) == torch.device("cpu")
    (record,) = caplog.records  # once, not by every rank
    assert "3 ranks on this machine need a GPU each, and it has 2" in record.getMessage()
    with pytest.raises(UsageError, match="no cuda device here for each of 3 ranks"):
        pick_device("cuda", RankInfo(0, 3, 0, 3))


def test_threads_are_set_within_a_block_if_a_number_is_given(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(device, "cpu_quota", lambda: None)
    torch.set_num_threads(2)
    with threads_set(1):
        assert torch.get_num_threads() == threads_for(torch.device("cpu")) == 1
    with threads_set():
        assert torch.get_num_threads() == threads_for(torch.device("cpu")) == 2
    with pytest.raises(ValueError, match="inside"), threads_set(1):
        raise ValueError("inside")
    assert torch.get_num_threads() == 2
    assert threads_for(torch.device("cuda")) == 1


@pytest.mark.parametrize(("chosen", "threads"), [("", 1), ("2", 2)])
def test_a_cpu_quota_limits_the_threads_that_nobody_chose(
    chosen: str, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (device, cores):
        monkeypatch.setattr(module, "cpu_quota", lambda: 1.2)
    monkeypatch.setenv("OMP_NUM_THREADS", chosen)
    torch.set_num_threads(2)
    with threads_set():
        assert torch.get_num_threads() == threads
    with threads_set(2):
        assert torch.get_num_threads() == 2


def test_threads_that_begin_after_a_pool_have_the_number_of_the_process() -> None:
    torch.set_num_threads(2)
    assert list(ThreadPool(2).map(lambda _item: torch.get_num_threads(), range(4))) == [1] * 4
    found = []
    thread = threading.Thread(target=lambda: found.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    assert found == [2]


@pytest.mark.slow
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="of glibc")
def test_glibc_accepts_every_memory_setting() -> None:
    code = "from mnist_cli.runtime.device import keep_freed_memory; print(keep_freed_memory())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "True\n"


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
