"""The shells complete what the programs take, without waiting for torch."""

import os
import pty
import select
import shutil
import subprocess
import time

import pytest

from mnist_cli.config.options import DATASETS, DEVICES, MODES, SCHEDULES
from mnist_cli.config.registry import NETWORKS, OPTIMIZERS
from mnist_cli.config.sources import COMPARE, TRAIN, preset_names
from tests.helpers.calling import Caller
from tests.helpers.fork_server import PROGRAMS

SHELLS = ("bash", "zsh", "fish")


def variable(program: str) -> str:
    return f"_{program.replace('-', '_').upper()}_COMPLETE"


def completed(call: Caller, program: str, line: str) -> list[str]:
    """Return what bash is offered at the end of a command line."""
    words = [program, *line.split(" ")]
    asked = {
        "COMP_WORDS": " ".join(words),
        "COMP_CWORD": str(len(words) - 1),
        variable(program): "complete_bash",
    }
    done = call(program, env=asked)
    assert (done.code, done.err) == (0, "")
    return done.out.split()


@pytest.mark.parametrize(
    ("program", "line", "offered"),
    [
        ("mnist-train", "--model ", NETWORKS),
        ("mnist-train", "--mode ", MODES),
        ("mnist-train", "--mode b", ("batch",)),
        ("mnist-train", "--optimizer ", OPTIMIZERS),
        ("mnist-train", "--schedule ", SCHEDULES),
        ("mnist-train", "--dataset ", DATASETS),
        ("mnist-train", "--device ", DEVICES),
        ("mnist-train", "--probe ", ("noise", "alignment", "sharpness", "path", "losses")),
        (
            "mnist-train",
            "--probe noise,",
            ("noise,alignment", "noise,losses", "noise,path", "noise,sharpness"),
        ),
        ("mnist-train", "--probe noise,s", ("noise,sharpness",)),
        ("mnist-train", "--config ", (*preset_names(TRAIN), "mine.toml")),
        ("mnist-train", "--config m", ("mini-batch", "mine.toml")),
        ("mnist-train", "--resume ", ("auto", "first.pt")),
        ("mnist-train", "--batch-s", ("--batch-size", "--batch-schedule")),
        ("mnist-train", "--list-", ("--list-presets", "--list-models")),
        ("mnist-train", "--output ", ()),  # the shell then offers files
        ("mnist", "ex", ("export",)),
        ("mnist", "train --model qu", ("quick",)),
        ("mnist-eval", "", ("first.pt",)),
        ("mnist-eval", "runs/", ("runs/second.pt",)),
        ("mnist-eval", "runs/none", ()),
        ("mnist-eval", "nowhere/", ()),
        ("mnist-eval", "~nobody-here/", ()),
        ("mnist-eval", "--split ", ("test", "train", "val")),
        ("mnist-predict", "", ("first.pt",)),
        ("mnist-predict", "--device ", DEVICES),
        ("mnist-export", "fi", ("first.pt",)),
        ("mnist-compare", "--config ", (*preset_names(COMPARE), "mine.toml")),
        ("mnist-compare", "--model ", NETWORKS),
        ("mnist-compare", "--lr-rule ", ("fixed", "sqrt", "linear", "tuned")),
    ],
)
def test_a_value_is_completed(
    program: str, line: str, offered: tuple[str, ...], call: Caller
) -> None:
    for name in ("first.pt", ".hidden.pt", "mine.toml", "other.txt", "runs/second.pt"):
        (call.folder / name).parent.mkdir(exist_ok=True)
        (call.folder / name).touch()
    assert set(completed(call, program, line)) == set(offered)


@pytest.mark.parametrize("program", PROGRAMS)
def test_each_option_is_a_line_for_fish_however_long_its_help(program: str, call: Caller) -> None:
    asked = {
        "_TYPER_COMPLETE_ARGS": f"{program} --",
        "_TYPER_COMPLETE_FISH_ACTION": "get-args",
        variable(program): "complete_fish",
    }
    lines = call(program, env=asked).out.splitlines()
    assert len(lines) > (3 if program == "mnist" else 5)
    assert all(line.startswith("--") and "\t" in line for line in lines)


def script_of(call: Caller, program: str, shell: str) -> str:
    """Return what `--show-completion` prints in a shell."""
    detection = {"_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    return call(program, "--show-completion", shell, env=detection).out


@pytest.mark.parametrize("shell", SHELLS)
def test_every_program_shows_its_completion(shell: str, call: Caller) -> None:
    for program in PROGRAMS:
        assert program in script_of(call, program, shell)


def test_mnist_installs_the_completion_of_every_program(call: Caller) -> None:
    asked = {
        "HOME": str(call.folder),
        "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1",
    }
    done = call("mnist", "--install-completion", "bash", env=asked)
    assert (done.code, done.err) == (0, "")
    scripts = call.folder / ".bash_completions"
    assert str(scripts) in done.out
    assert {path.stem for path in scripts.iterdir()} == set(PROGRAMS)
    started = (call.folder / ".bashrc").read_text()
    assert all(f"{scripts / name}.sh" in started for name in PROGRAMS)


STARTS = {
    "bash": ["bash", "--norc", "--noprofile", "-i"],
    "zsh": ["zsh", "-f", "-i"],
    "fish": ["fish", "--no-config", "-i"],
}


@pytest.mark.parametrize("shell", ["bash", "zsh"])
@pytest.mark.usefixtures("fork_server")
def test_a_tab_completes_at_a_prompt(shell: str, call: Caller) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"no {shell} here")
    (call.folder / "completion").write_text(script_of(call, "mnist-train", shell))
    prepared = "autoload -Uz compinit; compinit -u -D; " if shell == "zsh" else ""
    env = call.env | {"TERM": "xterm", "HOME": str(call.folder), "PS1": "> "}
    child, terminal = pty.fork()
    if not child:
        os.chdir(call.folder)
        os.execvpe(STARTS[shell][0], STARTS[shell], env)
    try:
        os.write(terminal, f"{prepared}. ./completion; echo rea''dy\n".encode())
        assert b"ready" in read_until(terminal, b"ready")
        os.write(terminal, b"mnist-train --model qu\t")
        assert b"ick" in read_until(terminal, b"ick")  # typed was no such thing
    finally:
        os.kill(child, 9)
        os.waitpid(child, 0)
        os.close(terminal)


@pytest.mark.usefixtures("fork_server")
def test_fish_completes(call: Caller) -> None:
    if shutil.which("fish") is None:
        pytest.skip("no fish here")
    (call.folder / "completion").write_text(script_of(call, "mnist-train", "fish"))
    command = "source completion; complete -C 'mnist-train --model '"
    done = subprocess.run(
        ["fish", "--no-config", "-c", command],
        env=call.env | {"HOME": str(call.folder)},
        cwd=call.folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout.split() == sorted(NETWORKS)


def read_until(terminal: int, sought: bytes) -> bytes:
    """Return what a terminal shows, up to what is sought or half a minute."""
    seen, end = b"", time.monotonic() + 30
    while sought not in seen and time.monotonic() < end:
        if select.select([terminal], [], [], 0.5)[0]:
            seen += os.read(terminal, 65536)
    return seen
