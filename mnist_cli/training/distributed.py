"""The gradient all-reduce: the gradient and the running sums of an update, in one vector.

`torch.nn.parallel.DistributedDataParallel` would average the ranks' gradients, which is wrong where
their shards differ by a sample; it would send them in several buckets, at every micro-batch unless
told otherwise; and it hooks into `loss.backward()`, which the loop does not call. Here one vector
is summed once an update; it also holds the loss and what the ranks must agree on.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, _foreach_copy_, nn

from mnist_cli.config import sources
from mnist_cli.config.options import names_where
from mnist_cli.errors import UsageError
from mnist_cli.runtime.distributed.group import AGREED_ENTRIES, ProcessGroup
from mnist_cli.training.resume import differences

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Gradient = list[Tensor]


@dataclass
class RunningSums:
    """The sums of loss, correct predictions and samples over the samples trained on so far."""

    loss_sum: float = 0.0
    correct: int = 0
    samples: int = 0

    def add(self, other: "RunningSums") -> None:
        """Add the sums over other samples."""
        self.loss_sum += other.loss_sum
        self.correct += other.correct
        self.samples += other.samples


class GradientAllReduce:
    """Sums the gradients of all ranks in one vector, together with the running sums."""

    def __init__(self, group: ProcessGroup, parameters: Sequence[Tensor]) -> None:
        self._group = group
        if group.size > 1:
            count = sum(parameter.numel() for parameter in parameters)
            self._vector = parameters[0].new_zeros(count + 2 + AGREED_ENTRIES)
            self._sums = self._vector[count : count + 2]
            self._gradient: Gradient = []
            start = 0
            for parameter in parameters:  # with the strides of the parameter
                self._gradient.append(
                    self._vector.as_strided(parameter.shape, parameter.stride(), start)
                )
                start += parameter.numel()

    def all_reduce(
        self, gradient: Gradient, sums: RunningSums, size: int
    ) -> tuple[Gradient, RunningSums]:
        """Return the gradient and the sums over all ranks, for an update of `size` samples.

        A rank without samples passes empty ones. The gradient is valid until the next call.

        Raises:
            StopRequested, PeerError: see `ProcessGroup.all_reduce`.

        """
        if self._group.size == 1:
            return gradient, sums
        if gradient:
            _foreach_copy_(self._gradient, gradient)
        else:
            self._vector.zero_()
        self._sums.copy_(self._sums.new_tensor([sums.loss_sum, sums.correct]))
        self._group.all_reduce(self._vector)
        loss_sum, correct = self._sums.tolist()
        return self._gradient, RunningSums(loss_sum, int(correct), size)


def check_supports_ranks(model: nn.Module, ranks: int) -> None:
    """Raise UsageError if the result of a network would depend on the number of ranks.

    Batch normalisation takes means over the samples that are computed together, so each rank would
    have means of its own, over fewer samples. None of the networks has it.
    """
    norms = (nn.modules.batchnorm._BatchNorm,)
    if ranks > 1 and any(isinstance(layer, norms) for layer in model.modules()):
        raise UsageError(
            f"this network has batch normalisation, and would be another one with {ranks} ranks; "
            "train it with one process, or give it another normalisation"
        )


def check_same_options(
    config: "DataclassInstance", device: torch.device, group: ProcessGroup
) -> None:
    """Raise UsageError in a rank whose options differ from those of the first rank.

    An environment variable or a file on one machine is enough for that. Options that may differ,
    such as folders, are not compared.
    """
    own = {"device type": device.type, **asdict(config)}
    may_differ = names_where(type(config), lambda about: about.per_rank)
    own = {name: value for name, value in own.items() if name not in may_differ}
    theirs = json.loads(group.broadcast(json.dumps(own).encode()) or b"{}")
    for name, (there, here) in differences(theirs, own).items():
        raise UsageError(
            f"{name} is {sources.quote(here)} here, and {sources.quote(there)} in the first "
            "rank; start all ranks with the same options, files and variables"
        )
