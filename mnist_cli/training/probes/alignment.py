"""How far mini-batch gradients stray from the full one."""

from dataclasses import dataclass

import torch

from mnist_cli.data.datasets import Split
from mnist_cli.training.probes.gradients import Objective


@dataclass(frozen=True)
class Alignment:
    """Mini-batch gradients beside the full gradient, over several draws.

    `deviation` is the root of the mean of |g_B - G|²; its square is expected to be
    tr Σ / B · (N - B) / (N - 1), since a batch is drawn without replacement from N samples.
    """

    cosine_mean: float
    cosine_deviation: float
    deviation: float


def alignment(
    objective: Objective,
    population: Split,
    full: torch.Tensor,
    *,
    size: int,
    draws: int,
    generator: torch.Generator,
) -> Alignment:
    """Return how gradients of `size` random samples align with `full`, that of the population."""
    cosines, squares = [], []
    for _ in range(draws):
        chosen = torch.randperm(len(population), generator=generator)[:size]
        gradient = objective.gradient(Split(*population[chosen.to(population.device)]))
        norms = gradient.norm() * full.norm()
        cosines.append(float(gradient.dot(full) / norms) if norms else 0.0)
        squares.append(float((gradient - full).square().sum()))
    values = torch.tensor(cosines, dtype=torch.float64)
    return Alignment(
        float(values.mean()),
        float(values.std()) if draws > 1 else 0.0,
        (sum(squares) / draws) ** 0.5,
    )
