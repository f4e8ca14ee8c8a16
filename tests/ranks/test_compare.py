"""A comparison whose arms many ranks share out."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import Shell
from trainings import objects

ARMS = {
    "MNIST_MODEL": "linear",
    "MNIST_SUBSET": "600",
    "MNIST_BATCH_SIZES": "10,100,full",
    "MNIST_SEEDS": "2",
    "MNIST_EPOCHS": "2",
}
CLOCKS = {"seconds", "train_seconds", "tuning_seconds", "machine"}


def about(value: Any) -> Any:
    return value.get("about") if isinstance(value, dict) else None


def timeless(value: Any) -> Any:
    """Return events without what a clock says, wherever in them."""
    if isinstance(value, dict):
        return {k: timeless(v) for k, v in value.items() if k not in CLOCKS}
    if isinstance(value, list):
        findings = [
            v for v in value if not (isinstance(v, dict) and "seconds" in str(v.get("about")))
        ]
        return [timeless(v) for v in findings]
    return re.sub(r"[\d.]+ s\b", "", value) if isinstance(value, str) else value


@pytest.fixture
def ranks(shell: Shell, free_port: int) -> Any:
    """Return a starter of `mnist-compare` by ranks, each with a folder of its own."""

    def start(size: int, *options: str, env: dict[str, str] | None = None) -> list[Any]:
        children = []
        for rank in range(size):
            folder = shell.folder / f"rank{rank}"
            folder.mkdir(exist_ok=True)
            place = {
                "RANK": rank,
                "LOCAL_RANK": rank,
                "WORLD_SIZE": size,
                "LOCAL_WORLD_SIZE": size,
                "MASTER_ADDR": "127.0.0.1",
                "MASTER_PORT": free_port,
            }
            whole = shell.env | ARMS | {k: str(v) for k, v in place.items()} | (env or {})
            children.append(
                shell.nursery.start(
                    "mnist-compare",
                    *options,
                    folder=folder,
                    env=whole,
                    out=folder / "out",
                    err=folder / "err",
                )
            )
        return children

    return start


def told(shell: Shell, size: int) -> tuple[list[str], list[str]]:
    """Return what the ranks wrote on standard output and standard error."""
    folders = [shell.folder / f"rank{rank}" for rank in range(size)]
    outs, errs = ([(folder / name).read_text() for folder in folders] for name in ("out", "err"))
    return outs, errs


@pytest.mark.parametrize("options", [(), ("--lr-rule", "tuned", "--lr-range")])
def test_ranks_find_what_one_process_finds_and_each_trains_a_part(
    shell: Shell, ranks: Any, options: tuple[str, ...]
) -> None:
    one = shell("mnist-compare", "--json", "-q", *options, env=ARMS)
    assert one.code == 0, one.err
    children = ranks(2, "--json", *options)
    assert [child.wait() for child in children] == [0, 0]
    (out, nothing), (err, silence) = told(shell, 2)
    assert nothing == silence == ""
    assert "Arm [6/6], full batch, seed 1: 2 updates" in err
    assert timeless(objects(out)) == timeless(objects(one.out))
    records = [
        {path.name for path in (shell.folder / f"rank{rank}/comparison").glob("*.jsonl")}
        for rank in (0, 1)
    ]
    everything = {path.name for path in (shell.folder / "comparison").glob("*.jsonl")}
    assert records[0] == everything
    assert records[1]
    assert records[1] <= everything


def test_the_error_of_a_rank_is_told_once_and_ends_the_others(shell: Shell, ranks: Any) -> None:
    (shell.folder / "rank1").mkdir()
    (shell.folder / "rank1/comparison").write_text("in the way")
    began = time.monotonic()
    codes = [child.wait() for child in ranks(3, "-q", "--epochs", "20000")]
    assert codes == [7, 7, 7]
    assert time.monotonic() - began < 30  # seconds, where an arm would take minutes
    outs, errs = told(shell, 3)
    (line,) = "".join(errs).splitlines()
    assert line.startswith("error: rank 1: --output comparison: cannot make this folder")
    assert outs == ["", "", ""]


def test_what_ranks_were_interrupted_in_goes_on_with_one(shell: Shell, ranks: Any) -> None:
    budget = ("--batch-sizes", "10", "--epochs", "250")  # some seconds an arm
    both = shell.folder / "both"
    children = ranks(2, "-o", str(both), *budget)
    while not both.exists():
        time.sleep(0.01)
    time.sleep(1.5)  # most of it for PyTorch's first updates
    for child in children:
        child.kill(signal.SIGTERM)
    assert [child.wait() for child in children] == [143, 143]
    _, errs = told(shell, 2)
    assert "".join(errs).count("the same command goes on") == 1
    left = {path.name.split("-")[1] for path in both.glob("*.part.pt")}
    assert left  # both, unless the signal came while one was measured
    again = shell("mnist-compare", "-o", "both", "--json", "-q", *budget, env=ARMS)
    whole = shell("mnist-compare", "-o", "whole", "--json", "-q", *budget, env=ARMS)
    ends = [
        [e["weights_sha256"] for e in objects(done.out) if e["event"] == "arm-end"]
        for done in (again, whole)
    ]
    assert ends[0] == ends[1]
    assert len(ends[0]) == 2


def workers_of(launcher: int) -> Iterator[int]:
    """Yield the processes that a launcher has started."""
    for path in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((path / "stat").read_text().rpartition(")")[2].split()[1])
            if parent == launcher and b"mnist_cli" in (path / "cmdline").read_bytes():
                yield int(path.name)
        except OSError:
            continue


def test_an_arm_that_was_lost_with_its_rank_is_run_again(shell: Shell) -> None:
    command = (
        *(sys.executable, "-m", "mnist_cli.torchrun", "--nproc-per-node", "2"),
        *("--rdzv-backend", "c10d", "--rdzv-endpoint", "127.0.0.1:0", "--max-restarts", "3"),
        *("-m", "mnist_cli", "compare", "--json", "-q"),
    )
    env = shell.env | ARMS | {"MNIST_EPOCHS": "150", "MNIST_BATCH_SIZES": "10,full"}
    launcher = subprocess.Popen(
        command, cwd=shell.folder, env=env, stdout=subprocess.PIPE, text=True
    )
    until = time.monotonic() + 60
    records = shell.folder / "comparison"
    while time.monotonic() < until and not list(records.glob("*.part.jsonl")):
        assert launcher.poll() is None
        time.sleep(0.01)
    victim = max(workers_of(launcher.pid))
    os.kill(victim, signal.SIGKILL)
    out, _ = launcher.communicate(timeout=100)
    assert launcher.returncode == 0
    again = [json.loads(line) for line in out.splitlines()]
    one = shell(
        "mnist-compare", "--json", "-q", "-o", "one", env=env | {"MNIST_BATCH_SIZES": "10,full"}
    )
    digests = [
        [e["weights_sha256"] for e in events if e["event"] == "arm-end"]
        for events in (again, objects(one.out))
    ]
    assert [event["event"] for event in again].count("start") == 2  # so it was begun again
    assert digests[0][-4:] == digests[1]


@pytest.mark.parametrize("rank", [0, 1])
def test_a_signal_to_one_rank_ends_all_and_is_told_once(
    shell: Shell, ranks: Any, rank: int
) -> None:
    children = ranks(2, "-q", "--epochs", "20000", "-o", str(shell.folder / "both"))
    while not (shell.folder / "both").exists():
        time.sleep(0.01)
    time.sleep(1.5)  # most of it for PyTorch's first updates
    children[rank].kill(signal.SIGTERM)
    assert [child.wait() for child in children] == [143, 143]
    _, errs = told(shell, 2)
    assert "".join(errs).count("error:") == 1, errs


def test_a_rank_without_signs_of_life_is_noticed(
    shell: Shell, ranks: Any
) -> None:  # a kill ends its connections, which nobody waits on here
    children = ranks(2, "-q", "--epochs", "20000")
    while not (shell.folder / "rank1/comparison").exists():
        time.sleep(0.01)
    time.sleep(1.5)
    children[1].kill()
    assert children[0].wait() == 143
    assert told(shell, 2)[1][0].startswith("error: rank 1 was lost")


def test_ranks_with_different_options_are_refused(shell: Shell, launcher: Any) -> None:
    own = [{"MNIST_LR": "0.01"}, {"MNIST_LR": "0.02"}]
    done = launcher.train("--model", "linear", "--subset", "640", "-q", ranks=2, own=own)
    assert [one.code for one in done] == [2, 2], done
    line = "".join(one.err for one in done)
    assert "lr is 0.02 here, and 0.01 in the first rank" in line
    assert line.count("error:") == 1
