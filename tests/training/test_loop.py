"""The update: the gradient of a mean over samples, in whatever pieces it is computed."""

import copy
import math
from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from mnist_cli.config.registry import NETWORKS
from mnist_cli.data.batches import EpochShape, TrainingShape, epoch_updates
from mnist_cli.data.splits import Dataset, Split
from mnist_cli.errors import DivergedError
from mnist_cli.events import Progress, Step
from mnist_cli.models.networks import build_model, weights_sha256
from mnist_cli.runtime.device import ThreadPool
from mnist_cli.training.loop import (
    EpochPlan,
    RunningSums,
    Update,
    fit,
    label_targets,
    micro_batches,
)
from mnist_cli.training.optim import SGD, AdamW


def make_plan(micro: int, lr: float = 1.0, size: int = 100, smoothing: float = 0.0) -> EpochPlan:
    return EpochPlan(
        epoch=1,
        first=0,
        training=TrainingShape(1, (EpochShape(100, size),)),
        micro_batch_size=micro,
        learning_rate=lambda _update: lr,
        label_smoothing=smoothing,
        clock=lambda: 0.0,
    )


def gradient_of_one_pass(model: nn.Module, split: Split) -> list[torch.Tensor]:
    """Return the gradient of the mean loss in float64, from one pass over all samples."""
    reference = copy.deepcopy(model).double()
    F.cross_entropy(reference(split.images), split.labels.long()).backward()
    return [p.grad for p in reference.parameters() if p.grad is not None]


def one_update(model: nn.Module, split: Split, plan: EpochPlan) -> tuple[list[torch.Tensor], Step]:
    """Return the gradient that an update used, read off plain SGD, and its event."""
    before = [p.detach().clone() for p in model.parameters()]
    optimizer = SGD(model)
    loader = epoch_updates(split, size=len(split), seed=0, epoch=1)
    *_, step, _ = fit(model, optimizer, loader, plan, RunningSums(), pool=ThreadPool())
    assert isinstance(step, Step)
    pairs = zip(before, model.parameters(), strict=True)
    return [(old - new.detach()) / plan.learning_rate(0) for old, new in pairs], step


@pytest.mark.parametrize("micro", [1, 7, 33, 50, 100, 1000])  # ragged and even, one and many
@pytest.mark.parametrize("name", NETWORKS)
def test_the_gradient_is_the_same_for_every_micro_batch_size(
    name: str, micro: int, few: Split
) -> None:
    expected = gradient_of_one_pass(build_model(name).double(), few)
    model = build_model(name).double()
    gradient, step = one_update(model, few, make_plan(micro))
    for actual, wanted in zip(gradient, expected, strict=True):
        torch.testing.assert_close(actual, wanted, rtol=1e-9, atol=1e-12)  # float64 rounding
    loss = F.cross_entropy(build_model(name).double()(few.images), few.labels.long())
    assert step.loss == pytest.approx(loss.item(), rel=1e-12)


def test_with_batch_normalisation_pieces_are_normalised_alone(few: Split) -> None:
    """Accumulation must not be the same as the large batch then: it is the mean over pieces."""
    torch.manual_seed(0)
    flat = [nn.Flatten(), nn.Linear(784, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, 10)]
    model = nn.Sequential(*flat).double()
    few = Split(few.images.double() / 255, few.labels)
    whole = gradient_of_one_pass(model, few)
    pieces = [gradient_of_one_pass(model, Split(*few[slice(k, k + 25)])) for k in (0, 25, 50, 75)]
    gradient, _ = one_update(model, few, make_plan(25))
    for actual, *parts in zip(gradient, *pieces, strict=True):
        torch.testing.assert_close(actual, sum(parts) / 4, rtol=1e-9, atol=1e-12)
    apart = torch.cat([(a - b).flatten() for a, b in zip(gradient, whole, strict=True)])
    assert apart.norm() > 0.05 * torch.cat([each.flatten() for each in whole]).norm()


@pytest.mark.parametrize(("dtype", "atol"), [(torch.float64, 1e-9), (torch.float32, 0.01)])
def test_adamw_magnifies_rounding_where_the_exact_gradient_is_zero(
    dtype: torch.dtype, atol: float, mnist: Dataset
) -> None:
    """A tenth of these samples are twos: at zero weights, and pixels without ink, it cancels out.

    In float32 what is left is rounding as large as AdamW's epsilon, and becomes a step.
    """
    samples = Split(*mnist.train[:200])
    is_zero = torch.zeros(10, 784, dtype=torch.bool)
    is_zero[2] = samples.images.flatten(1).amax(0) == 0
    assert samples.labels.bincount()[2] == 20
    weights = []
    for micro in (200, 7):
        model = build_model("linear").to(dtype)
        plan = make_plan(micro, lr=0.01, size=200)
        plan = replace(plan, training=TrainingShape(1, (EpochShape(200, 200),)))
        loader = epoch_updates(samples, size=200, seed=0, epoch=1)
        list(fit(model, AdamW(model), loader, plan, RunningSums(), pool=ThreadPool()))
        weights.append(next(model.parameters()).detach().clone())
    apart = (weights[0] - weights[1]).abs()
    assert apart[~is_zero].max() < 1e-7
    assert apart[is_zero].max() < atol
    if dtype == torch.float32:
        assert apart[is_zero].max() > 1e-4


def test_label_smoothing_enters_the_gradient_but_not_the_reported_loss(few: Split) -> None:
    reference = build_model("mlp").double()
    logits, labels = reference(few.images), few.labels.long()
    F.cross_entropy(logits, labels, label_smoothing=0.1).backward()
    gradient, step = one_update(build_model("mlp").double(), few, make_plan(33, smoothing=0.1))
    for actual, parameter in zip(gradient, reference.parameters(), strict=True):
        torch.testing.assert_close(actual, parameter.grad, rtol=1e-9, atol=1e-12)
    assert step.loss == pytest.approx(F.cross_entropy(logits, labels).item(), rel=1e-12)


@pytest.mark.parametrize("micro", [1, 7, 100])
@pytest.mark.parametrize("name", NETWORKS)
def test_in_single_precision_the_gradient_is_right_up_to_rounding(
    name: str, micro: int, few: Split
) -> None:
    expected = gradient_of_one_pass(build_model(name), few)
    gradient, _ = one_update(build_model(name), few, make_plan(micro))
    for actual, wanted in zip(gradient, expected, strict=True):
        difference = (actual.double() - wanted).abs()
        assert difference.norm() < 1e-4 * wanted.norm()
        assert difference.max() < 5e-4 * wanted.abs().max()


def test_the_step_uses_the_learning_rate_that_it_reports(few: Split) -> None:
    slow, step = one_update(build_model("mlp").double(), few, make_plan(100, lr=0.25))
    fast, _ = one_update(build_model("mlp").double(), few, make_plan(100, lr=1.0))
    assert step.lr == 0.25
    for a, b in zip(slow, fast, strict=True):
        torch.testing.assert_close(a, b)


def test_an_epoch_tallies_every_sample_once(few: Split) -> None:
    model, sums = build_model("linear"), RunningSums()
    loader = epoch_updates(few, size=30, seed=0, epoch=1)
    optimizer = SGD(model)
    events = list(fit(model, optimizer, loader, make_plan(1000, size=30), sums, pool=ThreadPool()))
    assert [e.step for e in events if isinstance(e, Step)] == [1, 2, 3, 4]
    assert [e.samples_seen for e in events if isinstance(e, Step)] == [30, 60, 90, 100]
    last = events[-1]
    assert isinstance(last, Progress)
    assert last.loss == pytest.approx(sums.loss_sum / 100)
    assert last.accuracy == sums.correct / 100
    assert sums.samples == 100
    sizes = (30, 30, 30, 10)
    losses = [e.loss for e in events if isinstance(e, Step)]
    weighted = sum(size * loss for size, loss in zip(sizes, losses, strict=True))
    assert sums.loss_sum == pytest.approx(weighted)


@pytest.mark.parametrize("micro", [1, 2])
@pytest.mark.parametrize(
    ("last", "weights"),
    [("keep", (0.5, 0.5, 1.0)), ("drop", (0.5, 0.5, 0.0)), ("scale", (0.5, 0.5, 0.5))],
)
def test_the_last_of_three_samples_weighs_what_is_asked(
    last: str, weights: tuple[float, ...], micro: int, few: Split
) -> None:
    """Two updates, of two samples and of one; the steps are too small to change the gradients.

    At zero, where every p is 0.1, a sample's gradient by the bias is p - y.
    """
    samples = Split(*few[:3])
    plan = replace(make_plan(micro, lr=1e-9), training=TrainingShape(1, (EpochShape(3, 2, last),)))
    model, sums = build_model("linear").double(), RunningSums()
    batches = epoch_updates(samples, size=2, seed=0, epoch=1, shuffle=False, last_batch=last)
    events = list(fit(model, SGD(model), batches, plan, sums, pool=ThreadPool()))
    *_, bias = model.parameters()
    each = 0.1 - F.one_hot(samples.labels.long(), 10).double()
    expected = torch.tensor(weights).double() @ each
    torch.testing.assert_close(-bias.detach() / 1e-9, expected, rtol=0, atol=1e-6)

    sizes = [2] if last == "drop" else [2, 1]
    steps = [event for event in events if isinstance(event, Step)]
    assert [step.samples_seen for step in steps] == [sum(sizes[: k + 1]) for k in range(len(sizes))]
    for step in steps:  # the loss is the mean, whatever the gradient is divided by
        assert step.loss == pytest.approx(math.log(10), rel=1e-6)
    assert sums.samples == sum(sizes)
    assert sums.loss_sum == pytest.approx(sum(sizes) * math.log(10), rel=1e-6)


@pytest.mark.parametrize("size", [4, 16, 64])
@pytest.mark.parametrize("replacement", [True, False])
def test_the_noise_of_a_batch_falls_with_its_size(replacement: bool, size: int, few: Split) -> None:
    """By 1/√B with replacement, and by 1/√B √((N-B)/(N-1)) without, here within 3 %.

    The gradients of softmax regression at zero are known: the outer products of (p - y), where
    every p is 0.1, and (x, 1).
    """
    samples = Split(*few[:64])
    pixels = samples.images.flatten(1).double() / 255
    inputs = torch.cat([(pixels - 0.1307) / 0.3081, torch.ones(64, 1)], 1)
    excess = 0.1 - F.one_hot(samples.labels.long(), 10).double()
    each = torch.einsum("no,ni->noi", excess, inputs).flatten(1)
    deviation = (each - each.mean(0)).square().sum(1).mean().sqrt().item()

    model = build_model("linear").double()
    targets = label_targets(0.0, 10, next(model.parameters()))
    parameters: list[torch.Tensor] = list(model.parameters())

    def gradient(images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        update = Update(model, parameters, images, labels, len(labels), targets)
        return torch.cat([each.flatten() for each in update.gradient_of(slice(None))[0]])

    full = gradient(samples.images, samples.labels)
    squares = [
        (gradient(*batch) - full).square().sum().item()
        for epoch in range(8 * size + 10)
        for batch in epoch_updates(samples, size=size, seed=0, epoch=epoch, replacement=replacement)
    ]
    factor = 1.0 if replacement else math.sqrt((64 - size) / 63)
    expected = deviation / math.sqrt(size) * factor
    found = math.sqrt(sum(squares) / len(squares))
    assert found == pytest.approx(expected, rel=0.03, abs=1e-12)


def test_an_update_abandoned_halfway_changes_nothing(few: Split) -> None:
    model, sums = build_model("mlp"), RunningSums()
    before = copy.deepcopy(model.state_dict())
    loader = epoch_updates(few, size=100, seed=0, epoch=1)
    optimizer = AdamW(model)
    events: Iterator[object] = fit(model, optimizer, loader, make_plan(40), sums, pool=ThreadPool())
    assert isinstance(next(events), Progress)
    assert isinstance(next(events), Progress)
    del events
    assert sums == RunningSums()
    assert not any(tensor.any() for tensor in optimizer.state_dict()["mean"])
    for key, value in model.state_dict().items():
        assert torch.equal(value, before[key])


def test_a_loss_that_is_not_finite_stops_before_the_update(few: Split) -> None:
    model = build_model("mlp")
    nn.init.constant_(list(model.parameters())[-1], math.nan)
    before = copy.deepcopy(model.state_dict())
    loader = epoch_updates(few, size=50, seed=0, epoch=1)
    optimizer = SGD(model)
    with pytest.raises(DivergedError, match=r"update 1 is nan at a learning rate of 0\.5"):
        list(
            fit(model, optimizer, loader, make_plan(100, lr=0.5), RunningSums(), pool=ThreadPool())
        )
    for key, value in model.state_dict().items():
        torch.testing.assert_close(value, before[key], rtol=0, atol=0, equal_nan=True)


def test_micro_batches_are_equal_and_no_larger_than_asked() -> None:
    for size, most in [(64, 1000), (63, 1000), (31, 1000), (60_000, 1000), (100, 7), (5, 1)]:
        parts = list(micro_batches(size, most))
        sizes = [part.stop - part.start for part in parts]
        assert [i for part in parts for i in range(size)[part]] == list(range(size))
        assert max(sizes) <= most
        assert max(sizes) - min(sizes) <= 1


def test_the_weights_are_the_same_for_every_number_of_threads_above_one(few: Split) -> None:
    digests = set()
    for threads in (2, 3, 5):
        model = build_model("cnn")
        batches = epoch_updates(few, size=64, seed=0, epoch=1)
        list(
            fit(
                model,
                AdamW(model),
                batches,
                make_plan(10, size=64),
                RunningSums(),
                pool=ThreadPool(threads),
            )
        )
        digests.add(weights_sha256(model.state_dict()))
    assert len(digests) == 1
