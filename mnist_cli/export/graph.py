"""A network as a list of simple layers, which the exports translate.

Shapes are those of one sample: images are `[C, H, W]`. `CosinePatches` becomes a convolution and a
ReLU, and `CosineConv2d` a convolution; `WeightedMean` becomes `PlaceSums`. Repeated layers are
listed as often as they are applied. An ensemble becomes a single layer, which has the layers of its
members.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mnist_cli.data.catalogue import STD
from mnist_cli.errors import CheckpointError, UsageError
from mnist_cli.models import layers, networks

_IMAGES = 32
_MAX_SHOWN = 200  # characters of a layer in a message


@dataclass(frozen=True)
class Normalize:
    """Compute `scale * pixels + offset` for pixels from 0 to 255."""

    scale: float
    offset: float


@dataclass(frozen=True)
class Deskew:
    """Shear, centre and stretch an image, as `models.layers.Deskew` with these attributes."""

    places: Tensor
    width: float
    scales: tuple[float, float]
    slants: tuple[float, float]
    epsilon: float


@dataclass(frozen=True)
class PairColumns:
    """Turn pairs of neighbouring columns into channels: see `models.layers.PairColumns`."""


@dataclass(frozen=True)
class Convolution:
    """Weight `[out, in, height, width]`, bias `[out]`; stride and padding are (down, right)."""

    weight: Tensor
    bias: Tensor | None
    stride: tuple[int, int]
    padding: tuple[int, int]


@dataclass(frozen=True)
class MaxPool:
    """Max pooling over squares, without padding."""

    side: int
    stride: int


@dataclass(frozen=True)
class Relu:
    """Set negative values to 0."""


@dataclass(frozen=True)
class ChannelNorm:
    """Normalise each channel, `epsilon` added to its variance; weight and bias are `[C]`."""

    weight: Tensor
    bias: Tensor
    epsilon: float


@dataclass(frozen=True)
class PlaceSums:
    """Sum each channel over its places, weighted by each of the maps: `[C, H, W]` → `[C * maps]`.

    The weight is `[maps, H, W]`; the sums of a channel are side by side.
    """

    weight: Tensor


@dataclass(frozen=True)
class ChannelMean:
    """Average each channel over the image: `[C, H, W]` → `[C, 1, 1]`."""


@dataclass(frozen=True)
class Flatten:
    """Flatten `[C, H, W]` in the order (H, W, C)."""


@dataclass(frozen=True)
class Dense:
    """Weight `[out, in]`, bias `[out]`."""

    weight: Tensor
    bias: Tensor | None


@dataclass(frozen=True)
class Ensemble:
    """Compute the logarithms of the members' mean probabilities; each has its own layers."""

    members: "list[list[Layer]]"


Layer = (
    Normalize
    | Deskew
    | PairColumns
    | Convolution
    | MaxPool
    | Relu
    | ChannelNorm
    | PlaceSums
    | ChannelMean
    | Flatten
    | Dense
    | Ensemble
)


def layers_of(model: nn.Module) -> list[Layer]:
    """Return the layers of a network in order; they share its tensors.

    Raises:
        UsageError: the network is neither a sequence of layers nor an ensemble of such, or the
            exports do not support a layer.

    """
    if isinstance(model, networks.Ensemble):
        return [Ensemble([layers_of(member) for member in model.members])]
    if not isinstance(model, nn.Sequential):
        raise _unsupported(f"a {type(model).__name__}, only a torch.nn.Sequential")
    return [layer for module in model for layer in _layers(module)]


def _unsupported(what: str) -> UsageError:
    return UsageError(
        f"ONNX files and pages do not support {' '.join(what.split())[:_MAX_SHOWN]}; "
        "a .safetensors file holds the weights of any network"
    )


def _layers(module: nn.Module) -> list[Layer]:  # noqa: PLR0911, PLR0912 (a case for each layer)
    match module:
        case layers.Normalize():
            return [Normalize(1 / (255 * STD), float(module.offset))]
        case layers.Deskew():
            limits = (module.scales, module.slants)
            return [Deskew(module.places, module.width, *limits, module.epsilon)]
        case layers.PairColumns():
            return [PairColumns()]
        case layers.CosinePatches():
            return [Convolution(module.filters, None, (2, 1), (0, 0)), Relu()]
        case layers.CosineConv2d():
            stride = (module.stride, module.stride)
            return [Convolution(module.kernel().detach(), None, stride, (1, 1))]
        case layers.Repeat():
            return [each for one in module.layers for each in _layers(one)] * module.times
        case layers.ChannelNorm():
            return [ChannelNorm(module.weight.detach(), module.bias.detach(), module.epsilon)]
        case layers.WeightedMean():
            maps = module.weight.detach().reshape(-1, *module.weight.shape[-2:])
            return [PlaceSums(maps / maps[0].numel())]
        case nn.AdaptiveAvgPool2d(output_size=1):
            return [ChannelMean()]
        case layers.Flatten():
            return [Flatten()]
        case nn.Conv2d() if module.groups == 1 and set(module.dilation) == {1}:
            return [_convolution(module)]
        case nn.MaxPool2d(
            kernel_size=int(side), stride=int(stride), padding=0, dilation=1, ceil_mode=False
        ):
            return [MaxPool(side, stride)]
        case nn.ReLU():
            return [Relu()]
        case nn.Linear():
            return [Dense(module.weight.detach(), _detached(module.bias))]
    raise _unsupported(f"the layer {module}")


def _convolution(module: nn.Conv2d) -> Convolution:
    down, right = module.stride
    if isinstance(module.padding, str) or module.padding_mode != "zeros":
        raise _unsupported(f"the padding of {module}")
    above, left = module.padding
    return Convolution(module.weight.detach(), _detached(module.bias), (down, right), (above, left))


def _detached(tensor: Tensor | None) -> Tensor | None:
    return None if tensor is None else tensor.detach()


def checked_logits(model: nn.Module) -> tuple[Tensor, Tensor]:
    """Return generated images `[N, 28, 28]` and their logits `[N, classes]`.

    Raises:
        CheckpointError: a logit is not finite.

    """
    coarse = 255 * torch.rand(_IMAGES, 1, 7, 7, generator=torch.Generator().manual_seed(0))
    images = F.interpolate(coarse, (28, 28), mode="bilinear")[:, 0]
    with torch.inference_mode():
        logits: Tensor = model(images)
    if not logits.isfinite().all():
        raise CheckpointError(
            "the checkpoint's weights are so large that its network computes no finite numbers; "
            "nothing was written"
        )
    return images, logits
