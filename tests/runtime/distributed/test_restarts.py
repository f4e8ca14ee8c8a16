"""Tests of trainings under torchrun that are killed or interrupted, and resume."""

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from mnist_cli.models.checkpoint import load_checkpoint
from tests.helpers.launching import (
    STEADY,
    Launcher,
    Started,
    events,
    listening,
    losses,
    worker_of,
)

# 800 updates of 4 samples: long enough to be caught in the middle.
LONG = "--model linear --subset 640 --batch-size 4 --epochs 5 --save-every 40 --json".split()
TORCHRUN = "-m mnist_cli.cli.torchrun --nproc-per-node 2 --max-restarts 3".split()
PATIENCE = 120.0  # seconds


def start(launcher: Launcher, *options: str) -> Started:
    """Start a training with two ranks under torchrun."""
    where = ("--master-addr", "127.0.0.1", "-m", "mnist_cli", "train")
    return launcher.start("python", *TORCHRUN, *where, *options, ranks=1)


def test_a_killed_rank_is_restarted_and_the_weights_are_the_same(launcher: Launcher) -> None:
    running = start(launcher, "--resume", "auto", *LONG, "--log-interval", "20")
    running.wait_for_update(100)
    victim = worker_of(running.children[0].number, rank=1)
    assert victim
    os.kill(victim, signal.SIGKILL)
    (done,) = running.wait(PATIENCE)
    assert done.code == 0, done.err
    told = events(done.out)
    starts = [event for event in told if event["event"] == "start"]
    assert [start["world_size"] for start in starts] == [2, 2]
    assert starts[0]["first_update"] == 0
    assert starts[1]["first_update"] >= 80
    assert "Traceback" not in done.err
    whole = launcher.train(*LONG, "-o", "whole.pt", ranks=2)[0]
    assert told[-1]["weights_sha256"] == events(whole.out)[-1]["weights_sha256"]


def test_an_interrupted_training_resumes_with_any_number_of_ranks(
    launcher: Launcher, folder: Path
) -> None:
    options = [*LONG, *STEADY, "--log-interval", "1"]
    running = start(launcher, *options)
    running.wait_for_update(100)
    assert listening(folder) == ["0100007F"] * 3  # 127.0.0.1: the launcher and two ranks
    running.children[0].kill(signal.SIGHUP)
    (done,) = running.wait(PATIENCE)
    assert done.code == 143, done.err
    end = events(done.out)[-1]
    assert (end["event"], end["reason"]) == ("end", "interrupted")
    said = f"interrupted at update {end['update']}; go on with: mnist-train --resume checkpoint.pt"
    assert done.err.count(said) == done.err.count("error:") == 1
    assert "Traceback" not in done.err
    assert [path.name for path in folder.iterdir()] == ["checkpoint.pt"]
    at = load_checkpoint(str(folder / "checkpoint.pt")).position.update
    assert 100 <= at == end["update"] < 800

    one = losses(launcher.train(*options, "-o", "one.pt", ranks=1)[0].out)

    def check(found: dict[int, float], updates: range) -> None:
        expected: Any = pytest.approx([one[update] for update in updates], rel=1e-5, abs=1e-6)
        assert list(found) == list(updates)
        assert list(found.values()) == expected

    check(losses(done.out), range(1, at + 1))
    saved = (folder / "checkpoint.pt").read_bytes()
    for ranks in (1, 3):
        (folder / "again.pt").write_bytes(saved)
        rest = launcher.train("--resume", "again.pt", "--json", ranks=ranks)[0]
        assert rest.code == 0, rest.err
        check(losses(rest.out), range(at + 1, 801))
