"""`python -m mnist_cli train|eval|predict|compare|export|doctor`; torchrun starts the same."""

from mnist_cli.cli.mnist import build_app
from mnist_cli.cli.program import run_program

if __name__ == "__main__":
    # Without completion: the shell would complete `python`, whatever it runs.
    run_program(build_app(completion=False), "python -m mnist_cli")
