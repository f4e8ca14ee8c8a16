"""A network as a list of simple layers, from which every format of a graph is written.

Images are `[C, H, W]` here, for one sample. A `CosinePatches` is a convolution and a ReLU.
"""

from dataclasses import dataclass

from torch import Tensor, nn

from mnist_cli.models import layers


@dataclass(frozen=True)
class Normalize:
    """`scale * pixels + offset`, of pixels of 0 to 255."""

    scale: float
    offset: float


@dataclass(frozen=True)
class PairColumns:
    """Neighbouring columns become channels: see `models.PairColumns`."""


@dataclass(frozen=True)
class Convolution:
    """Weights `[out, in, height, width]`, bias `[out]`; stride and padding are (down, right)."""

    weight: Tensor
    bias: Tensor | None
    stride: tuple[int, int]
    padding: tuple[int, int]


@dataclass(frozen=True)
class MaxPool:
    """The largest of each square, without padding."""

    side: int
    stride: int


@dataclass(frozen=True)
class Relu:
    """What is negative becomes 0."""


@dataclass(frozen=True)
class Flatten:
    """Images become rows, row by row and pixel by pixel, the channels innermost."""


@dataclass(frozen=True)
class Dense:
    """Weights `[out, in]`, bias `[out]`."""

    weight: Tensor
    bias: Tensor | None


Layer = Normalize | PairColumns | Convolution | MaxPool | Relu | Flatten | Dense


def layers_of(model: nn.Module) -> list[Layer]:
    """Return the layers of a network of `models.MODELS`, in order; tensors are its own.

    Raises:
        TypeError: a layer is of a kind that no export knows.

    """
    return [layer for module in model.children() for layer in _layers(module)]


def _layers(module: nn.Module) -> list[Layer]:  # noqa: PLR0911 (a line for each kind)
    match module:
        case layers.Normalize():
            return [Normalize(1 / (255 * layers.DEVIATION), float(module.offset))]
        case layers.PairColumns():
            return [PairColumns()]
        case layers.CosinePatches():
            return [Convolution(module.filters, None, (2, 1), (0, 0)), Relu()]
        case layers.Flatten():
            return [Flatten()]
        case nn.Conv2d() if module.groups == 1 and set(module.dilation) == {1}:
            return [_convolution(module)]
        case nn.MaxPool2d(padding=0, dilation=1, ceil_mode=False):
            return [MaxPool(int(module.kernel_size), int(module.stride))]  # type: ignore[arg-type]
        case nn.ReLU():
            return [Relu()]
        case nn.Linear():
            return [Dense(module.weight.detach(), _detached(module.bias))]
    raise TypeError(f"no export knows the layer {module}")


def _convolution(module: nn.Conv2d) -> Convolution:
    down, right = module.stride
    if isinstance(module.padding, str) or module.padding_mode != "zeros":
        raise TypeError(f"no export knows the padding of {module}")
    above, left = module.padding
    return Convolution(module.weight.detach(), _detached(module.bias), (down, right), (above, left))


def _detached(tensor: Tensor | None) -> Tensor | None:
    return None if tensor is None else tensor.detach()
