"""`mnist-train`."""

import os
import sys
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import typer

from mnist_cli import settings
from mnist_cli.cli.options import PRESETS, Display, add_command, parameter
from mnist_cli.cli.shell import notices, run_program
from mnist_cli.config import TrainConfig
from mnist_cli.errors import UsageError

if TYPE_CHECKING:
    from mnist_cli.checkpoint import Checkpoint

app = typer.Typer(add_completion=True, pretty_exceptions_enable=False)


def train(given: dict[str, Any], config: str | None, resume: str | None) -> None:
    """Train a classifier of handwritten digits and write one checkpoint.

    In mini-batch mode every --batch-size samples make an update; in batch mode all samples make
    one, once an epoch. Try: mnist-train --batch-size 64, then mnist-eval checkpoint.pt

    An option can also be set in the environment (MNIST_BATCH_SIZE=128) or in a TOML file
    (batch_size = 128); a flag comes before the environment, and that before the file.

    Standard output is the path of the checkpoint. Exit codes: 0 done, 2 usage, 3 data,
    4 checkpoint, 5 accuracy not reached, 6 diverged, 7 output, 130 or 143 interrupted.
    """
    known = (TrainConfig, Display)
    layers = [settings.Layer(given, settings.flag), settings.environment(os.environ, *known)]
    if config := config or os.environ.get("MNIST_CONFIG"):
        layers.append(settings.toml_file(config, PRESETS, *known))
    display = settings.build(Display, layers)
    resume = resume or os.environ.get("MNIST_RESUME")
    if resume is None:
        checkpoint, options = None, settings.build(TrainConfig, layers)
    else:
        checkpoint, options = _resumed(resume, layers)
    if display.json and options.output == "-":
        raise UsageError("-o - and --json both want standard output; give one of them a file")
    settings.check(options)
    _run(options, checkpoint, display)


def _resumed(path: str, layers: list[settings.Layer]) -> tuple["Checkpoint", TrainConfig]:
    """Return a checkpoint and its config, changed by what was given now."""
    from mnist_cli.checkpoint import load_checkpoint  # noqa: PLC0415 (torch)

    checkpoint = load_checkpoint(path)
    base = checkpoint.config
    if path != "-":
        base = replace(base, output=path)
    if base.max_updates and base.max_updates <= checkpoint.position.update:
        base = replace(base, max_updates=None)  # a budget that was spent
    return checkpoint, settings.build(TrainConfig, layers, base)


def _run(config: TrainConfig, checkpoint: "Checkpoint | None", display: Display) -> None:
    from mnist_cli.render import JsonLines, PathLine, Renderer, for_people  # noqa: PLC0415 (--help is quick)
    from mnist_cli.run import train as run  # noqa: PLC0415 (torch)

    with ExitStack() as stack:
        stack.enter_context(notices(quiet=display.quiet))
        renderers: list[Renderer] = [
            stack.enter_context(for_people(sys.stderr, quiet=display.quiet)),
            stack.enter_context(JsonLines(sys.stdout) if display.json else PathLine(sys.stdout)),
        ]
        for event in run(config, checkpoint):
            for renderer in renderers:
                renderer.show(event)


add_command(
    app,
    train,
    (TrainConfig, Display),
    (
        parameter(
            "config",
            str | None,
            typer.Option(
                "--config", metavar="FILE|PRESET", help="TOML file, or the name of a preset."
            ),
        ),
        parameter(
            "resume",
            str | None,
            typer.Option("--resume", metavar="CHECKPOINT", help="Go on exactly where it stopped."),
        ),
    ),
    name="train",
)


def main() -> None:
    """Run `mnist-train`."""
    run_program(app, "mnist-train")
