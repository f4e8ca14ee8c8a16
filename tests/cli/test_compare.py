"""`mnist-compare` as a user meets it: streams, exit codes, files, interruption."""

import fcntl
import json
import os
import pty
import re
import shlex
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.shell import Done, Shell

SMALL = {"MNIST_MODEL": "linear", "MNIST_SUBSET": "300"}
RUNS = {"MNIST_BATCH_SIZES": "30,100,full", "MNIST_SEEDS": "2", "MNIST_EPOCHS": "2"}


@pytest.fixture
def shell(shell: Shell) -> Shell:
    """Return a shell whose comparisons are small."""
    return replace(shell, env=shell.env | SMALL)


def compare(shell: Shell, *options: str) -> Done:
    """Compare three batch sizes with two seeds for two epochs, unless told otherwise."""
    return shell("mnist-compare", *options, env=RUNS)


def events(done: Done) -> list[dict[str, Any]]:
    return [json.loads(line) for line in done.out.splitlines()]


def test_standard_output_is_a_table_for_programs_and_the_rest_is_on_standard_error(
    shell: Shell,
) -> None:
    done = compare(shell)
    assert done.code == 0, done.err
    heading, *rows = [line.split("\t") for line in done.out.splitlines()]
    assert [row[0] for row in rows] == ["30", "100", "full"]
    assert all(len(row) == len(heading) for row in rows)
    table = [dict(zip(heading, row, strict=True)) for row in rows]
    assert [row["updates"] for row in table] == ["20.0", "6.0", "2.0"]
    assert all(0 < float(row["test_accuracy"]) <= 1 for row in table)
    assert re.search(
        r"Run \[6/6\], full batch, seed 1: test accuracy 0\.\d{4}, 2 updates", done.err
    )
    assert "Highest test accuracy at the end of the budget" in done.err
    assert "\x1b" not in done.out + done.err


def test_json_lines_carry_everything(shell: Shell) -> None:
    found = events(compare(shell, "--json", "-q"))
    assert all("event" in event and "seconds" in event for event in found)
    assert found[0]["event"] == "start"
    assert found[0]["config"]["batch_sizes"] == "30,100,full"
    names = [event["event"] for event in found]
    assert names[-5:] == ["summary", "summary", "summary", "verdict", "end"]
    assert names.count("arm-start") == names.count("arm-end") == 6
    first = {e["train_loss"] for e in found if e["event"] == "point" and e["update"] == 0}
    assert len(first) == 1  # softmax regression is zero at first, whatever the seed
    assert found[-2]["findings"][0]["about"] == "test accuracy"


def test_the_command_of_the_report_repeats_the_comparison(shell: Shell) -> None:
    options = ("--lr", "0.03", "--momentum", "0.5", "--output", "a b", "--lr-range")
    start, *_ = events(compare(shell, "--json", "-q", *options))
    command = shlex.split(start["command"])
    assert command[0] == "mnist-compare"
    again = events(shell(*command, "--json", "-q"))
    assert again[-1]["arms_run"] == 0
    assert again[0]["config"] == start["config"]


def test_a_comparison_can_come_from_a_file_and_a_flag_comes_first(shell: Shell) -> None:
    (shell.folder / "mine.toml").write_text('seeds = 1\nbatch_sizes = "full"\nlr_range = false\n')
    done = shell("mnist-compare", "--config", "mine.toml", "--seeds", "2", "--json", "-q")
    start = events(done)[0]
    assert (start["config"]["seeds"], start["config"]["batch_sizes"]) == (2, "full")


def test_a_budget_on_the_command_line_replaces_the_files(shell: Shell) -> None:
    (shell.folder / "mine.toml").write_text('epochs = 5\nbatch_sizes = "full"\nseeds = 1\n')
    done = shell("mnist-compare", "--config", "mine.toml", "--updates", "3", "--json")
    assert events(done)[0]["config"]["epochs"] is None
    assert events(done)[0]["config"]["updates"] == 3


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (("--batch-sizes", "30,x"), 2, "'x' is neither a number"),
        (("--batch-sizes", "30,301"), 2, "301 is more than the 300"),
        (("--updates", "3", "--epochs", "2"), 2, "--epochs and --updates contradict"),
        (("--lr-rule", "squared"), 2, "not one of"),
        (("--seed", "-1"), 2, "must be at least 0"),
        (("--data-dir", "/proc/none"), 3, "/proc/none"),
        (("--lr", "1e38", "--model", "mlp"), 6, "every run diverged"),
        (("--output", "/proc/none"), 7, "/proc/none"),
        (("--report", "no/such/folder.html"), 7, "no/such/folder.html"),
        (("--report", "-", "--json"), 2, "choose one"),
    ],
)
def test_an_error_has_its_exit_code_and_a_line(
    shell: Shell, options: tuple[str, ...], code: int, words: str
) -> None:
    done = compare(shell, *options)
    assert done.code == code, done.err
    assert words in done.err
    assert "Traceback" not in done.err


def test_a_target_that_no_run_reaches_is_shown_and_exits_with_5(shell: Shell) -> None:
    options = ("--plot", "figure.svg", "--report", "report.html")
    done = compare(shell, "--until-accuracy", "1", "--max-epochs", "1", *options)
    assert done.code == 5
    assert done.out.splitlines()[1].startswith("30\t")
    assert "Missed the target" in done.err
    assert done.err.splitlines()[-1].startswith("error: no run reached")
    assert all((shell.folder / name).is_file() for name in ("figure.svg", "report.html"))


def test_a_reader_that_goes_away_ends_it_quietly(shell: Shell) -> None:
    done = shell.bash("mnist-compare --json | head -1; echo ${PIPESTATUS[0]}", env=RUNS)
    assert done.out.splitlines()[-1] == "141"
    assert "Traceback" not in done.err


def test_an_interrupted_comparison_goes_on_by_the_same_command_to_the_same_result(
    shell: Shell, tmp_path: Path
) -> None:
    def kept(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
        clocks = ("seconds", "train_seconds", "busy_share", "update_seconds", "update_seconds_iqr")
        names = ("point", "change", "arm-end")
        return [
            {k: v for k, v in event.items() if k not in clocks}
            for event in found
            if event["event"] in names
        ]

    options = ("--json", "-q", "--epochs", "20", "--batch-sizes", "3,full")
    whole = events(compare(shell, *options, "-o", "whole"))
    end, out = os.pipe()
    fcntl.fcntl(out, fcntl.F_SETPIPE_SZ, 4096)  # it can be only a few events ahead of the reader
    process = subprocess.Popen(
        [shell.fork_server.folder / "mnist-compare", *options, "-o", "cut"],
        cwd=shell.folder,
        env={**shell.env, **RUNS},
        stdout=out,
        stderr=subprocess.PIPE,
        text=True,
    )
    os.close(out)
    with os.fdopen(end, "rb", buffering=0) as pipe:
        for line in pipe:  # two runs have ended, and the third is under way
            event = json.loads(line)
            if event["event"] == "point" and event["seed"] == 1 and event["update"] > 4:
                process.send_signal(signal.SIGINT)
                break
        pipe.read()
    _, words = process.communicate()
    assert process.returncode == 130, words
    assert "the same command goes on" in words
    assert "Traceback" not in words
    if "interrupted at update" in words:  # a signal while something is measured saves nothing
        assert len(list((tmp_path / "cut").glob("*.part.pt"))) == 1
    rest = events(compare(shell, *options, "-o", "cut"))
    assert rest[-1]["arms_run"] <= 2  # the two of the first seed had ended
    assert kept(rest) == kept(whole)
    assert not list((tmp_path / "cut").glob("*.part.*"))


def on_a_terminal(shell: Shell, *command: str, env: dict[str, str]) -> str:
    """Return what a program writes to a terminal of 100 columns, as it would be shown."""
    main, other = pty.openpty()
    process = subprocess.Popen(
        command,
        cwd=shell.folder,
        env={**shell.env, **env, "TERM": "xterm-256color", "COLUMNS": "100"},
        stdin=other,
        stdout=other,
        stderr=other,
    )
    os.close(other)
    seen = b""
    while True:
        try:
            piece = os.read(main, 65536)
        except OSError:
            break
        if not piece:
            break
        seen += piece
    os.close(main)
    assert process.wait(timeout=60) == 0
    return seen.decode()


@pytest.mark.skipif(sys.platform == "win32", reason="there are no pseudo-terminals")
def test_a_terminal_gets_a_table_curves_and_the_verdict(shell: Shell) -> None:
    program = str(shell.fork_server.folder / "mnist-compare")
    shown = on_a_terminal(shell, program, env=RUNS)
    for words in ("test accuracy", "training loss against samples", "┌"):
        assert words in shown
    assert "Highest test accuracy" in shown
    plain = on_a_terminal(shell, program, env={**RUNS, "NO_COLOR": "1"})
    assert "\x1b[3" not in plain


def test_help_teaches(shell: Shell) -> None:
    done = shell("mnist-compare", "--help")
    assert done.code == 0
    assert "--batch-sizes" in done.out
    assert "--report report.html" in " ".join(done.out.split())
    assert shell("python", "-m", "mnist_cli", "compare", "--help").code == 0


def test_a_file_may_have_lists_where_the_command_line_has_commas(shell: Shell) -> None:
    (shell.folder / "mine.toml").write_text(
        'seeds = 1\nbatch_sizes = [30, "full"]\nprobe = ["sharpness"]\n'
    )
    done = shell("mnist-compare", "--config", "mine.toml", "--json", "-q")
    assert done.code == 0, done.err
    config = events(done)[0]["config"]
    assert (config["batch_sizes"], config["probe"]) == ("30,full", "sharpness")


def test_the_seeds_of_two_machines_are_put_together_without_training(shell: Shell) -> None:
    compare(shell, "-q", "--seeds", "1", "-o", "first")
    compare(shell, "-q", "--seeds", "1", "--seed", "1", "-o", "second")
    done = compare(shell, "--merge", "first,second", "-o", "all", "--report", "all.html")
    assert (done.code, len(done.out.splitlines())) == (0, 4)
    assert "Loss" not in done.err
    assert "<html" in (shell.folder / "all.html").read_text()
    missing = compare(shell, "-q", "--merge", "first,second", "-o", "all", "--seeds", "3")
    assert (missing.code, missing.out) == (2, "")
    assert "no run of batches of 30, seed 2; there are batch sizes 30, 100, full" in missing.err
    assert compare(shell, "-q", "--merge", "first,third").code == 3
