"""Readers that go away at every line, places that cannot be written, crowds at the start."""

import json
import os
import random
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from mnist_cli.errors import TerminatedRunError
from mnist_cli.models.checkpoint import load_checkpoint
from mnist_cli.training import train as training
from tests.helpers.fork_server import Child, ForkServer
from tests.helpers.shell import Shell
from tests.helpers.trainings import Configure, SignalAt, end_of
from tests.torture.amount import count

OPTIONS = "--model linear --subset 640 --epochs 3 --save-every 4 --log-interval 3 --json".split()


def wait_for_stop(child: Child) -> None:
    """Wait until a child that was sent SIGSTOP does nothing more, or has ended."""
    stat = Path(f"/proc/{child.number}/stat")
    while stat.read_text().rpartition(")")[2].split()[0] not in "TZ":
        time.sleep(0.001)


def test_a_pipe_that_closes_at_any_line_is_no_error(
    fork_server: ForkServer, tmp_path: Path
) -> None:
    """At each of the lines of --json: code 141, nothing said, and no half of a file."""
    folder = tmp_path / "run"
    folder.mkdir()
    assert fork_server.run("mnist-train", *OPTIONS, folder=folder) == 0
    lines = (tmp_path / "out").read_text().splitlines()
    assert len(lines) > 10
    codes: list[int] = []
    for taken in range(0, len(lines), count(3, 1)):
        shutil.rmtree(folder)
        folder.mkdir()
        end, out = os.pipe()
        child = fork_server.start("mnist-train", *OPTIONS, folder=folder, out=out)
        os.close(out)
        with os.fdopen(end, "rb", buffering=0) as pipe:
            for number in range(taken):
                assert json.loads(pipe.readline())["event"] == json.loads(lines[number])["event"]
            child.kill(signal.SIGSTOP)  # or it could write the last line meanwhile
            wait_for_stop(child)
            os.set_blocking(pipe.fileno(), False)
            is_too_late = b'"event": "end"' in (pipe.read() or b"")
        child.kill(signal.SIGCONT)
        codes.append(child.wait())
        assert codes[-1] == (0 if is_too_late else 141), taken
        said = [
            line for line in (tmp_path / "err").read_text().splitlines() if "Epoch [" not in line
        ]
        assert not [line for line in said if "rror" in line or "Traceback" in line], said
        assert {path.name for path in folder.iterdir()} <= {"checkpoint.pt"}
        if (folder / "checkpoint.pt").exists():
            load_checkpoint(folder / "checkpoint.pt")
    assert codes.count(141) >= len(codes) - 3  # hardly ever had it written all of them
    print(f"a pipe closed at {len(codes)} of {len(lines)} lines: exit code 141, files whole")


def test_head_takes_a_line_and_nobody_is_told(shell: Shell) -> None:
    done = shell.bash("mnist-train --json -q --model linear --epochs 50 | head -1")
    assert (done.code, done.err) == (141, "")
    assert json.loads(done.out)["event"] == "start"
    assert {path.name for path in shell.folder.iterdir()} <= {"checkpoint.pt"}


PLACES = {
    "a folder": ("mkdir x", 7, "x is a folder"),
    "no folder": ("true", 7, "cannot write none/x: No such file"),
    "a name that is too long": ("true", 7, "File name too long"),
    "a full device": ("ln -s /dev/full x", 7, "No space left on device"),
    "a socket": ("python -c 'import socket; socket.socket(1).bind(\"x\")'", 7, "x is a socket"),
    "a loop": ("ln -s x x", 7, "cannot write x"),
    "a link": ("mkdir there; ln -s there/file x", 0, ""),
    "nowhere": ("ln -s /dev/null x", 0, ""),
    "a fifo": ("mkfifo x; cat x > got &", 0, ""),
}


@pytest.mark.parametrize("place", PLACES)
def test_an_output_of_any_kind(place: str, shell: Shell) -> None:
    make, code, said = PLACES[place]
    name = {"no folder": "none/x", "a name that is too long": "x" * 250}.get(place, "x")
    done = shell.bash(f"{make}\nmnist-train -q --model linear --subset 640 --epochs 2 -o {name}")
    assert (done.code, said in done.err) == (code, True), done.err
    assert len(done.err.splitlines()) <= 2
    if place == "a link":
        assert (shell.folder / "x").is_symlink()
        assert [path.name for path in (shell.folder / "there").iterdir()] == ["file"]
        load_checkpoint(shell.folder / "there" / "file")
    if place == "a fifo":
        load_checkpoint(shell.folder / "got")
    left = [path.name for path in shell.folder.rglob(".*")]
    assert left == []


def test_a_disk_that_is_full_or_fills_up(shell: Shell) -> None:
    """A limit on the size of files stands for the disk: it is told before the training begins."""
    shell.train("-q", "-o", "x")
    before = (shell.folder / "x").read_bytes()
    done = shell.bash("ulimit -f 20; mnist-train -q --json --model linear --epochs 1000 -o x")
    assert (done.code, done.out) == (7, "")
    assert "cannot write x: File too large" in done.err
    assert (shell.folder / "x").read_bytes() == before
    assert [path.name for path in shell.folder.iterdir()] == ["x"]


def test_one_of_two_runs_with_one_output_is_refused(shell: Shell) -> None:
    command = ["mnist-train", "-q", "--model", "linear", "--epochs", "1000"]
    first = subprocess.Popen(command, cwd=shell.folder, env=shell.env, stderr=subprocess.PIPE)
    while not (shell.folder / "checkpoint.pt").exists():
        time.sleep(0.05)
    done = shell.train("-q")
    assert (done.code, "is being written by another program" in done.err) == (7, True)
    first.kill()
    first.communicate()
    assert shell.train("-q").code == 0  # the claim ended with the process
    assert [path.name for path in shell.folder.iterdir()] == ["checkpoint.pt"]


def test_many_programs_that_start_at_once_share_an_empty_data_folder(mnist_shell: Shell) -> None:
    starts = count(4, 50)
    command = (
        "mnist-train --json -q --model linear --subset 640 --epochs 1 --data-dir data -o".split()
    )
    processes = [
        subprocess.Popen(
            [*command, f"{number}.pt"],
            cwd=mnist_shell.folder,
            env=mnist_shell.env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(starts)
    ]
    digests = set()
    for process in processes:
        out, err = process.communicate(timeout=600)
        assert (process.returncode, err) == (0, "")
        digests.add(json.loads(out.splitlines()[-1])["weights_sha256"])
    assert len(digests) == 1
    raw = mnist_shell.folder / "data" / "MNIST" / "raw"
    assert sorted(path.name for path in raw.iterdir()) == [
        "t10k-images-idx3-ubyte",
        "t10k-labels-idx1-ubyte",
        "train-images-idx3-ubyte",
        "train-labels-idx1-ubyte",
    ]
    assert len(list(mnist_shell.folder.iterdir())) == starts + 1
    print(f"{starts} programs started at once on an empty folder: all done, one digest")


def test_a_clock_that_jumps_changes_nothing(
    small: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Years forth and back, at every look at it: only the steady clock counts."""
    config = small(model="cnn", max_seconds=60.0)
    steady = end_of(config)
    draw = random.Random(0)
    monkeypatch.setattr(time, "time", lambda: draw.uniform(-1e9, 1e10))
    jumping = end_of(config)
    assert jumping.weights_sha256 == steady.weights_sha256
    assert jumping.reason == "completed"
    assert 0 < jumping.train_seconds < jumping.seconds < 60


def test_one_signal_is_enough_where_nobody_reads(shell: Shell) -> None:
    """A FIFO without a reader would be waited for, for ever."""
    os.mkfifo(shell.folder / "fifo")
    command = "mnist-train --json -q --model linear --subset 640 --epochs 1 -o fifo".split()
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    process = subprocess.Popen(command, cwd=shell.folder, env=shell.env, **pipes)
    assert process.stdout
    while b'"event": "epoch"' not in process.stdout.readline():
        pass
    process.terminate()  # what is next is to save
    _, err = process.communicate(timeout=60)
    assert process.returncode == 143, err
    assert b"Traceback" not in err


def test_a_signal_just_before_the_save_is_enough_too(
    small: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.mkfifo(tmp_path / "fifo")
    monkeypatch.setattr(training, "StopSignals", SignalAt)
    SignalAt.place, SignalAt.looks = 5, 0
    with pytest.raises(TerminatedRunError, match="nothing new was written"):
        list(training.train(small(model="linear", output=str(tmp_path / "fifo"))))
