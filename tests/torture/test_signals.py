"""SIGINT and SIGTERM at random moments, with the real programs."""

import json
import os
import random
import signal
import statistics
import subprocess
import time

import pytest

from mnist_cli.models.checkpoint import load_checkpoint
from tests.helpers.launching import wait_until
from tests.helpers.shell import Shell
from tests.torture.amount import count

MODES = {
    "mini-batch": "--model mlp --epochs 1000 --batch-size 256 --subset 2560",
    "batch": "--model mlp --mode batch --epochs 1000 --subset 2560",
}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_a_signal_at_any_moment_loses_nothing(name: str, mode: str, shell: Shell) -> None:
    """The training would take minutes: a signal never comes after its end."""
    number, code = getattr(signal, name), {"SIGINT": 130, "SIGTERM": 143}[name]
    options = ["--json", "-q", *MODES[mode].split()]
    draw = random.Random(f"{name}/{mode}")
    waits, saved = [], 0
    for point in range(count(1, 10)):
        path = shell.folder / f"{point}.pt"
        process = start(shell, ["mnist-train", *options, "-o", path.name])
        assert process.stdout
        assert b'"start"' in process.stdout.readline()
        time.sleep(draw.uniform(0, 1))
        waits.append(stop(process, number, code))
        saved += path.exists()
        update = load_checkpoint(path).position.update if path.exists() else 0
        most = ["--max-updates", str(update + 2)]
        resume = ["--json", "--resume", path.name] if path.exists() else options
        rest = shell("mnist-train", *resume, *most, "-o", "rest.pt").out
        whole = shell("mnist-train", *options, *most, "-o", "whole.pt").out
        assert digest_of(rest) == digest_of(whole)
    middle = statistics.median(waits)
    print(
        f"{name}, {mode}: {len(waits)} signals, {saved} of them when there was something to save; "
        f"exit code {code}; to exit {middle:.2f} s (median), {max(waits):.2f} s (most); "
        "all digests equal the uninterrupted one's"
    )


def digest_of(out: str) -> str:
    end = json.loads(out.splitlines()[-1])
    assert end["reason"] == "max-updates"
    return str(end["weights_sha256"])


def start(shell: Shell, command: list[str]) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        command, cwd=shell.folder, env=shell.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def stop(process: "subprocess.Popen[bytes]", number: int, code: int) -> float:
    """Send a signal, check how the program ends, and return the seconds that it took."""
    sent = time.monotonic()
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    took = time.monotonic() - sent
    assert process.returncode == code, err.decode()
    errors = [line for line in err.decode().splitlines() if line.startswith("error: ")]
    assert "Traceback" not in err.decode()
    if errors:
        assert errors[0].startswith("error: interrupted at update ")
        assert "go on with: mnist-train --resume" in errors[0] or "nothing new" in errors[0]
    return took


def test_signals_while_it_unpacks_scores_and_probes(mnist_shell: Shell) -> None:
    """Where a program is not between two updates: it ends as quickly."""
    slow = ["--model", "mlp", "--max-updates", "1", "--probe", "noise,sharpness,alignment"]
    probing = ["mnist-train", *slow, "--probe-samples", "60000", "-o", "p.pt"]
    unpacking = ["mnist-train", "--model", "linear", "--data-dir", "new", "-o", "u.pt"]
    process = start(mnist_shell, probing)
    assert process.stderr
    while b"Training" not in process.stderr.readline():
        pass
    print(f"while it probes: {stop(process, signal.SIGTERM, 143):.2f} s to exit")
    process = start(mnist_shell, unpacking)
    raw = mnist_shell.folder / "new" / "MNIST" / "raw"
    wait_until(lambda: raw.exists() and any(raw.iterdir()))
    print(f"while it unpacks: {stop(process, signal.SIGTERM, 143):.2f} s to exit")
    left = [p.name for p in mnist_shell.folder.rglob("*") if p.name.endswith((".tmp", ".lock"))]
    assert left == []


def test_what_follows_in_a_script_is_not_run(shell: Shell) -> None:
    """`mnist-train && echo trained`, with a Ctrl-C that reaches both, as from a terminal."""
    script = "mnist-train -q --model linear --epochs 1000 && echo trained"
    process = subprocess.Popen(
        ["bash", "-c", f"trap ':' INT; {script}"],
        cwd=shell.folder,
        env=shell.env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    path = shell.folder / "checkpoint.pt"
    while not path.exists():
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, "")
    assert "go on with: mnist-train --resume checkpoint.pt" in err


def test_a_second_signal_does_not_wait_for_pytorch(mnist_shell: Shell) -> None:
    """In the midst of an operation of many seconds, of which Python hears nothing."""
    command = "mnist-train --mode batch --micro-batch-size 60000 --model cnn --epochs 50"
    process = start(mnist_shell, command.split())
    assert process.stderr
    while b"Training" not in process.stderr.readline():
        pass
    time.sleep(0.5)
    process.terminate()
    time.sleep(0.2)
    sent = time.monotonic()
    process.terminate()
    _, err = process.communicate(timeout=60)
    took = time.monotonic() - sent
    assert process.returncode == 143
    assert "stopped at once; what was saved before is as it was" in err.decode()
    print(f"second signal during a long operation: {took:.2f} s to exit")
