"""The networks: raw pixels in, logits out.

Every network takes images `[N, 28, 28]` or `[N, 1, 28, 28]`, values 0 to 255, `uint8` or floating,
and returns logits `[N, classes]`. It normalises them itself, so training, evaluation and
prediction use the same input. The gradient over a batch is the sum of the gradients over its
micro-batches, which `check_additive` proves before a training.
"""

import ctypes
import hashlib
import math
import sys
from collections.abc import Callable, Iterable, Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mnist_cli.config.network_file import is_begun, is_network_file, named_file, read_network_file
from mnist_cli.config.registry import NETWORKS
from mnist_cli.config.suggestions import not_one_of
from mnist_cli.errors import UsageError
from mnist_cli.models.layers import (
    ChannelNorm,
    CosineConv2d,
    CosinePatches,
    Deskew,
    Flatten,
    Normalize,
    PairColumns,
    Repeat,
    WeightedMean,
)
from mnist_cli.models.own import builder_of
from mnist_cli.runtime.seeding import stream_seed

_SAMPLES, _TOLERANCE = 5, 1e-3  # of the check of gradients; the tolerance is relative


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


def upright(classes: int = 10) -> nn.Module:
    """As `nano`, with eight channels, on digits that it sets upright: 940 parameters in all."""
    return _he_normal(
        nn.Sequential(
            Deskew(),
            Normalize(),
            CosineConv2d(1, 8, waves=6, stride=2),  # [N, 8, 14, 14]
            ChannelNorm(8),
            nn.ReLU(),
            Repeat(2, CosineConv2d(8, 8, waves=5), ChannelNorm(8), nn.ReLU()),
            nn.MaxPool2d(2),  # [N, 8, 7, 7]
            Repeat(2, CosineConv2d(8, 8, waves=4), ChannelNorm(8), nn.ReLU()),
            WeightedMean(7, 7, maps=2),
            nn.Linear(2 * 8, classes),
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
