"""The losses of single samples: a batch's loss is their mean, which a few of them may dominate."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor
from torch.nn import functional as F

from mnist_cli.errors import DivergedError
from mnist_cli.training.loop import micro_batches
from mnist_cli.training.probes.probes import Objective, Probe, ProbeContext

_MICRO_BATCH = 512
_MOST = 1024  # samples that are listed
_SHARES = (0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0)  # of the samples below each quantile


@dataclass(frozen=True)
class LossesProbe(Probe):
    """The loss of each sample in the batch of the next update, before that.

    `mean_loss` is over all its `samples`, and so the loss that the update reports. `loss_quantiles`
    are those at 0, 0.1, 0.25, 0.5, 0.75, 0.9 and 1. `worst_tenth_share` is the share of the summed
    loss that the tenth with the largest losses has, None if all losses are 0. `losses` and `labels`
    list the first 1,024 samples, in the batch's order.
    """

    curves = ("mean_loss", "worst_tenth_share")
    mean_loss: float
    worst_tenth_share: float | None
    loss_quantiles: list[float]
    samples: int
    losses: list[float]
    labels: list[int]

    @classmethod
    def measure(cls, context: ProbeContext) -> Iterator[Self]:
        """Measure the losses."""
        images, labels = context.next_batch()
        losses = sample_losses(context.objective, images, labels)
        if not bool(losses.isfinite().all()):
            raise DivergedError("training diverged: the loss of a sample is not finite")
        yield cls(
            **context.common(),
            mean_loss=float(losses.mean()),
            worst_tenth_share=worst_tenth_share(losses),
            loss_quantiles=losses.quantile(losses.new_tensor(_SHARES)).tolist(),
            samples=len(losses),
            losses=[float(f"{loss:.7g}") for loss in losses[:_MOST].tolist()],
            labels=labels[:_MOST].tolist(),
        )

    def summary(self) -> str:
        """Return the mean, the median and the share of the worst tenth."""
        median = self.loss_quantiles[_SHARES.index(0.5)]
        share = self.worst_tenth_share
        worst = "" if share is None else f"; the worst tenth has {100 * share:.0f} % of the sum"
        return (
            f"losses of the next {self.samples:,} samples: mean {self.mean_loss:.4f}, "
            f"median {median:.4f}{worst}"
        )


def sample_losses(objective: Objective, images: Tensor, labels: Tensor) -> Tensor:
    """Return the cross-entropy of each sample, without label smoothing, `float64 [N]`.

    In single precision, those below 6e-8 would be 0, which a logarithmic axis does not show.
    """

    def of_part(part: slice) -> Tensor:
        with torch.no_grad():
            logits = objective.model(images[part]).cpu().double()
            return F.cross_entropy(logits, labels[part].cpu().long(), reduction="none")

    return torch.cat(list(objective.pool.map(of_part, micro_batches(len(labels), _MICRO_BATCH))))


def worst_tenth_share(losses: Tensor) -> float | None:
    """Return the share of the summed loss that a tenth of the samples has, rounded up."""
    total = float(losses.sum())
    worst = losses.topk(-(-len(losses) // 10)).values
    return float(worst.sum()) / total if total else None
