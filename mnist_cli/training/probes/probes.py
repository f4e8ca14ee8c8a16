"""Probes: measurements of a network between two updates, besides its loss."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from mnist_cli.config.options import names_in
from mnist_cli.config.train import ResolvedConfig
from mnist_cli.data.datasets import Split
from mnist_cli.events import AlignmentProbe, NoiseProbe, ProbeEvent, SharpnessProbe
from mnist_cli.runtime.seeding import stream
from mnist_cli.runtime.threads import ThreadPool
from mnist_cli.training.probes.alignment import alignment
from mnist_cli.training.probes.gradients import Objective
from mnist_cli.training.probes.noise import mean_of, noise_scale, two_batches
from mnist_cli.training.probes.sharpness import sharpness

ALIGNMENT_SIZES = (1, 4, 16, 64, 256, 1024, 4096)
DRAWS, DRAWN_SAMPLES = 40, 1024  # at least so many batches, and so many samples in all
TWO_BATCH_SIZES, TWO_BATCH_DRAWS = (64, 1024), 20


@dataclass(frozen=True)
class Probes:
    """The probes that a training asks for: `samples` are those it trains on, not shifted.

    What is random is drawn from the seed and the update's number, so that a probe neither depends
    on those before it nor disturbs the training.
    """

    config: ResolvedConfig
    samples: Split
    pool: ThreadPool
    clock: Callable[[], float]

    def measure(
        self, model: nn.Module, *, update: int, samples_seen: int, lr: float
    ) -> Iterator[ProbeEvent]:
        """Yield what the probes find; `lr` is the learning rate of the next update.

        The network is in evaluation mode meanwhile.
        """
        names = names_in(self.config.probe)
        was_training = model.training
        model.eval()
        objective = Objective(model, self.config.label_smoothing, self.pool)
        at: dict[str, Any] = {"update": update, "samples_seen": samples_seen}
        try:
            if "noise" in names or "alignment" in names:
                full = objective.gradient(self.samples)
                if "noise" in names:
                    yield self._noise(objective, full, at)
                if "alignment" in names:
                    yield from self._alignment(objective, full, at)
            if "sharpness" in names:
                yield self._sharpness(objective, lr, at)
        finally:
            model.train(was_training)

    def _noise(self, objective: Objective, full: torch.Tensor, at: dict[str, Any]) -> NoiseProbe:
        sample = self._sample()
        exact = noise_scale(objective, sample, full)
        generator = self._stream("two batches", at)
        small, big = (min(size, len(self.samples)) for size in TWO_BATCH_SIZES)
        sizes = (small, big) if small < big else (1, max(2, small))
        estimate = mean_of(
            [two_batches(objective, self.samples, sizes, generator) for _ in range(TWO_BATCH_DRAWS)]
        )
        return NoiseProbe(
            seconds=self.clock(),
            **at,
            noise_scale=exact.scale,
            trace=exact.trace,
            gradient_square=exact.gradient_square,
            samples=len(sample),
            population=len(self.samples),
            exact=len(sample) == len(self.samples),
            two_batch_noise_scale=estimate.scale,
            two_batch_trace=estimate.trace,
            two_batch_gradient_square=estimate.gradient_square,
            two_batch_sizes=list(sizes),
            two_batch_draws=TWO_BATCH_DRAWS,
        )

    def _alignment(
        self, objective: Objective, full: torch.Tensor, at: dict[str, Any]
    ) -> Iterator[AlignmentProbe]:
        own = self.config.batch_size
        sizes = sorted({*ALIGNMENT_SIZES, *([own] if own else [])})
        for size in (size for size in sizes if size < len(self.samples)):
            # Few samples have most of the gradient: a handful of small batches would miss them.
            draws = max(DRAWS, DRAWN_SAMPLES // size)
            found = alignment(
                objective,
                self.samples,
                full,
                size=size,
                draws=draws,
                generator=self._stream(f"alignment {size}", at),
            )
            yield AlignmentProbe(
                seconds=self.clock(),
                **at,
                batch_size=size,
                population=len(self.samples),
                draws=draws,
                cosine_mean=found.cosine_mean,
                cosine_deviation=found.cosine_deviation,
                deviation=found.deviation,
                gradient_norm=float(full.norm()),
            )

    def _sharpness(self, objective: Objective, lr: float, at: dict[str, Any]) -> SharpnessProbe:
        sample = self._sample()
        found = sharpness(objective, sample, self._stream("sharpness", at))
        sgd = self.config.optimizer == "sgd"
        return SharpnessProbe(
            seconds=self.clock(),
            **at,
            sharpness=found.value,
            residual=found.residual,
            iterations=found.iterations,
            samples=len(sample),
            population=len(self.samples),
            lr=lr,
            two_over_lr=2 / lr if lr else None,
            stable_up_to=2 * (1 + self.config.momentum) / lr if sgd and lr else None,
        )

    def _sample(self) -> Split:
        """Return the samples that the costly probes look at: the same ones all along."""
        count = self.config.probe_samples
        if count >= len(self.samples):
            return self.samples
        order = torch.randperm(len(self.samples), generator=stream(self.config.seed, "probe"))
        return Split(*self.samples[order[:count].sort().values.to(self.samples.device)])

    def _stream(self, purpose: str, at: dict[str, Any]) -> torch.Generator:
        return stream(self.config.seed, "probe", purpose, at["update"])
