"""The defaults that depend on the model and the mode."""

import math
from dataclasses import dataclass, replace
from typing import TypeVar

from mnist_cli.config import DEFAULT_BATCH_SIZE, TrainConfig

T = TypeVar("T")


@dataclass(frozen=True)
class Recipe:
    """How a network is trained where the options leave it open.

    `lr` and `weight_decay` are for each optimizer; in mini-batch mode `lr` is the peak for updates
    of 64 samples.
    """

    lr: dict[str, float]
    weight_decay: dict[str, float]
    optimizer: str = "adamw"
    momentum: float = 0.9
    schedule: str = "one-cycle"
    label_smoothing: float = 0.0
    augment: bool = False


# The rates were chosen by the accuracy on 10,000 training samples that were held out.
_LITTLE, _STRONG = {"adamw": 0.01, "sgd": 0.0}, {"adamw": 0.2, "sgd": 0.0}
_MINI_BATCH = {
    "linear": Recipe({"adamw": 3e-3, "sgd": 0.02}, _LITTLE),
    "mlp": Recipe({"adamw": 2e-3, "sgd": 0.05}, _STRONG),
    "lenet": Recipe({"adamw": 4e-3, "sgd": 0.05}, _STRONG, label_smoothing=0.1, augment=True),
    "cnn": Recipe({"adamw": 6e-3, "sgd": 0.05}, _STRONG, label_smoothing=0.1, augment=True),
}
# Plain gradient descent on the loss itself: nothing random, nothing smoothed.
_BATCH = {
    "linear": Recipe({"adamw": 0.01, "sgd": 0.1}, _LITTLE),
    "mlp": Recipe({"adamw": 0.01, "sgd": 0.1}, _LITTLE),
    "lenet": Recipe({"adamw": 0.005, "sgd": 0.1}, _LITTLE),
    "cnn": Recipe({"adamw": 0.01, "sgd": 0.1}, _LITTLE),
}


def resolve(config: TrainConfig) -> TrainConfig:
    """Return the config with every default that was left to the model and the mode filled in."""
    batch = config.mode == "batch"
    recipe = (_BATCH if batch else _MINI_BATCH)[config.model]
    size = None if batch else config.batch_size or DEFAULT_BATCH_SIZE
    optimizer = config.optimizer or recipe.optimizer
    lr = recipe.lr[optimizer] if size is None else _scaled(recipe.lr[optimizer], size)
    return replace(
        config,
        batch_size=size,
        optimizer=optimizer,
        lr=_default(config.lr, lr),
        momentum=_default(config.momentum, recipe.momentum),
        weight_decay=_default(config.weight_decay, recipe.weight_decay[optimizer]),
        schedule=config.schedule or recipe.schedule,
        label_smoothing=_default(config.label_smoothing, recipe.label_smoothing),
        augment=_default(config.augment, recipe.augment),
    )


def _default(value: T | None, default: T) -> T:
    return default if value is None else value


def _scaled(lr: float, batch_size: int) -> float:
    """Return the learning rate for a batch size: it grows with the square root, within bounds."""
    return lr * min(max(math.sqrt(batch_size / DEFAULT_BATCH_SIZE), 0.25), 4.0)
