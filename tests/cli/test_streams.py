"""Pipes, terminals, closed and full streams, with the real programs."""

import json
import os
import re
import select
import signal
import subprocess
import sys
import time
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from mnist_cli.cli.entry_points import exit_at_once_on_signals
from mnist_cli.cli.program import default_handlers, raise_on_signals
from mnist_cli.errors import SIGNAL_CODES
from tests.helpers.calling import Caller
from tests.helpers.launching import wait_until
from tests.helpers.shell import SMALL, Shell

DRAWN = Path(__file__).parents[1] / "drawn/images/006-screenshot.png"


def test_the_checkpoint_can_go_down_a_pipe(shell: Shell) -> None:
    done = shell.bash("mnist-train -q -o - | mnist-eval - --min-accuracy 0.3", env=SMALL)
    assert done.code == 0
    assert re.fullmatch(r"Test Accuracy: 0\.\d{4}\n", done.out)
    assert done.err == ""
    assert not list(shell.folder.iterdir())


def test_a_reader_that_goes_away_ends_the_run_quietly(shell: Shell) -> None:
    # More lines than a pipe holds: the program cannot end before the reader does.
    done = shell.bash("mnist-train -q --json --log-interval 1 --epochs 100 | head -1", env=SMALL)
    assert done.code == 141
    assert done.err == ""
    assert json.loads(done.out)["event"] == "start"


def in_terminal(shell: Shell, *command: str, env: dict[str, str] | None = None) -> tuple[str, str]:
    """Return what a program prints on stdout, a pipe, and on stderr, a terminal."""
    leader, follower = os.openpty()
    process = subprocess.Popen(
        command,
        cwd=shell.folder,
        env=shell.env | SMALL | {"TERM": "xterm-256color"} | (env or {}),
        stdout=subprocess.PIPE,
        stderr=follower,
        stdin=follower,
    )
    os.close(follower)
    shown = b""
    while True:
        try:
            chunk = os.read(leader, 65536)
        except OSError:  # the last holder of the terminal is gone
            break
        shown += chunk
    os.close(leader)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    return out.decode(), shown.decode()


def test_a_terminal_gets_progress_and_the_pipe_beside_it_only_data(shell: Shell) -> None:
    out, shown = in_terminal(shell, "mnist-train", "--epochs", "30", "--plot", "curves.svg")
    assert out == "checkpoint.pt\n"
    assert "\x1b[" in shown
    assert "samples/s" in shown
    assert "Step [" not in shown
    assert "mnist-eval checkpoint.pt" in shown
    assert shown.rfind("\x1b[?25h") > shown.rfind("\x1b[?25l"), "the cursor is shown again"
    assert "accuracy 0." in shown
    assert "accuracy against epochs" in shown  # of --plot


def test_no_color_and_dumb_terminals_are_honoured(shell: Shell) -> None:
    colour = re.compile(r"\x1b\[[0-9;]*[0-9]m")
    assert colour.search(in_terminal(shell, "mnist-train")[1])
    assert not re.search(
        r"\x1b\[[0-9;]*3[0-7]m", in_terminal(shell, "mnist-train", env={"NO_COLOR": "1"})[1]
    )
    dumb = in_terminal(shell, "mnist-train", env={"TERM": "dumb"})[1]
    assert "\x1b" not in dumb
    assert "Test Accuracy" in dumb


@pytest.mark.parametrize("name", ["JPY_PARENT_PID", "MPLBACKEND"])
def test_a_cell_of_a_notebook_gets_plain_lines(name: str, shell: Shell) -> None:
    kernel = {name: "module://matplotlib_inline.backend_inline", "FORCE_COLOR": "1"}
    for command in (("mnist-train",), ("mnist-compare", "--batch-sizes", "full", "--seeds", "1")):
        shown = in_terminal(shell, *command, env=kernel)[1].replace("\r\n", "\n")
        assert not re.search(r"\r|\x1b\[[^m]*[A-Za-ln-z]", shown), shown
        assert "Loading PyTorch" not in shown
        assert re.search(r"Epoch \[1/1\]|Run \[1/1\]", shown)


def test_a_terminal_without_columns_is_given_some(shell: Shell) -> None:
    shown = in_terminal(shell, "mnist-train", env={"COLUMNS": "0", "LINES": "0"})[1]
    assert "Test Accuracy" in shown


def test_force_color_brings_no_animation_into_a_file(shell: Shell) -> None:
    done = shell.train(env={"FORCE_COLOR": "1"})
    assert "\x1b" not in done.err


@pytest.mark.parametrize(
    ("script", "code", "message"),
    [
        ("mnist-train -q >&-", 7, "standard output: it is closed"),
        ("mnist-train 2>&-", 0, ""),
        ("mnist-train -q 2>/dev/full", 0, ""),
        ("mnist-train 2>/dev/full", 0, ""),
        ("mnist-train -q >/dev/full", 7, "cannot write standard output: No space left"),
        ("mnist-train -q --json >/dev/full", 7, "cannot write standard output: No space left"),
        ("mnist-train -q -o - >/dev/full", 7, "cannot write standard output: No space left"),
        ("PYTHONUNBUFFERED=1 mnist-train -q -o - >/dev/full", 7, "No space left"),
        ("PYTHONUNBUFFERED=1 mnist-train -q -o - | head -c 10 >/dev/null", 141, ""),
        ("PYTHONUNBUFFERED=1 mnist-train -q -o - | (sleep 0.2; cat) | mnist-eval - -q", 0, ""),
        ("mnist-train -q -o - >&-", 7, "standard output is closed"),
        ("mnist-train -q -o - | mnist-eval - >&-", 7, "standard output: it is closed"),
        ("mnist-train -q -o /dev/full", 7, "No space left on device"),
        ("mnist-train --help >&-", 0, ""),
        ("mnist-train -q --resume - <&-", 4, "standard input is empty"),
    ],
)
def test_closed_and_full_streams_are_not_bugs(
    script: str, code: int, message: str, shell: Shell
) -> None:
    done = shell.bash(script, env=SMALL)
    assert (done.code, message in done.err) == (code, True), done.err
    assert "Traceback" not in done.err
    assert "Exception ignored" not in done.err


def test_help_into_a_closed_pipe_exits_with_141(shell: Shell) -> None:
    done = shell.bash("mnist-train --help | true; exit ${PIPESTATUS[0]}")
    assert (done.code in (0, 141), done.err) == (True, "")  # true may read no more, or not yet


def test_no_colour_reaches_a_pipe_even_by_force(shell: Shell) -> None:
    force = dict.fromkeys(("FORCE_COLOR", "GITHUB_ACTIONS", "PY_COLORS"), "1")
    assert "\x1b" not in shell("mnist-train", "--help", env=force).out


def test_several_epochs_into_a_pipe_are_one_checkpoint(shell: Shell) -> None:
    script = "mnist-train -q --epochs 3 -o >(cat > piped.pt); wait $!; mnist-eval piped.pt"
    assert shell.bash(script, env=SMALL).code == 0
    assert shell.bash("mnist-train -q -o /dev/stdout | mnist-eval -", env=SMALL).code == 0


def test_waiting_threads_leave_the_cores_to_others_unless_told_otherwise(shell: Shell) -> None:
    code = (
        "import os, sys\n"
        "from mnist_cli.cli.program import quick_imports\n"
        "with quick_imports():\n"
        "    print(os.environ.get('GOMP_SPINCOUNT'), 'torch' in sys.modules)"
    )
    for given, found in (
        ({}, "5000"),
        ({"GOMP_SPINCOUNT": "7"}, "7"),
        ({"OMP_WAIT_POLICY": "active"}, "None"),
    ):
        assert shell("python", "-c", code, env=given).out == f"{found} False\n"


EVIL = "\x1b]0;title\x07\nerror: forged"


@pytest.mark.parametrize(
    "command",
    [
        ("mnist-eval", f"{EVIL}.pt"),
        ("mnist-eval", "x.pt", "--report", f"{EVIL}.html"),
        ("mnist-predict", f"{EVIL}.pt", "a.png"),
        ("mnist-export", f"{EVIL}.pt", "x.html"),
        ("mnist-export", "x.pt", f"{EVIL}.html"),
        ("mnist-compare", "--batch-sizes", EVIL),
        ("mnist-compare", "--config", f"{EVIL}.toml"),
        *(("mnist-train", f"--{name}", EVIL) for name in ("output", "data-dir", "log-file")),
        *(("mnist-train", f"--{name}", EVIL) for name in ("tensorboard", "resume", "config")),
        *(("mnist-train", f"--{name}", EVIL) for name in ("model", "lr", "probe")),
        ("mnist-train", "--config", "evil.toml"),
    ],
)
def test_no_name_steers_the_terminal_or_forges_a_message(
    command: tuple[str, ...], call: Caller
) -> None:
    (call.folder / "evil.toml").write_text('log_file = "\\u001b]0;title\\nerror: forged"\n')
    done = call(*command)
    assert done.code
    assert done.err.startswith("error: ")
    assert "\x1b" not in done.err + done.out
    assert "\nerror: forged" not in done.err


@pytest.mark.slow
@pytest.mark.parametrize("gap", [0.2, 1.0])
def test_signals_end_a_program_though_nobody_reads_its_messages(gap: float, shell: Shell) -> None:
    reading, writing = os.pipe()
    process = subprocess.Popen(
        ["mnist-train", "--epochs", "1000000", "--log-interval", "1"],
        cwd=shell.folder,
        env={**shell.env, **SMALL, "PYTHONUNBUFFERED": ""},
        stdout=subprocess.DEVNULL,
        stderr=writing,
    )
    try:
        full = time.monotonic() + 60
        while select.select([], [writing], [], 0)[1] and time.monotonic() < full:
            time.sleep(0.05)  # until the pipe is full, and the program waits
        began = time.monotonic()
        for _ in range(2):
            process.send_signal(signal.SIGTERM)
            time.sleep(gap)
        assert process.wait(timeout=30) == 143
        assert time.monotonic() - began < 10
    finally:
        process.kill()
        process.wait()
        os.close(reading)
        os.close(writing)


def opened_for_writing(fifo: Path) -> int:
    """Open a FIFO once a program has opened it to read."""
    handles = []

    def has_reader() -> bool:
        with suppress(OSError):
            handles.append(os.open(fifo, os.O_WRONLY | os.O_NONBLOCK))
        return bool(handles)

    wait_until(has_reader)
    return handles[0]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 143)]
)
@pytest.mark.parametrize(
    "command",
    [
        "mnist-train --resume fifo",
        "mnist-eval fifo --report report.html",
        "mnist-predict fifo image.png",
        "mnist-export fifo page.html",  # its output is locked by then
    ],
)
def test_a_signal_ends_every_program_with_one_code_and_nothing_left_behind(
    command: str, number: signal.Signals, code: int, shell: Shell
) -> None:
    os.mkfifo(shell.folder / "fifo")
    process = subprocess.Popen(
        command.split(), cwd=shell.folder, env=shell.env, stderr=subprocess.PIPE
    )
    with ExitStack() as stack:
        stack.callback(process.kill)
        stack.callback(os.close, opened_for_writing(shell.folder / "fifo"))
        process.send_signal(number)
        _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (code, b"")
    assert [path.name for path in shell.folder.iterdir()] == ["fifo"]


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 143)]
)
def test_a_signal_during_the_imports_ends_the_program_with_its_code(number: int, code: int) -> None:
    begin = "from mnist_cli.cli.entry_points import exit_at_once_on_signals as f; f()"
    program = f"import os; {begin}; os.kill(os.getpid(), {int(number)})"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == code


def test_an_ignored_hangup_stays_ignored() -> None:
    """As under nohup."""
    before = {number: signal.getsignal(number) for number in SIGNAL_CODES}
    try:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        for install in (raise_on_signals, exit_at_once_on_signals, default_handlers):
            install()
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
