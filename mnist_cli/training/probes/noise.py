"""The gradient noise scale: how many samples an update needs before more of them help little."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Self

import torch

from mnist_cli.data.splits import Split
from mnist_cli.errors import DivergedError
from mnist_cli.runtime.device import ThreadPool
from mnist_cli.training.noise_estimate import Ratio, ratio_of_means, two_size_estimate
from mnist_cli.training.probes.probes import Objective, Probe, ProbeContext
from mnist_cli.training.probes.sharpness import hessian_product

_BATCH_SIZES, _DRAWS = (64, 1024), 20  # of the two-batch estimate
_CURVATURE_BATCH_SIZE, _CURVATURE_DRAWS = 64, 64
_THETA = 0.5  # of the norm test


@dataclass(frozen=True)
class NoiseProbe(Probe):
    """The gradient noise scale after `update` updates, in samples: see `Noise`.

    `trace` and `gradient_square` are tr Σ and |G|². They are exact for the training set if `exact`,
    and otherwise tr Σ is estimated from the per-sample gradients of `samples` out of `population`.
    The two-batch results are estimates, means over draws; the noise scale among them is None where
    |G|² is not clearly positive. So are the curvature-weighted ones, `curvature_noise_scale` =
    tr(HΣ) / GᵀHG with the Hessian H: see `curvature_noise`. An `error` is the standard error of
    what its name begins with, 0 if that is exact.

    Two rules for batch sizes use the same sums. `norm_test_batch_size` = tr Σ / (θ² |G|²), with θ =
    1/2: the deviation of the gradient is half its norm (Byrd et al. 2012). `cabs_batch_size` = η tr
    Σ / L, with the next learning rate η and the mean training loss L (Balles et al. 2017); it holds
    for plain SGD. Networks are probed in evaluation mode.
    """

    curves = ("noise_scale", "two_batch_noise_scale", "curvature_noise_scale")
    noise_scale: float
    trace: float
    gradient_square: float
    samples: int
    population: int
    exact: bool
    two_batch_noise_scale: float | None
    two_batch_trace: float
    two_batch_gradient_square: float
    two_batch_sizes: list[int]
    two_batch_draws: int
    # Records of older versions have none of these.
    noise_scale_error: float | None = None
    trace_error: float | None = None
    two_batch_noise_scale_error: float | None = None
    two_batch_trace_error: float | None = None
    two_batch_gradient_square_error: float | None = None
    curvature_noise_scale: float | None = None
    curvature_noise_scale_error: float | None = None
    curvature_trace: float | None = None
    curvature_trace_error: float | None = None
    gradient_curvature: float | None = None
    gradient_curvature_error: float | None = None
    curvature_draws: int | None = None
    norm_test_batch_size: float | None = None
    cabs_batch_size: float | None = None

    @classmethod
    def measure(cls, context: ProbeContext) -> Iterator[Self]:
        """Measure the noise scale in two ways, and the curvature-weighted one."""
        objective, population = context.objective, context.train_split
        measured = context.measure_once(
            "noise scale",
            lambda: noise_scale(
                objective, context.probe_split, context.full_gradient, len(population)
            ),
        )
        generator = context.generator("two batches")
        small, big = (min(size, len(population)) for size in _BATCH_SIZES)
        sizes = (small, big) if small < big else (1, max(2, small))
        draws = context.measure_once(
            "two batches",
            lambda: [two_batches(objective, population, sizes, generator) for _ in range(_DRAWS)],
        )
        estimate = ratio_of_means(draws)
        generator = context.generator("curvature")
        weighted = context.measure_once(
            "curvature noise",
            lambda: curvature_noise(objective, population, context.full_gradient, generator),
        )
        loss = context.full_loss
        yield cls(
            **context.common(),
            noise_scale=measured.scale,
            trace=measured.trace,
            gradient_square=measured.gradient_square,
            samples=measured.samples,
            population=len(population),
            exact=measured.samples == len(population),
            two_batch_noise_scale=estimate.value,
            two_batch_trace=estimate.numerator,
            two_batch_gradient_square=estimate.denominator,
            two_batch_sizes=list(sizes),
            two_batch_draws=_DRAWS,
            noise_scale_error=measured.scale_error,
            trace_error=measured.trace_error,
            two_batch_noise_scale_error=estimate.error,
            two_batch_trace_error=estimate.numerator_error,
            two_batch_gradient_square_error=estimate.denominator_error,
            curvature_noise_scale=weighted.value,
            curvature_noise_scale_error=weighted.error,
            curvature_trace=weighted.numerator,
            curvature_trace_error=weighted.numerator_error,
            gradient_curvature=weighted.denominator,
            gradient_curvature_error=weighted.denominator_error,
            curvature_draws=_CURVATURE_DRAWS,
            norm_test_batch_size=measured.scale / _THETA**2 if measured.gradient_square else None,
            cabs_batch_size=context.lr * max(measured.trace, 0.0) / loss if loss else None,
        )

    def summary(self) -> str:
        """Return the noise scale, the number of samples, and the estimates."""
        error = None if self.exact else self.noise_scale_error
        sampled = f"from {self.samples:,} of {self.population:,} samples"
        return (
            f"noise scale: {with_error(self.noise_scale, error, ',.1f')} samples "
            f"({'exact' if self.exact else sampled}); {self._two_batch_summary()}"
            f"{self._curvature_summary()}"
        )

    def _two_batch_summary(self) -> str:
        scale = self.two_batch_noise_scale
        if scale is not None and scale >= 0:  # records of older versions have negative ones
            error = self.two_batch_noise_scale_error
            return f"two-batch estimate {with_error(scale, error, ',.1f')}"
        if self.two_batch_trace < 0:
            return "no two-batch estimate, because the noise in it is negative"
        square, error = self.two_batch_gradient_square, self.two_batch_gradient_square_error
        return (
            "no two-batch estimate, because its squared gradient norm is not clearly above zero "
            f"({with_error(square, error, '.2g')})"
        )

    def _curvature_summary(self) -> str:
        if self.curvature_noise_scale is not None:
            error = self.curvature_noise_scale_error
            return (
                f"; weighted by curvature {with_error(self.curvature_noise_scale, error, ',.1f')}"
            )
        if self.gradient_curvature is None or self.curvature_trace is None:  # an old record
            return ""
        if self.curvature_trace < 0:
            curvature, error = self.curvature_trace, self.curvature_trace_error
            which = "along the noise is negative"
        else:
            curvature, error = self.gradient_curvature, self.gradient_curvature_error
            which = "along the gradient is not clearly above zero"
        return (
            f"; none weighted by curvature, because that {which} "
            f"({with_error(curvature, error, '.2g')})"
        )


def with_error(value: float, error: float | None, form: str) -> str:
    """Return a value and its standard error, if that is known, both in a format."""
    return f"{value:{form}}" + ("" if error is None else f" ± {error:{form}}")


@dataclass(frozen=True)
class Noise:
    """The two quantities whose ratio is the noise scale.

    `trace` is tr Σ, the summed variance of the samples' gradients, and `trace_error` its standard
    error, None for a single sample of several; `gradient_square` is |G|², the squared norm of their
    mean. `samples` had their own gradients taken.
    """

    trace: float
    gradient_square: float
    samples: int
    trace_error: float | None = 0.0

    @property
    def scale(self) -> float:
        """B_simple = tr Σ / |G|², in samples (McCandlish et al. 2018, equation 2.9).

        With updates of B samples, the squared deviation of the gradient is B_simple / B of the
        squared gradient itself: far below B_simple noise dominates, far above it more samples
        hardly help.
        """
        if not self.gradient_square:
            return math.inf
        return max(self.trace, 0.0) / self.gradient_square  # that of a few samples may be negative

    @property
    def scale_error(self) -> float | None:
        """The standard error of the scale, None where that is infinite or the error not known."""
        if self.trace_error is None or not self.gradient_square:
            return None
        return self.trace_error / self.gradient_square


def noise_scale(
    objective: Objective, sample: Split, full: torch.Tensor, population: int | None = None
) -> Noise:
    """Return the noise of single samples' gradients about `full`, the gradient of their mean loss.

    tr Σ = mean |gᵢ|² - |G|². It is exact for the empirical distribution if `full` is the gradient
    over `sample`. Where that is over a larger `population` that the sample was drawn from without
    replacement, the first term is an unbiased estimate, and the second still exact.
    """
    gradient_square = float(full.square().sum())
    square_norms = objective.square_norms(sample)
    count = len(sample)
    trace = float(square_norms.mean()) - gradient_square
    left_out = 1 - count / (population or count)
    error = None if left_out else 0.0
    if count > 1:
        error = float(square_norms.std()) * math.sqrt(left_out / count)
    return Noise(trace, gradient_square, count, error)


def two_batches(
    objective: Objective, population: Split, sizes: tuple[int, int], generator: torch.Generator
) -> tuple[float, float]:
    """Return one draw of tr Σ and |G|², from the norms of a small and a large batch's gradients.

    The batches are drawn with replacement. Both results are unbiased and noisy: average each over
    draws before taking the ratio.
    """

    def square_of(size: int) -> float:
        chosen = torch.randint(len(population), (size,), generator=generator)
        batch = population.at(chosen.to(population.device))
        return float(objective.gradient(batch).square().sum())

    small, big = sizes
    return two_size_estimate(sizes, (square_of(small), square_of(big)))


def curvature_noise(
    objective: Objective,
    population: Split,
    full: torch.Tensor,
    generator: torch.Generator,
    draws: int = _CURVATURE_DRAWS,
) -> Ratio:
    """Return B_H = tr(HΣ) / GᵀHG, in samples (McCandlish et al. 2018, equation 2.8).

    With updates of B samples at the best learning rate, a quadratic loss is expected to fall by
    1 / (1 + B_H / B) of what it would without noise. Each draw takes two independent batches of B =
    64 samples with replacement: d = g_B - `full` of the one and the Hessian H_B of the other. Then
    B dᵀ H_B d and Gᵀ H_B G have the expectations tr(HΣ) and GᵀHG over the population, and their
    standard errors are those of all that was drawn.

    Raises:
        DivergedError: a gradient or a curvature is not finite.

    """
    shape = (draws, 2, _CURVATURE_BATCH_SIZE)
    chosen = torch.randint(len(population), shape, generator=generator).to(population.device)
    draw = partial(_curvatures, replace(objective, pool=ThreadPool()), population, full)
    return ratio_of_means(list(objective.pool.map(draw, list(chosen))))


def _curvatures(
    objective: Objective, population: Split, full: torch.Tensor, chosen: torch.Tensor
) -> tuple[float, float]:
    """Return one draw of tr(HΣ) and GᵀHG, from the indices of two batches, `[2, B]`."""
    batch, sample = population.at(chosen[0]), population.at(chosen[1])
    noise = objective.gradient(batch) - full
    along_noise = float(noise.dot(hessian_product(objective, sample, noise)))
    along_gradient = float(full.dot(hessian_product(objective, sample, full)))
    if not (math.isfinite(along_noise) and math.isfinite(along_gradient)):
        raise DivergedError("training diverged: the curvature of the loss is not finite")
    return len(batch) * along_noise, along_gradient
