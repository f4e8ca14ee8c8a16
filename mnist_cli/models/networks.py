"""The networks: raw pixels in, logits out.

Every network takes images `[N, 28, 28]` or `[N, 1, 28, 28]`, values 0 to 255, `uint8` or floating,
and returns logits `[N, classes]`. Its first layer normalises, so training, evaluation and
prediction use the same input. The gradient over a batch is the sum of the gradients over its
micro-batches, which `check_additive` proves before a training.
"""

import ctypes
import hashlib
import math
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mnist_cli.config.network_file import is_begun, is_network_file, named_file, read_network_file
from mnist_cli.config.registry import NETWORKS
from mnist_cli.config.suggestions import not_one_of
from mnist_cli.data.catalogue import MEAN, STD
from mnist_cli.errors import UsageError
from mnist_cli.models.own import builder_of
from mnist_cli.runtime.seeding import stream_seed

_SAMPLES, _TOLERANCE = 5, 1e-3  # of the check of gradients; the tolerance is relative


class Normalize(nn.Module):
    """Normalise pixels of 0 to 255 to mean 0 and std 1: `[N, (1,) 28, 28]` → `[N, 1, 28, 28]`."""

    offset: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("offset", torch.tensor(-MEAN / STD))

    def forward(self, pixels: Tensor) -> Tensor:
        """Return the normalised images, in the dtype of the buffer."""
        images = pixels.view(-1, 1, 28, 28).to(self.offset.dtype)
        # In a single pass, and where the images are a copy, without memory for another one. Inside
        # `torch.func.vmap`, which has no `out`, pixels have to be floating-point numbers.
        out = None if pixels.is_floating_point() else images
        return torch.add(self.offset, images, alpha=1 / (255 * STD), out=out)


class PairColumns(nn.Module):
    """Stack pairs of neighbouring columns as channels: `[N, C, H, W]` → `[N, 2C, H, W / 2]`.

    With channels last this is a view of the same memory. A 4x4 convolution of stride 2 becomes a
    4x2 convolution of stride (2, 1): the same sums over contiguous memory, a fifth faster on CPUs.
    """

    def forward(self, images: Tensor) -> Tensor:
        """Return the images with pairs of columns as channels."""
        samples, channels, height, width = images.shape
        pairs = images.permute(0, 2, 3, 1).reshape(samples, height, width // 2, 2 * channels)
        return pairs.permute(0, 3, 1, 2)


class Flatten(nn.Module):
    """Flatten each image with its channels last: `[N, C, H, W]` → `[N, H * W * C]`."""

    def forward(self, images: Tensor) -> Tensor:
        """Return a row for each sample, a view if the channels are last in memory."""
        return images.permute(0, 2, 3, 1).flatten(1)


# Waves of a cosine transform, as (down, right), in the order of their frequency.
_SLOWEST = [(0, 0), (0, 1), (1, 0), (1, 1), (0, 2), (2, 0), (1, 2), (2, 1), (2, 2)]


def _cosine_waves(side: int, which: list[tuple[int, int]]) -> Tensor:
    """Return waves of the discrete cosine transform, of norm 1, `[N, side, side]`."""
    at = torch.arange(side) + 0.5
    waves = torch.stack([torch.cos(math.pi * k * at / side) for k in range(3)])
    waves /= waves.norm(dim=1, keepdim=True)
    return torch.stack([torch.outer(waves[down], waves[right]) for down, right in which])


class CosinePatches(nn.Module):
    """A fixed convolution and a ReLU: `[N, 2, 28, 14]` → `[N, 16, 12, 12]`.

    The 6x6 filters, of stride 2, are the eight lowest frequencies of the discrete cosine transform
    and their negatives. They resemble what a first layer learns; not training them saves a third
    of the time.
    """

    filters: Tensor

    def __init__(self) -> None:
        super().__init__()
        patches = _cosine_waves(6, _SLOWEST[:8]) * 0.3  # outputs have a deviation of about 1
        pairs = torch.cat([patches, -patches]).view(16, 6, 3, 2).permute(0, 3, 1, 2)
        self.register_buffer("filters", pairs)

    def forward(self, pairs: Tensor) -> Tensor:
        """Return the filtered images."""
        with torch.no_grad():
            return F.conv2d(pairs, self.filters, stride=(2, 1)).relu_()


class CosineConv2d(nn.Module):
    """A 3x3 convolution, with padding, whose filters are sums of a few cosines.

    Of the nine waves of the discrete cosine transform of 3x3 pixels it has the slowest `waves`, so
    that it has `waves` instead of nine parameters a filter (Jacobsen et al. 2016 do so with other
    functions). There is no bias.
    """

    filters: Tensor

    def __init__(self, channels: int, out_channels: int, waves: int, stride: int = 1) -> None:
        super().__init__()
        self.stride = stride
        self.bias = None
        self.weight = nn.Parameter(torch.empty(out_channels, channels, waves))
        self.register_buffer("filters", _cosine_waves(3, _SLOWEST[:waves]).flatten(1))

    def kernel(self) -> Tensor:
        """Return the filters as a convolution has them, `[out, in, 3, 3]`."""
        filters: Tensor = self.weight @ self.filters
        out, channels, _ = filters.shape
        return filters.view(out, channels, 3, 3).contiguous(memory_format=torch.channels_last)

    def forward(self, images: Tensor) -> Tensor:
        """Return the filtered images."""
        return F.conv2d(images, self.kernel(), stride=self.stride, padding=1)


class Repeat(nn.Module):
    """Apply the same layers several times, which costs time but no parameters."""

    def __init__(self, times: int, *layers: nn.Module) -> None:
        super().__init__()
        self.times = times
        self.layers = nn.Sequential(*layers)

    def forward(self, images: Tensor) -> Tensor:
        """Return the images after the last time."""
        for _ in range(self.times):
            images = self.layers(images)
        return images


class ChannelNorm(nn.Module):
    """Normalise each channel of each sample, then scale and shift it.

    This is instance normalisation (Ulyanov et al. 2016), as `torch.nn.GroupNorm` with a group for
    each channel computes it. Unlike batch normalisation it does not mix the samples of a batch.
    """

    epsilon = 1e-5

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, images: Tensor) -> Tensor:
        """Return the normalised images, with the channels last in memory."""
        result: Tensor = _Normalized.apply(images, self.weight, self.bias)  # type: ignore[no-untyped-call]
        return result


class _Normalized(torch.autograd.Function):
    """The function that `ChannelNorm` computes, about twice as fast as `GroupNorm` computes it."""

    generate_vmap_rule = True

    @staticmethod
    def forward(images: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        rows = _rows(images)
        mean, scale = _mean_and_scale(rows)
        factor = scale * weight
        shifted = bias - mean * factor
        return _images(torch.addcmul(shifted, rows, factor), images)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:  # noqa: ANN401
        ctx.save_for_backward(*inputs[:2])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, ...]:  # noqa: ANN401
        images, weight = ctx.saved_tensors
        rows, given = _rows(images), _rows(gradient)
        mean, scale = _mean_and_scale(rows)
        mean_given = _mean(given)
        # The mean of the gradient times the normalised values.
        along = (_mean(given * rows) - mean_given * mean) * scale
        factor = scale * weight
        slope = -factor * along * scale
        constant = -(factor * mean_given + slope * mean)
        result = torch.addcmul(torch.addcmul(constant, rows, slope), given, factor)
        pixels = rows.shape[1]
        return _images(result, images), along.sum(0)[0] * pixels, mean_given.sum(0)[0] * pixels


def _rows(images: Tensor) -> Tensor:
    """Return images as `[N, H * W, C]`, at least in single precision.

    That is a view, if the channels are last in memory.
    """
    rows = images.permute(0, 2, 3, 1).flatten(1, 2)
    return rows.to(torch.promote_types(rows.dtype, torch.float32))


def _images(rows: Tensor, like: Tensor) -> Tensor:
    """Return rows `[N, H * W, C]` with the shape and type of images, and the channels last."""
    samples, channels, height, width = like.shape
    return rows.to(like.dtype).view(samples, height, width, channels).permute(0, 3, 1, 2)


def _mean(rows: Tensor) -> Tensor:
    """Return the mean of each channel of each sample, `[N, 1, C]`."""
    return rows.sum(1, keepdim=True) / rows.shape[1]


def _mean_and_scale(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Return the means, and the factors to a standard deviation of 1, each `[N, 1, C]`."""
    mean = _mean(rows)
    variance = (_mean(rows * rows) - mean * mean).clamp_min(0)
    return mean, (variance + ChannelNorm.epsilon).rsqrt()


class WeightedMean(nn.Module):
    """Average each channel over the places of an image: `[N, C, H, W]` → `[N, C]`.

    Each place has a weight, the same for all channels. So something is kept of where things are,
    for few parameters.
    """

    def __init__(self, height: int, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(height, width))

    def forward(self, images: Tensor) -> Tensor:
        """Return the averages."""
        return (images * self.weight).mean((2, 3))


class Ensemble(nn.Module):
    """Several networks of a kind, each trained by itself on the same batches.

    In training mode it returns the logits of each, `[N, members, classes]`; in evaluation mode
    the logarithms of their mean probabilities, `[N, classes]`.
    """

    def __init__(self, members: Iterable[nn.Module]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)

    def forward(self, pixels: Tensor) -> Tensor:
        """Return the logits of the members, or of the ensemble."""
        logits = torch.stack([member(pixels) for member in self.members], 1)
        if self.training:
            return logits
        return log_mean_probabilities(logits)


def log_mean_probabilities(logits: Tensor) -> Tensor:
    """Return the logarithms of the mean probabilities: logits `[N, K, classes]` → `[N, classes]`.

    The mean is over the K predictions for a sample. The result is a sample's logits, too: its
    softmax is the mean.
    """
    return F.log_softmax(logits, 2).logsumexp(1) - math.log(logits.shape[1])


def linear(classes: int = 10) -> nn.Module:
    """Softmax regression, from zero: a convex problem whose first loss is ln 10."""
    layer = nn.Linear(784, classes)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return nn.Sequential(Normalize(), Flatten(), layer)


def mlp(classes: int = 10) -> nn.Module:
    """Multilayer perceptron with hidden layers of 256 and 128 units."""
    return _he_normal(
        nn.Sequential(
            Normalize(),
            Flatten(),
            nn.Linear(784, 256),
            nn.ReLU(),
            nn.Linear(256, 128),
            nn.ReLU(),
            nn.Linear(128, classes),
        )
    )


def lenet(classes: int = 10) -> nn.Module:
    """LeNet-5 (LeCun et al. 1998) with max pooling and ReLU, as it is mostly built today."""
    return _he_normal(
        nn.Sequential(
            Normalize(),
            nn.Conv2d(1, 6, 5, padding=2),  # [N, 6, 28, 28]
            nn.MaxPool2d(2),  # before the activation: the same values from a quarter of the work
            nn.ReLU(),
            nn.Conv2d(6, 16, 5),  # [N, 16, 10, 10]
            nn.MaxPool2d(2),
            nn.ReLU(),
            Flatten(),
            nn.Linear(16 * 5 * 5, 120),
            nn.ReLU(),
            nn.Linear(120, 84),
            nn.ReLU(),
            nn.Linear(84, classes),
        )
    )


def cnn(classes: int = 10) -> nn.Module:
    """Three convolutions, two of them with strides instead of pooling.

    The best accuracy for its time on two cores: pooling costs more there than it brings.
    """
    return _he_normal(
        nn.Sequential(
            Normalize(),
            PairColumns(),  # [N, 2, 28, 14]
            nn.Conv2d(2, 16, (6, 3), stride=(2, 1)),  # 6x6 pixels in steps of 2: [N, 16, 12, 12]
            nn.ReLU(),
            PairColumns(),  # [N, 32, 12, 6]
            nn.Conv2d(32, 32, (4, 2), stride=(2, 1)),  # 4x4 pixels in steps of 2: [N, 32, 5, 5]
            nn.ReLU(),
            nn.Conv2d(32, 64, 3),  # [N, 64, 3, 3]
            nn.ReLU(),
            Flatten(),
            nn.Linear(64 * 3 * 3, classes),
        )
    )


def large(classes: int = 10) -> nn.Module:
    """Four convolutions with 32 to 128 channels, one of them normalised: the best accuracy.

    With numbers of channels that are multiples of 32, bfloat16 is at its fastest.
    """
    return _he_normal(
        nn.Sequential(
            Normalize(),
            PairColumns(),  # [N, 2, 28, 14]
            nn.Conv2d(2, 32, (6, 3), stride=(2, 1)),  # 6x6 pixels in steps of 2: [N, 32, 12, 12]
            nn.ReLU(),
            nn.Conv2d(32, 64, 3),  # [N, 64, 10, 10]
            nn.ReLU(),
            nn.Conv2d(64, 64, 3, bias=False),  # [N, 64, 8, 8]
            ChannelNorm(64),
            nn.ReLU(),
            PairColumns(),  # [N, 128, 8, 4]
            nn.Conv2d(128, 128, (4, 2), stride=(2, 1)),  # 4x4 in steps of 2: [N, 128, 3, 3]
            nn.ReLU(),
            Flatten(),
            nn.Linear(128 * 3 * 3, classes),
        )
    )


def quick(classes: int = 10) -> nn.Module:
    """One convolution and two dense layers on fixed cosine waves: the fastest way to 99 %."""
    return _he_normal(
        nn.Sequential(
            Normalize(),
            PairColumns(),  # [N, 2, 28, 14]
            CosinePatches(),  # [N, 16, 12, 12]
            PairColumns(),  # [N, 32, 12, 6]
            nn.Conv2d(32, 32, (4, 2), stride=(2, 1)),  # [N, 32, 5, 5]
            nn.ReLU(),
            Flatten(),
            nn.Linear(32 * 5 * 5, 128),
            nn.ReLU(),
            nn.Linear(128, classes),
        )
    )


def tiny(classes: int = 10) -> nn.Module:
    """Five convolutions from three sets of weights, 4,685 parameters in all.

    Two of the sets are applied twice in a row, and have filters that are sums of six cosines.
    Each channel is normalised, and in the end averaged over the places, which have weights.
    """
    return _he_normal(
        nn.Sequential(
            Normalize(),
            nn.Conv2d(1, 18, 5, stride=2, padding=2, bias=False),  # [N, 18, 14, 14]
            ChannelNorm(18),
            nn.ReLU(),
            Repeat(2, CosineConv2d(18, 18, waves=6), ChannelNorm(18), nn.ReLU()),
            nn.MaxPool2d(2),  # [N, 18, 7, 7]
            Repeat(2, CosineConv2d(18, 18, waves=6), ChannelNorm(18), nn.ReLU()),
            WeightedMean(7, 7),
            nn.Linear(18, classes),
        )
    )


def nano(classes: int = 10) -> nn.Module:
    """As `tiny`, with fewer channels and cosines: 905 parameters in all."""
    return _he_normal(
        nn.Sequential(
            Normalize(),
            CosineConv2d(1, 9, waves=6, stride=2),  # [N, 9, 14, 14]
            ChannelNorm(9),
            nn.ReLU(),
            Repeat(2, CosineConv2d(9, 9, waves=4), ChannelNorm(9), nn.ReLU()),
            nn.MaxPool2d(2),  # [N, 9, 7, 7]
            Repeat(2, CosineConv2d(9, 9, waves=4), ChannelNorm(9), nn.ReLU()),
            WeightedMean(7, 7),
            nn.Linear(9, classes),
        )
    )


def _he_normal(model: nn.Module) -> nn.Module:
    """Draw the weights as He et al. (2015) do, `N(0, 2 / fan in)`, and set the biases to zero."""
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear | CosineConv2d):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            if isinstance(layer.bias, Tensor):
                nn.init.zeros_(layer.bias)
    return model


def build_model(name: str, seed: int = 0, members: int = 1, classes: int = 10) -> nn.Module:
    """Return a new network of the registry, or of a file, with weights drawn from the seed.

    It returns a logit for each of the `classes`.

    With several `members` it is an `Ensemble` of such networks, the first of which has the weights
    that it would have alone. Convolutions have the channels last in memory, which is faster.

    Raises:
        UsageError: there is no such network, or its file cannot be run.

    """
    builder: Callable[[int], nn.Module]
    if not isinstance(name, str):
        raise UsageError(f"model: {not_one_of(name, NETWORKS)}")
    if is_network_file(name):
        builder = builder_of(read_network_file(name))
    elif is_begun(name):
        builder = builder_of(named_file(name))
    elif name in NETWORKS:
        builder = globals()[NETWORKS[name].builder]
    else:
        raise UsageError(f"model: {not_one_of(name, NETWORKS)}")
    networks = []
    with torch.random.fork_rng(devices=[]):
        for member in range(members):
            torch.manual_seed(stream_seed(seed, "weights", *([member] if member else [])))
            networks.append(builder(classes))
    model = networks[0] if members == 1 else Ensemble(networks)
    return model.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def check_additive(model: nn.Module, name: str) -> None:
    """Raise UsageError unless the gradient of a batch is the sum of the gradients of its parts.

    It is not with batch normalisation or dropout: then micro-batches and ranks change the result.
    That is tried, in training mode, with a few random samples on the CPU. Of an ensemble, whose
    members are alike, the first one is tried.
    """
    model = model.members[0] if isinstance(model, Ensemble) else model
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (_SAMPLES, 28, 28), dtype=torch.uint8, generator=generator)
    numbers = torch.arange(_SAMPLES)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    weights = [parameter for parameter in model.parameters() if parameter.requires_grad]

    def gradient(part: slice) -> Tensor:
        logits = model(images[part])
        loss = F.cross_entropy(logits, numbers[part] % logits.shape[1], reduction="sum")
        return torch.cat([one.flatten() for one in torch.autograd.grad(loss, weights)])

    with torch.random.fork_rng(devices=[]):
        whole = gradient(slice(None))
        parts = gradient(slice(2)) + gradient(slice(2, None))
    after = model.state_dict()
    changed = [key for key, value in before.items() if not after[key].equal(value)]
    if changed or not (whole - parts).norm() <= _TOLERANCE * whole.norm():
        why = f"a forward pass changes its {changed[0]}" if changed else "here it is not"
        raise UsageError(
            f"model {name!r} cannot be trained: the gradient of a batch has to be the sum of the "
            f"gradients of its samples, and {why}; leave out batch normalisation and dropout"
        )


def trained_parameters(model: nn.Module) -> list[nn.Parameter]:
    """Return the parameters that a training changes: all but those that are frozen."""
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


def count_parameters(model: nn.Module) -> int:
    """Return the number of trainable values."""
    return sum(parameter.numel() for parameter in trained_parameters(model))


def weights_sha256(weights: Mapping[str, Tensor]) -> str:
    """Return the SHA-256 over a state dict: for each key in order, the key in UTF-8 and the tensor.

    The tensor's bytes are contiguous and little-endian.
    """
    digest = hashlib.sha256()
    for key in sorted(weights):
        digest.update(key.encode())
        digest.update(little_endian(weights[key]))
    return digest.hexdigest()


def little_endian(tensor: Tensor) -> bytes:
    """Return the bytes of a tensor's values in the order of its indices, little-endian."""
    values = tensor.detach().cpu().contiguous()
    if sys.byteorder == "big":
        values = values.view(torch.uint8).view(-1, values.element_size()).flip(1).contiguous()
    return ctypes.string_at(values.data_ptr(), values.nbytes)
