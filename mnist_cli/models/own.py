"""Networks of one's own, from a Python file: run it, build the network, and find out how it acts.

Only `build` runs the file. A checkpoint keeps its text, and never runs it.
"""

import inspect
import linecache
import sys
import traceback
import types
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mnist_cli.config.network_file import NetworkFile
from mnist_cli.config.quoting import printable, quote
from mnist_cli.config.suggestions import suggestion
from mnist_cli.data.catalogue import MEAN, STD
from mnist_cli.errors import UsageError, lack_of_memory

_SAMPLES = 6  # of the trials
_TOLERANCE = 1e-3  # relative, of gradients and logits in single precision


@dataclass(frozen=True)
class Behaviour:
    """How a network acts in training, as trials have shown.

    Attributes:
        is_additive: The gradient of a batch is the sum of those of its parts, if nothing is drawn.
        is_random: A forward pass in training mode draws random numbers, as dropout does.
        changed: Name of a buffer that a forward pass in training mode changes, as batch
            normalisation does, or an empty string.

    """

    is_additive: bool = True
    is_random: bool = False
    changed: str = ""

    @property
    def is_plain(self) -> bool:
        """True if micro-batches, ranks and repetitions change nothing but rounding."""
        return self.is_additive and not self.is_random and not self.changed

    def in_words(self) -> str:
        """Return what the trials have shown, as a sentence."""
        if self.is_plain:
            return "the gradient of a batch is the sum of its samples' gradients"
        parts = []
        if self.changed:
            parts.append(f"a forward pass changes {self.changed}, as batch normalisation does")
        if self.is_random:
            parts.append("it draws random numbers, as dropout does")
        if not parts:
            parts.append("the gradient of a batch is not the sum of its samples' gradients")
        return f"{' and '.join(parts)}, so an update is computed in one piece"


@cache
def builder_of(file: NetworkFile) -> Callable[[int], nn.Module]:
    """Run a network's file, once in a process, and return a function that builds the network.

    That function takes the number of classes. It passes it on, if what builds the network has a
    parameter of the name `classes`.

    The network takes `[N, 28, 28]` or `[N, 1, 28, 28]` of any type, values 0 to 255, as all do
    here: it is given images `[N, 1, 28, 28]` of the type of its parameters, from 0 to 255, or
    normalised if its file asks for that.

    Raises:
        UsageError: the file raises an error, or does not have what should build the network.

    """
    module = types.ModuleType(f"network_{file.sha256[:16]}")
    module.__file__ = file.path
    sys.modules[module.__name__] = module  # as pickles and dataclasses expect
    lines = file.text.splitlines(keepends=True)
    linecache.cache[file.path] = (len(file.text), None, lines, file.path)
    with _errors_told(file, "it"):
        exec(compile(file.text, file.path, "exec"), vars(module))  # noqa: S102 (what --model asks for)
    builder = vars(module).get(file.name)
    if not callable(builder):
        known = [name for name, value in vars(module).items() if _could_build(value, module)]
        hint = suggestion(file.name, known) or f"; it has {', '.join(known) or 'none'}"
        raise UsageError(
            f"--model {printable(file.model)}: the file has no class or function "
            f"{quote(file.name)}{hint}"
        )

    takes_classes = _has_parameter(builder, "classes")

    def build(classes: int) -> nn.Module:
        with _errors_told(file, f"{file.name}()"):
            network = builder(classes=classes) if takes_classes else builder()
        if not isinstance(network, nn.Module):
            raise UsageError(
                f"--model {printable(file.model)}: {file.name}() returns {quote(network)}, which "
                "is no torch.nn.Module"
            )
        network.register_forward_pre_hook(_prepared(normalized=file.takes_normalized))
        with _errors_told(file, "for 2 images, its forward pass"), torch.no_grad():
            logits = network.eval()(torch.zeros(2, 28, 28, dtype=torch.uint8))
        _check_logits(logits, 2, classes, file)
        if not any(weight.requires_grad for weight in network.parameters()):
            raise UsageError(f"--model {printable(file.model)}: it has no parameters to train")
        return network.train()

    return build


def _has_parameter(builder: Callable[..., Any], name: str) -> bool:
    try:
        return name in inspect.signature(builder).parameters
    except (TypeError, ValueError):  # it has no signature
        return False


def _could_build(value: object, module: types.ModuleType) -> bool:
    return getattr(value, "__module__", None) == module.__name__ and callable(value)


class _errors_told:  # noqa: N801 (a context manager, read as a function)
    """Within the block, an error of a network's file becomes one that names its line."""

    def __init__(self, file: NetworkFile, what: str) -> None:
        self._file, self._what = file, what

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: Any) -> None:  # noqa: ANN401
        if not isinstance(error, Exception | SystemExit) or isinstance(error, UsageError):
            return
        if lack_of_memory(error):
            return
        frames = traceback.extract_tb(trace)
        lines = [frame.lineno for frame in frames if frame.filename == self._file.path]
        where = f"{printable(self._file.path)}" + (f", line {lines[-1]}" if lines else "")
        reason = " ".join(str(error).split())[:300]
        raise UsageError(
            f"{where}: {self._what} raises {type(error).__name__}"
            + (f": {printable(reason)}" if reason else "")
        ) from error


def _prepared(*, normalized: bool) -> Callable[[nn.Module, tuple[Tensor]], tuple[Tensor]]:
    """Return a hook that turns pixels into the images that a network takes."""

    def prepare(network: nn.Module, arguments: tuple[Tensor]) -> tuple[Tensor]:
        kind = next((p.dtype for p in network.parameters() if p.is_floating_point()), torch.float32)
        images = arguments[0].view(-1, 1, 28, 28).to(kind)
        return ((images / 255 - MEAN) / STD if normalized else images,)

    return prepare


def _check_logits(logits: object, samples: int, classes: int, file: NetworkFile) -> None:
    where = f"--model {printable(file.model)}: for {samples} images it returns"
    if not isinstance(logits, Tensor):
        raise UsageError(f"{where} a {type(logits).__name__}, and no tensor of logits")
    if logits.shape != (samples, classes) or not logits.is_floating_point():
        advice = f"; give {file.name} a parameter `classes`" if classes != 10 else ""
        raise UsageError(
            f"{where} {logits.dtype} {list(logits.shape)} instead of logits, floating "
            f"[{samples}, {classes}]{advice}"
        )


def behaviour_of(network: nn.Module, model: str) -> Behaviour:
    """Return how a network acts in training, by trying it with a few random images on the CPU.

    Its state is as before.

    Raises:
        UsageError: its predictions depend on chance, or on the other images of a batch, or it has
            a parameter that it does not use.

    """
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (_SAMPLES, 28, 28), dtype=torch.uint8, generator=generator)
    was_training = network.training
    before = {key: value.clone() for key, value in network.state_dict().items()}
    weights = {name: one for name, one in network.named_parameters() if one.requires_grad}
    half = _SAMPLES // 2
    numbers = torch.arange(_SAMPLES)

    def gradient(part: slice) -> Tensor:
        logits = network(images[part])
        loss = F.cross_entropy(logits, numbers[part] % logits.shape[1], reduction="sum")
        parts = torch.autograd.grad(loss, [*weights.values()], allow_unused=True)
        for name, one in zip(weights, parts, strict=True):
            if one is None:
                raise UsageError(
                    f"--model {printable(model)}: its {name} is not used; remove it, or freeze it: "
                    "requires_grad_(False)"
                )
        return torch.cat([one.flatten() for one in parts])

    with torch.random.fork_rng(devices=[]):
        _check_predictions(network.eval(), images, model)
        network.train()
        state = torch.get_rng_state()
        whole = gradient(slice(None))
        is_random = not torch.equal(state, torch.get_rng_state())
        changed = _changed(network, before)
        network.load_state_dict(before)
        parts = gradient(slice(half)) + gradient(slice(half, None))
        network.load_state_dict(before)
    network.train(was_training)
    is_sum = bool((whole - parts).norm() <= _TOLERANCE * whole.norm())
    return Behaviour(is_sum or is_random, is_random, changed)


def _changed(network: nn.Module, before: dict[str, Tensor]) -> str:
    """Return the name of the first value that a forward pass has changed, or an empty string."""
    now = network.state_dict()
    return next((key for key, value in before.items() if not now[key].equal(value)), "")


def _check_predictions(network: nn.Module, images: Tensor, model: str) -> None:
    """Raise UsageError if predictions, in evaluation mode, depend on more than the image."""
    with torch.no_grad():
        together = cast("Tensor", network(images))
        again = cast("Tensor", network(images))
        alone = torch.cat([network(image[None]) for image in images])
    where = f"--model {printable(model)}: in evaluation mode"
    if not together.isfinite().all():
        raise UsageError(f"{where} it returns values that are not finite for random images")
    if not torch.equal(together, again):
        raise UsageError(
            f"{where} it returns other logits each time; give F.dropout its training=self.training"
        )
    if not (together - alone).norm() <= _TOLERANCE * together.norm():
        raise UsageError(
            f"{where} the logits of an image depend on the other images of the batch; normalise "
            "each image by itself, or keep running means, as nn.BatchNorm2d does"
        )
