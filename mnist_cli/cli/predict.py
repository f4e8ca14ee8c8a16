"""`mnist-predict`."""

import os
from typing import Any

import typer

from mnist_cli import settings
from mnist_cli.cli.options import Display, add_command, parameter
from mnist_cli.cli.shell import (
    complain,
    leave_it_to_the_first_rank,
    notices,
    quick_imports,
    run_program,
)
from mnist_cli.errors import ExitCode
from mnist_cli.events import Prediction
from mnist_cli.files import write_standard_output
from mnist_cli.uses import PredictConfig

app = typer.Typer(pretty_exceptions_enable=False)
_ESCAPES = str.maketrans({"\t": r"\t", "\n": r"\n", "\r": r"\r"})


def predict(given: dict[str, Any], checkpoint: str, images: list[str]) -> None:
    r"""Read the digit in image files: a line PATH, DIGIT, PROBABILITY for each, with tabs between.

    The digit may be dark on light or light on dark, anywhere in the picture, but alone in it. PNG,
    JPEG, BMP, GIF, TIFF, WebP and PGM are read, of several frames the first. - as an IMAGE reads
    standard input: mnist-predict checkpoint.pt - < seven.png

    In a PATH, tabs and line ends are written as \t, \n and \r; --json, which also has the
    probabilities of all ten digits, keeps it as it is.

    Exit codes: 0 done, 2 usage, 3 an image could not be read (the others are), 4 checkpoint.
    """
    leave_it_to_the_first_rank()
    layers = [
        settings.Layer(given, settings.flag),
        settings.environment(os.environ, PredictConfig, Display),
    ]
    config = settings.build(PredictConfig, layers)
    display = settings.build(Display, layers)

    with quick_imports():
        from mnist_cli.predict import predict as read  # noqa: PLC0415 (torch, Pillow)
        from mnist_cli.render import JsonLines  # noqa: PLC0415 (--help is quick)

    data = JsonLines()
    failed = False
    with notices(quiet=display.quiet):
        for event in read(checkpoint, images, config):
            if not isinstance(event, Prediction):
                failed = True
                complain(event.reason)
            elif display.json:
                data.show(event)
            else:
                path = event.path.translate(_ESCAPES)
                write_standard_output(f"{path}\t{event.digit}\t{event.probability:.4f}\n")
    if failed:
        raise typer.Exit(ExitCode.DATA)


add_command(
    app,
    predict,
    (PredictConfig, Display),
    (
        parameter(
            "checkpoint",
            str,
            typer.Argument(metavar="CHECKPOINT", help="A file of mnist-train; - is stdin."),
            default=...,
        ),
        parameter(
            "images",
            list[str],
            typer.Argument(metavar="IMAGE", help="Files to read; - is stdin."),
            default=...,
        ),
    ),
    name="predict",
)


def main() -> None:
    """Run `mnist-predict`."""
    run_program(app, "mnist-predict")
