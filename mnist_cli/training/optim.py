"""Optimizers on PyTorch's fused kernels, and learning rates as functions of progress.

The kernels and the formulas are those of `torch.optim` with `fused=True`. Its classes are not
used: making one imports `torch._dynamo`, which takes a second, and their learning rate is a state.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mnist_cli.config.options import SCHEDULES
from mnist_cli.config.registry import OPTIMIZERS
from mnist_cli.config.suggestions import not_one_of
from mnist_cli.config.train import ResolvedConfig
from mnist_cli.errors import DivergedError, UsageError
from mnist_cli.models.layers import CosineConv2d
from mnist_cli.models.networks import Ensemble, trained_parameters

WARM_UP = 0.15  # share of the updates in which one-cycle rises to its peak
STAGES = 5  # of the schedule step: the rate of each is half that of the one before
BETA2 = 0.98  # shorter than torch's 0.999: a training here has few updates
EPSILON = 1e-8
MUON_SIZE = 0.2  # root mean square of an update over the learning rate, about that of AdamW
_NEWTON_SCHULZ, _NEWTON_SCHULZ_STEPS = (3.4445, -4.7750, 2.0315), 5
_TINY_NORM = 1e-7


class Optimizer(ABC):
    """Changes a network's parameters by their gradients.

    Its state is the number of steps taken and the slots: for each slot's name, one tensor per
    parameter. `momentum` may be whatever the optimizer calls so: AdamW takes it as beta1.
    """

    def __init__(
        self, model: nn.Module, *, momentum: float = 0.0, weight_decay: float = 0.0
    ) -> None:
        self._momentum = momentum
        self._weight_decay = weight_decay
        self._parameters: list[Tensor] = [*trained_parameters(model)]
        self._slots = {
            name: [torch.zeros_like(p) for p in self._parameters] for name in self._slot_names()
        }
        self._steps = 0
        self._unless: Tensor | None = None

    @abstractmethod
    def _slot_names(self) -> tuple[str, ...]:
        """Return the names of the slots. Called when `_momentum` and `_weight_decay` are set."""

    def step(self, gradient: Sequence[Tensor], lr: float, unless: Tensor | None = None) -> None:
        """Make one update; `gradient` has one tensor per parameter, `lr` is the learning rate.

        Nothing changes if the tensor `unless`, `float32 []`, is 1, which only the device reads.
        """
        self._steps += 1
        self._unless = unless
        pairs = zip(gradient, self._parameters, strict=True)
        with torch.no_grad():
            # The fused kernels require matching strides.
            strided = [g if g.stride() == p.stride() else _with_strides(g, p) for g, p in pairs]
            self._update(strided, lr)

    @abstractmethod
    def _update(self, gradient: list[Tensor], lr: float) -> None:
        """Change the parameters in place; the gradient has their strides.

        The fused kernels take `_unless` as `found_inf`. Without it, on a GPU updates that follow a
        gradient that is not finite change the weights before the training is stopped.
        """

    def state_dict(self) -> dict[str, Any]:
        """Return the slots."""
        return dict(self._slots)

    def diverged(self, what: str, lr: float | None) -> DivergedError:
        """Return the error of a training that diverged; `lr` is the rate of its last update."""
        # Decay multiplies the weights by 1 - lr * weight_decay: below -1, they grow by themselves.
        decay = self._weight_decay
        grows = lr is not None and lr < decay and lr * decay > 2
        at = "" if lr is None else f" at a learning rate of {lr:g}"
        if grows:
            at += f" and a weight decay of {decay:g}"
        option = "--weight-decay" if grows else "--lr"
        return DivergedError(f"training diverged: {what}{at}; use a smaller {option}")

    def is_finite(self) -> bool:
        """Return True if every value of the slots is finite."""
        return all(bool(t.isfinite().all()) for slot in self._slots.values() for t in slot)

    def load_state_dict(self, state: dict[str, Any], steps: int) -> None:
        """Restore the slots of an optimizer that has taken `steps` steps.

        Raises:
            ValueError: it is not the state of such an optimizer for such a network.

        """
        if set(state) != set(self._slots):
            raise ValueError(f"the optimizer's state has {sorted(map(str, state))}")
        for slot, tensors in self._slots.items():
            for mine, other in zip(tensors, state[slot], strict=True):
                _check_slot_tensor(other, mine, slot)
                mine.copy_(other)
        self._steps = steps


class SGD(Optimizer):
    """Stochastic gradient descent, with momentum as in `torch.optim.SGD`."""

    def _slot_names(self) -> tuple[str, ...]:
        return ("momentum",) if self._momentum else ()

    def _update(self, gradient: list[Tensor], lr: float) -> None:
        torch._fused_sgd_(
            self._parameters,
            gradient,
            self._slots.get("momentum", []),
            weight_decay=self._weight_decay,
            momentum=self._momentum,
            lr=lr,
            dampening=0.0,
            nesterov=False,
            maximize=False,
            is_first_step=self._steps == 1,
            found_inf=self._unless,
        )


class AdamW(Optimizer):
    """Adam with decoupled weight decay (Loshchilov & Hutter 2019), as in `torch.optim.AdamW`."""

    def __init__(
        self, model: nn.Module, *, momentum: float = 0.9, weight_decay: float = 0.01
    ) -> None:
        super().__init__(model, momentum=momentum, weight_decay=weight_decay)

    def _slot_names(self) -> tuple[str, ...]:
        return ("mean", "square")

    def _update(self, gradient: list[Tensor], lr: float) -> None:
        self._update_by_adam(gradient, lr, range(len(gradient)))

    def _update_by_adam(self, gradient: list[Tensor], lr: float, which: Sequence[int]) -> None:
        """Change the parameters with the indices `which`."""
        # Unlike `torch.tensor`, this does not make the host wait for a GPU.
        steps = torch.full((), float(self._steps), device=self._parameters[0].device)
        torch._fused_adamw_(
            [self._parameters[n] for n in which],
            [gradient[n] for n in which],
            [self._slots["mean"][n] for n in which],
            [self._slots["square"][n] for n in which],
            [],
            [steps] * len(which),
            lr=lr,
            beta1=self._momentum,
            beta2=BETA2,
            weight_decay=self._weight_decay,
            eps=EPSILON,
            amsgrad=False,
            maximize=False,
            found_inf=self._unless,
        )


class Muon(AdamW):
    """Muon (Jordan et al. 2024) for the weights of hidden layers, AdamW for all other parameters.

    An update of a weight matrix `[outputs, inputs]` is the momentum with all its singular values
    made about equal, by five steps of a Newton-Schulz iteration. A convolution's inputs are the
    pixels of its filters. The update's size is that of AdamW's (Liu et al. 2025), so that the same
    learning rates and weight decays fit.
    """

    def __init__(
        self, model: nn.Module, *, momentum: float = 0.9, weight_decay: float = 0.01
    ) -> None:
        super().__init__(model, momentum=momentum, weight_decay=weight_decay)
        hidden = {id(weight) for weight in hidden_weights(model)}
        indices = range(len(self._parameters))
        self._hidden = [n for n in indices if id(self._parameters[n]) in hidden]
        self._others = [n for n in indices if id(self._parameters[n]) not in hidden]

    def _update(self, gradient: list[Tensor], lr: float) -> None:
        self._update_by_adam(gradient, lr, self._others)
        for n in self._hidden:
            weight, mean = (_rows(one[n]) for one in (self._parameters, self._slots["mean"]))
            slope = _rows(gradient[n])
            new_mean = mean.lerp(slope, 1 - self._momentum)
            # Nesterov's momentum: what the mean will be if the next gradient is the same.
            matrix = orthogonalized(slope.lerp(new_mean, self._momentum))
            size = MUON_SIZE * math.sqrt(max(matrix.shape))
            new_weight = weight.mul(1 - lr * self._weight_decay).sub_(matrix, alpha=lr * size)
            if self._unless is not None:
                new_mean = torch.where(self._unless > 0, mean, new_mean)
                new_weight = torch.where(self._unless > 0, weight, new_weight)
            mean.copy_(new_mean)
            weight.copy_(new_weight)


def hidden_weights(model: nn.Module) -> list[Tensor]:
    """Return the weights of the convolutions and dense layers, but not of each network's last."""
    networks = list(model.members) if isinstance(model, Ensemble) else [model]
    kinds = (nn.Conv2d, nn.Linear, CosineConv2d)
    return [
        weight
        for network in networks
        for weight in [one.weight for one in network.modules() if isinstance(one, kinds)][:-1]
    ]


def orthogonalized(matrix: Tensor) -> Tensor:
    """Return a matrix with the same singular vectors, and singular values of about 0.7 to 1.2.

    Where the matrix has singular values that are tiny beside its norm, they stay smaller.

    A step of the iteration is X → (a + H) X with H = b G + c G² and G = X Xᵀ. All factors are
    polynomials of the first G, so they are multiplied before X is: this takes half the time for a
    long matrix.
    """
    a, b, c = _NEWTON_SCHULZ
    is_tall = matrix.shape[0] > matrix.shape[1]
    rows = matrix.T if is_tall else matrix
    rows = rows / rows.norm().clamp_min(_TINY_NORM)
    gram = rows @ rows.T
    change = torch.addmm(gram, gram, gram, beta=b, alpha=c)
    factor = change.clone()
    factor.diagonal().add_(a)
    for _ in range(_NEWTON_SCHULZ_STEPS - 1):
        half = torch.addmm(gram, change, gram, beta=a)
        gram = torch.addmm(half, half, change, beta=a)
        change = torch.addmm(gram, gram, gram, beta=b, alpha=c)
        factor = torch.addmm(factor, change, factor, beta=a)
    result: Tensor = factor @ rows
    return result.T if is_tall else result


def _rows(weight: Tensor) -> Tensor:
    """Return a view of a weight as a matrix `[outputs, inputs]`."""
    if weight.ndim == 4 and weight.is_contiguous(memory_format=torch.channels_last):
        weight = weight.permute(0, 2, 3, 1)
    return weight.view(len(weight), -1)


def _with_strides(values: Tensor, like: Tensor) -> Tensor:
    return torch.empty_like(like).copy_(values)


def _check_slot_tensor(other: object, mine: Tensor, slot: str) -> None:
    """Raise ValueError if `other` is not a finite tensor of the same shape and type."""
    if (
        not isinstance(other, Tensor)
        or (other.shape, other.dtype) != (mine.shape, mine.dtype)
        or not bool(other.isfinite().all())
    ):
        raise ValueError(f"a tensor of the optimizer's {slot} does not fit the network")


def build_optimizer(model: nn.Module, config: ResolvedConfig) -> Optimizer:
    """Return the optimizer that a config names: the class in its entry of the registry.

    Raises:
        UsageError: there is no such optimizer.

    """
    if config.optimizer not in OPTIMIZERS:
        raise UsageError(f"--optimizer: {not_one_of(config.optimizer, OPTIMIZERS)}")
    optimizer: type[Optimizer] = globals()[OPTIMIZERS[config.optimizer].class_name]
    return optimizer(model, momentum=config.momentum, weight_decay=config.weight_decay)


def learning_rate(
    schedule: str, peak: float, update: int, updates: int, *, warm_up: int = 0
) -> float:
    """Return the learning rate of update number `update` (from 0) of `updates` planned ones.

    - constant: the peak.
    - one-cycle: linear up to the peak over the first 15 %, then linear down to nearly 0.
    - cosine: half a cosine from the peak to nearly 0 (Loshchilov & Hutter 2017, no restarts).
    - step: the peak, and half the rate before from each fifth of the updates to the next.

    Over the first `warm_up` updates it rises linearly from peak / warm_up to the peak (Goyal et al.
    2017); the schedule runs over those that follow.

    Raises:
        UsageError: there is no such schedule.

    """
    if update < warm_up:
        return peak * ((update + 1) / warm_up)
    update, updates = update - warm_up, max(updates - warm_up, 1)
    done = min((update + 0.5) / updates, 1.0)  # the middle of the update
    match schedule:
        case "constant":
            return peak
        case "cosine":
            return peak * 0.5 * (1 + math.cos(math.pi * done))
        case "step":
            return peak * 0.5 ** min(int(STAGES * done), STAGES - 1)
        case "one-cycle":
            return peak * min(done / WARM_UP, (1 - done) / (1 - WARM_UP))
        case _:
            raise UsageError(f"--schedule: {not_one_of(schedule, SCHEDULES)}")
