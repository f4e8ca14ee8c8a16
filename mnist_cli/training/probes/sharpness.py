"""The sharpness of the loss: its largest curvature."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor
from torch.nn import functional as F

from mnist_cli.data.splits import Split
from mnist_cli.errors import DivergedError
from mnist_cli.training.loop import micro_batches
from mnist_cli.training.probes.probes import Objective, Probe, ProbeContext, flat

_MICRO_BATCH = 500
_MAX_ITERATIONS = 40
_TOLERANCE = 1e-3  # of the eigenvalue


@dataclass(frozen=True)
class SharpnessProbe(Probe):
    """The largest eigenvalue of the Hessian of the mean loss over `samples`.

    An eigenvalue lies within `residual` of `sharpness`. On a quadratic, gradient descent at the
    learning rate `lr` is stable below `two_over_lr`, and with SGD's momentum below `stable_up_to`,
    which is None for AdamW.
    """

    curves = ("sharpness", "two_over_lr")
    sharpness: float
    residual: float
    iterations: int
    samples: int
    population: int
    lr: float
    two_over_lr: float | None
    stable_up_to: float | None

    @classmethod
    def measure(cls, context: ProbeContext) -> Iterator[Self]:
        """Measure the sharpness on the samples for costly probes."""
        config, lr = context.config, context.lr
        found = context.measure_once(
            "sharpness",
            lambda: sharpness(
                context.objective, context.probe_split, context.generator("sharpness")
            ),
        )
        sgd = config.optimizer == "sgd"
        yield cls(
            **context.common(),
            sharpness=found.value,
            residual=found.residual,
            iterations=found.iterations,
            samples=len(context.probe_split),
            population=len(context.train_split),
            lr=lr,
            two_over_lr=2 / lr if lr else None,
            stable_up_to=2 * (1 + config.momentum) / lr if sgd and lr else None,
        )

    def summary(self) -> str:
        """Return the sharpness, and with SGD the largest that is stable."""
        edge = ""
        if self.stable_up_to is not None:
            edge = f"; 2 / learning rate {self.two_over_lr:.2f}"
            if self.stable_up_to != self.two_over_lr:
                edge += f", stable with this momentum up to {self.stable_up_to:.2f}"
        return (
            f"sharpness: {self.sharpness:.2f} ± {self.residual:.2g} "
            f"(on {self.samples:,} samples){edge}"
        )


@dataclass(frozen=True)
class Sharpness:
    """The largest eigenvalue of the Hessian; an exact one is within `residual` of `value`."""

    value: float
    residual: float
    iterations: int


def sharpness(objective: Objective, sample: Split, generator: torch.Generator) -> Sharpness:
    """Return the largest eigenvalue of the Hessian of the mean loss over `sample`.

    Lanczos iterations with full reorthogonalisation (Golub & Van Loan 2013, §10.1) on
    Hessian-vector products, which take two backward passes and no Hessian (Pearlmutter 1994).
    They end when |Hv - λv| is below a thousandth of λ, or after 40 products.

    Raises:
        DivergedError: a product is not finite.

    """
    size = sum(p.numel() for p in objective.parameters)
    vector = torch.randn(size, generator=generator, dtype=torch.float64)
    basis = (vector / vector.norm()).unsqueeze(0)
    diagonal: list[float] = []
    off_diagonal: list[float] = []
    while True:
        product = hessian_product(objective, sample, basis[-1])
        if not bool(product.isfinite().all()):
            raise DivergedError("training diverged: the curvature of the loss is not finite")
        diagonal.append(float(product.dot(basis[-1])))
        for _ in range(2):  # twice, because the first pass leaves rounding errors
            product -= basis.T @ (basis @ product)
        off_diagonal.append(float(product.norm()))
        values, vectors = torch.linalg.eigh(_tridiagonal(diagonal, off_diagonal))
        value = float(values[-1])
        residual = off_diagonal[-1] * abs(float(vectors[-1, -1]))
        done = residual <= _TOLERANCE * abs(value) or off_diagonal[-1] < 1e-30
        if done or len(diagonal) == min(_MAX_ITERATIONS, size):
            return Sharpness(value, residual, len(diagonal))
        basis = torch.cat([basis, (product / product.norm()).unsqueeze(0)])


def hessian_product(objective: Objective, split: Split, vector: Tensor) -> Tensor:
    """Return H v for the mean loss over a split: `float64 [P]` → `float64 [P]`."""
    parameters = objective.parameters
    pieces = torch.split(vector, [p.numel() for p in parameters])
    direction = [piece.view(p.shape).to(p) for piece, p in zip(pieces, parameters, strict=True)]
    total = torch.zeros_like(vector)
    for part in micro_batches(len(split), _MICRO_BATCH):
        objective.pool.check_stop()
        images, labels = split[part]
        loss = F.cross_entropy(
            objective.model(images),
            labels.long(),
            reduction="sum",
            label_smoothing=objective.label_smoothing,
        )
        gradient = torch.autograd.grad(loss / len(split), parameters, create_graph=True)
        total += flat(torch.autograd.grad(gradient, parameters, direction, materialize_grads=True))
    return total


def _tridiagonal(diagonal: list[float], off_diagonal: list[float]) -> Tensor:
    main = torch.tensor(diagonal, dtype=torch.float64)
    off = torch.tensor(off_diagonal[:-1], dtype=torch.float64)
    return torch.diag(main) + torch.diag(off, 1) + torch.diag(off, -1)
