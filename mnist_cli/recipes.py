"""The defaults that depend on the model and the mode."""

import math
from dataclasses import dataclass, replace
from typing import TypeVar

from mnist_cli.config import DEFAULT_BATCH_SIZE, TrainConfig

T = TypeVar("T")


@dataclass(frozen=True)
class Recipe:
    """How a network is trained where the options leave it open.

    `lr` holds the peak learning rate for each optimizer, for updates of 64 samples in mini-batch
    mode.
    """

    optimizer: str
    lr: dict[str, float]
    schedule: str
    augment: bool
    micro_batch_size: int


_MINI_BATCH = {
    "linear": Recipe("adamw", {"adamw": 1e-3, "sgd": 0.02}, "one-cycle", False, 1000),
    "mlp": Recipe("adamw", {"adamw": 2e-3, "sgd": 0.05}, "one-cycle", False, 1000),
    "lenet": Recipe("adamw", {"adamw": 3e-3, "sgd": 0.05}, "one-cycle", False, 1000),
    "cnn": Recipe("adamw", {"adamw": 3e-3, "sgd": 0.05}, "one-cycle", True, 1000),
}
_BATCH = {
    "linear": Recipe("adamw", {"adamw": 0.02, "sgd": 0.1}, "one-cycle", False, 1000),
    "mlp": Recipe("adamw", {"adamw": 0.01, "sgd": 0.1}, "one-cycle", False, 1000),
    "lenet": Recipe("adamw", {"adamw": 0.01, "sgd": 0.1}, "one-cycle", False, 1000),
    "cnn": Recipe("adamw", {"adamw": 0.01, "sgd": 0.1}, "one-cycle", False, 1000),
}
_MOMENTUM = 0.9
_WEIGHT_DECAY = {"adamw": 0.01, "sgd": 0.0}


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
        micro_batch_size=_default(config.micro_batch_size, recipe.micro_batch_size),
        optimizer=optimizer,
        lr=_default(config.lr, lr),
        momentum=_default(config.momentum, _MOMENTUM),
        weight_decay=_default(config.weight_decay, _WEIGHT_DECAY[optimizer]),
        schedule=config.schedule or recipe.schedule,
        augment=_default(config.augment, recipe.augment),
    )


def _default(value: T | None, default: T) -> T:
    return default if value is None else value


def _scaled(lr: float, batch_size: int) -> float:
    """Return the learning rate for a batch size: it grows with the square root, within bounds."""
    return lr * min(max(math.sqrt(batch_size / DEFAULT_BATCH_SIZE), 0.25), 4.0)
