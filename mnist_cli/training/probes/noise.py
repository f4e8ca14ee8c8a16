"""The gradient noise scale: how many samples an update needs before more of them help little."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

import torch

from mnist_cli.data.datasets import Split
from mnist_cli.training.probes.probes import Objective, Probe, ProbeContext

_BATCH_SIZES, _DRAWS = (64, 1024), 20  # of the two-batch estimate


@dataclass(frozen=True)
class NoiseProbe(Probe):
    """The gradient noise scale after `update` updates, in samples: see `Noise`.

    `trace` and `gradient_square` are tr Σ and |G|². They are exact for the training set if `exact`,
    and otherwise estimated from the per-sample gradients of `samples` out of `population`. The
    two-batch results are estimates, means over draws. Networks are probed in evaluation mode.
    """

    curves = ("noise_scale", "two_batch_noise_scale")
    noise_scale: float
    trace: float
    gradient_square: float
    samples: int
    population: int
    exact: bool
    two_batch_noise_scale: float
    two_batch_trace: float
    two_batch_gradient_square: float
    two_batch_sizes: list[int]
    two_batch_draws: int

    @classmethod
    def measure(cls, context: ProbeContext) -> Iterator[Self]:
        """Measure the noise scale in two ways."""
        objective, population = context.objective, context.train_split
        measured = context.measure_once(
            "noise scale",
            lambda: noise_scale(objective, context.probe_split, context.full_gradient),
        )
        generator = context.generator("two batches")
        small, big = (min(size, len(population)) for size in _BATCH_SIZES)
        sizes = (small, big) if small < big else (1, max(2, small))
        draws = context.measure_once(
            "two batches",
            lambda: [two_batches(objective, population, sizes, generator) for _ in range(_DRAWS)],
        )
        estimate = mean_of(draws)
        yield cls(
            **context.common(),
            noise_scale=measured.scale,
            trace=measured.trace,
            gradient_square=measured.gradient_square,
            samples=measured.samples,
            population=len(population),
            exact=measured.samples == len(population),
            two_batch_noise_scale=estimate.scale,
            two_batch_trace=estimate.trace,
            two_batch_gradient_square=estimate.gradient_square,
            two_batch_sizes=list(sizes),
            two_batch_draws=_DRAWS,
        )

    def summary(self) -> str:
        """Return the noise scale, the number of samples, and the two-batch estimate."""
        sampled = f"from {self.samples:,} of {self.population:,} samples"
        return (
            f"noise scale: {self.noise_scale:,.1f} samples ({'exact' if self.exact else sampled}); "
            f"two-batch estimate {self.two_batch_noise_scale:,.1f}"
        )


@dataclass(frozen=True)
class Noise:
    """The two quantities whose ratio is the noise scale.

    `trace` is tr Σ, the summed variance of the samples' gradients; `gradient_square` is |G|², the
    squared norm of their mean. `samples` had their own gradients taken.
    """

    trace: float
    gradient_square: float
    samples: int

    @property
    def scale(self) -> float:
        """B_simple = tr Σ / |G|², in samples (McCandlish et al. 2018, equation 2.9).

        With updates of B samples, the squared deviation of the gradient is B_simple / B of the
        squared gradient itself: far below B_simple noise dominates, far above it more samples
        hardly help.
        """
        return self.trace / self.gradient_square if self.gradient_square else float("inf")


def noise_scale(objective: Objective, sample: Split, full: torch.Tensor) -> Noise:
    """Return the noise of single samples' gradients about `full`, the gradient of their mean loss.

    tr Σ = mean |gᵢ|² - |G|². It is exact for the empirical distribution if `full` is the gradient
    over `sample`. Where that is over a larger population that the sample was drawn from, the
    first term is an unbiased estimate, and the second still exact.
    """
    gradient_square = float(full.square().sum())
    mean_square = float(objective.square_norms(sample).mean())
    return Noise(mean_square - gradient_square, gradient_square, len(sample))


def two_batches(
    objective: Objective, population: Split, sizes: tuple[int, int], generator: torch.Generator
) -> Noise:
    """Return one draw of the cheap estimate: from the norms of a small and a large batch.

    Since E|g_B|² = |G|² + tr Σ / B for samples drawn with replacement, two sizes of B give two
    equations (McCandlish et al. 2018, appendix A.1). Both results are unbiased and noisy: average
    each over draws before taking the ratio.
    """
    small, big = sizes
    squares = []
    for size in sizes:
        chosen = torch.randint(len(population), (size,), generator=generator)
        batch = Split(*population[chosen.to(population.device)])
        squares.append(float(objective.gradient(batch).square().sum()))
    gradient_square = (big * squares[1] - small * squares[0]) / (big - small)
    trace = (squares[0] - squares[1]) / (1 / small - 1 / big)
    return Noise(trace, gradient_square, small + big)


def mean_of(draws: list[Noise]) -> Noise:
    """Return the mean of each quantity over the draws."""
    count = len(draws)
    return Noise(
        sum(draw.trace for draw in draws) / count,
        sum(draw.gradient_square for draw in draws) / count,
        sum(draw.samples for draw in draws),
    )
