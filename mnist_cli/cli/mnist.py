"""The command `mnist`, which has every program as a subcommand; so has `python -m mnist_cli`."""

import inspect

import typer
from typer.completion import completion_init, install

from mnist_cli.cli import compare, doctor, evaluate, export, predict, train
from mnist_cli.cli.parameters import HELP_NAMES, Group, parameter, version_parameter
from mnist_cli.cli.program import run_program
from mnist_cli.config.quoting import printable
from mnist_cli.runtime.files import write_standard_output

PROGRAMS = ("mnist", "mnist-train", "mnist-eval", "mnist-predict", "mnist-compare", "mnist-export")


def build_app(*extra: inspect.Parameter) -> typer.Typer:
    """Return the app with all subcommands; `extra` are options of its own."""
    app = typer.Typer(
        cls=Group,
        help="Train, evaluate and use MNIST classifiers. `doctor` checks the installation.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        context_settings=HELP_NAMES,
    )
    for module in (train, evaluate, predict, compare, export, doctor):
        app.add_typer(module.app)

    def group(**_values: bool) -> None:
        """Take the options of the program itself."""

    parameters = [version_parameter(), *extra]
    group.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    group.__annotations__ = {p.name: p.annotation for p in parameters}
    app.callback()(group)
    return app


def _install_completion(value: bool) -> None:
    if not value:
        return
    for program in PROGRAMS:
        shell, path = install(prog_name=program)
    write_standard_output(
        f"{shell} will complete {', '.join(PROGRAMS)} in new terminals ({printable(path.parent)})\n"
    )
    raise typer.Exit


def main() -> None:
    """Run `mnist`."""
    completion_init()
    info = typer.Option(
        "--install-completion",
        callback=_install_completion,
        is_eager=True,
        metavar="",
        help="Make the shell complete the options of all programs, and their values.",
    )
    run_program(build_app(parameter("install_completion", bool, info, default=False)), "mnist")
