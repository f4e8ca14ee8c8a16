"""The path of the weights: how far they have come from the initial ones."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

from mnist_cli.models.networks import build_model
from mnist_cli.training.probes.probes import Probe, ProbeContext, flat


@dataclass(frozen=True)
class PathProbe(Probe):
    """The Euclidean norm of the weights, and their distance from the initial ones.

    Comparisons also draw the paths of their runs: see `mnist_cli.comparison.path`.
    """

    curves = ("distance", "norm")
    distance: float
    norm: float

    @classmethod
    def measure(cls, context: ProbeContext) -> Iterator[Self]:
        """Measure the weights against those that the seed gives."""
        weights = flat(context.objective.parameters)
        initial = flat(list(build_model(context.config.model, context.config.seed).parameters()))
        yield cls(
            **context.common(),
            distance=float((weights - initial).norm()),
            norm=float(weights.norm()),
        )

    def summary(self) -> str:
        """Return the distance and the norm."""
        return f"path: {self.distance:.2f} from the initial weights; their norm is {self.norm:.2f}"
