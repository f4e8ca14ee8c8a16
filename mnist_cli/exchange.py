"""What the ranks add up in an update: the gradient, and the sums beside it, in one vector.

`torch.nn.parallel.DistributedDataParallel` would average the ranks' gradients, which is wrong where
their shares differ by a sample; it would send them in several buckets, at every micro-batch unless
told otherwise; and it hangs on `loss.backward()`, which the loop does without. One vector is added
up once an update instead, and has room for the loss and for what the ranks must agree on.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, _foreach_copy_

from mnist_cli.group import TAIL, Group

Gradient = list[Tensor]


@dataclass
class Tally:
    """Sums over samples that were trained on."""

    loss_sum: float = 0.0
    correct: int = 0
    samples: int = 0

    def add(self, other: "Tally") -> None:
        """Add the sums over other samples."""
        self.loss_sum += other.loss_sum
        self.correct += other.correct
        self.samples += other.samples


class Exchange:
    """The vector in which a group adds up its shares of an update."""

    def __init__(self, group: Group, parameters: Sequence[Tensor]) -> None:
        self._group = group
        if group.size > 1:
            count = sum(parameter.numel() for parameter in parameters)
            self._vector = parameters[0].new_zeros(count + 2 + TAIL)
            self._sums = self._vector[count : count + 2]
            self._gradient: Gradient = []
            start = 0
            for parameter in parameters:  # laid out in memory as the parameter is
                self._gradient.append(
                    self._vector.as_strided(parameter.shape, parameter.stride(), start)
                )
                start += parameter.numel()

    def add_up(self, gradient: Gradient, sums: Tally, size: int) -> tuple[Gradient, Tally]:
        """Return the gradient and the sums of a whole update of `size` samples.

        Those of a rank without samples are empty. The gradient is valid until the next call.

        Raises:
            Stopped, PeerError: see `Group.add_up`.

        """
        if self._group.size == 1:
            return gradient, sums
        if gradient:
            _foreach_copy_(self._gradient, gradient)
        else:
            self._vector.zero_()
        self._sums.copy_(self._sums.new_tensor([sums.loss_sum, sums.correct]))
        self._group.add_up(self._vector)
        loss_sum, correct = self._sums.tolist()
        return self._gradient, Tally(loss_sum, int(correct), size)
