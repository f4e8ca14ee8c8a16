"""A training on a terminal, as a terminal shows it: emulated by pyte, at many widths."""

import json
import os
import re
import signal
import subprocess
import termios
from dataclasses import dataclass

import pyte
import pytest

from mnist_cli.output.train_display import Trace, sparkline
from tests.helpers.shell import SMALL, Shell

WIDTHS = (20, 40, 60, 80, 120, 200)
ROWS = 100  # more than a run here prints: nothing scrolls away

# The training, in which something happens after the first drawing: at no other moment, however
# busy the machine.
DISTURBED = """
import os, signal, termios
from mnist_cli import display
from mnist_cli.cli.train import main
advance = display.Terminal._advance
def once(self, event):
    advance(self, event)
    display.Terminal._advance = advance
    {what}
display.Terminal._advance = once
main()
"""
INTERRUPT = "os.kill(os.getpid(), signal.SIGINT)"
# The terminal becomes narrower, and is told so in the midst of what it is to show.
NARROW = f"termios.tcsetwinsize(2, ({ROWS}, 40)); os.write(2, b'\\x1b[8;{ROWS};40t')"


class Terminal(pyte.Screen):
    """A screen that notes when a line was longer than it is wide, and went on in the next.

    The summary may: it is left to the terminal to fold, so that its commands can be copied whole.
    """

    def __init__(self, columns: int) -> None:
        super().__init__(columns, ROWS)
        self.wrapped: list[str] = []

    def draw(self, data: str) -> None:
        for char in data:
            if self.cursor.x == self.columns:
                shown = self.display
                if not any(line.startswith("Test Accuracy:") for line in shown):
                    self.wrapped.append(shown[self.cursor.y])
            super().draw(char)

    def become(self, _: int, lines: int, columns: int) -> None:
        """Take another size, as `CSI 8 ; lines ; columns t` asks for."""
        self.resize(lines, columns)


class Stream(pyte.ByteStream):
    """pyte's, which knows one sequence more."""

    csi = pyte.ByteStream.csi | {"t": "become"}
    events = pyte.ByteStream.events | {"become"}


@dataclass(frozen=True)
class Shown:
    """What a terminal showed: after each output, and at the end."""

    code: int
    screens: list[list[str]]
    terminal: Terminal
    out: str

    @property
    def lines(self) -> list[str]:
        return [line.rstrip() for line in self.terminal.display if line.strip()]

    def live(self) -> list[str]:
        """Return the first redrawn line of every screen that has one."""
        return [line for screen in self.screens for line in screen if "━" in line or "─" in line]


def show(
    shell: Shell, *options: str, columns: int, env: dict[str, str] | None = None, what: str = ""
) -> Shown:
    """Run mnist-train on a terminal, its standard output a pipe; disturb it once."""
    leader, follower = os.openpty()
    termios.tcsetwinsize(follower, (ROWS, columns))
    program = ["python", "-c", DISTURBED.format(what=what)] if what else ["mnist-train"]
    process = subprocess.Popen(
        [*program, *options],
        cwd=shell.folder,
        env=shell.env | SMALL | {"TERM": "xterm-256color"} | (env or {}),
        stdin=follower,
        stdout=subprocess.PIPE,
        stderr=follower,
    )
    os.close(follower)
    terminal = Terminal(columns)
    stream = Stream(terminal)
    screens: list[list[str]] = []
    while True:
        try:
            data = os.read(leader, 1 << 16)
        except OSError:
            break
        if not data:
            break
        stream.feed(data)
        screens.append(list(terminal.display))
    os.close(leader)
    out, _ = process.communicate(timeout=60)
    return Shown(process.returncode, screens, terminal, out.decode())


@pytest.mark.parametrize("columns", WIDTHS)
def test_nothing_is_wider_than_the_terminal(columns: int, shell: Shell) -> None:
    options = ("--epochs", "3", "--val-size", "100", "--subset", "6400", "-o", "a.pt")
    shown = show(shell, *options, columns=columns)
    assert shown.code == 0
    assert shown.terminal.wrapped == []
    assert "Next: mnist-eval a.pt" in "".join(shown.terminal.display).replace(" " * columns, "")
    assert not shown.terminal.cursor.hidden
    assert not [line for line in shown.lines if "━" in line], "the bar is gone at the end"
    live = shown.live()
    assert any("%" in line for line in live)
    assert any(re.search(r"loss \d\.\d{4}", line) for screen in shown.screens for line in screen)
    rows = [line for line in shown.lines if re.match(r" +\d/3 ", line)]
    assert [row.split()[0] for row in rows] == ["1/3", "2/3", "3/3"]
    (heading,) = [line for line in shown.lines if re.match("epoch {2,}", line)]
    assert {len(row) for row in rows} == {len(heading)}, "figures stand below their headings"
    assert "test acc" in heading
    assert columns < 80 or heading.split("  ")[-1].strip() == "val acc"


def test_a_wide_terminal_shows_all_there_is_to_know(shell: Shell) -> None:
    shown = show(shell, "--epochs", "9", "--subset", "6400", columns=100)
    screens = ["\n".join(screen) for screen in shown.screens]
    for found in (
        r"Epoch \d/9  [━─]+ +\d+%  0:0\d left",
        r"loss \d\.\d{4}  accuracy 0\.\d{4}  [\d,]+ samples/s  lr \d\.\de-0\d",
        r"lr \S+  [▁▂▃▄▅▆▇█]{3,}",
    ):
        assert any(re.search(found, screen) for screen in screens), found


def test_the_bar_of_an_update_from_all_samples_moves_within_it(shell: Shell) -> None:
    micro = ("--mode", "batch", "--epochs", "1", "--micro-batch-size", "4", "--model", "lenet")
    shown = show(shell, *micro, "--subset", "6000", columns=80)
    shares = {int(share) for line in shown.live() for share in re.findall(r"(\d+)%", line)}
    assert len(shares) >= 3
    assert max(shares) <= 100


def test_a_resumed_training_begins_where_it_stopped(shell: Shell) -> None:
    options = ("--epochs", "2", "--subset", "6400")
    shell.train("-q", *options, "--max-updates", "100")
    shown = show(shell, "--resume", "checkpoint.pt", *options, columns=80)
    shares = [int(share) for line in shown.live() for share in re.findall(r"(\d+)%", line)]
    assert min(shares) >= 50
    assert any("going on after 100" in line for line in shown.lines)
    assert [line.split()[0] for line in shown.lines if re.match(r" +\d/2 ", line)] == ["2/2"]


def test_a_terminal_that_becomes_narrower_is_filled_no_further(shell: Shell) -> None:
    options = ("--epochs", "6", "--subset", "6400")
    shown = show(shell, *options, columns=120, what=NARROW)
    assert shown.code == 0
    assert shown.terminal.columns == 40
    assert any(line.startswith("  6/6") for line in shown.lines)
    assert shown.terminal.wrapped == []
    assert not shown.terminal.cursor.hidden


@pytest.mark.parametrize(
    ("options", "steps"),
    [((), ["3/10", "6/10", "9/10"]), (("--mode", "batch", "--epochs", "4"), ["1/1"] * 4)],
)
def test_losses_of_steps_are_shown_if_asked_for(
    options: tuple[str, ...], steps: list[str], shell: Shell
) -> None:
    assert not [line for line in show(shell, *options, columns=80).lines if "Step [" in line]
    asked = show(shell, *options, "--log-interval", "3", columns=80)
    told = re.findall(r"^Epoch \[\d/\d\], Step \[(\S+)\], Loss: \d", "\n".join(asked.lines), re.M)
    assert told == steps


def test_steps_are_shown_if_the_default_interval_is_given(shell: Shell) -> None:
    options = ("--subset", "120", "--batch-size", "1", "--epochs", "1")
    for more, expected in ((), 0), (("--log-interval", "100"), 1):
        shown = show(shell, *options, *more, columns=80)
        assert sum("Step [100/120]" in line for line in shown.lines) == expected


def test_lines_of_json_go_to_the_pipe_and_not_above_the_bar(shell: Shell) -> None:
    shown = show(shell, "--json", "--epochs", "2", columns=80)
    events = [json.loads(line)["event"] for line in shown.out.splitlines()]
    assert events == ["start", "epoch", "epoch", "end"]
    assert not [line for line in shown.lines if "{" in line]


def test_an_interrupted_training_gives_the_cursor_back(shell: Shell) -> None:
    shown = show(shell, "--epochs", "50", columns=80, what=INTERRUPT)
    assert shown.code == 128 + signal.SIGINT
    assert not shown.terminal.cursor.hidden
    assert any(line.startswith("error: interrupted at update") for line in shown.lines)


def test_a_sparkline_is_logarithmic() -> None:
    assert sparkline([1.0, 0.1, 0.01, 0.001], 4) == "█▆▃▁"
    assert sparkline([2.0, 2.0], 8) == "▁▁"
    assert sparkline([], 8) == ""
    assert sparkline([float("nan"), 0.0, -1.0, float("inf"), 3.0, 1.0], 9) == "█▁"


def test_a_sparkline_has_at_most_its_cells_and_means_of_what_they_cover() -> None:
    assert len(sparkline([float(n) for n in range(1, 1001)], 24)) == 24
    assert sparkline([1.0, 3.0, 4.0, 4.0], 2) == sparkline([2.0, 4.0], 2)


def test_a_trace_stays_small_and_keeps_its_shape() -> None:
    trace = Trace(most=8)
    for n in range(1000):
        trace.add(float(n))
        assert len(trace.values) < 8 + 1
    assert trace.values == sorted(trace.values)
    assert trace.values[0] < 130
    assert trace.values[-1] > 700


def test_a_training_cut_short_says_how_to_go_on(shell: Shell) -> None:
    done = shell.train("--epochs", "3", "--max-updates", "7", "-o", "my model.pt")
    first, second, third = done.err.splitlines()[-3:]
    assert re.fullmatch(
        r"Test Accuracy: 0\.\d{4} after 7 of 30 updates, \d\.\d s of training, "
        r"stopped by --max-updates",
        first,
    )
    assert second == "Wrote my model.pt. Next: mnist-eval 'my model.pt'"
    assert third == "or train on: mnist-train --resume 'my model.pt'"
    *_, first, _, third = shell("mnist-train", "--resume", "my model.pt").err.splitlines()
    assert "after 30 updates (23 of them now)" in first
    assert third == "or draw digits for it: mnist-export 'my model.pt' digit.html"
