"""Optimizers, and learning rates as functions of progress."""

import math

import torch
from torch import nn

from mnist_cli.config import TrainConfig

WARM_UP = 0.15  # share of the updates in which one-cycle rises to its peak


def build_optimizer(model: nn.Module, config: TrainConfig) -> torch.optim.Optimizer:
    """Return the optimizer of a resolved config; the learning rate is set before each update."""
    assert config.lr is not None
    assert config.momentum is not None
    assert config.weight_decay is not None
    parameters = model.parameters()
    if config.optimizer == "sgd":
        return torch.optim.SGD(
            parameters,
            lr=config.lr,
            momentum=config.momentum,
            weight_decay=config.weight_decay,
            fused=True,
        )
    return torch.optim.AdamW(
        parameters,
        lr=config.lr,
        betas=(config.momentum, 0.99),
        weight_decay=config.weight_decay,
        fused=True,
    )


def learning_rate(schedule: str, peak: float, update: int, updates: int) -> float:
    """Return the learning rate of update number `update` (from 0) of `updates` planned ones.

    - constant: the peak.
    - one-cycle: linear up to the peak over the first 15 %, then linear down to nearly 0.
    - cosine: half a cosine from the peak to nearly 0 (Loshchilov & Hutter 2017, no restarts).
    """
    if schedule == "constant":
        return peak
    done = min((update + 0.5) / updates, 1.0)  # the middle of the update
    if schedule == "cosine":
        return peak * 0.5 * (1 + math.cos(math.pi * done))
    return peak * min(done / WARM_UP, (1 - done) / (1 - WARM_UP))
