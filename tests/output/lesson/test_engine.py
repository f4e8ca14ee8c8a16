"""The mathematics of the lesson in a browser, held against PyTorch and the trainer."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from mnist_cli.data.datasets import Dataset, Split
from mnist_cli.models.networks import Flatten, Normalize, linear
from tests.output.lesson.helpers import (
    WorkerPage,
    curves,
    initial_weights,
    run,
    shuffled_order,
)


@pytest.fixture(scope="module")
def page(browser: Any, mnist: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Iterator[WorkerPage]:
    view = browser.new_page()
    yield WorkerPage(view, tmp_path_factory.mktemp("worker"), Split(*mnist.train[:2000]), Split(*mnist.test[:1000]))
    view.close()


def network_of(name: str, weights: np.ndarray) -> nn.Module:
    if name == "linear":
        model = linear()
    else:
        model = nn.Sequential(Normalize(), Flatten(), nn.Linear(784, 32), nn.ReLU(), nn.Linear(32, 10))
    at = 0
    with torch.no_grad():
        for layer in model:
            if isinstance(layer, nn.Linear):
                inputs, outputs = layer.in_features, layer.out_features
                part = torch.from_numpy(weights[at : at + (inputs + 1) * outputs]).view(inputs + 1, outputs)
                layer.weight.copy_(part[:-1].T)
                layer.bias.copy_(part[-1])
                at += (inputs + 1) * outputs
    return model


def weights_of(model: nn.Module) -> np.ndarray:
    layers = [layer for layer in model.modules() if isinstance(layer, nn.Linear)]
    return torch.cat([torch.cat([x.weight.T, x.bias[None]]).flatten() for x in layers]).detach().numpy()


def indices_of(count: int, size: int, seed: int, updates: int) -> list[list[int]]:
    batches: list[list[int]] = []
    epoch = 0
    while len(batches) < updates:
        order = list(range(count)) if size == count else shuffled_order(count, seed, epoch)
        batches += [order[n : n + size] for n in range(0, count, size)]
        epoch += 1
    return batches[:updates]


@pytest.mark.parametrize("size", [1, 64, 2000])
@pytest.mark.parametrize("network", ["linear", "hidden"])
def test_losses_and_weights_are_those_of_pytorch(page: WorkerPage, mnist: Dataset, network: str, size: int) -> None:
    lr = 0.05 if size > 1 else 0.005
    model = network_of(network, initial_weights(network, 7))
    optimizer = torch.optim.SGD(model.parameters(), lr=lr)
    images, labels = mnist.train[:2000]
    losses = []
    for batch in indices_of(2000, size, 7, 50):
        loss = F.cross_entropy(model(images[batch]), labels[batch].long())
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    page.configure(run(network, size, lr), seed=7)
    heard = page.finish({"type": "step", "run": None, "updates": 50})
    found, _ = curves(heard)
    print(np.abs(np.array([p[3] for p in found]) - losses).max(), np.abs(np.array(heard[-1]["runs"][0]["weights"]) - weights_of(model)).max())
    np.testing.assert_allclose([point[3] for point in found], losses, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(heard[-1]["runs"][0]["weights"], weights_of(model), rtol=1e-5, atol=1e-5)
