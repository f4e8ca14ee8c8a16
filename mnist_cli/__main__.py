"""`python -m mnist_cli train|eval`, which is also what torchrun starts."""

import typer

from mnist_cli.cli import evaluate, train
from mnist_cli.cli.shell import run_program

app = typer.Typer(
    help="Train and evaluate MNIST classifiers.", add_completion=False, no_args_is_help=True
)
app.add_typer(train.app)
app.add_typer(evaluate.app)

if __name__ == "__main__":
    run_program(app, "python -m mnist_cli")
