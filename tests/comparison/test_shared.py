"""A comparison whose arms many ranks share out."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.launching import Launcher, Started, events, wait_until, worker_of
from tests.helpers.shell import Shell

ARMS = {
    "MNIST_MODEL": "linear",
    "MNIST_SUBSET": "600",
    "MNIST_BATCH_SIZES": "10,100,full",
    "MNIST_SEEDS": "2",
    "MNIST_EPOCHS": "2",
}
# What clocks and the number of ranks decide.
OWN = {"seconds", "train_seconds", "tuning_seconds", "machine", "world_size"}
ENDLESS = ("-q", "--epochs", "20000")  # minutes an arm


def comparable(value: Any) -> Any:
    """Return events without what differs, wherever in them."""
    if isinstance(value, dict):
        return {k: comparable(v) for k, v in value.items() if k not in OWN}
    if isinstance(value, list):
        return [comparable(v) for v in value if not _is_of_seconds(v)]
    return re.sub(r"[\d.]+ s\b", "", value) if isinstance(value, str) else value


def _is_of_seconds(value: Any) -> bool:
    return isinstance(value, dict) and "seconds" in str(value.get("about"))


def start(launcher: Launcher, *options: str, ranks: int = 2) -> Started:
    """Start a comparison whose ranks keep what they find in folders of their own: rank0, rank1, …

    So it shows which has found what.
    """
    own = [{"MNIST_OUTPUT": f"rank{rank}"} for rank in range(ranks)]
    return launcher.start("mnist-compare", *options, ranks=ranks, env=ARMS, own=own)


def wait_for_the_first_updates(folder: Path) -> None:
    """Wait until a rank has made its folder, and as long as PyTorch's first updates take."""
    wait_until(folder.exists)
    time.sleep(1.5)


def digests(out: str) -> list[str]:
    return [event["weights_sha256"] for event in events(out) if event["event"] == "arm-end"]


@pytest.mark.parametrize("options", [(), ("--lr-rule", "tuned", "--lr-range")])
def test_ranks_find_what_one_process_finds_and_each_trains_a_part(
    shell: Shell, launcher: Launcher, options: tuple[str, ...]
) -> None:
    one = shell("mnist-compare", "--json", "-q", "-o", "rank0", *options, env=ARMS)
    assert one.code == 0, one.err
    (shell.folder / "rank0").rename(shell.folder / "alone")
    first, second = start(launcher, "--json", *options).wait()
    assert (first.code, second.code) == (0, 0)
    assert second.out == second.err == ""
    assert "by 2 ranks" in first.err
    assert "Run [6/6], full batch, seed 1: 2 updates" in first.err
    assert comparable(events(first.out)) == comparable(events(one.out))
    alone, all_of_them, part = (
        {path.name for path in (shell.folder / name).glob("*.jsonl")}
        for name in ("alone", "rank0", "rank1")
    )
    assert all_of_them == alone
    assert part
    assert part <= alone


def test_the_error_of_a_rank_is_told_once_and_ends_the_others(
    launcher: Launcher, folder: Path
) -> None:
    (folder / "rank1").write_text("in the way")
    done = start(launcher, *ENDLESS, ranks=3).wait(30)
    assert [(one.code, one.out) for one in done] == [(7, "")] * 3
    (line,) = "".join(one.err for one in done).splitlines()
    assert line.startswith("error: rank 1: --output rank1: cannot make this folder")


def test_what_ranks_were_interrupted_in_goes_on_with_one(shell: Shell, launcher: Launcher) -> None:
    budget = ("--batch-sizes", "10", "--epochs", "250", "-q")  # some seconds an arm
    together = shell.folder / "together"
    started = launcher.start("mnist-compare", *budget, "-o", str(together), ranks=2, env=ARMS)
    wait_for_the_first_updates(together)
    for child in started.children:
        child.kill(signal.SIGTERM)
    done = started.wait()
    assert [one.code for one in done] == [143, 143]
    assert "".join(one.err for one in done).count("the same command goes on") == 1
    assert list(together.glob("*.part.pt"))  # two, unless the signal came while one was measured
    again = shell("mnist-compare", "-o", "together", "--json", *budget, env=ARMS)
    whole = shell("mnist-compare", "-o", "whole", "--json", *budget, env=ARMS)
    assert digests(again.out) == digests(whole.out)
    assert len(digests(whole.out)) == 2


def test_an_arm_that_was_lost_with_its_rank_is_run_again(shell: Shell) -> None:
    command = (
        *(sys.executable, "-m", "mnist_cli.cli.torchrun", "--nproc-per-node", "2"),
        *("--master-addr", "127.0.0.1", "--max-restarts", "3"),
        *("-m", "mnist_cli", "compare", "--json", "-q"),
    )
    env = shell.env | ARMS | {"MNIST_EPOCHS": "300", "MNIST_BATCH_SIZES": "10,full"}
    with subprocess.Popen(
        command, cwd=shell.folder, env=env, stdout=subprocess.PIPE, text=True
    ) as launcher:
        try:
            wait_for_the_first_updates(shell.folder / "comparison")
            victim = worker_of(launcher.pid, rank=1)  # an arm takes it some seconds
            assert victim
            os.kill(victim, signal.SIGKILL)
            out, _ = launcher.communicate(timeout=100)
        finally:
            launcher.terminate()
    assert launcher.returncode == 0
    assert [event["event"] for event in events(out)].count("start") == 2  # it was begun again
    one = shell("mnist-compare", "--json", "-q", "-o", "one", env=env)
    assert digests(out)[-4:] == digests(one.out)


@pytest.mark.parametrize("rank", [0, 1])
def test_a_signal_to_one_rank_ends_all_and_is_told_once(
    launcher: Launcher, folder: Path, rank: int
) -> None:
    started = start(launcher, *ENDLESS)
    wait_for_the_first_updates(folder / f"rank{rank}")
    started.children[rank].kill(signal.SIGTERM)
    done = started.wait()
    assert [one.code for one in done] == [143, 143]
    assert "".join(one.err for one in done).count("error:") == 1, done


def test_a_rank_that_gives_no_more_signs_of_life_is_noticed(
    launcher: Launcher, folder: Path
) -> None:
    """Nobody waits on a connection to it, whose end would tell."""
    started = start(launcher, *ENDLESS)
    wait_for_the_first_updates(folder / "rank1")
    started.children[1].kill()
    first, _ = started.wait()
    assert first.code == 143
    assert first.err.startswith("error: rank 1 was lost")


def test_ranks_with_different_options_are_refused(launcher: Launcher) -> None:
    own = [{"MNIST_LR": "0.01"}, {"MNIST_LR": "0.02"}]
    done = launcher.train("--model", "linear", "--subset", "640", "-q", ranks=2, own=own)
    assert [one.code for one in done] == [2, 2], done
    err = "".join(one.err for one in done)
    assert "lr is 0.02 here, and 0.01 in the first rank" in err
    assert err.count("error:") == 1
