"""`python -m mnist_cli train|eval|predict|compare|export|doctor`; torchrun starts the same."""

import inspect

import typer

from mnist_cli.cli import compare, doctor, evaluate, export, predict, train
from mnist_cli.cli.parameters import Group, version_parameter
from mnist_cli.cli.program import run_program

app = typer.Typer(
    cls=Group,
    help="Train, evaluate and use MNIST classifiers. `doctor` checks the installation.",
    no_args_is_help=True,
    add_completion=False,  # the shell would complete `python`, whatever it runs
    pretty_exceptions_enable=False,
)
app.add_typer(train.app)
app.add_typer(evaluate.app)
app.add_typer(predict.app)
app.add_typer(compare.app)
app.add_typer(export.app)
app.add_typer(doctor.app)


def group(**_values: bool) -> None:
    """Take the options of the program itself."""


group.__signature__ = inspect.Signature([version_parameter()])  # type: ignore[attr-defined]
group.__annotations__ = {"version": version_parameter().annotation}
app.callback()(group)

if __name__ == "__main__":
    run_program(app, "python -m mnist_cli")
