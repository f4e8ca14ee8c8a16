"""The path of the weights: how far they have come from the initial ones."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

from mnist_cli.data.catalogue import number_of_classes
from mnist_cli.models.networks import build_model, trained_parameters
from mnist_cli.training.probes.probes import Probe, ProbeContext, flat


@dataclass(frozen=True)
class PathProbe(Probe):
    """The Euclidean norm of the weights, and their distance from the initial ones.

    The distance is None in a training that began with a checkpoint: its initial weights are not
    kept. Comparisons also draw the paths of their runs: see `mnist_cli.comparison.path`.
    """

    curves = ("distance", "norm")
    distance: float | None
    norm: float

    @classmethod
    def measure(cls, context: ProbeContext) -> Iterator[Self]:
        """Measure the weights against those that the seed gives."""
        weights, config = flat(context.objective.parameters), context.config
        distance = None
        if config.init is None:
            classes = number_of_classes(config.dataset)
            model = build_model(config.model, config.seed, classes=classes)
            initial = flat(trained_parameters(model))
            distance = float((weights - initial).norm())
        yield cls(**context.common(), distance=distance, norm=float(weights.norm()))

    def summary(self) -> str:
        """Return the distance and the norm."""
        norm = f"the norm of the weights is {self.norm:.2f}"
        if self.distance is None:
            return f"path: {norm}"
        return f"path: {self.distance:.2f} from the initial weights; {norm}"
