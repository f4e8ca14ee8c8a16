"""Record the programs in a terminal, for the README: `python docs/record.py [--draw] [NAME …]`.

It writes `docs/figures/NAME.cast`, which `asciinema play` shows, and `NAME.svg`, the same as an
animated picture; seconds are those of the machine, so let it have nothing else to do. The format of
a cast is https://docs.asciinema.org/manual/asciicast/v2/.
"""

import codecs
import fcntl
import json
import os
import shlex
import struct
import subprocess
import sys
import tempfile
import termios
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import filmstrip  # beside this file
import pyte
from pyte import graphics

FIGURES = Path(__file__).with_name("figures")
TYPING = 0.04  # seconds a key
# Colours 8 to 15 by number are those with names.
NUMBERED = {graphics.FG_BG_256[code - 82]: name for code, name in graphics.FG_AIXTERM.items()}


@dataclass(frozen=True)
class Session:
    """A command that is recorded, and the terminal it is typed in."""

    command: str
    columns: int
    rows: int


SESSIONS = {
    "training": Session("mnist-train --batch-size 64", 88, 16),
    "comparison": Session(
        "mnist-compare --batch-sizes 64,1024,full --epochs 3 --report report.html", 100, 60
    ),
}


@dataclass(frozen=True)
class Output:
    """What a terminal was sent, and when: seconds since the recording began."""

    seconds: float
    text: str


def record(session: Session, folder: Path) -> list[Output]:
    """Return what a terminal gets when a command is typed and runs in a folder.

    Raises:
        CalledProcessError: the command failed.

    """
    outputs = list(_typed(f"$ {session.command}"))
    typed = outputs[-1].seconds
    leader, follower = os.openpty()
    size = struct.pack("HHHH", session.rows, session.columns, 0, 0)
    fcntl.ioctl(follower, termios.TIOCSWINSZ, size)
    command = shlex.split(session.command)
    command[0] = str(Path(sys.executable).with_name(command[0]))
    kept = {key: value for key, value in os.environ.items() if not key.startswith("MNIST_")}
    streams = dict.fromkeys(("stdin", "stdout", "stderr"), follower)
    env = kept | {"TERM": "xterm-256color"}
    process = subprocess.Popen(command, cwd=folder, env=env, **streams)  # noqa: S603 (from above)
    os.close(follower)
    began = time.perf_counter()
    decoder = codecs.getincrementaldecoder("utf-8")()
    while data := _read(leader):
        seconds = round(typed + time.perf_counter() - began, 3)
        outputs.append(Output(seconds, decoder.decode(data)))
    os.close(leader)
    if code := process.wait():
        raise subprocess.CalledProcessError(code, session.command)
    return outputs


def _typed(line: str) -> Iterator[Output]:
    """Yield a prompt, and what is typed behind it key by key."""
    yield Output(0.0, line[:2])
    for number, key in enumerate(line[2:], start=1):
        yield Output(round(0.5 + number * TYPING, 3), key)
    yield Output(round(0.8 + len(line) * TYPING, 3), "\r\n")


def _read(leader: int) -> bytes:
    try:
        return os.read(leader, 1 << 16)
    except OSError:  # the program has ended, and with it the terminal
        return b""


def cast(session: Session, outputs: list[Output]) -> str:
    """Return a recording as asciinema reads it: a header and a line of JSON an output."""
    header = {
        "version": 2,
        "width": session.columns,
        "height": session.rows,
        "command": session.command,
        "env": {"TERM": "xterm-256color"},
    }
    events = [[output.seconds, "o", output.text] for output in outputs]
    return "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in (header, *events))


def frames(session: Session, outputs: list[Output]) -> list[filmstrip.Frame]:
    """Return what the screen shows after every output."""
    screen = pyte.Screen(session.columns, session.rows)
    stream = pyte.Stream(screen)
    shots = []
    for output in outputs:
        stream.feed(output.text.replace("\x1b[2m", "\x1b[90m"))  # dim, which pyte does not know
        rows = tuple(
            tuple(screen.buffer[y][x] for x in range(session.columns)) for y in range(session.rows)
        )
        cells = tuple(
            tuple(filmstrip.Cell(c.data, NUMBERED.get(c.fg, c.fg), c.bold) for c in row)
            for row in rows
        )
        shots.append(filmstrip.Frame(output.seconds, cells))
    return shots


def read_cast(text: str) -> list[Output]:
    """Return the outputs of a recording."""
    _, *events = map(json.loads, text.splitlines())
    return [Output(seconds, output) for seconds, _, output in events]


def main() -> None:
    """Record the sessions that are named, or else all; with --draw, only draw them again."""
    drawn_again = "--draw" in sys.argv
    for name in [word for word in sys.argv[1:] if word != "--draw"] or SESSIONS:
        session, path = SESSIONS[name], FIGURES / f"{name}.cast"
        if not drawn_again:
            with tempfile.TemporaryDirectory() as place:
                outputs = record(session, Path(place))
            path.write_text(cast(session, outputs), encoding="utf-8")
        outputs = read_cast(path.read_text(encoding="utf-8"))
        title = f"A terminal in which {session.command} runs"
        svg = filmstrip.draw(frames(session, outputs), title)
        (FIGURES / f"{name}.svg").write_text(svg, encoding="utf-8")


if __name__ == "__main__":
    main()
