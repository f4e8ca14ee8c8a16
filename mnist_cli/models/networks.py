"""The networks: raw pixels in, logits out.

Every network takes images `[N, 28, 28]` or `[N, 1, 28, 28]`, values 0 to 255, `uint8` or floating,
and returns logits `[N, 10]`. Its first layer normalises, so training, evaluation and prediction use
the same input. None has batch normalisation or dropout, so the gradient over a batch is the sum of
the gradients over its micro-batches.
"""

import sys
from collections.abc import Callable

import torch
from torch import nn

from mnist_cli.config.registry import NETWORKS
from mnist_cli.errors import UsageError
from mnist_cli.models.layers import CosinePatches, Flatten, Normalize, PairColumns
from mnist_cli.runtime.seeding import stream_seed


def linear() -> nn.Module:
    """Softmax regression, from zero: a convex problem whose first loss is ln 10."""
    layer = nn.Linear(784, 10)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return nn.Sequential(Normalize(), Flatten(), layer)


def mlp() -> nn.Module:
    """Multilayer perceptron with hidden layers of 256 and 128 units."""
    return _he_normal(
        nn.Sequential(
            Normalize(),
            Flatten(),
            nn.Linear(784, 256),
            nn.ReLU(),
            nn.Linear(256, 128),
            nn.ReLU(),
            nn.Linear(128, 10),
        )
    )


def lenet() -> nn.Module:
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
            nn.Linear(84, 10),
        )
    )


def cnn() -> nn.Module:
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
            nn.Linear(64 * 3 * 3, 10),
        )
    )


def quick() -> nn.Module:
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
            nn.Linear(128, 10),
        )
    )


def _he_normal(model: nn.Module) -> nn.Module:
    """Draw the weights as He et al. (2015) do, `N(0, 2 / fan in)`, and set the biases to zero."""
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    return model


def build_model(name: str, seed: int = 0) -> nn.Module:
    """Return a new network of the registry, with weights drawn from the seed.

    Convolutions have the channels last in memory, which is faster.
    """
    if name not in NETWORKS:
        raise UsageError(f"model {name!r} is not one of {', '.join(NETWORKS)}")
    builder: Callable[[], nn.Module] = getattr(sys.modules[__name__], NETWORKS[name].builder)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(stream_seed(seed, "weights"))
        model = builder()
    return model.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def count_parameters(model: nn.Module) -> int:
    """Return the number of trainable values."""
    return sum(parameter.numel() for parameter in model.parameters())
