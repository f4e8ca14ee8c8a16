"""Ranks that are started one by one: without torchrun, which takes seven seconds to begin."""

import itertools
import json
import socket
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.helpers.fork_server import Child, ForkServer
from tests.helpers.shell import Done

PATIENCE = 60.0  # seconds: all that is waited for takes one or two, on an idle machine
# A difference stays as small as it was (see benchmarks/scaling/cases.py).
STEADY = "--optimizer sgd --momentum 0 --schedule constant --lr 0.01".split()
SCRIPT = str(Path(__file__).with_name("rank_script.py"))


@dataclass(frozen=True)
class Started:
    """Ranks that are running; the streams of each are files of its own."""

    children: list[Child]
    place: Path

    def stream(self, rank: int, name: str = "out") -> str:
        path = self.place / f"{name}{rank}"
        return path.read_text() if path.exists() else ""

    def wait(self, patience: float = PATIENCE) -> list[Done]:
        """Return what each rank did, once all have ended."""
        try:
            wait_until(lambda: all(child.has_ended() for child in self.children), patience)
        finally:
            for child in self.children:
                if not child.has_ended():
                    child.kill()
        codes = [child.wait() for child in self.children]
        return [
            Done(code, self.stream(rank), self.stream(rank, "err"))
            for rank, code in enumerate(codes)
        ]

    def wait_for_update(self, update: int) -> None:
        """Wait until the first rank has told of an update."""
        wait_until(lambda: last_update(self.stream(0)) >= update)


@dataclass
class Launcher:
    """Starts programs as so many ranks, behind the imports."""

    fork_server: ForkServer
    env: dict[str, str]
    folder: Path
    starts: int = 0

    def start(
        self,
        *command: str,
        ranks: int,
        env: dict[str, str] | None = None,
        own: Sequence[dict[str, str]] = (),
    ) -> Started:
        """Start a command; of the environment, each rank may have a part of its `own`."""
        self.starts += 1
        place = self.folder.parent / f"{self.folder.name}-streams-{self.starts}"
        place.mkdir()
        where = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
        children = []
        for rank, mine in itertools.zip_longest(range(ranks), own, fillvalue={}):
            about = {"RANK": str(rank), "LOCAL_RANK": str(rank)}
            about |= {"WORLD_SIZE": str(ranks), "LOCAL_WORLD_SIZE": str(ranks)}
            child = self.fork_server.start(
                *command,
                folder=self.folder,
                env={**self.env, **(where | about if ranks > 1 else {}), **(env or {}), **mine},
                out=place / f"out{rank}",
                err=place / f"err{rank}",
            )
            children.append(child)
        return Started(children, place)

    def train(self, *options: str, ranks: int, **more: Any) -> list[Done]:
        """Train, and return what each rank did."""
        return self.start("mnist-train", *options, ranks=ranks, **more).wait()

    def script(self, task: str, *arguments: str, ranks: int) -> list[Any]:
        """Return the results of a task of `script.py`, one for each rank."""
        done = self.start("python", SCRIPT, task, *arguments, ranks=ranks).wait()
        assert all((one.code, one.err) == (0, "") for one in done), done
        return [json.loads(one.out) for one in done]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def wait_until(condition: Callable[[], bool], patience: float = PATIENCE) -> None:
    until = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < until, f"not within {patience} seconds"
        time.sleep(0.02)


def events(out: str) -> list[dict[str, Any]]:
    """Return the events of --json, as far as they are written."""
    return [json.loads(line) for line in out.splitlines(keepends=True) if line.endswith("\n")]


def last_update(out: str) -> int:
    """Return the number of the last update that was told of."""
    return max((event["update"] for event in events(out) if event["event"] == "step"), default=0)


def losses(out: str) -> dict[int, float]:
    """Return the loss of each update that was told of."""
    return {e["update"]: e["loss"] for e in events(out) if e["event"] == "step"}


def listening(folder: Path) -> list[str]:
    """Return the addresses, as /proc writes them, at which programs in a folder can be reached."""
    sockets: set[str] = set()
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            files = [*(process / "fd").iterdir()] if (process / "cwd").samefile(folder) else []
            for file in files:
                with suppress(FileNotFoundError):
                    sockets.add(file.readlink().name)
    found = []
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            _, address, _, state, _, _, _, _, _, inode, *_ = line.split()
            if state == "0A" and f"socket:[{inode}]" in sockets:
                found.append(address.partition(":")[0])
    return found


def worker_of(launcher: int, rank: int) -> int | None:
    """Return the process that torchrun has started as a rank, if it has."""
    for folder in Path("/proc").iterdir():
        try:
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            if parent == launcher and f"RANK={rank}".encode() in (
                (folder / "environ").read_bytes().split(b"\0")
            ):
                return int(folder.name)
        except (OSError, IndexError, ValueError):  # no process, or one that has just ended
            continue
    return None
