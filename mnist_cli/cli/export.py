"""The command `mnist-export`."""

import logging
from typing import Any

import typer

from mnist_cli.cli.pages import check_open
from mnist_cli.cli.parameters import add_command, checkpoint_argument, command_sources, parameter
from mnist_cli.cli.program import exit_unless_main, log_to_stderr, quick_imports, run_program
from mnist_cli.cli.serving import hand_over, page_server, show_page
from mnist_cli.config.programs import Display, ExportConfig, ExportFormat, Serving
from mnist_cli.config.sources import build_config
from mnist_cli.errors import UsageError
from mnist_cli.export.formats import resolve_format

_log = logging.getLogger(__name__)
app = typer.Typer(pretty_exceptions_enable=False)


def export(given: dict[str, Any], checkpoint: str, output: str) -> None:
    r"""Write a checkpoint's network in another format, chosen by the ending of OUTPUT.

    .html is a page on which one draws digits; the network in it classifies them in the browser:
    mnist-export checkpoint.pt digit.html

    .onnx is for ONNX Runtime and others. The input is pixels, float [N, 28, 28] of 0 to 255, light
    on dark; the output is logits [N, 10]. It needs pip install 'mnist_cli\[onnx]', and is verified.

    .safetensors has the weights, with PyTorch's names.

    - as CHECKPOINT reads standard input; - as OUTPUT writes to standard output, and needs --format.

    Exit codes: 0 done, 2 usage, 4 checkpoint, 7 output.
    """
    exit_unless_main()
    output = "-" if output == "/dev/stdout" else output
    sources = command_sources(given, ExportConfig, Serving, Display)
    config = build_config(ExportConfig, sources)
    serving = build_config(Serving, sources)
    display = build_config(Display, sources)
    if display.json and output == "-":
        raise UsageError("- as OUTPUT and --json both want standard output; name a file")
    export_format = resolve_format(output, config.format)  # raises before the slow imports
    is_page = export_format is ExportFormat.HTML
    if serving.serve and not is_page:
        raise UsageError(f"--serve serves a page; {output} is {export_format}: name a .html file")
    if config.open and not serving.serve:
        check_open(output if is_page else None, "an OUTPUT that ends in .html")

    with page_server(given, serving) as server:
        with quick_imports(quiet=display.quiet):
            from mnist_cli.export.export import export_checkpoint  # noqa: PLC0415 (torch)
            from mnist_cli.output.messages import format_export  # noqa: PLC0415 (--help is quick)

        with log_to_stderr(quiet=display.quiet):
            event, data = export_checkpoint(checkpoint, output, config)
            if output != "-":
                _log.info(format_export(event))
            hand_over(event, output, display)
            show_page(server, event, output, data, display, opened=config.open)


add_command(
    app,
    export,
    (ExportConfig, Serving, Display),
    (
        checkpoint_argument(),
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
