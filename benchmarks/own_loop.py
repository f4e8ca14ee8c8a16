"""Any network through the product's own loop: updates of 64 samples; prints seconds as JSON."""

import argparse
import json
import time

import torch
from torch import Tensor, nn

from mnist_cli.data.batches import EpochShape, TrainingShape, epoch_updates
from mnist_cli.data.datasets import load_dataset
from mnist_cli.events import Step
from mnist_cli.models.layers import Flatten, Normalize
from mnist_cli.models.networks import count_parameters
from mnist_cli.runtime.device import ThreadPool, keep_freed_memory
from mnist_cli.training.loop import EpochPlan, RunningSums, fit
from mnist_cli.training.optim import AdamW


class ByteDropout(nn.Module):
    """Dropout that draws a byte for each value: `share` is a multiple of 1/256."""

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share

    def forward(self, values: Tensor) -> Tensor:
        """Return the values, a share of them set to zero and the rest scaled up."""
        if not self.training:
            return values
        words = torch.empty(-(-values.numel() // 8), dtype=torch.int64).random_(-(2**63), None)
        kept = words.view(torch.uint8)[: values.numel()].view(values.shape) >= 256 * self.share
        return values * kept.mul(1 / (1 - self.share))


def network(name: str) -> nn.Module:
    """Return the tutorial's network, or a perceptron whose hidden layer has so many units.

    The former pools before it activates, which is the same function with a quarter of the work.
    """
    if name == "tutorial":
        layers = [
            Normalize(),
            nn.Conv2d(1, 32, 3),
            nn.ReLU(),
            nn.Conv2d(32, 64, 3),
            nn.MaxPool2d(2),
            nn.ReLU(),
            Flatten(),
            ByteDropout(0.25),
            nn.Linear(64 * 12 * 12, 128),
            nn.ReLU(),
            ByteDropout(0.5),
            nn.Linear(128, 10),
        ]
    else:
        units = int(name)
        layers = [Normalize(), Flatten(), nn.Linear(784, units), nn.ReLU(), nn.Linear(units, 10)]
    return nn.Sequential(*layers).to(memory_format=torch.channels_last)


def main() -> None:
    """Train for a number of updates."""
    parser = argparse.ArgumentParser()
    parser.add_argument("network")
    parser.add_argument("--data-dir", default="data")
    parser.add_argument("--updates", type=int, default=100)
    options = parser.parse_args()

    keep_freed_memory()
    torch.manual_seed(0)
    model = network(options.network)
    split = load_dataset("mnist", options.data_dir).train
    plan = EpochPlan(
        epoch=1,
        first=0,
        training=TrainingShape(1, (EpochShape(len(split), 64),)),
        micro_batch_size=512,
        learning_rate=lambda _update: 1e-3,
        label_smoothing=0.0,
        clock=time.perf_counter,
    )
    batches = epoch_updates(split, size=64, seed=0, epoch=1)
    began = time.perf_counter()
    made = 0
    for event in fit(
        model, AdamW(model), batches, plan, RunningSums(), pool=ThreadPool(torch.get_num_threads())
    ):
        made += isinstance(event, Step)
        if made == options.updates:
            break
    seconds = time.perf_counter() - began
    print(json.dumps({"seconds": seconds, "parameters": count_parameters(model)}))


if __name__ == "__main__":
    main()
