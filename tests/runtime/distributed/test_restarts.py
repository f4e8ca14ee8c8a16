"""Tests of trainings under torchrun that are killed or interrupted, and resume."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from mnist_cli.models.checkpoint import load_checkpoint
from tests.helpers.launching import (
    STEADY,
    Launcher,
    events,
    last_update,
    losses,
    wait_until,
    worker_of,
)
from tests.helpers.shell import Done

TORCHRUN = "-m mnist_cli.cli.torchrun --nproc-per-node 2 --master-addr 127.0.0.1".split()
# 1,600 updates of 4 samples: long enough to be caught in the middle.
LONG = "--model linear --subset 640 --batch-size 4 --epochs 10 --save-every 40 --json".split()
SECONDS = 120.0  # to start torchrun and two programs: 10, on an idle machine


@dataclass(frozen=True)
class Running:
    """A running torchrun, with its streams in files."""

    process: subprocess.Popen[bytes]
    folder: Path

    def out(self) -> str:
        return (self.folder / "out").read_text()

    def wait(self) -> Done:
        code = self.process.wait(SECONDS)
        return Done(code, self.out(), (self.folder / "err").read_text())

    def wait_for_update(self, update: int) -> None:
        wait_until(lambda: last_update(self.out()) >= update, SECONDS)


@contextmanager
def torchrun(launcher: Launcher, folder: Path, *options: str) -> Iterator[Running]:
    """Start a training with two ranks under torchrun, and terminate it at the end."""
    command = [sys.executable, *TORCHRUN, *options]
    folder.mkdir()
    with (folder / "out").open("wb") as out, (folder / "err").open("wb") as err:
        process = subprocess.Popen(
            command, cwd=launcher.folder, env=launcher.env, stdout=out, stderr=err
        )
    try:
        yield Running(process, folder)
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait(SECONDS)


def test_a_killed_rank_is_restarted_and_the_weights_are_the_same(
    launcher: Launcher, tmp_path_factory: pytest.TempPathFactory
) -> None:
    options = ["-m", "mnist_cli", "train", "--resume", "auto", *LONG, "--log-interval", "20"]
    folder = tmp_path_factory.mktemp("killed") / "streams"
    with torchrun(launcher, folder, "--max-restarts", "3", *options) as running:
        running.wait_for_update(200)
        victim = worker_of(running.process.pid, rank=1)
        assert victim
        os.kill(victim, signal.SIGKILL)
        done = running.wait()
    assert done.code == 0, done.err
    starts = [event for event in events(done.out) if event["event"] == "start"]
    assert [start["world_size"] for start in starts] == [2, 2]
    assert starts[0]["first_update"] == 0
    assert starts[1]["first_update"] >= 200
    assert "Traceback" not in done.err
    whole = launcher.train(*LONG, "-o", "whole.pt", ranks=2)[0]
    assert json.loads(done.out.splitlines()[-1])["weights_sha256"] == digest(whole.out)


def test_an_interrupted_training_resumes_with_any_number_of_ranks(
    launcher: Launcher, tmp_path_factory: pytest.TempPathFactory
) -> None:
    options = [*LONG, *STEADY, "--log-interval", "1"]
    folder = tmp_path_factory.mktemp("interrupted") / "streams"
    with torchrun(launcher, folder, "-m", "mnist_cli", "train", *options) as running:
        running.wait_for_update(100)
        running.process.send_signal(signal.SIGTERM)
        done = running.wait()
    assert done.code == 143, done.err
    end = events(done.out)[-1]
    assert (end["event"], end["reason"]) == ("end", "interrupted")
    said = f"interrupted at update {end['update']}; go on with: mnist-train --resume checkpoint.pt"
    assert done.err.count(said) == done.err.count("error:") == 1
    assert "Traceback" not in done.err
    assert [path.name for path in launcher.folder.iterdir()] == ["checkpoint.pt"]
    at = load_checkpoint(str(launcher.folder / "checkpoint.pt")).position.update
    assert 100 <= at == end["update"] < 1600

    one = losses(launcher.train(*options, "-o", "one.pt", ranks=1)[0].out)
    begun = losses(done.out)
    assert list(begun) == list(range(1, at + 1))
    assert list(begun.values()) == pytest.approx(
        [one[update] for update in begun], rel=1e-5, abs=1e-6
    )
    saved = (launcher.folder / "checkpoint.pt").read_bytes()
    for ranks in (1, 3):
        (launcher.folder / "again.pt").write_bytes(saved)
        rest = launcher.train("--resume", "again.pt", "--json", ranks=ranks)[0]
        assert rest.code == 0, rest.err
        found = losses(rest.out)
        assert list(found) == list(range(at + 1, 1601))
        assert list(found.values()) == pytest.approx(
            [one[update] for update in found], rel=1e-5, abs=1e-6
        )


def digest(out: str) -> str:
    found: str = events(out)[-1]["weights_sha256"]
    return found
