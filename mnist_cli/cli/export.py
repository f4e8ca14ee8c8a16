"""`mnist-export`."""

import logging
import os
from typing import Any

import typer

from mnist_cli.cli.options import add_command, parameter
from mnist_cli.cli.program import exit_unless_main, notices, quick_imports, run_program
from mnist_cli.config import sources
from mnist_cli.config.inference import ExportConfig
from mnist_cli.config.program import Display
from mnist_cli.errors import UsageError
from mnist_cli.export.formats import resolve_format
from mnist_cli.runtime.files import write_standard_output

_log = logging.getLogger(__name__)
app = typer.Typer(pretty_exceptions_enable=False)


def export(given: dict[str, Any], checkpoint: str, output: str) -> None:
    r"""Write a checkpoint's network for other programs, as what OUTPUT's ending says.

    .html is a page to draw digits on, which the network reads in the browser, from that one file:
    mnist-export checkpoint.pt digit.html

    .onnx is for ONNX Runtime and others: pixels, float [N, 28, 28] of 0 to 255, light on dark, go
    in, and logits [N, 10] come out. It needs pip install 'mnist_cli\[onnx]', and is checked.

    .safetensors has the weights, under the names that PyTorch gives them.

    - as CHECKPOINT reads standard input; - as OUTPUT writes to standard output, and needs --format.

    Exit codes: 0 done, 2 usage, 4 checkpoint, 7 output.
    """
    exit_unless_main()
    output = "-" if output == "/dev/stdout" else output
    layers = [
        sources.Layer(given, sources.flag),
        sources.environment(os.environ, ExportConfig, Display),
    ]
    config = sources.build(ExportConfig, layers)
    display = sources.build(Display, layers)
    if display.json and output == "-":
        raise UsageError("- as OUTPUT and --json both want standard output; name a file")
    resolve_format(output, config.format)  # before anything is loaded

    with quick_imports():
        from mnist_cli.export.export import export_checkpoint  # noqa: PLC0415 (torch)
        from mnist_cli.output.messages import format_export  # noqa: PLC0415 (--help is quick)
        from mnist_cli.output.renderers import JsonLines  # noqa: PLC0415 (--help is quick)

    with notices(quiet=display.quiet):
        event = export_checkpoint(checkpoint, output, config)
        if output != "-":
            _log.info(format_export(event))
    if display.json:
        JsonLines().show(event)
    elif output != "-":
        write_standard_output(f"{output}\n")


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
                metavar="OUTPUT",
                help="A file that ends in .html, .onnx or .safetensors; - is stdout.",
            ),
            default=...,
        ),
    ),
    name="export",
)


def main() -> None:
    """Run `mnist-export`."""
    run_program(app, "mnist-export")
