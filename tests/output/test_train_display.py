"""A training on a terminal, as a terminal shows it: emulated by pyte, at many widths."""

import io
import json
import os
import re
import signal
import subprocess
import termios
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import pyte
import pytest

from mnist_cli.events import End, Epoch, Event, ProbeStart, Progress, Start, Step
from mnist_cli.output.train_display import LossCurve, human_renderer, sparkline
from tests.helpers.shell import SMALL, Shell

ROWS = 50  # more than a run here prints: nothing scrolls away

# The training, in which something happens after the first drawing: at no other moment, however
# busy the machine.
DISTURBED = """\
# forked
import os, signal, termios
from mnist_cli.output import train_display as display
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


class Terminal(pyte.Screen):
    """A screen that notes when a line was longer than it is wide, and went on in the next.

    The summary may: it is left to the terminal to fold, so that its commands can be copied whole.
    """

    def __init__(self, columns: int) -> None:
        super().__init__(columns, ROWS)
        self.wrapped: list[str] = []

    @property
    def display(self) -> list[str]:
        """The lines, as of the original, which takes ten times as long for empty ones."""
        cells = range(self.columns)
        return [
            "".join([self.buffer[y][x].data for x in cells]) if y in self.buffer else ""
            for y in range(self.lines)
        ]

    def draw(self, data: str) -> None:
        for char in data:
            if self.cursor.x == self.columns:
                shown = self.display
                if not any(line.startswith("Test Accuracy:") for line in shown):
                    self.wrapped.append(shown[self.cursor.y])
            super().draw(char)


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


def run(shell: Shell, *options: str, columns: int, what: str = "") -> Shown:
    """Run mnist-train on a terminal, its standard output a pipe; disturb it once."""
    leader, follower = os.openpty()
    termios.tcsetwinsize(follower, (ROWS, columns))
    program = ["python", "-c", DISTURBED.format(what=what)] if what else ["mnist-train"]
    process = subprocess.Popen(
        [*program, *options],
        cwd=shell.folder,
        env=shell.env | SMALL | {"TERM": "xterm-256color"},
        stdin=follower,
        stdout=subprocess.PIPE,
        stderr=follower,
    )
    os.close(follower)
    terminal = Terminal(columns)
    stream = pyte.ByteStream(terminal)
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


START = Start(
    seconds=0.0,
    version="1",
    mode="mini-batch",
    samples=1000,
    batch_size=100,
    updates_per_epoch=10,
    updates=30,
    parameters=7850,
    device="cpu",
    world_size=1,
    threads=1,
    config={
        "epochs": 3,
        "model": "linear",
        "dataset": "mnist",
        "max_seconds": None,
        "batch_schedule": "off",
    },
    first_update=0,
    samples_seen=0,
    samples_per_epoch=1000,
    planned_updates=30,
    end_samples=3000,
)


def events(start: Start = START) -> Iterator[Event]:
    """Yield the events of a training that makes an update a second."""
    yield start
    for update in range(start.first_update + 1, start.updates + 1):
        now, seen = float(update - start.first_update), update * start.batch_size
        epoch, step = -(-update // 10), (update - 1) % 10 + 1
        if update == 25:
            yield ProbeStart(now, "noise")
        yield Step(now, epoch, step, update, seen, 1 / update, 0.05, 10)
        yield Progress(now, epoch, step / 10, seen, 1 / update, 0.5, 0.05, update, 2 / update)
        if step == 10:
            yield Epoch(now, epoch, update, seen, 0.5, 0.75, 0.25, 0.9375, 100, 0.25, 0.9375)
    yield End(now, "completed", "a.pt", 3, start.updates, seen, 0.9375, now, None)


class TerminalFile(io.StringIO):
    """A file that is a terminal."""

    def __init__(self, terminal: Terminal) -> None:
        super().__init__()
        self.stream = pyte.ByteStream(terminal)

    encoding = "utf-8"

    def isatty(self) -> bool:
        return True

    def write(self, text: str) -> int:
        self.stream.feed(text.replace("\n", "\r\n").encode())
        return len(text)


@pytest.fixture
def show(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Shown]:
    """Return a function that shows the events on a terminal, which may become narrower halfway."""
    monkeypatch.setenv("TERM", "xterm-256color")
    for name in ("COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)

    def shown(
        columns: int, *, start: Start = START, narrow: bool = False, **options: bool
    ) -> Shown:
        terminal = Terminal(columns)
        monkeypatch.setattr(
            os, "get_terminal_size", lambda *_: os.terminal_size((terminal.columns, ROWS))
        )
        screens: list[list[str]] = []
        file = TerminalFile(terminal)
        with human_renderer(file, quiet=False, plain=False, **options) as display:
            for event in events(start):
                if narrow and event.seconds == 15:
                    terminal.resize(ROWS, 40)
                display.show(event)
                screens.append(list(terminal.display))
        return Shown(0, screens, terminal, "")

    return shown


@pytest.mark.parametrize("columns", [20, 80, 200])
def test_nothing_is_wider_than_the_terminal(columns: int, show: Callable[..., Shown]) -> None:
    shown = show(columns)
    assert shown.terminal.wrapped == []
    assert "Next: mnist-eval a.pt" in "".join(shown.terminal.display).replace(" " * columns, "")
    assert not shown.terminal.cursor.hidden
    assert not [line for line in shown.lines if "━" in line], "the bar is gone at the end"
    assert any("%" in line for line in shown.live())
    assert any(
        re.search(r"batch loss \d\.\d{4}", line) for screen in shown.screens for line in screen
    )
    rows = [line for line in shown.lines if re.match(r" +\d/3 ", line)]
    assert [row.split()[0] for row in rows] == ["1/3", "2/3", "3/3"]
    (heading,) = [line for line in shown.lines if re.match("epoch {2,}", line)]
    assert {len(row) for row in rows} == {len(heading)}, "metrics stand below their headings"
    assert "test acc" in heading
    assert columns < 80 or heading.split("  ")[-1].strip() == "val acc"


def test_a_wide_terminal_shows_every_metric_and_the_loss_curve(show: Callable[..., Shown]) -> None:
    screens = ["\n".join(screen) for screen in show(100).screens]
    for pattern in (
        r"Epoch 2/3 [━╸╺]{12} in all [━╸╺]+ +50% 0:00:15 left",
        r"batch loss \d\.\d{4}  average \d\.\d{4}  accuracy 0\.5000  100 samples/s  lr 5\.0e-02",
        r"lr 5\.0e-02 +█[▁▂▃▄▅▆▇█]{3,}",
    ):
        assert any(re.search(pattern, screen) for screen in screens), pattern
    assert any("batch loss 0.1000  average 0.0500" in screen for screen in screens)  # update 20


def test_a_probe_under_way_is_named_in_place_of_the_epoch(show: Callable[..., Shown]) -> None:
    screens = ["\n".join(screen) for screen in show(80).screens]
    probing = [k for k, screen in enumerate(screens) if "Probe: noise" in screen]
    assert probing
    assert "Epoch 3/3" in screens[probing[-1] + 1]
    assert not any("Epoch 3/3" in screens[k] for k in probing)


def test_the_time_left_is_at_most_what_max_seconds_leaves(show: Callable[..., Shown]) -> None:
    start = replace(START, config=START.config | {"max_seconds": 20.0})
    screens = ["\n".join(screen) for screen in show(100, start=start).screens]
    assert any("50% 0:00:05 left" in screen for screen in screens)


def test_a_resumed_training_begins_where_it_stopped(show: Callable[..., Shown]) -> None:
    shown = show(80, start=replace(START, first_update=20, samples_seen=2000))
    percentages = [int(n) for line in shown.live() for n in re.findall(r"(\d+)%", line)]
    assert (min(percentages), max(percentages)) == (67, 100)
    assert any("going on after 20" in line for line in shown.lines)
    assert [line.split()[0] for line in shown.lines if re.match(r" +\d/3 ", line)] == ["3/3"]


def test_a_terminal_that_becomes_narrower_is_filled_no_further(show: Callable[..., Shown]) -> None:
    shown = show(120, narrow=True)
    assert shown.terminal.columns == 40
    assert any(line.startswith("  3/3") for line in shown.lines)
    assert shown.terminal.wrapped == []
    assert not shown.terminal.cursor.hidden


def test_losses_of_steps_are_shown_if_asked_for(show: Callable[..., Shown]) -> None:
    assert not [line for line in show(80).lines if "Step [" in line]
    lines = show(80, shows_steps=True).lines
    steps = [line for line in lines if re.match(r"Epoch \[\d/3\], Step \[\d+/10\], Loss: \d", line)]
    assert len(steps) == 30


@pytest.mark.parametrize(("options", "count"), [((), 0), (("--log-interval", "100"), 2)])
def test_an_explicit_log_interval_shows_steps_even_if_it_is_the_default(
    options: tuple[str, ...], count: int, shell: Shell
) -> None:
    shown = run(shell, "--subset", "6400", "--batch-size", "32", *options, columns=80)
    assert len([line for line in shown.lines if "Step [" in line]) == count


def test_lines_of_json_go_to_the_pipe_and_not_above_the_bar(shell: Shell) -> None:
    shown = run(shell, "--json", "--epochs", "2", columns=80)
    events = [json.loads(line)["event"] for line in shown.out.splitlines()]
    assert events == ["start", "epoch", "epoch", "end"]
    assert not [line for line in shown.lines if "{" in line]


def test_an_interrupted_training_gives_the_cursor_back(shell: Shell) -> None:
    shown = run(shell, "--epochs", "50", columns=80, what=INTERRUPT)
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


def test_a_loss_curve_stays_small_and_keeps_its_shape() -> None:
    curve = LossCurve(max_buckets=8)
    for n in range(1000):
        curve.add(float(n))
        assert len(curve.values) < 8 + 1
    assert curve.values == sorted(curve.values)
    assert curve.values[0] < 130
    assert curve.values[-1] > 700


def test_a_training_cut_short_says_how_to_go_on(mnist_shell: Shell) -> None:
    done = mnist_shell.train("--epochs", "3", "--max-updates", "7", "-o", "my model.pt")
    first, second, third = done.err.splitlines()[-3:]
    assert re.fullmatch(
        r"Test Accuracy: 0\.\d{4} after 7 of 30 updates, \d\.\d s of training, "
        r"stopped by --max-updates",
        first,
    )
    assert second == "Wrote my model.pt. Next: mnist-eval 'my model.pt'"
    assert third == "or train on: mnist-train --resume 'my model.pt'"
    *_, first, _, third = mnist_shell("mnist-train", "--resume", "my model.pt").err.splitlines()
    assert "after 30 updates (23 of them now)" in first
    assert third == "or draw digits for it: mnist-export 'my model.pt' digit.html"
