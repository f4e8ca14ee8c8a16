"""Tests of two launchers, as on two machines: folders of their own, and addresses that differ."""

import os
import shutil
import signal
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.helpers.fork_server import ForkServer
from tests.helpers.launching import Launcher, events, wait_until

# Ranks are numbered in the order of addresses, so that the first node stays the first.
ADDRESSES = ("127.0.0.1", "127.0.0.2")
# A node counts as lost after 5 seconds without a heartbeat, instead of 15.
HEARTBEATS = "keep_alive_interval=1,keep_alive_max_attempt=5"
TIMEOUT = 180.0
# 235 updates, with a checkpoint every 20.
OPTIONS = (
    *("--model", "mlp", "--batch-size", "256", "--epochs", "1", "--save-every", "20"),
    *("--log-interval", "20", "--resume", "auto", "--threads", "1", "--json", "--quiet"),
)


@dataclass
class Node:
    """A launcher with a folder of its own, and the rank that it starts."""

    folder: Path
    command: list[str]
    fork_server: ForkServer

    def start(self) -> None:
        self.launcher = self.fork_server.start(
            *self.command, folder=self.folder, out=Path("out"), err=Path("err")
        )

    def kill(self) -> None:
        """Kill the launcher and its rank at the same moment, as a power cut would."""
        for number in (signal.SIGSTOP, signal.SIGKILL):
            for pid in self.processes():
                with suppress(ProcessLookupError):
                    os.kill(pid, number)
        self.launcher.wait()
        wait_until(lambda: not self.processes())

    def processes(self) -> list[int]:
        """Return the processes that work in the folder and have not ended."""
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                if (process / "cwd").samefile(self.folder):
                    found.append(int(process.name))
        return found


@contextmanager
def started(fork_server: ForkServer, folder: Path, data_dir: Path) -> Iterator[list[Node]]:
    """Start a training on two nodes of one rank each."""
    with socket.create_server((ADDRESSES[0], 0)) as server:
        port = server.getsockname()[1]
    with ExitStack() as stack:
        nodes = []
        for address in ADDRESSES:
            own = folder / f"node{address[-1]}"
            shutil.copytree(data_dir, own / "data")
            is_host = str(address == ADDRESSES[0]).lower()
            launcher = [
                *("python", "-m", "mnist_cli.cli.torchrun", "--nnodes", "2"),
                *("--nproc-per-node", "1", "--max-restarts", "3"),
                *("--rdzv-backend", "c10d", "--rdzv-endpoint", f"{ADDRESSES[0]}:{port}"),
                *("--rdzv-conf", f"is_host={is_host},{HEARTBEATS}", "--local-addr", address),
            ]
            node = Node(own, [*launcher, "-m", "mnist_cli", "train", *OPTIONS], fork_server)
            node.start()
            stack.callback(node.kill)
            nodes.append(node)
        yield nodes


def outcome(nodes: list[Node]) -> tuple[str, list[int]]:
    """Wait for the end; return the weights, and the updates from which the training resumed."""
    wait_until(lambda: all(node.launcher.has_ended() for node in nodes), TIMEOUT)
    for node in nodes:
        assert node.launcher.wait() == 0, (node.folder / "err").read_text()
    told = events((nodes[0].folder / "out").read_text())
    assert told[-1]["reason"] == "completed"
    resumed = [event["update"] for event in told if event["event"] == "resume"]
    return told[-1]["weights_sha256"], resumed


@pytest.mark.parametrize("lost", [pytest.param(False, marks=pytest.mark.torture), True])
def test_a_training_on_two_nodes_is_as_on_one_even_if_one_is_lost(
    lost: bool, tmp_path: Path, mnist_dir: Path, launcher: Launcher
) -> None:
    on_one_node = events(launcher.train(*OPTIONS, ranks=2)[0].out)
    with started(launcher.fork_server, tmp_path, mnist_dir) as nodes:
        first, second = nodes
        if lost:
            checkpoint = first.folder / "checkpoint.pt"
            wait_until(lambda: checkpoint.exists() or first.launcher.has_ended(), TIMEOUT)
            second.kill()
            second.start()
        weights, resumed = outcome(nodes)
    assert weights == on_one_node[-1]["weights_sha256"]
    assert len(resumed) == lost
    assert all(20 <= update < 235 for update in resumed)
    assert not (second.folder / "checkpoint.pt").exists()  # rank 0 broadcast it
