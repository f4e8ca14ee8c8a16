"""Gradients of a network over many samples: their mean, and the norm of each."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.nn import functional as F

from mnist_cli.data.datasets import Split
from mnist_cli.errors import DivergedError
from mnist_cli.runtime.threads import ThreadPool
from mnist_cli.training.loop import Update, micro_batches, target_probabilities

_MICRO_BATCH = 512
_MAX_VALUES = 1 << 23  # of the per-sample gradients that are in memory at once: 32 MiB


@dataclass(frozen=True)
class Objective:
    """The mean loss that a training minimises, over samples that are not shifted.

    Networks with batch normalisation or dropout have to be in evaluation mode.
    """

    model: nn.Module
    label_smoothing: float = 0.0
    pool: ThreadPool = field(default_factory=ThreadPool)

    @property
    def parameters(self) -> list[Tensor]:
        """The tensors with respect to which the gradient is taken."""
        return list(self.model.parameters())

    def gradient(self, split: Split) -> Tensor:
        """Return the gradient of the mean loss over a split, `float64 [P]`.

        Raises:
            DivergedError: it is not finite.

        """
        parameters = self.parameters
        targets = target_probabilities(self.label_smoothing).to(parameters[0])
        update = Update(self.model, parameters, split.images, split.labels, len(split), targets)
        total = torch.zeros(sum(p.numel() for p in parameters), dtype=torch.float64)
        parts = micro_batches(len(split), _MICRO_BATCH)
        for part, _ in self.pool.map(update.gradient_of, parts):
            total += flat(part)
        if not bool(total.isfinite().all()):
            raise DivergedError("training diverged: the gradient is not finite")
        return total

    def square_norms(self, split: Split) -> Tensor:
        """Return the squared norm of each sample's gradient, `float64 [N]`, in bounded memory."""
        parameters = {name: p.detach() for name, p in self.model.named_parameters()}
        buffers = dict(self.model.named_buffers())

        def loss(values: Mapping[str, Tensor], image: Tensor, label: Tensor) -> Tensor:
            state = (dict(values), buffers)
            logits = functional_call(self.model, state, (image.unsqueeze(0),))
            return F.cross_entropy(logits, label.unsqueeze(0), label_smoothing=self.label_smoothing)

        each = vmap(grad(loss), in_dims=(None, 0, 0))
        size = sum(p.numel() for p in parameters.values())
        dtype = next(iter(parameters.values())).dtype
        norms = []
        for part in micro_batches(len(split), max(1, _MAX_VALUES // size)):
            self.pool.check()
            images, labels = split[part]
            gradients = each(parameters, images.to(dtype), labels.long())
            squares = [
                g.flatten(1).square().sum(1, dtype=torch.float64) for g in gradients.values()
            ]
            norms.append(torch.stack(squares).sum(0).cpu())
        return torch.cat(norms)


def flat(tensors: Sequence[Tensor]) -> Tensor:
    """Concatenate tensors to one vector, `float64 [P]`, on the CPU."""
    return torch.cat([tensor.detach().cpu().double().reshape(-1) for tensor in tensors])
