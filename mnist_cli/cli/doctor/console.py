"""Checks of what a person meets: terminal, shell completion, variables."""

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from mnist_cli.cli.doctor.check import OK, WARNING, Check, DoctorConfig, problem
from mnist_cli.cli.environment import KINDS, PREFIX, unknown_variables
from mnist_cli.config import sources
from mnist_cli.errors import UsageError
from mnist_cli.output.renderers import has_colour

_NARROW = 60  # columns, from which on tables are folded
PROGRAMS = tuple(KINDS)


def terminal(_config: DoctorConfig) -> Iterator[Check]:
    """Tell what standard output can show."""
    encoding = (getattr(sys.stdout, "encoding", None) or "unknown").lower()
    where = "a terminal" if sys.stdout.isatty() else "no terminal"
    columns = shutil.get_terminal_size().columns
    colour = "colour" if has_colour() else "no colour"
    value = f"{where}, {columns} columns, {colour}, {encoding}"
    if not encoding.startswith("utf"):
        remedy = "signs such as → and ± may fail; set LANG=C.UTF-8 or PYTHONUTF8=1"
        yield Check("terminal", WARNING, value, remedy)
    elif sys.stdout.isatty() and columns < _NARROW:
        yield Check("terminal", WARNING, value, "tables are folded; widen the window")
    else:
        yield Check("terminal", OK, value)


def completion(_config: DoctorConfig) -> Iterator[Check]:
    """Tell for which shells completion of the programs is installed, where Typer puts it."""
    home = Path(os.environ.get("HOME") or os.path.expanduser("~"))  # noqa: PTH111 (no error)
    places = {
        "bash": home / ".bash_completions",
        "zsh": home / ".zfunc",
        "fish": home / ".config/fish/completions",
    }
    names = {"bash": "{}.sh", "zsh": "_{}", "fish": "{}.fish"}
    found = []
    for shell, folder in places.items():
        there = [p for p in PROGRAMS if (folder / names[shell].format(p)).is_file()]
        if there:
            found.append(f"{shell}: {', '.join(there)}")
    hint = "not installed; optional: mnist-train --install-completion, and so for each program"
    yield Check("completion", OK, "; ".join(found) or hint)


def variables(_config: DoctorConfig) -> Iterator[Check]:
    """Check that every variable that begins with MNIST_ has an effect, and one that can be used."""
    unknown = unknown_variables(os.environ)
    ours = sorted(n for n in os.environ if n.startswith(PREFIX) and n not in unknown)
    yield Check("variables", OK, ", ".join(f"{n}={os.environ[n]}" for n in ours) or "none set")
    for name, hint in unknown.items():
        yield Check("variables", WARNING, f"{name} has no effect", hint)
    refused: dict[str, list[str]] = {}  # by what is wrong, the programs that say so
    for program, kind in KINDS.items():
        try:
            sources.build(kind, [sources.environment(os.environ, kind)])
        except UsageError as error:
            for wrong in str(error).splitlines():
                refused.setdefault(wrong, []).append(program)
    for wrong, programs in refused.items():
        yield problem("variables", wrong, f"change or unset it for {', '.join(programs)}")
