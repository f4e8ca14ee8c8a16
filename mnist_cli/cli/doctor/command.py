"""`python -m mnist_cli doctor`."""

import json
import os
from dataclasses import asdict
from typing import Any

import typer

from mnist_cli.cli.doctor.checks import OK, PROBLEM, WARNING, Check, DoctorConfig, checks
from mnist_cli.cli.options import Display, add_command
from mnist_cli.cli.program import exit_unless_main
from mnist_cli.config import sources
from mnist_cli.output.renderers import has_colour
from mnist_cli.runtime.files import write_standard_output

app = typer.Typer(pretty_exceptions_enable=False)
_STYLES = {OK: typer.colors.GREEN, WARNING: typer.colors.YELLOW, PROBLEM: typer.colors.RED}


def doctor(given: dict[str, Any]) -> None:
    """Check whether everything is as the programs need it, and say what to do where it is not.

    A line for each check: ok, warning or problem, what was checked, and what was found; the next
    line says what to do. With --json an object for each. -q leaves out what is ok.

    Exit codes: 0 no problem (there may be warnings); else that of the first problem: 2 the
    installation, 3 data, 7 the working folder cannot be written to.
    """
    exit_unless_main()
    layers = [
        sources.Layer(given, sources.flag),
        sources.environment(os.environ, DoctorConfig, Display),
    ]
    display = sources.build(Display, layers)
    code = 0
    for check in checks(sources.build(DoctorConfig, layers)):
        if check.status == PROBLEM:
            code = code or check.code
        if display.json:
            write_standard_output(json.dumps({"event": "check", **asdict(check)}) + "\n")
        elif not (display.quiet and check.status == OK):
            write_standard_output(_in_words(check))
    if code:
        raise typer.Exit(code)


def _in_words(check: Check) -> str:
    """Return a check in a line, and its remedy in another."""
    mark = f"{check.status:<8}"
    if has_colour():
        mark = typer.style(mark, _STYLES[check.status])
    text = f"{mark} {_printable(f'{check.name}: {check.value}')}\n"
    return text + (f"{'':<8} -> {_printable(check.remedy)}\n" if check.remedy else "")


def _printable(text: str) -> str:
    return "".join(letter if letter.isprintable() else "?" for letter in text)


add_command(app, doctor, (DoctorConfig, Display), (), name="doctor")
