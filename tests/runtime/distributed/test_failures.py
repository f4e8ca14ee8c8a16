"""Tests of failures: what ends one rank ends all of them soon, and is reported once."""

import os
import shutil
import time
from pathlib import Path

import pytest

from mnist_cli.models.checkpoint import load_checkpoint
from tests.helpers.launching import STEADY, Launcher, last_update
from tests.helpers.shell import Done

SMALL = "--model linear --subset 640 --batch-size 64".split()
ENDLESS = [*SMALL, *STEADY, *"--epochs 100000 --log-interval 1 --json".split()]
# The timeouts for another rank's report and before a lost rank is reported, and some for a busy
# machine.
SOON = 5.0 + 3.0 + 12.0


def reported_once(done: list[Done], message: str) -> None:
    """Check that the error is printed once, without a traceback."""
    err = "".join(one.err for one in done)
    assert err.count(message) == err.count("error:") == 1, err
    assert "Traceback" not in err


def broken_data(folder: Path, few_dir: Path) -> dict[str, str]:
    """Return the variables that give a rank a data folder with a truncated file."""
    shutil.copytree(few_dir / "QMNIST", folder / "broken" / "QMNIST")
    path = folder / "broken" / "QMNIST" / "raw" / "qmnist-train-labels-idx2-int"
    os.truncate(path, path.stat().st_size // 2)
    return {"MNIST_DATA_DIR": str(folder / "broken")}


@pytest.mark.parametrize("failing", [0, 1, 2])
def test_a_rank_that_fails_stops_the_others_with_its_error_reported_once(
    failing: int, launcher: Launcher, folder: Path, few_dir: Path
) -> None:
    own = [{}] * failing + [broken_data(folder, few_dir)]
    done = launcher.start("mnist-train", *ENDLESS, ranks=3, own=own).wait(SOON)
    assert [one.code for one in done] == [3] * 3
    reported_once(done, "qmnist-train-labels-idx2-int is truncated")
    assert done[0].err.count(f"error: rank {failing}: ") == (failing > 0)
    assert not any(one.err for one in done[1:])
    assert not (folder / "checkpoint.pt").exists()


def test_an_output_that_cannot_be_written_stops_all_and_is_reported_once(
    launcher: Launcher,
) -> None:
    done = launcher.start("mnist-train", *ENDLESS, "-o", "none/c.pt", ranks=2).wait(SOON)
    assert [one.code for one in done] == [7, 7]
    reported_once(done, "none/c.pt")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--batch-size", "641"], "--batch-size 641 is more than the 640"),  # after the rendezvous
        (["--mode", "batch"], "--batch-size"),  # before the rendezvous
        (["--epoch"], "No such option: --epoch"),  # Typer's
    ],
)
def test_a_usage_error_stops_all_and_is_reported_once(
    options: list[str], message: str, launcher: Launcher
) -> None:
    """Without torchrun, which terminates the other ranks, the test does that."""
    started = launcher.start("mnist-train", *SMALL, *options, ranks=2)
    while not started.children[0].has_ended():
        time.sleep(0.02)
    if not started.children[1].has_ended():
        started.children[1].kill(15)
    done = started.wait(SOON)
    assert done[0].code == 2
    assert done[1].code in (2, 143, -15)
    reported_once(done, message)


def test_divergence_stops_all_and_is_reported_once(launcher: Launcher, folder: Path) -> None:
    wild = "--model mlp --subset 640 --optimizer sgd --lr 1e30 --json -q".split()
    done = launcher.train(*wild, ranks=2)
    assert [one.code for one in done] == [6, 6]
    reported_once(done, "training diverged")
    assert '"diverged"' in done[0].out
    assert done[1].out == done[1].err == ""
    assert not (folder / "checkpoint.pt").exists()


def test_an_accuracy_that_is_not_reached_is_reported_once_when_all_is_saved(
    launcher: Launcher, folder: Path
) -> None:
    hard = [*SMALL, *"--epochs 1 --val-size 100 --until-accuracy 1 -q".split()]
    done = launcher.train(*hard, ranks=2)
    assert [(one.code, one.out) for one in done] == [(5, "checkpoint.pt\n"), (5, "")]
    reported_once(done, "below --until-accuracy 1")
    assert load_checkpoint(str(folder / "checkpoint.pt")).position.update == 10


def test_a_rank_that_is_lost_stops_the_others_with_their_state_saved(
    launcher: Launcher, folder: Path
) -> None:
    started = launcher.start("mnist-train", *ENDLESS, ranks=3)
    started.wait_for_update(20)
    started.children[1].kill()
    done = started.wait(SOON)
    assert [one.code for one in done] == [143, -9, 143]
    reported_once(done, "another rank was lost")
    assert not done[2].err
    saved = load_checkpoint(str(folder / "checkpoint.pt")).position.update
    assert saved == last_update(done[0].out) >= 20
    assert f"stopped at update {saved}" in done[0].err


def test_the_loss_of_the_first_rank_stops_the_others_with_no_state_damaged(
    launcher: Launcher, folder: Path
) -> None:
    started = launcher.start("mnist-train", *ENDLESS, "--save-every", "3", ranks=2)
    started.wait_for_update(20)
    started.children[0].kill()
    done = started.wait(SOON)
    assert [one.code for one in done] == [-9, 143]
    reported_once(done, "another rank was lost")
    saved = load_checkpoint(str(folder / "checkpoint.pt")).position.update
    assert last_update(done[0].out) - saved <= 3


def test_ranks_with_different_options_are_refused(launcher: Launcher) -> None:
    own = [{"MNIST_LR": "0.01"}, {"MNIST_LR": "0.02"}]
    done = launcher.train("--model", "linear", "--subset", "640", "-q", ranks=2, own=own)
    assert [one.code for one in done] == [2, 2], done
    err = "".join(one.err for one in done)
    assert "lr is 0.02 here, and 0.01 in the first rank" in err
    assert err.count("error:") == 1
