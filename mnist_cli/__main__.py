"""`python -m mnist_cli train|eval|predict|compare|export|doctor`; torchrun starts the same."""

from mnist_cli.cli.mnist import build_app
from mnist_cli.cli.program import run_program

if __name__ == "__main__":
    run_program(build_app(), "python -m mnist_cli")
