"""`mnist-eval`."""

import os
import sys
from typing import Any

import typer

from mnist_cli import settings
from mnist_cli.cli.options import Display, add_command, parameter
from mnist_cli.cli.shell import leave_it_to_the_first_rank, notices, quick_imports, run_program
from mnist_cli.errors import ThresholdNotMetError
from mnist_cli.files import write_standard_output
from mnist_cli.uses import EvalConfig

app = typer.Typer(pretty_exceptions_enable=False)


def evaluate(given: dict[str, Any], checkpoint: str) -> None:
    """Score a checkpoint on the test set: Test Accuracy, and on a terminal a table.

    - as CHECKPOINT reads standard input: mnist-train -q -o - | mnist-eval -

    Exit codes: 0 done, 2 usage, 3 data, 4 checkpoint, 5 accuracy below --min-accuracy.
    """
    leave_it_to_the_first_rank()
    layers = [
        settings.Layer(given, settings.flag),
        settings.environment(os.environ, EvalConfig, Display),
    ]
    config = settings.build(EvalConfig, layers)
    display = settings.build(Display, layers)

    with quick_imports():
        from mnist_cli.render import JsonLines, print_scores  # noqa: PLC0415 (--help is quick)
        from mnist_cli.score import score  # noqa: PLC0415 (torch)

    with notices(quiet=display.quiet):
        event = score(checkpoint, config)
    if display.json:
        JsonLines().show(event)
    else:
        write_standard_output(f"{config.split.capitalize()} Accuracy: {event.accuracy:.4f}\n")
        if sys.stdout.isatty() and not display.quiet:
            print_scores(event, sys.stdout)
    if config.min_accuracy is not None and event.accuracy < config.min_accuracy:
        raise ThresholdNotMetError(
            f"{config.split} accuracy {event.accuracy:.4f} is below "
            f"--min-accuracy {config.min_accuracy}"
        )


add_command(
    app,
    evaluate,
    (EvalConfig, Display),
    (
        parameter(
            "checkpoint",
            str,
            typer.Argument(metavar="CHECKPOINT", help="A file of mnist-train; - is stdin."),
            default=...,
        ),
    ),
    name="eval",
)


def main() -> None:
    """Run `mnist-eval`."""
    run_program(app, "mnist-eval")
