"""Probes: measurements of a network between two updates, besides its loss.

A probe is a class in a module of this package, and a row of the registry.
"""

from abc import abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from importlib import import_module
from typing import Any, Self

import torch
from torch import Tensor, nn

from mnist_cli.config.options import names_in
from mnist_cli.config.registry import PROBES
from mnist_cli.config.train import ResolvedConfig
from mnist_cli.data.datasets import Split
from mnist_cli.errors import UsageError
from mnist_cli.events import ProbeEvent
from mnist_cli.runtime.seeding import stream
from mnist_cli.runtime.threads import ThreadPool
from mnist_cli.training.probes.gradients import Objective


@dataclass(frozen=True)
class ProbeContext:
    """What a probe may measure: the network in evaluation mode, and the samples it trains on.

    The samples are not shifted. `lr` is the learning rate of the next update.
    """

    config: ResolvedConfig
    train_split: Split
    objective: Objective
    clock: Callable[[], float]
    update: int
    samples_seen: int
    lr: float

    @cached_property
    def full_gradient(self) -> Tensor:
        """The gradient of the mean loss over all samples, `float64 [P]`."""
        return self.objective.gradient(self.train_split)

    @cached_property
    def probe_split(self) -> Split:
        """The `probe_samples` samples for costly probes: the same ones after every update."""
        count = self.config.probe_samples
        if count >= len(self.train_split):
            return self.train_split
        order = torch.randperm(len(self.train_split), generator=stream(self.config.seed, "probe"))
        return Split(*self.train_split[order[:count].sort().values.to(self.train_split.device)])

    def generator(self, purpose: str) -> torch.Generator:
        """Return a generator for a purpose, seeded by the training's seed and the update.

        So a probe neither depends on those before it nor disturbs the training.
        """
        return stream(self.config.seed, "probe", purpose, self.update)

    def common(self) -> dict[str, Any]:
        """Return the values that the events of all probes have in common, at this moment."""
        counts = {"update": self.update, "samples_seen": self.samples_seen}
        return {"seconds": self.clock(), **counts}


class Probe(ProbeEvent):
    """The base of all probes: an event that can measure itself."""

    @classmethod
    @abstractmethod
    def measure(cls, context: ProbeContext) -> Iterator[Self]:
        """Measure a network; yield one event or several.

        Raises:
            DivergedError: what is measured is not finite.

        """


def probe_class(name: str) -> type[Probe]:
    """Return the class of a probe: that in its row of the registry.

    Raises:
        UsageError: there is no such probe.

    """
    if name not in PROBES:
        raise UsageError(f"--probe {name} is not one of {', '.join(PROBES)}")
    module = import_module(f"mnist_cli.training.probes.{PROBES[name].module}")
    probe: type[Probe] = getattr(module, PROBES[name].class_name)
    return probe


class Probes:
    """The probes that the config of a training asks for.

    Raises:
        UsageError: there is no such probe.

    """

    def __init__(
        self, config: ResolvedConfig, samples: Split, pool: ThreadPool, clock: Callable[[], float]
    ) -> None:
        self._config = config
        self._samples = samples
        self._pool = pool
        self._clock = clock
        self._probes = {name: probe_class(name) for name in names_in(config.probe)}

    def measure(
        self, model: nn.Module, *, update: int, samples_seen: int, lr: float
    ) -> Iterator[ProbeEvent]:
        """Run the probes in the order of the registry; `lr` is that of the next update.

        The network is in evaluation mode meanwhile.
        """
        context = ProbeContext(
            config=self._config,
            train_split=self._samples,
            objective=Objective(model, self._config.label_smoothing, self._pool),
            clock=self._clock,
            update=update,
            samples_seen=samples_seen,
            lr=lr,
        )
        was_training = model.training
        model.eval()
        try:
            for name in sorted(self._probes, key=[*PROBES].index):
                for event in self._probes[name].measure(context):
                    yield replace(event, probe=name)
        finally:
            model.train(was_training)
