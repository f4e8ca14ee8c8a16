"""Tests of the programs with several ranks: the output is that of one process, once."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.launching import STEADY, Launcher, events, losses, wait_until
from tests.helpers.shell import Shell

OPTIONS = (
    "--model mlp --subset 330 --val-size 100 --batch-size 32 --epochs 2 --log-interval 3"
).split()
# Keys that depend on the number of ranks or the clock.
OWN = {"seconds", "time", "train_seconds", "world_size", "threads", "weights_sha256"}
ESTIMATES = ("_estimate", "_estimate_error")  # of the noise: ranks divide an update, one may not


def same(event: dict[str, Any]) -> dict[str, Any]:
    """Return an event without the keys that may differ."""
    return {k: v for k, v in event.items() if k not in OWN and not k.endswith(ESTIMATES)}


def comparable(out: str) -> list[dict[str, Any]]:
    """Return the events without the keys that differ, real numbers to be compared roughly."""
    return [
        {
            key: pytest.approx(value, rel=1e-5, abs=1e-6) if isinstance(value, float) else value
            for key, value in same(event).items()
        }
        for event in events(out)
    ]


@pytest.mark.parametrize("mode", [[], ["--mode", "batch"], ["--batch-schedule", "32:64"]])
def test_the_events_equal_those_of_one_process(mode: list[str], launcher: Launcher) -> None:
    sizes = ["--micro-batch-size", "50"] if "batch" in mode else ["--batch-size", "32"]
    options = "--model mlp --subset 330 --val-size 100 --epochs 2 --log-interval 3 --json".split()
    options += [*STEADY, *mode, *sizes]
    [one] = launcher.train(*options, ranks=1)
    two = launcher.train(*options, ranks=2)
    assert [done.code for done in two] == [0, 0]
    assert comparable(two[0].out) == [same(event) for event in events(one.out)]
    assert events(two[0].out)[0]["world_size"] == 2


def test_all_ranks_begin_with_the_weights_of_a_checkpoint(launcher: Launcher) -> None:
    options = [*OPTIONS, *STEADY, "--json"]
    launcher.train(*options, "--seed", "5", "-o", "first.pt", ranks=1)
    begun = [*options, "--init", "first.pt"]
    [one] = launcher.train(*begun, ranks=1)
    two = launcher.train(*begun, ranks=2)
    assert [done.code for done in two] == [0, 0]
    assert comparable(two[0].out) == [same(event) for event in events(one.out)]
    assert len(events(one.out)[0]["config"]["init"]) == 64


def test_only_the_first_rank_prints(launcher: Launcher) -> None:
    options = [*OPTIONS, *STEADY]
    [one] = launcher.train(*options, ranks=1)
    first, *others = launcher.train(*options, ranks=3)
    assert first.out == one.out == "checkpoint.pt\n"
    assert [(done.code, done.out, done.err) for done in others] == [(0, "", "")] * 2
    lines, of_one = (
        [line.partition(", Noise Scale")[0] for line in err.splitlines() if line[:5] == "Epoch"]
        for err in (first.err, one.err)
    )
    assert lines == of_one
    assert len(lines) == len(set(lines)) == 9  # 22 updates and 2 epochs


def test_ranks_write_a_checkpoint_to_standard_output_once(launcher: Launcher) -> None:
    """Compared as bytes, while `Done` has text."""
    started = launcher.start("mnist-train", *OPTIONS, "-q", "-o", "-", ranks=2)
    wait_until(lambda: all(child.has_ended() for child in started.children))
    assert [child.wait() for child in started.children] == [0, 0]
    assert (started.place / "out1").read_bytes() == b""
    written = (started.place / "out0").read_bytes()
    launcher.train(*OPTIONS, "-q", "-o", "file.pt", ranks=2)
    (launcher.folder / "stream.pt").write_bytes(written)
    digests = set()
    for name in ("stream.pt", "file.pt"):
        [done] = launcher.start("mnist-eval", name, "--json", ranks=1).wait()
        digests.add(json.loads(done.out)["weights_sha256"])
    assert len(digests) == 1


def test_the_data_is_unpacked_once(launcher: Launcher, tmp_path: Path) -> None:
    """The first rank of a machine unpacks it to an empty folder."""
    counts = launcher.script("unpacked", str(tmp_path / "empty"), ranks=2)
    assert counts == [1, 0]


def test_under_torchrun_a_usage_error_has_its_code_and_is_reported_once(shell: Shell) -> None:
    program = (
        "-m mnist_cli.cli.torchrun --nproc-per-node 2 -m mnist_cli train --batch-size 0".split()
    )
    done = shell("python", *program)
    assert (done.code, done.out) == (2, "")
    assert done.err.count("--batch-size") == done.err.count("\n") == 1


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ("--nnodes 0", "min_nodes must be > 0"),
        ("--nnodes x", "invalid literal for int"),
        ("--nproc-per-node 0", "--nproc-per-node must be at least 1, not 0"),
        ("--nproc-per-node x", "Unsupported nproc_per_node value: x"),
        ("--log-dir /dev/null/x", "Not a directory"),
    ],
)
def test_options_that_torchrun_cannot_use_are_an_error_in_one_line(
    options: str, reason: str, shell: Shell
) -> None:
    done = shell("python", *f"-m mnist_cli.cli.torchrun {options} -m mnist_cli train".split())
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("error: torchrun cannot use its options: ")
    assert reason in done.err
    assert done.err.count("\n") == 1


def test_resume_auto_goes_on_from_the_file_that_any_rank_has(
    shell: Shell, launcher: Launcher
) -> None:
    """As after a restart in which rank 0 moved to another machine."""
    options = [*OPTIONS, *STEADY, "--log-interval", "1"]
    one = launcher.train(*options, "--json", ranks=1)[0]
    assert shell("mnist-train", *options, "-q", "--max-updates", "4", "-o", "there.pt").code == 0
    before = (shell.folder / "there.pt").read_bytes()
    own = [{"MNIST_OUTPUT": "here.pt"}, {"MNIST_OUTPUT": "there.pt"}]
    two = launcher.train(*options, "--json", "--resume", "auto", ranks=2, own=own)
    assert [done.code for done in two] == [0, 0], two
    assert events(two[0].out)[0]["first_update"] == 4
    rest = losses(two[0].out)
    assert rest == pytest.approx(
        {k: v for k, v in losses(one.out).items() if k > 4}, rel=1e-5, abs=1e-6
    )
    assert len(rest) == 18  # of 2 epochs of 11
    assert (shell.folder / "here.pt").exists()
    assert (shell.folder / "there.pt").read_bytes() == before
