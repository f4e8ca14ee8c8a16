"""The gradient noise scale: how many samples an update needs before more of them help little."""

from dataclasses import dataclass

import torch

from mnist_cli.data.datasets import Split
from mnist_cli.training.probes.gradients import Objective


@dataclass(frozen=True)
class Noise:
    """The two quantities that the noise scale is a ratio of.

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
        squared gradient itself: far below B_simple noise rules, far above it samples are wasted.
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
    """Return the means of what was drawn, each quantity by itself."""
    count = len(draws)
    return Noise(
        sum(draw.trace for draw in draws) / count,
        sum(draw.gradient_square for draw in draws) / count,
        sum(draw.samples for draw in draws),
    )
