"""The alignment of mini-batch gradients with the full gradient."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Self

import torch

from mnist_cli.data.splits import Split
from mnist_cli.training.probes.probes import Objective, Probe, ProbeContext

_SIZES = (1, 4, 16, 64, 256, 1024, 4096)
# A few samples have most of the gradient: a handful of small batches would miss them.
_MIN_DRAWS, _MIN_SAMPLES = 40, 1024  # of each size: batches, and samples in all of them


@dataclass(frozen=True)
class AlignmentProbe(Probe):
    """Mini-batch gradients compared with the full gradient: see `Alignment`.

    The full gradient is exact; the cosines and the deviation are estimates from `draws` batches.
    """

    curves = ("cosine_mean", "cosine_deviation")
    batch_size: int
    population: int
    draws: int
    cosine_mean: float
    cosine_deviation: float
    deviation: float
    gradient_norm: float

    @classmethod
    def measure(cls, context: ProbeContext) -> Iterator[Self]:
        """Measure batches of several sizes, among them that of the training."""
        population, full = context.train_split, context.full_gradient
        own = context.config.batch_size
        sizes = {*_SIZES, *([own] if own else [])}
        for size in sorted(size for size in sizes if size < len(population)):
            draws = max(_MIN_DRAWS, _MIN_SAMPLES // size)
            name = f"alignment {size}"
            measure = partial(alignment, context.objective, population, full, size=size)
            measure = partial(measure, draws=draws, generator=context.generator(name))
            found = context.measure_once(name, measure)
            yield cls(
                **context.common(),
                batch_size=size,
                population=len(population),
                draws=draws,
                cosine_mean=found.cosine_mean,
                cosine_deviation=found.cosine_deviation,
                deviation=found.deviation,
                gradient_norm=float(full.norm()),
            )

    def summary(self) -> str:
        """Return the mean cosine and its standard deviation."""
        return (
            f"alignment of batches of {self.batch_size:,}: cosine "
            f"{self.cosine_mean:.3f} ± {self.cosine_deviation:.3f} ({self.draws} draws)"
        )

    @property
    def curve_suffix(self) -> str:
        """The batch size: it has a curve of its own."""
        return f"_{self.batch_size}"

    @property
    def as_if_independent(self) -> float:
        """The deviation of batches whose samples are drawn with replacement.

        Drawing without replacement reduces it by the factor √((N - B) / (N - 1)).
        """
        if self.batch_size >= self.population:
            return self.deviation
        rest = (self.population - self.batch_size) / (self.population - 1)
        return self.deviation / math.sqrt(rest)


@dataclass(frozen=True)
class Alignment:
    """Mini-batch gradients compared with the full gradient, over several draws.

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
    """Compare gradients of `size` random samples with `full`, the gradient of the population."""
    cosines, squares = [], []
    for _ in range(draws):
        chosen = torch.randperm(len(population), generator=generator)[:size]
        gradient = objective.gradient(population.at(chosen.to(population.device)))
        norms = gradient.norm() * full.norm()
        cosines.append(float(gradient.dot(full) / norms) if norms else 0.0)
        squares.append(float((gradient - full).square().sum()))
    values = torch.tensor(cosines, dtype=torch.float64)
    return Alignment(
        float(values.mean()),
        float(values.std()) if draws > 1 else 0.0,
        (sum(squares) / draws) ** 0.5,
    )
