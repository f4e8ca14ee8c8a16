"""The shells complete what the programs take, without waiting for torch."""

import os
import pty
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mnist_cli.config.options import DATASETS, DEVICES, MODES, SCHEDULES
from mnist_cli.config.registry import NETWORKS, OPTIMIZERS
from mnist_cli.config.sources import COMPARE, TRAIN, preset_names
from tests.helpers.fork_server import PROGRAMS
from tests.helpers.shell import BIN, Shell

SHELLS = ("bash", "zsh", "fish")


def variable(program: str) -> str:
    return f"_{program.replace('-', '_').upper()}_COMPLETE"


def completed(shell: Shell, program: str, line: str) -> list[str]:
    """Return what bash is offered at the end of a command line."""
    words = [program, *line.split(" ")]
    asked = {
        "COMP_WORDS": " ".join(words),
        "COMP_CWORD": str(len(words) - 1),
        variable(program): "complete_bash",
    }
    done = shell(program, env=asked)
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
        ("mnist-train", "--probe ", ("noise", "alignment", "sharpness")),
        ("mnist-train", "--probe noise,", ("noise,alignment", "noise,sharpness")),
        ("mnist-train", "--probe noise,s", ("noise,sharpness",)),
        ("mnist-train", "--config ", (*preset_names(TRAIN), "mine.toml")),
        ("mnist-train", "--config m", ("mini-batch", "mine.toml")),
        ("mnist-train", "--resume ", ("auto", "first.pt")),
        ("mnist-train", "--batch-s", ("--batch-size",)),
        ("mnist-train", "--list-", ("--list-presets", "--list-models")),
        ("mnist-train", "--output ", ()),  # the shell then offers files
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
    program: str, line: str, offered: tuple[str, ...], shell: Shell
) -> None:
    for name in ("first.pt", ".hidden.pt", "mine.toml", "other.txt", "runs/second.pt"):
        (shell.folder / name).parent.mkdir(exist_ok=True)
        (shell.folder / name).touch()
    assert set(completed(shell, program, line)) == set(offered)


@pytest.mark.parametrize("program", PROGRAMS)
def test_completion_does_not_import_torch(program: str, clean_env: dict[str, str]) -> None:
    module = {"mnist-eval": "evaluate"}.get(program, program.removeprefix("mnist-"))
    code = (
        "import sys\n"
        f"sys.argv = [{program!r}]\n"
        f"from mnist_cli.cli.{module} import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "slow = {'torch', 'numpy', 'PIL', 'matplotlib', 'plotext'} & set(sys.modules)\n"
        "sys.stderr.write(','.join(slow))"
    )
    asked = {
        "COMP_WORDS": f"{program} --",
        "COMP_CWORD": "1",
        variable(program): "complete_bash",
    }
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=clean_env | asked,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stderr == ""
    assert {"--help", "--json", "--quiet"} <= set(done.stdout.split())


@pytest.mark.parametrize("program", PROGRAMS)
def test_each_option_is_a_line_for_fish_however_long_its_help(program: str, shell: Shell) -> None:
    asked = {
        "_TYPER_COMPLETE_ARGS": f"{program} --",
        "_TYPER_COMPLETE_FISH_ACTION": "get-args",
        variable(program): "complete_fish",
    }
    lines = shell(program, env=asked).out.splitlines()
    assert len(lines) > 5
    assert all(line.startswith("--") and "\t" in line for line in lines)


def script_of(program: str, shell: str, env: dict[str, str]) -> str:
    """Return what `--show-completion` prints in a shell."""
    detection = {"_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    done = subprocess.run(
        [BIN / program, "--show-completion", shell],
        env=env | detection,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


@pytest.mark.parametrize("shell", SHELLS)
def test_every_program_shows_its_completion(shell: str, clean_env: dict[str, str]) -> None:
    for program in PROGRAMS:
        assert program in script_of(program, shell, clean_env)


STARTS = {
    "bash": ["bash", "--norc", "--noprofile", "-i"],
    "zsh": ["zsh", "-f", "-i"],
    "fish": ["fish", "--no-config", "-i"],
}


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_a_tab_completes_at_a_prompt(shell: str, tmp_path: Path, clean_env: dict[str, str]) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"no {shell} here")
    script = tmp_path / "completion"
    script.write_text(script_of("mnist-train", shell, clean_env))
    prepared = "autoload -Uz compinit; compinit -u -D; " if shell == "zsh" else ""
    env = clean_env | {"TERM": "xterm", "HOME": str(tmp_path), "PS1": "> "}
    child, terminal = pty.fork()
    if not child:
        os.chdir(tmp_path)
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


def test_fish_completes(tmp_path: Path, clean_env: dict[str, str]) -> None:
    if shutil.which("fish") is None:
        pytest.skip("no fish here")
    script = tmp_path / "completion.fish"
    script.write_text(script_of("mnist-train", "fish", clean_env))
    env = clean_env | {"HOME": str(tmp_path)}
    command = f"source {script}; complete -C 'mnist-train --model '"
    done = subprocess.run(
        ["fish", "--no-config", "-c", command],
        env=env,
        cwd=tmp_path,
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
