"""An average of the weights over the updates of a training."""

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mnist_cli.models.networks import trained_parameters


class WeightAverage:
    """A network whose weights are an exponential moving average of those of another.

    The weights after each update count `1 - decay`, and what was there before counts `decay`. At
    first, as long as there are fewer updates than `1 / (1 - decay)`, it is their plain mean. So it
    does not depend on the initial weights. Buffers, such as running means, are those of the other.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.model = copy.deepcopy(model)
        self._buffers = [*zip(self.model.buffers(), model.buffers(), strict=True)]
        self._decay = decay
        self._weights: list[Tensor] = [w.detach() for w in trained_parameters(self.model)]

    def add(self, weights: Sequence[Tensor], updates: int) -> None:
        """Add the weights after the last of `updates` updates."""
        with torch.no_grad():
            share = max(1 - self._decay, 1 / updates)
            torch._foreach_lerp_(self._weights, list(weights), share)
            for own, buffer in self._buffers:
                own.copy_(buffer)
