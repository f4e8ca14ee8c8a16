"""`mnist-export`."""

import os
from typing import Any

import typer

from mnist_cli import settings
from mnist_cli.cli.options import Display, add_command, parameter
from mnist_cli.cli.shell import leave_it_to_the_first_rank, notices, run_program
from mnist_cli.errors import UsageError
from mnist_cli.uses import ExportConfig

app = typer.Typer(pretty_exceptions_enable=False)


def export(given: dict[str, Any], checkpoint: str, output: str) -> None:
    """Write a checkpoint's network as ONNX, safetensors or a page to draw on, by OUTPUT's ending.

    Exit codes: 0 done, 2 usage, 4 checkpoint, 7 output.
    """
    leave_it_to_the_first_rank()
    layers = [
        settings.Layer(given, settings.flag),
        settings.environment(os.environ, ExportConfig, Display),
    ]
    config = settings.build(ExportConfig, layers)
    display = settings.build(Display, layers)
    with notices(quiet=display.quiet):
        raise UsageError(f"{checkpoint} {output} {config}")


add_command(
    app,
    export,
    (ExportConfig, Display),
    (
        parameter(
            "checkpoint",
            str,
            typer.Argument(metavar="CHECKPOINT", help="A file of mnist-train; - is stdin."),
            default=...,
        ),
        parameter(
            "output",
            str,
            typer.Argument(
                metavar="OUTPUT", help="A file that ends in .html, .onnx or .safetensors."
            ),
            default=...,
        ),
    ),
    name="export",
)


def main() -> None:
    """Run `mnist-export`."""
    run_program(app, "mnist-export")
