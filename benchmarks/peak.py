"""Operations a second of the default training and of a matrix product, in turn; prints JSON."""

import argparse
import json
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from mnist_cli.config.train import TrainConfig
from mnist_cli.data.datasets import load_dataset
from mnist_cli.models.networks import build_model
from mnist_cli.runtime.device import keep_freed_memory
from mnist_cli.training.train import train

SIDE, UPDATES = 1024, 300


def operations(model: nn.Module, images: Tensor) -> int:
    """Return the floating-point operations of training on images, convolutions and products.

    A multiplication and an addition are two. What PyTorch computes is counted: a forward pass, and
    the gradients by the weights and by the inputs of a layer, where they are needed. They are not
    for the weights of a layer that is not trained, nor for the pixels.
    """
    with FlopCounterMode(display=False) as counter:
        model(images).sum().backward()
    model.zero_grad()
    return counter.get_total_flops()


def main() -> None:
    """Measure both in turn."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--data-dir", default="data")
    options = parser.parse_args()

    keep_freed_memory()
    images = load_dataset("mnist", options.data_dir).train.images
    each = operations(build_model("cnn"), images[:1])
    a, b = torch.randn(SIDE, SIDE), torch.randn(SIDE, SIDE)

    def product() -> float:
        return max(_rate(lambda: a @ b, 2.0 * SIDE**3) for _ in range(20))

    def training() -> float:
        config = TrainConfig(
            epochs=1, max_updates=UPDATES, data_dir=options.data_dir, output="/dev/null"
        )
        *_, end = train(config)
        return each * UPDATES * 64 / end.train_seconds / 1e9  # type: ignore[attr-defined]

    figures = [(product(), training()) for _ in range(3)]
    peak, rate = (statistics.median(column) for column in zip(*figures, strict=True))
    print(json.dumps({"peak": peak, "training": rate, "operations": each}))


def _rate(task: Callable[[], object], amount: float) -> float:
    began = time.perf_counter()
    task()
    return amount / (time.perf_counter() - began) / 1e9


if __name__ == "__main__":
    main()
