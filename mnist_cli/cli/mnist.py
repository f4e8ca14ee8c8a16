"""The command `mnist`, which has every program as a subcommand; so has `python -m mnist_cli`."""

import inspect
from typing import Any

import typer
from typer._completion_shared import install

from mnist_cli.cli import compare, doctor, evaluate, export, lesson, predict, train
from mnist_cli.cli.parameters import HELP_NAMES, Group, version_parameter
from mnist_cli.cli.program import run_program
from mnist_cli.config.quoting import printable
from mnist_cli.runtime.files import write_standard_output

PROGRAMS = (
    *("mnist", "mnist-train", "mnist-eval", "mnist-predict", "mnist-compare", "mnist-export"),
    "mnist-lesson",
)


def build_app(*, completion: bool) -> typer.Typer:
    """Return the app with all subcommands, with or without options for shell completion."""
    app = typer.Typer(
        cls=Group,
        help="Train, evaluate and use MNIST classifiers. `doctor` checks the installation.",
        no_args_is_help=True,
        add_completion=completion,
        pretty_exceptions_enable=False,
        context_settings=HELP_NAMES,
    )
    for module in (train, evaluate, predict, compare, export, lesson, doctor):
        app.add_typer(module.app)

    def group(**_values: bool) -> None:
        """Take the options of the program itself."""

    version = version_parameter()
    group.__signature__ = inspect.Signature([version])  # type: ignore[attr-defined]
    group.__annotations__ = {version.name: version.annotation}
    app.callback()(group)
    return app


def _install_completion(context: Any, _option: Any, value: object) -> None:  # noqa: ANN401
    """Install the completion of all programs, not only of `mnist`."""
    if not value or context.resilient_parsing:
        return
    for program in PROGRAMS:
        shell, path = install(value if isinstance(value, str) else None, program)
    write_standard_output(
        f"In new terminals, {shell} completes the options of all programs, and their values; "
        f"installed in {printable(path.parent)}\n"
    )
    raise typer.Exit


def main() -> None:
    """Run `mnist`."""
    command = typer.main.get_command(build_app(completion=True))
    option: Any = next(param for param in command.params if param.name == "install_completion")
    option.callback = _install_completion
    option.help = "Install completion of all programs for the current shell."
    run_program(command, "mnist")
