"""The mathematics of the lesson, in a browser, held against PyTorch and the training loop."""

from collections.abc import Iterator
from itertools import islice

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mnist_cli.data.batches import EpochShape, TrainingShape
from mnist_cli.data.splits import Dataset, Split
from mnist_cli.events import Step
from mnist_cli.runtime.device import ThreadPool
from mnist_cli.training.loop import EpochPlan, RunningSums, fit
from mnist_cli.training.optim import SGD
from tests.output.lesson.helpers import (
    WorkerPage,
    curves,
    initial_weights,
    network_of,
    run,
    shuffled_order,
    weights_of,
)

UPDATES = 50


def batches_of(size: int, seed: int, updates: int = UPDATES) -> list[list[int]]:
    """Return the indices of the first updates on 2,000 samples; all at once are not shuffled."""

    def every() -> Iterator[list[int]]:
        epoch = 0
        while True:
            order = list(range(2000)) if size == 2000 else shuffled_order(2000, seed, epoch)
            yield from (order[first : first + size] for first in range(0, 2000, size))
            epoch += 1

    return list(islice(every(), updates))


def train_by_pytorch(
    model: nn.Module, split: Split, batches: list[list[int]], lr: float
) -> list[float]:
    optimizer = torch.optim.SGD(model.parameters(), lr=lr)
    losses = []
    for batch in batches:
        images, labels = split[torch.tensor(batch)]
        loss = F.cross_entropy(model(images), labels.long())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def train_by_tool(
    model: nn.Module, split: Split, batches: list[list[int]], lr: float
) -> list[float]:
    """Train with the loop of mnist-train, epoch by epoch."""
    optimizer, shape = SGD(model), EpochShape(2000, len(batches[0]))
    training = TrainingShape(1, (shape,))
    losses = []
    for epoch, first in enumerate(range(0, len(batches), shape.updates), start=1):
        plan = EpochPlan(epoch, 0, training, 1024, lambda _update: lr, 0.0, lambda: 0.0)
        of_epoch = (split[torch.tensor(batch)] for batch in batches[first : first + shape.updates])
        events = fit(model, optimizer, of_epoch, plan, RunningSums(), pool=ThreadPool())
        losses += [event.loss for event in events if isinstance(event, Step)]
    return losses


@pytest.mark.parametrize(("size", "lr"), [(1, 0.005), (64, 0.05), (2000, 0.1)])
@pytest.mark.parametrize("network", ["linear", "hidden"])
def test_losses_and_weights_are_those_of_pytorch_and_of_the_tool(
    page: WorkerPage, samples: Dataset, network: str, size: int, lr: float
) -> None:
    page.configure(run(network, size, lr), seed=7)
    heard = page.finish(type="step", run=None, updates=UPDATES)
    state = heard[-1]["runs"][0]
    losses = [point[3] for point in curves(heard)[0]]
    batches = batches_of(size, seed=7)
    assert state["indices"] == batches[-1]
    for train in (train_by_pytorch, train_by_tool):
        model = network_of(network, initial_weights(network, 7))
        expected = train(model, samples.train, batches, lr)
        np.testing.assert_allclose(losses, expected, rtol=1e-5, atol=1e-6)
        # A unit whose input is 0 but for rounding may be on here and off there, so not each weight.
        weights = weights_of(model)
        error = np.linalg.norm(state["weights"] - weights) / np.linalg.norm(weights)
        assert error < 1e-5


def gradient_of(model: nn.Module, split: Split) -> Tensor:
    loss = F.cross_entropy(model(split.images), split.labels.long())
    parts = torch.autograd.grad(loss, list(model.parameters()))
    return torch.cat([part.flatten() for part in parts])


@pytest.mark.parametrize("network", ["linear", "hidden"])
def test_the_full_gradient_is_measured_beside_that_of_the_next_batch(
    page: WorkerPage, samples: Dataset, network: str
) -> None:
    before = page.configure(run(network, 64), run(network, 2000), seed=3)
    heard = page.finish(type="step", run=None, updates=31)
    mini, batch = heard[-1]["runs"]
    assert before[-1]["runs"][1]["cosine"] == batch["cosine"] == 1

    model = network_of(network, np.array(mini["weights"], np.float32))
    update, seen, _seconds, loss, accuracy, cosine = curves(heard)[1][-1]
    assert (update, seen) == (31, 31 * 64)
    assert loss == pytest.approx(
        F.cross_entropy(model(samples.train.images), samples.train.labels.long()).item(), rel=1e-5
    )
    correct = model(samples.test.images).argmax(1).eq(samples.test.labels).sum().item()
    assert accuracy == correct / 1000
    last = Split(*samples.train[torch.tensor(batches_of(64, 3, 32)[-1])])
    gradients = [gradient_of(model, split) for split in (last, samples.train)]
    assert (
        cosine
        == mini["cosine"]
        == pytest.approx(F.cosine_similarity(*gradients, dim=0).item(), abs=1e-5)
    )

    mini, batch = page.step()["runs"]  # the last of the epoch: it has what is left
    assert len(mini["indices"]) == 16
    assert (mini["samples"], mini["epoch"]) == (2000, 1)
    assert mini["gradientNorm"] == pytest.approx(gradients[0].norm().item(), rel=1e-5)
    assert mini["stepNorm"] == pytest.approx(0.05 * mini["gradientNorm"])


def test_a_seed_gives_the_weights_and_another_one_others(page: WorkerPage) -> None:
    def trained(seed: int) -> list[float]:
        start = page.configure(run("hidden", 100), seed=seed)[-1]["runs"][0]["weights"]
        np.testing.assert_allclose(start, initial_weights("hidden", seed), rtol=1e-6, atol=1e-9)
        weights: list[float] = page.step(25)["runs"][0]["weights"]
        return weights

    assert trained(1) == trained(1) != trained(2)


def test_without_shuffling_samples_come_as_they_lie_or_by_class(
    page: WorkerPage, samples: Dataset
) -> None:
    still = run("linear", 300, shuffle=False)
    page.configure(still)
    page.step(8)
    assert page.step()["runs"][0]["indices"] == list(range(300, 600))  # of the second epoch
    page.configure(still, in_order=True)
    order = samples.train.labels.argsort(stable=True).tolist()
    assert page.step()["runs"][0]["indices"] == order[:300]


def test_a_run_whose_loss_is_not_finite_has_diverged_and_stops(page: WorkerPage) -> None:
    page.configure(run("hidden", 64, lr=1e6), run("hidden", 64))
    heard = page.play(until={"updates": 20})
    lost, sound = heard[-1]["runs"]
    assert lost["diverged"]
    assert lost["updates"] < 20
    assert np.isfinite(np.array(lost["weights"], float)).all()
    assert (sound["diverged"], sound["updates"], heard[-1]["reason"]) == (False, 20, "until")
    page.configure(run("hidden", 64, lr=1e6))
    assert page.play(until={"updates": 20})[-1]["reason"] == "diverged"
