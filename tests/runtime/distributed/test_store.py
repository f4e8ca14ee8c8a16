"""Tests of what the ranks of a group listen to, and of hostile values from other ranks."""

import base64
import json
import os
import pickle
import socket
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import torch
import torch.distributed as dist
from torch.distributed.elastic.rendezvous import RendezvousStateError
from torch.distributed.elastic.rendezvous.c10d_rendezvous_backend import C10dRendezvousBackend
from torch.distributed.elastic.rendezvous.dynamic_rendezvous import _NodeDesc, _RendezvousState

from mnist_cli.cli import torchrun
from mnist_cli.config.options import names_where
from mnist_cli.config.train import TrainConfig
from mnist_cli.errors import PeerError, UsageError
from mnist_cli.runtime.distributed.group import ProcessGroup
from mnist_cli.runtime.distributed.launcher import (
    ScreenedBackend,
    check_endpoint,
    screen_state,
)
from mnist_cli.runtime.distributed.ranks import RankInfo
from mnist_cli.runtime.distributed.store import (
    LOOPBACK,
    MessageStore,
    listen_on_loopback,
    rendezvous,
)
from mnist_cli.training.compatibility import check_same_options
from tests.helpers.calling import Caller
from tests.helpers.launching import Launcher, free_port

BAD = ["../../x", "\x1b]0;title\x07", "", "0" * 33, "\n" + "0" * 31, "é" * 32]
REPORT = {"rank": 1, "code": 3, "text": "data: it is missing"}


def failure(report: str) -> PeerError:
    """Return the error that a rank makes of a report in the store."""
    store = dist.HashStore()  # type: ignore[attr-defined]
    store.set("failure", report)
    error = MessageStore(store).failure()
    assert error is not None
    assert str(error).isprintable()  # one line, with nothing that steers a terminal
    assert len(str(error)) < 1200
    return error


@pytest.mark.parametrize(
    "report",
    [
        "",
        "{",
        "[" * 10_000,
        "[]",
        json.dumps({**REPORT, "code": 0}),  # no failure ends a run with success
        json.dumps({**REPORT, "code": 255}),
        json.dumps({**REPORT, "code": [3]}),
        json.dumps({**REPORT, "rank": "1\n"}),
        json.dumps({**REPORT, "text": None}),
        json.dumps({**REPORT, "text": "x" * 100_000}),
        json.dumps({"rank": 1}),
        "\x80\x04c__builtin__\nprint\n",
    ],
)
def test_a_report_that_no_rank_writes_is_named_in_one_line(report: str) -> None:
    error = failure(report)
    assert error.code == 143
    assert "its report is invalid" in str(error)


def test_the_text_of_another_rank_is_quoted_in_one_line() -> None:
    error = failure(json.dumps({**REPORT, "text": "no\nerror: disk full\x1b[2J" + "y" * 5000}))
    assert error.code == 3
    assert str(error).startswith("rank 1: no; error: disk full\\x1b[2Jyyy")


@pytest.mark.parametrize("value", BAD)
@pytest.mark.parametrize("rank", [0, 1])
def test_a_token_that_is_none_ends_the_rendezvous(
    rank: int, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = dist.HashStore()  # type: ignore[attr-defined]
    monkeypatch.setattr("mnist_cli.runtime.distributed.store.uuid4", lambda: UUID(int=0))
    store.set(f"answer/{'0' * 32}" if rank else "token/1", value)
    sender = "rank 0" if rank else "rank 1"
    with pytest.raises(RuntimeError, match=f"{sender} sent b'.*, which is no token") as raised:
        rendezvous(store, RankInfo(rank, 2))
    assert str(raised.value).isprintable()


class Broadcasting(ProcessGroup):
    """A group whose first rank sends the same data, whatever this one does."""

    def __init__(self, data: bytes) -> None:
        super().__init__()
        self._data = data

    def broadcast(self, data: bytes | None, source: int = 0) -> bytes | None:
        return self._data


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "sent b'' instead of its options"),
        (b"\x80\x04cos\nsystem\n", "instead of its options"),
        (b"[" * 10_000, "instead of its options"),
        (b"[]", "instead of its options"),
        (b'{"device type": "\\n\\u001b[2J"}', r"and '\\n\\x1b\[2J' in the first rank"),
    ],
)
def test_hostile_options_of_the_first_rank_end_in_one_line(data: bytes, message: str) -> None:
    with pytest.raises(UsageError, match=message) as raised:
        check_same_options(TrainConfig(lr=0.1), torch.device("cpu"), Broadcasting(data))
    assert str(raised.value).isprintable()


def test_an_option_that_only_the_first_rank_has_is_quoted() -> None:
    config, device = TrainConfig(), torch.device("cpu")
    names = names_where(TrainConfig, lambda about: not about.per_rank)
    own = {"device type": "cpu", **{name: getattr(config, name) for name in names}}
    data = json.dumps({**own, "\x1b[2J": 1}).encode()
    with pytest.raises(UsageError, match=r"'\\x1b\[2J' is None here, and 1 in the first rank"):
        check_same_options(config, device, Broadcasting(data))


def test_more_than_a_checkpoint_is_not_taken_from_another_rank(launcher: Launcher) -> None:
    said, _ = launcher.script("oversized", ranks=2)
    assert said == f"rank 1 sent {1 << 40} bytes, which is too much"


def test_rank_0_listens_on_the_loopback_interface_and_refuses_a_stranger(
    launcher: Launcher,
) -> None:
    """A server on all interfaces would answer at 127.0.0.2, too."""
    port = free_port()
    ranks = {"RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "2"}
    where = {"MASTER_ADDR": "name.invalid", "MASTER_PORT": str(port)}
    started = launcher.start("mnist-train", ranks=1, env=ranks | where)
    make: Any = dist.TCPStore  # type: ignore[attr-defined]
    stranger = make(LOOPBACK, port, timeout=timedelta(seconds=60), wait_for_workers=False)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.2", port))
    stranger.set("token/1", "../../\x1b[2J")
    (done,) = started.wait()
    assert (done.code, done.out) == (2, "")
    assert "rank 1 sent b'../../\\x1b[2J', which is no token" in done.err
    assert done.err.count("\n") == 1


def test_gloo_and_nccl_listen_on_the_loopback_interface_unless_it_is_set(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("NCCL_SOCKET_IFNAME", "eth0")
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "")
    monkeypatch.delenv("GLOO_SOCKET_IFNAME")
    listen_on_loopback()
    assert os.environ["GLOO_SOCKET_IFNAME"] in ("lo", "lo0")
    assert os.environ["NCCL_SOCKET_IFNAME"] == "eth0"


def no_address(*_arguments: object) -> None:
    raise socket.gaierror(-2, "Name or service not known")


def test_a_name_that_does_not_resolve_is_said_at_once(
    call: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", no_address)
    variables = {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "else\x1b", "MASTER_PORT": "29500"}
    done = call("mnist-train", env=variables)
    assert (done.code, done.out) == (2, "")
    assert "MASTER_ADDR='else\\x1b' does not resolve to an address" in done.err
    assert "--local-addr" in done.err
    assert done.err.count("\n") == 1


@pytest.mark.parametrize("endpoint", ["else:29400", "else", "[::1]:29400"])
def test_the_launcher_says_that_it_waits_for_a_name(
    endpoint: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    asked = []

    def lookup(host: str, _port: None) -> None:
        asked.append(host)
        no_address()

    monkeypatch.setattr(socket, "getaddrinfo", lookup)
    check_endpoint(endpoint)
    host = "::1" if "[" in endpoint else "else"
    assert asked == [host]
    assert f"the host {host!r}, where the launchers meet, does not resolve" in caplog.text


@pytest.mark.parametrize(
    "options",
    [
        ["--rdzv-backend", "c10d", "--rdzv-endpoint", "else:29400"],
        ["--node-rank", "1", "--master-addr", "else"],
    ],
)
def test_every_kind_of_rendezvous_has_its_host_looked_up(
    options: list[str], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", no_address)
    monkeypatch.setattr("torch.distributed.run.run", lambda _options: None)
    monkeypatch.setattr(torchrun, "exit_at_once_on_signals", lambda: None)
    monkeypatch.setattr("mnist_cli.cli.program.default_handlers", lambda: None)
    monkeypatch.setattr(torchrun, "_QUIET", {})
    for variable in ("TORCH_DISABLE_SHARE_RDZV_TCP_STORE", "TORCH_CPP_LOG_LEVEL"):
        monkeypatch.setenv(variable, "1")
    assert torchrun.main(["--nnodes", "2", *options, "-m", "mnist_cli", "train"]) == 0
    assert "'else', where the launchers meet, does not resolve" in caplog.text


def test_a_port_that_is_taken_is_an_error(launcher: Launcher) -> None:
    with socket.create_server((LOOPBACK, 0)) as server:
        port = server.getsockname()[1]
        arguments = ("--master-port", str(port), "--nproc-per-node", "2", "-m", "mnist_cli")
        (done,) = launcher.start(
            "python", "-m", "mnist_cli.cli.torchrun", *arguments, ranks=1
        ).wait()
    assert done.code == 2
    assert f"--master-port {port} cannot be used" in done.err
    assert done.err.count("\n") == 1


class Command:
    """An object whose pickle runs a command when it is loaded."""

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.system, ("touch pwned",)


@pytest.mark.parametrize("state", [pickle.dumps(Command()), pickle.dumps([1])[:-3], b""])
@pytest.mark.parametrize("is_set", [False, True])
def test_a_strangers_state_of_the_rendezvous_runs_nothing(
    is_set: bool, state: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    store = dist.HashStore()  # type: ignore[attr-defined]
    backend = ScreenedBackend(C10dRendezvousBackend(store, "run"))
    store.set("torch.rendezvous.run", base64.b64encode(state))
    with pytest.raises(RendezvousStateError, match="somebody else wrote to their store") as raised:
        if is_set:
            backend.set_state(pickle.dumps(_RendezvousState()), b"token")
        else:
            backend.get_state()
    assert str(raised.value).isprintable()
    assert not [*tmp_path.iterdir()]


def test_the_state_of_a_rendezvous_passes_the_screening() -> None:
    state, node = _RendezvousState(), _NodeDesc("name", 1, 2)
    state.deadline = datetime.now(UTC)
    state.participants, state.wait_list = {node: 0}, {node}
    state.last_heartbeats = {node: datetime.now(UTC)}
    screen_state(pickle.dumps(state))
