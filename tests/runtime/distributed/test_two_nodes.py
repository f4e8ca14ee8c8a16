"""Tests of two launchers, as on two machines: folders of their own, and addresses that differ."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from tests.helpers.launching import wait_until

# Ranks are numbered in the order of addresses, so that the first node stays the first.
ADDRESSES = ("127.0.0.1", "127.0.0.2")
# A node counts as lost after 5 seconds without a heartbeat, instead of 15.
HEARTBEATS = "keep_alive_interval=1,keep_alive_max_attempt=5"
TIMEOUT = 180.0
# 235 updates, with a checkpoint every 20.
OPTIONS = (
    *("train", "--model", "mlp", "--batch-size", "256", "--epochs", "1", "--save-every", "20"),
    *("--log-interval", "20", "--resume", "auto", "--threads", "1", "--json", "--quiet"),
)


class Node:
    """A launcher with a folder of its own, and the ranks that it starts."""

    def __init__(self, folder: Path, command: list[str]) -> None:
        self.folder, self._command = folder, command
        self.start()

    def start(self) -> None:
        with (self.folder / "out").open("ab") as out, (self.folder / "err").open("ab") as err:
            self.process = subprocess.Popen(
                self._command,
                cwd=self.folder,
                env=os.environ | {"OMP_NUM_THREADS": "1"},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
            )

    def kill(self) -> None:
        """Kill the launcher and its ranks at the same moment, as a power cut would."""
        if self.process.poll() is None:
            family = descendants(self.process.pid)
            for number in (signal.SIGSTOP, signal.SIGKILL):
                for pid in family:
                    with suppress(ProcessLookupError):
                        os.kill(pid, number)
        self.process.wait()

    def events(self) -> list[dict[str, object]]:
        return [json.loads(line) for line in (self.folder / "out").read_text().splitlines()]


def descendants(pid: int) -> list[int]:
    """Return a process and all its children and grandchildren."""
    children: list[str] = []
    with suppress(OSError):
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(one for child in children for one in descendants(int(child)))]


@contextmanager
def started(number: int, folder: Path, data_dir: Path) -> Iterator[list[Node]]:
    """Start a training with two ranks on a number of nodes."""
    with socket.create_server((ADDRESSES[0], 0)) as server:
        port = server.getsockname()[1]
    with ExitStack() as stack:
        nodes = []
        for address in ADDRESSES[:number]:
            own = folder / f"node{address[-1]}"
            shutil.copytree(data_dir, own / "data")
            is_host = str(address == ADDRESSES[0]).lower()
            launcher = [
                *(sys.executable, "-m", "mnist_cli.cli.torchrun", "--nnodes", str(number)),
                *("--nproc-per-node", str(2 // number), "--max-restarts", "3"),
                *("--rdzv-backend", "c10d", "--rdzv-endpoint", f"{ADDRESSES[0]}:{port}"),
                *("--rdzv-conf", f"is_host={is_host},{HEARTBEATS}", "--local-addr", address),
            ]
            node = Node(own, [*launcher, "-m", "mnist_cli", *OPTIONS])
            stack.callback(node.kill)
            nodes.append(node)
        yield nodes


def outcome(nodes: list[Node]) -> tuple[str, list[int]]:
    """Wait for the end; return the weights, and the updates from which the training resumed."""
    for node in nodes:
        code = node.process.wait(TIMEOUT)
        assert code == 0, (node.folder / "err").read_text()
    events = nodes[0].events()
    assert events[-1]["reason"] == "completed"
    resumed = [int(str(event["update"])) for event in events if event["event"] == "resume"]
    return str(events[-1]["weights_sha256"]), resumed


def test_two_nodes_train_as_one_does_even_if_one_is_lost(tmp_path: Path, mnist_dir: Path) -> None:
    with started(1, tmp_path / "one", mnist_dir) as nodes:
        weights, resumed = outcome(nodes)
        assert resumed == []
    with started(2, tmp_path / "two", mnist_dir) as nodes:
        assert outcome(nodes) == (weights, [])
    with started(2, tmp_path / "lost", mnist_dir) as nodes:
        first, second = nodes
        checkpoint = first.folder / "checkpoint.pt"
        wait_until(lambda: checkpoint.exists() or first.process.poll() is not None, TIMEOUT)
        second.kill()
        second.start()
        again, (update,) = outcome(nodes)
    assert again == weights
    assert 20 <= update < 235
    assert not (second.folder / "checkpoint.pt").exists()  # rank 0 broadcast it
