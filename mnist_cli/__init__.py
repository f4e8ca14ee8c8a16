"""Train and evaluate MNIST classifiers, in batch or mini-batch mode.

The names below are the Python API. They are imported when first used, so that `import mnist_cli`
does not import torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mnist_cli.comparison.compare import compare
    from mnist_cli.config.compare import CompareConfig
    from mnist_cli.config.train import TrainConfig
    from mnist_cli.data.datasets import load_dataset
    from mnist_cli.data.splits import Split
    from mnist_cli.evaluation.evaluate import evaluate
    from mnist_cli.evaluation.metrics import EvaluationResult
    from mnist_cli.models.checkpoint import Checkpoint, load_checkpoint
    from mnist_cli.models.networks import build_model
    from mnist_cli.training.train import train

__version__ = "0.1.0"

_HOMES = {
    "Checkpoint": "models.checkpoint",
    "CompareConfig": "config.compare",
    "EvaluationResult": "evaluation.metrics",
    "Split": "data.splits",
    "TrainConfig": "config.train",
    "build_model": "models.networks",
    "compare": "comparison.compare",
    "evaluate": "evaluation.evaluate",
    "load_checkpoint": "models.checkpoint",
    "load_dataset": "data.datasets",
    "train": "training.train",
}

__all__ = [
    "Checkpoint",
    "CompareConfig",
    "EvaluationResult",
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
