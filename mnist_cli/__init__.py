"""Train and evaluate MNIST classifiers, in batch or mini-batch mode.

The names below are the Python API. They are imported when first used, so that `import mnist_cli`
does not import torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mnist_cli.checkpoint import Checkpoint, load_checkpoint
    from mnist_cli.config import TrainConfig
    from mnist_cli.data import Split, load_dataset
    from mnist_cli.evaluation import Score, evaluate
    from mnist_cli.lab.compare import compare
    from mnist_cli.lab.options import CompareConfig
    from mnist_cli.models import build_model
    from mnist_cli.run import train

__version__ = "0.1.0"

_HOMES = {
    "Checkpoint": "checkpoint",
    "CompareConfig": "lab.options",
    "Score": "evaluation",
    "Split": "data",
    "TrainConfig": "config",
    "build_model": "models",
    "compare": "lab.compare",
    "evaluate": "evaluation",
    "load_checkpoint": "checkpoint",
    "load_dataset": "data",
    "train": "run",
}

__all__ = [
    "Checkpoint",
    "CompareConfig",
    "Score",
    "Split",
    "TrainConfig",
    "build_model",
    "compare",
    "evaluate",
    "load_checkpoint",
    "load_dataset",
    "train",
]


def __getattr__(name: str) -> Any:  # noqa: ANN401
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
