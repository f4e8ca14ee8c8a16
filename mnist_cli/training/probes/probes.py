"""Probes: measurements of a network between two updates, besides its loss.

A probe is a class in a module of this package, and an entry of the registry.
"""

import copy
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from importlib import import_module
from typing import Any, Self, TypeVar

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.nn import functional as F

from mnist_cli.config.options import names_in
from mnist_cli.config.registry import PROBES
from mnist_cli.config.suggestions import not_one_of
from mnist_cli.config.train import ResolvedConfig
from mnist_cli.data.augment import augmented
from mnist_cli.data.batches import Batch, training_shape, training_updates
from mnist_cli.data.splits import Split
from mnist_cli.errors import DivergedError, UsageError
from mnist_cli.events import ProbeEvent, ProbeStart
from mnist_cli.models.networks import trained_parameters
from mnist_cli.runtime.device import ThreadPool
from mnist_cli.runtime.seeding import stream
from mnist_cli.training.loop import Update, label_targets, micro_batches

T = TypeVar("T")

_MICRO_BATCH = 512
_MAX_VALUES = 1 << 23  # of the per-sample gradients that are in memory at once: 32 MiB


@dataclass(frozen=True)
class Objective:
    """The mean loss that a training minimises, over samples that are not shifted.

    Networks with batch normalisation or dropout have to be in evaluation mode.
    """

    model: nn.Module
    label_smoothing: float = 0.0
    pool: ThreadPool = field(default_factory=ThreadPool)

    @property
    def parameters(self) -> list[Tensor]:
        """The tensors with respect to which the gradient is taken."""
        return [*trained_parameters(self.model)]

    def gradient(self, split: Split) -> Tensor:
        """Return the gradient of the mean loss over a split, `float64 [P]`.

        Raises:
            DivergedError: it is not finite.

        """
        return self.gradient_and_loss(split)[0]

    def gradient_and_loss(self, split: Split) -> tuple[Tensor, float]:
        """Return the gradient of the mean loss over a split, and the loss without smoothing.

        Raises:
            DivergedError: it is not finite.

        """
        parameters = self.parameters
        targets = label_targets(self.label_smoothing, len(split.classes), parameters[0])
        update = Update(self.model, parameters, split.images, split.labels, len(split), targets)
        total = torch.zeros(sum(p.numel() for p in parameters), dtype=torch.float64)
        parts = micro_batches(len(split), _MICRO_BATCH)
        loss_sum = 0.0
        for part, sums in self.pool.map(update.gradient_of, parts):
            total += flat(part)
            loss_sum += sums.read().loss_sum
        if not bool(total.isfinite().all()):
            raise DivergedError("training diverged: the gradient is not finite")
        return total, loss_sum / len(split)

    def square_norms(self, split: Split) -> Tensor:
        """Return the squared norm of each sample's gradient, `float64 [N]`, in bounded memory."""
        dense, rest = self._by_layer()
        norms = torch.zeros(len(split), dtype=torch.float64)
        if dense:
            parts = micro_batches(len(split), _MICRO_BATCH)
            of_part = partial(self._dense_square_norms, split, dense)
            norms += torch.cat(list(self.pool.map(of_part, parts)))
        if rest:
            size = sum(p.numel() for p in rest.values())
            each = vmap(grad(self._loss_of_sample), in_dims=(None, 0, 0))
            for part in micro_batches(len(split), max(1, _MAX_VALUES // size)):
                self.pool.check_stop()
                images, labels = split[part]
                gradients = each(rest, images.to(next(iter(rest.values())).dtype), labels.long())
                for gradient in gradients.values():
                    norms[part] += _square_norms(gradient.flatten(1))
        return norms

    def _by_layer(self) -> tuple[list[str], dict[str, Tensor]]:
        """Return the names of the dense layers, and the parameters of all other layers."""
        dense = [name for name, layer in self.model.named_modules() if type(layer) is nn.Linear]
        rest = {
            name: parameter.detach()
            for name, parameter in self.model.named_parameters()
            if name.rpartition(".")[0] not in dense
        }
        return dense, rest

    def _dense_square_norms(self, split: Split, layers: list[str], part: slice) -> Tensor:
        """Return what dense layers add to the squared norms of the samples' gradients.

        Each is called once, on a row a sample. The gradient by its weights is the outer product of
        the sample's output gradient δ and input a, so its squared norm is |δ|² |a|², and that by
        its bias |δ|² (Goodfellow 2015, arXiv:1510.01799): no gradient of a sample is made.
        """
        model = copy.deepcopy(self.model)  # another thread may compute with its own hooks
        factors: list[Tensor] = []
        outputs: list[Tensor] = []

        def keep(layer: nn.Module, inputs: tuple[Tensor], output: Tensor) -> Tensor:
            factors.append(_square_norms(inputs[0].detach()) + (layer.bias is not None))
            outputs.append(output)
            return output.clone()  # what follows may write to its input

        for name in layers:
            model.get_submodule(name).register_forward_hook(keep)
        images, labels = split[part]
        loss = F.cross_entropy(
            *(model(images), labels.long()),
            reduction="sum",
            label_smoothing=self.label_smoothing,
        )
        gradients = torch.autograd.grad(loss, outputs)
        terms = [f * _square_norms(g) for f, g in zip(factors, gradients, strict=True)]
        return torch.stack(terms).sum(0)

    def _loss_of_sample(
        self, parameters: Mapping[str, Tensor], image: Tensor, label: Tensor
    ) -> Tensor:
        """Return the loss of a sample as a function of some parameters."""
        others = {n: p.detach() for n, p in self.model.named_parameters() if n not in parameters}
        state = ({**others, **parameters}, dict(self.model.named_buffers()))
        logits = functional_call(self.model, state, (image.unsqueeze(0),))
        return F.cross_entropy(logits, label.unsqueeze(0), label_smoothing=self.label_smoothing)


def _square_norms(rows: Tensor) -> Tensor:
    """Return the squared norm of each row, `[N, D]` → `float64 [N]`, on the CPU."""
    norms: Tensor = torch.linalg.vector_norm(rows, dim=1, dtype=torch.float64)
    return norms.square().cpu()


def flat(tensors: Sequence[Tensor]) -> Tensor:
    """Concatenate tensors to one vector, `float64 [P]`, on the CPU."""
    return torch.cat([tensor.detach().cpu().double().reshape(-1) for tensor in tensors])


def draw_samples(split: Split, count: int, seed: int) -> Split:
    """Return `count` samples that the seed draws from a split, or all if there are no more."""
    if count >= len(split):
        return split
    order = torch.randperm(len(split), generator=stream(seed, "probe"))
    return split.at(order[:count].sort().values.to(split.device))


@dataclass(frozen=True)
class ProbeContext:
    """What a probe may measure: the network in evaluation mode, and the samples it trains on.

    The samples are not shifted. `lr` is the learning rate of the next update. `measured` has what
    was measured of these weights on these samples, by name.
    """

    config: ResolvedConfig
    train_split: Split
    objective: Objective
    clock: Callable[[], float]
    update: int
    samples_seen: int
    lr: float
    measured: dict[str, Any]

    def measure_once(self, name: str, measure: Callable[[], T]) -> T:
        """Return what `measure` returns, without calling it if that was measured before."""
        if name not in self.measured:
            self.measured[name] = measure()
        value: T = self.measured[name]
        return value

    @property
    def full_gradient(self) -> Tensor:
        """The gradient of the mean loss over all samples, `float64 [P]`."""
        return self._full[0]

    @property
    def full_loss(self) -> float:
        """The mean loss over all samples, without label smoothing."""
        return self._full[1]

    @property
    def _full(self) -> tuple[Tensor, float]:
        return self.measure_once(
            "full gradient", lambda: self.objective.gradient_and_loss(self.train_split)
        )

    @cached_property
    def probe_split(self) -> Split:
        """The `probe_samples` samples for costly probes: the same ones after every update."""
        return draw_samples(self.train_split, self.config.probe_samples, self.config.seed)

    def next_batch(self) -> Batch:
        """Return the images, augmented if they are in training, and labels of the next update."""
        config, samples = self.config, self.train_split
        shape = training_shape(config, len(samples))
        return next(training_updates(augmented(samples, config), config, shape, self.update))

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
    """Return the class of a probe: the class in its entry of the registry.

    Raises:
        UsageError: there is no such probe.

    """
    if name not in PROBES:
        raise UsageError(f"--probe: {not_one_of(name, PROBES)}")
    module = import_module(f"mnist_cli.training.probes.{PROBES[name].module}")
    probe: type[Probe] = getattr(module, PROBES[name].class_name)
    return probe


class Probes:
    """The probes that the config of a training asks for.

    Trainings that begin with the same weights and samples may share `initial`, in which what is
    measured before the first update is kept.

    Raises:
        UsageError: there is no such probe.

    """

    def __init__(
        self,
        config: ResolvedConfig,
        train_split: Split,
        pool: ThreadPool,
        clock: Callable[[], float],
        initial: dict[str, Any] | None = None,
    ) -> None:
        self._config = config
        self._initial = {} if initial is None else initial
        self._train_split = train_split
        self._pool = pool
        self._clock = clock
        self._probes = {name: probe_class(name) for name in names_in(config.probe)}

    def measure(
        self, model: nn.Module, *, update: int, samples_seen: int, lr: float
    ) -> Iterator[ProbeStart | ProbeEvent]:
        """Run the probes in the order of the registry; `lr` is that of the next update.

        A `ProbeStart` precedes the events of each. The network is in evaluation mode meanwhile.
        """
        context = ProbeContext(
            config=self._config,
            train_split=self._train_split,
            objective=Objective(model, self._config.label_smoothing, self._pool),
            clock=self._clock,
            update=update,
            samples_seen=samples_seen,
            lr=lr,
            measured={} if update else self._initial,
        )
        was_training = model.training
        model.eval()
        try:
            for name in sorted(self._probes, key=[*PROBES].index):
                yield ProbeStart(self._clock(), name)
                for event in self._probes[name].measure(context):
                    yield replace(event, probe=name)
        finally:
            model.train(was_training)
