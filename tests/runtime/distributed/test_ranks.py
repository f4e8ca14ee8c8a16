"""Tests of a rank's number, shard and threads, and of the group of one process."""

from itertools import pairwise

import pytest
import torch

from mnist_cli.errors import UsageError
from mnist_cli.runtime.distributed.group import AGREED_ENTRIES, ProcessGroup
from mnist_cli.runtime.distributed.ranks import RankInfo, threads_per_rank
from mnist_cli.runtime.distributed.torch_group import join
from mnist_cli.training.loop import GradientAllReduce, RunningSums
from tests.helpers.launching import Launcher

WHERE = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"}
SECOND = {**WHERE, "RANK": "1", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2"}


def test_the_rank_is_read_from_the_variables_of_torchrun() -> None:
    assert RankInfo.from_env(SECOND) == RankInfo(rank=1, size=4, local_rank=1, local_size=2)
    assert not RankInfo.from_env(SECOND).is_main
    assert RankInfo.from_env({**SECOND, "RANK": "0", "LOCAL_RANK": "0"}).is_main


def test_without_local_rank_there_is_one_rank_on_each_machine() -> None:
    assert RankInfo.from_env({**WHERE, "RANK": "1", "WORLD_SIZE": "4"}) == RankInfo(1, 4, 0, 1)


@pytest.mark.parametrize("lacking", ["RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"])
def test_without_one_of_the_variables_the_process_is_alone(lacking: str) -> None:
    """Other programs set one of these names for purposes of their own."""
    assert (
        RankInfo.from_env({key: value for key, value in SECOND.items() if key != lacking})
        == RankInfo()
    )
    assert RankInfo.from_env({**SECOND, lacking: ""}) == RankInfo()


@pytest.mark.parametrize(
    "wrong",
    [
        {"RANK": "4"},
        {"WORLD_SIZE": "0"},
        {"LOCAL_RANK": "2"},
        {"LOCAL_WORLD_SIZE": "5"},
        {"RANK": "-1"},
        {"RANK": "one"},
        {"RANK": "²"},
        {"WORLD_SIZE": "9" * 5000},
    ],
)
def test_contradicting_variables_are_a_usage_error(wrong: dict[str, str]) -> None:
    with pytest.raises(UsageError, match="torchrun sets") as raised:
        RankInfo.from_env({**SECOND, **wrong})
    assert len(str(raised.value)) < 200


@pytest.mark.parametrize(
    ("rank_info", "environ", "threads"),
    [
        (RankInfo(), {"OMP_NUM_THREADS": "1"}, None),  # set by the user
        (RankInfo(0, 2, 0, 2), {"OMP_NUM_THREADS": "1"}, 4),  # set by torchrun
        (RankInfo(0, 2, 0, 2), {}, 4),
        (RankInfo(0, 2, 0, 1), {}, 8),  # alone on its machine
        (RankInfo(0, 3, 0, 3), {}, 2),
        (RankInfo(0, 16, 0, 16), {}, 1),  # more ranks than cores
        (RankInfo(0, 2, 0, 2), {"OMP_NUM_THREADS": "3"}, None),
    ],
)
def test_ranks_divide_the_cores_of_a_machine(
    rank_info: RankInfo, environ: dict[str, str], threads: int | None
) -> None:
    assert threads_per_rank(rank_info, 8, environ) == threads


@pytest.mark.parametrize("size", [1, 2, 3, 7])
@pytest.mark.parametrize("count", [0, 1, 2, 6, 7, 64, 1001])
def test_shards_cover_everything_once_and_differ_by_one_at_most(count: int, size: int) -> None:
    shards = [ProcessGroup(RankInfo(rank, size)).shard(count) for rank in range(size)]
    assert (shards[0].start, shards[-1].stop) == (0, count)
    assert all(one.stop == other.start for one, other in pairwise(shards))
    sizes = [shard.stop - shard.start for shard in shards]
    assert max(sizes) - min(sizes) <= 1
    assert sizes.count(0) == max(0, size - count)


def test_the_all_reduce_of_one_process_returns_its_arguments() -> None:
    parameters = [torch.zeros(2, 3), torch.zeros(4)]
    gradient, sums = [torch.ones(2, 3), torch.ones(4)], RunningSums(1.5, 2, 3)
    found = GradientAllReduce(ProcessGroup(), parameters).all_reduce(gradient, sums, 3)
    assert found[0] is gradient
    assert found[1] is sums
    assert all(bool((part == 1).all()) for part in gradient)


def test_all_ranks_have_the_time_of_the_first(launcher: Launcher) -> None:
    assert launcher.script("seconds", ranks=2) == [10.0, 10.0]


def test_a_process_by_itself_is_a_group_of_one(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in SECOND:
        monkeypatch.delenv(name, raising=False)
    values = torch.arange(5.0 + AGREED_ENTRIES)
    with join(pytest.fail) as group:
        group.all_reduce(values)
        assert (type(group), group.size, group.is_main) == (ProcessGroup, 1, True)
        assert group.broadcast(b"data") == b"data"
        assert group.broadcast(None) is None
    assert values.tolist() == list(range(5 + AGREED_ENTRIES))
