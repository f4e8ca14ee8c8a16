"""`python -m benchmarks.scaling.two_nodes`: one training on one node and on two, a table.

The nodes are network namespaces with a link between them, each with a launcher, a folder and a
copy of the data. The second is lost once, with all its processes, and comes back later.

Only the first rank writes checkpoints. The ranks are given out in the order of --local-addr, so
the first stays where it is and finds its checkpoint there; the others get it sent. Without such
an order that holds, every node would need to have the same output folder.
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.scaling.namespaces import Room, Rooms, two_rooms
from mnist_cli.data.datasets import load_dataset

PATIENCE = 180.0  # seconds for a training of few
AWAY = 3.0  # seconds that a lost node stays away
# A node counts as lost without a heartbeat for 5 seconds: torchrun's 15 would only take longer.
HEARTBEATS = "keep_alive_interval=1,keep_alive_max_attempt=5"
OPTIONS = (
    *("--model", "mlp", "--batch-size", "256", "--save-every", "20", "--log-interval", "20"),
    *("--resume", "auto", "--threads", "1", "--output", "checkpoint.pt", "--data-dir", "data"),
    *("--json", "--quiet", "--epochs"),
)


@dataclass(frozen=True)
class Trained:
    """What came of a training: `resumed` are the updates at which it went on."""

    digest: str
    resumed: tuple[int, ...]
    codes: tuple[int, ...]
    seconds: float


class Node:
    """A launcher in a room, with a folder of its own; it has no process left behind `with`."""

    def __init__(self, room: Room, folder: Path, command: list[str]) -> None:
        self._room, self.folder, self._command = room, folder, command
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "Node":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.lose()

    def start(self) -> None:
        """Start the launcher, or start it again."""
        with (self.folder / "out").open("ab") as out, (self.folder / "err").open("ab") as err:
            self._process = subprocess.Popen(
                [*self._room.prefix, *self._command],
                cwd=self.folder,
                env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": _path()} | self._room.env,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,  # Ctrl-C is for us, and we end what we started
            )

    def lose(self) -> None:
        """Kill the launcher and its ranks at once, as a power cut would."""
        process = self._process
        if process is None or process.poll() is not None:
            return
        family = _family(process.pid)
        for number in (signal.SIGSTOP, signal.SIGKILL):  # stopped, none can tell another
            for pid in family:
                with suppress(ProcessLookupError):
                    os.kill(pid, number)
        process.wait()

    def is_running(self) -> bool:
        """Tell whether the launcher has yet to end."""
        return self._process is not None and self._process.poll() is None

    def wait(self, patience: float) -> int:
        """Return the launcher's exit code.

        Raises:
            TimeoutExpired: it took longer.

        """
        assert self._process
        return self._process.wait(patience)

    def events(self) -> list[dict[str, Any]]:
        """Return what its ranks have told until now; a line may be under way."""
        whole, _, _ = (self.folder / "out").read_text().rpartition("\n")
        return [json.loads(line) for line in whole.splitlines()]

    def complaints(self) -> str:
        """Return the end of what it wrote to standard error."""
        return (self.folder / "err").read_text()[-2000:]


def lose_the_second(nodes: list[Node]) -> None:
    """Lose the second node behind the first checkpoint, and have it come back.

    Raises:
        RuntimeError: the first did not wait for it.

    """
    first, second = nodes
    checkpoint = first.folder / "checkpoint.pt"
    _until(lambda: checkpoint.exists() or not first.is_running())
    second.lose()
    time.sleep(AWAY)
    if not first.is_running():
        raise RuntimeError("the first node did not wait for the second")
    second.start()


@dataclass(frozen=True)
class Scenario:
    """A training by two ranks on some nodes, with some trouble meanwhile."""

    name: str
    nodes: int
    trouble: Callable[[list[Node]], None] = lambda nodes: None

    def train(self, rooms: Rooms, folder: Path, data_dir: Path, epochs: int) -> Trained:
        """Return what came of it; each node gets a folder in `folder`, which has to be new.

        Raises:
            RuntimeError: it failed, with what the launchers said.

        """
        began = time.monotonic()
        with ExitStack() as stack:
            nodes: list[Node] = []
            try:
                for number, room in enumerate(rooms.rooms[: self.nodes], 1):
                    own = folder / f"node{number}"
                    shutil.copytree(data_dir, own / "data")
                    command = [*_launcher(rooms, room, self.nodes), *OPTIONS, str(epochs)]
                    nodes.append(stack.enter_context(Node(room, own, command)))
                self.trouble(nodes)
                until = time.monotonic() + PATIENCE
                codes = tuple(node.wait(max(0.0, until - time.monotonic())) for node in nodes)
                digest, resumed = _outcome(nodes[0].events())
            except (RuntimeError, LookupError, subprocess.TimeoutExpired) as error:
                said = "\n".join(f"{node.folder.name}: {node.complaints()}" for node in nodes)
                raise RuntimeError(f"{self.name}: {error!r}\n{said}") from error
        return Trained(digest, resumed, codes, time.monotonic() - began)


ONE = Scenario("one node, 2 ranks", 1)
TWO = Scenario("two nodes, a rank each", 2)
LOST = Scenario("two nodes, one lost and back", 2, lose_the_second)


def _launcher(rooms: Rooms, room: Room, nodes: int) -> list[str]:
    """Return the launcher's command, up to the options of the training.

    Which node keeps the meeting point is said: torchrun would guess it from the host name, which
    is the same in both rooms.
    """
    first = rooms.rooms[0]
    is_host = str(room == first).lower()
    return [
        *(sys.executable, "-m", "mnist_cli.cli.torchrun"),
        *("--nnodes", str(nodes), "--nproc-per-node", str(2 // nodes), "--max-restarts", "3"),
        *("--rdzv-backend", "c10d", "--rdzv-endpoint", f"{first.address}:{rooms.port}"),
        *("--rdzv-conf", f"is_host={is_host},{HEARTBEATS}", "--local-addr", room.address),
        *("-m", "mnist_cli", "train"),
    ]


def _outcome(events: list[dict[str, Any]]) -> tuple[str, tuple[int, ...]]:
    """Return the digest of the weights, and the updates at which the training went on.

    Raises:
        LookupError: it did not come to its end.

    """
    resumed = tuple(event["update"] for event in events if event["event"] == "resume")
    completed = [event for event in events if event.get("reason") == "completed"]
    return completed[-1]["weights_sha256"], resumed


def _path() -> str:
    """Return where the ranks find this package, whatever their folder is."""
    return str(Path(__file__).resolve().parents[2])


def _until(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > until:
            raise RuntimeError(f"nothing happened for {PATIENCE:.0f} s")
        time.sleep(0.02)


def _family(pid: int) -> list[int]:
    """Return a process and all that it and its children have started."""
    children: list[str] = []
    with suppress(OSError):
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(one for child in children for one in _family(int(child)))]


def main() -> None:
    """Print the table; exit with 1 if the digests differ or a launcher failed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scaling.two_nodes")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--data-dir", type=Path, default=Path("data"))
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    table = Table("training", "weights", "went on at", "exit codes", "seconds")
    found: list[Trained] = []
    with two_rooms() as rooms, tempfile.TemporaryDirectory() as folder:
        print(rooms.about)
        load_dataset("mnist", options.data_dir)
        for scenario in (ONE, TWO, LOST):
            own = Path(folder) / str(len(found))
            done = scenario.train(rooms, own, options.data_dir, options.epochs)
            found.append(done)
            words = [" ".join(map(str, numbers)) for numbers in (done.resumed, done.codes)]
            table.add_row(scenario.name, done.digest[:16], *words, f"{done.seconds:.1f}")
    Console(width=None if sys.stdout.isatty() else 100).print(table)
    alike = len({done.digest for done in found}) == 1
    print("The digests are the same." if alike else "The digests differ.")
    sys.exit(0 if alike and not any(code for done in found for code in done.codes) else 1)


if __name__ == "__main__":
    main()
