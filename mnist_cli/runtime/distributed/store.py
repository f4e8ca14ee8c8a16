"""The key-value store of a process group: where it listens, and the messages in it.

PyTorch's store takes any client's word, without a password. So on one machine it listens on the
loopback interface only, and nothing that is read from it is trusted, unpickled or used as a path.
"""

import ipaddress
import json
import os
import re
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from typing import Any
from uuid import uuid4

import torch.distributed as dist

from mnist_cli.config.quoting import escape_controls, quote
from mnist_cli.errors import ExitCode, MnistError, PeerError, UsageError, lack_of_memory
from mnist_cli.runtime.distributed.ranks import RankInfo, is_store_in_launcher, master_port

LOOPBACK = "127.0.0.1"
REPORT_TIMEOUT = 5.0  # seconds for rank 0 to report a failure
_RENDEZVOUS_TIMEOUT = 1800.0  # seconds for all ranks to start
_POLL_INTERVAL = 0.02
_MAX_MESSAGE = 300  # characters of a message that PyTorch wrote
_MAX_TEXT, _MAX_REPORT = 1000, 1 << 14  # characters of a reported error, bytes of its JSON
_TOKEN = re.compile(rb"[0-9a-f]{32}")


def open_store(rank_info: RankInfo) -> Any:  # noqa: ANN401 (it has many types)
    """Return the store of all ranks, hosted by rank 0 unless torchrun hosts it.

    Raises:
        UsageError: the name of its host does not resolve, or its port is none.
        RuntimeError, OSError: it cannot be reached, or its port is taken.

    """
    host, port = os.environ["MASTER_ADDR"], master_port()
    is_host = rank_info.is_main and not is_store_in_launcher()
    if is_on_loopback(rank_info):
        return loopback_store(port) if is_host else _store(LOOPBACK, port)
    try:
        socket.getaddrinfo(host, port)
    except (OSError, UnicodeError) as error:  # PyTorch would try again for half an hour
        raise UsageError(
            f"MASTER_ADDR={quote(host)} does not resolve to an address; start torchrun with "
            "--local-addr and an address that all machines reach (127.0.0.1, if there is but one)"
        ) from error
    return _store(host, port, is_master=is_host)


def is_on_loopback(rank_info: RankInfo) -> bool:
    """Return True if all ranks are on this machine."""
    host = os.environ["MASTER_ADDR"]
    with suppress(ValueError):
        return rank_info.is_on_one_machine or ipaddress.ip_address(host).is_loopback
    return host == "localhost"


def loopback_store(port: int = 0) -> Any:  # noqa: ANN401
    """Host a store that only programs on this machine can reach; port 0 stands for a free one.

    PyTorch's own server would listen on all interfaces.

    Raises:
        OSError: the port is taken.

    """
    listener = socket.create_server((LOOPBACK, port), backlog=socket.SOMAXCONN)
    port = listener.getsockname()[1]
    return _store(LOOPBACK, port, is_master=True, master_listen_fd=listener.detach())


def listen_on_loopback() -> None:
    """Let gloo and NCCL listen on the loopback interface, unless the environment says otherwise."""
    for name in {"lo", "lo0"} & {name for _, name in socket.if_nameindex()}:
        for variable in ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME"):
            os.environ.setdefault(variable, name)


def _store(host: str, port: int, **options: Any) -> Any:  # noqa: ANN401
    make: Any = dist.TCPStore  # type: ignore[attr-defined]
    timeout = timedelta(seconds=_RENDEZVOUS_TIMEOUT)
    return make(host, port, wait_for_workers=False, multi_tenant=True, timeout=timeout, **options)


def with_prefix(prefix: str, store: Any) -> Any:  # noqa: ANN401
    """Return a store in which every key begins with a prefix."""
    make: Any = dist.PrefixStore  # type: ignore[attr-defined]
    return make(prefix, store)


class MessageStore:
    """The messages of ranks to each other, in a `torch.distributed` store.

    Its methods raise RuntimeError when the connection to the store is lost.
    """

    def __init__(self, store: Any) -> None:  # noqa: ANN401 (it has many types)
        self._store = store

    def report(self, rank: int, error: BaseException) -> None:
        """Store the failure of a rank, unless another rank failed first."""
        if isinstance(error, PeerError):
            return
        error = lack_of_memory(error) or error
        if isinstance(error, MnistError):
            code, text = int(error.code), str(error)
        elif isinstance(error, KeyboardInterrupt):
            code, text = int(ExitCode.INTERRUPTED), "interrupted"
        elif isinstance(error, SystemExit):
            code, text = int(ExitCode.TERMINATED), "terminated"
        else:
            message = " ".join(f"{type(error).__name__}: {error}".split())
            code, text = int(ExitCode.BUG), message[:_MAX_MESSAGE]
        report = json.dumps({"rank": rank, "code": code, "text": text[:_MAX_TEXT]})
        with suppress(RuntimeError):
            self._store.compare_set("failure", "", report)

    def failure(self) -> PeerError | None:
        """Return the failure that a rank reported, if there is one."""
        if not self._store.check(["failure"]):
            return None
        return _reported(self._store.get("failure"))

    def shut_down(self, others: int) -> None:
        """Announce that rank 0 has finished, and wait until the other ranks know.

        Rank 0 must stay until then: it may host the store, and others may still be in an
        all-reduce with it.
        """
        with suppress(RuntimeError):
            self._store.set("end", "")
            _poll(lambda: int(self._store.add("heard", 0)) >= others, REPORT_TIMEOUT)

    def wait_for_shutdown(self, timeout: float) -> bool:
        """Wait until rank 0 has finished; return False if that takes longer than `timeout`."""
        with suppress(RuntimeError):
            finished = _poll(lambda: bool(self._store.check(["end"])), timeout)
            self._store.add("heard", 1)
            return finished
        return False


def _reported(data: bytes) -> PeerError:
    """Return the error in a rank's report, of which anybody may be the author."""
    try:
        if len(data) > _MAX_REPORT:
            raise ValueError
        report = json.loads(data)
        rank, code, text = report["rank"], ExitCode(report["code"]), report["text"]
        if type(rank) is not int or code is ExitCode.DONE or not isinstance(text, str):
            raise ValueError
    except (LookupError, RecursionError, TypeError, ValueError):
        return PeerError(
            f"another rank failed, and its report is invalid: {quote(data)}", ExitCode.TERMINATED
        )
    lines = "; ".join(text[:_MAX_TEXT].split("\n"))
    return PeerError(f"rank {rank}: {escape_controls(lines)}", code)


def rendezvous(store: Any, rank_info: RankInfo) -> str:  # noqa: ANN401 (it has many types)
    """Wait until all ranks are there, and return a name for this rendezvous.

    torchrun's store outlives a restart, so it may hold messages of an earlier attempt. Each rank
    therefore sends a token that was never used before, and rank 0 answers every token with the
    name until all ranks have acknowledged it.

    Raises:
        RuntimeError: some ranks did not come, or sent something else.

    """
    token = uuid4().hex
    missing = RuntimeError(f"not all came within {_RENDEZVOUS_TIMEOUT:.0f} seconds")
    if not rank_info.is_main:
        store.set(f"token/{rank_info.rank}", token)
        if not _poll(lambda: store.check([f"answer/{token}"]), _RENDEZVOUS_TIMEOUT):
            raise missing
        name = _token(store.get(f"answer/{token}"), "rank 0")
        store.add(f"acknowledged/{name}", 1)
        return name
    others = range(1, rank_info.size)

    def all_acknowledged() -> bool:
        for rank in others:
            if store.check([f"token/{rank}"]):
                own = _token(store.get(f"token/{rank}"), f"rank {rank}")
                store.set(f"answer/{own}", token)
        return int(store.add(f"acknowledged/{token}", 0)) == len(others)

    if not _poll(all_acknowledged, _RENDEZVOUS_TIMEOUT):
        raise missing
    return token


def _token(data: bytes, sender: str) -> str:
    """Return a token of another rank, which becomes a part of keys."""
    if not _TOKEN.fullmatch(data):
        raise RuntimeError(f"{sender} sent {quote(data)}, which is no token of a rank")
    return data.decode()


def _poll(condition: Callable[[], bool], timeout: float) -> bool:
    """Wait for a condition; unlike the store's own wait, this one is ended by a signal."""
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(_POLL_INTERVAL)
    return False
