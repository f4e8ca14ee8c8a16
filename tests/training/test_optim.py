import math
from copy import deepcopy
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from mnist_cli.config.options import MODES, SCHEDULES
from mnist_cli.config.registry import NETWORKS, OPTIMIZERS
from mnist_cli.config.train import TrainConfig
from mnist_cli.data.splits import Split
from mnist_cli.errors import UsageError
from mnist_cli.models.networks import build_model, weights_sha256
from mnist_cli.training.optim import (
    BETA2,
    SGD,
    WARM_UP,
    AdamW,
    Muon,
    Optimizer,
    build_optimizer,
    hidden_weights,
    learning_rate,
    orthogonalized,
)


def rates(schedule: str, updates: int = 100) -> list[float]:
    return [learning_rate(schedule, 0.5, update, updates) for update in range(updates)]


def test_constant_is_the_peak() -> None:
    assert set(rates("constant")) == {0.5}


def test_one_cycle_rises_to_its_peak_and_falls_to_nearly_zero() -> None:
    values = rates("one-cycle", updates=1000)
    top = values.index(max(values))
    assert top == pytest.approx(WARM_UP * 1000, abs=1)
    assert values[top] == pytest.approx(0.5, rel=0.01)
    assert values == sorted(values[: top + 1]) + sorted(values[top + 1 :], reverse=True)
    assert values[-1] < 0.001 * 0.5


def test_cosine_is_half_a_wave() -> None:
    values = rates("cosine")
    assert values[0] == pytest.approx(0.5 * (1 + math.cos(math.pi / 200)) / 2)
    assert values == sorted(values, reverse=True)
    assert sum(values) / 100 == pytest.approx(0.25)  # the mean of half a wave


def test_step_halves_the_rate_at_every_fifth_of_the_updates() -> None:
    assert rates("step", updates=10) == [
        0.5,
        0.5,
        0.25,
        0.25,
        0.125,
        0.125,
        *[0.0625] * 2,
        *[1 / 32] * 2,
    ]
    assert rates("step", updates=938 * 10) == [
        0.5 / 2**stage for stage in range(5) for _ in range(938 * 2)
    ]
    # Where five does not divide them, an update has the rate of the stage that its middle is in.
    assert rates("step", updates=7) == [0.5, 0.25, 0.25, 0.125, 0.0625, 0.0625, 1 / 32]
    assert learning_rate("step", 0.5, 99, 10) == 1 / 32  # beyond the plan


def test_a_warm_up_rises_linearly_to_the_peak_and_then_the_schedule_begins() -> None:
    def warmed(schedule: str) -> list[float]:
        return [learning_rate(schedule, 0.5, update, 12, warm_up=4) for update in range(12)]

    assert warmed("constant") == [0.125, 0.25, 0.375, *[0.5] * 9]
    assert warmed("cosine") == [0.125, 0.25, 0.375, 0.5, *rates("cosine", updates=8)]
    assert warmed("step") == [0.125, 0.25, 0.375, 0.5, *rates("step", updates=8)]
    # A run that is shorter than its warm-up does not reach the peak.
    assert learning_rate("cosine", 0.5, 2, 3, warm_up=4) == 0.375


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_a_rate_depends_on_the_update_and_the_plan_alone(schedule: str) -> None:
    forward = [learning_rate(schedule, 0.1, u, 50) for u in range(50)]
    backward = [learning_rate(schedule, 0.1, u, 50) for u in reversed(range(50))]
    assert forward == backward[::-1]
    assert all(rate > 0 for rate in forward), "an update without a rate would be no update"


@pytest.mark.parametrize("model", NETWORKS)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_every_default_is_decided_by_model_and_mode(model: str, mode: str, optimizer: str) -> None:
    config = TrainConfig(model=model, mode=mode, optimizer=optimizer).resolve(60_000)
    assert None not in (config.lr, config.weight_decay, config.label_smoothing, config.augment)
    assert config.batch_size == (None if mode == "batch" else 64)
    assert config.resolve(60_000) == config


def test_a_set_smaller_than_the_default_batch_is_one_batch() -> None:
    assert TrainConfig().resolve(50).batch_size == 50
    assert TrainConfig().resolve(60_000).batch_size == 64
    assert TrainConfig(batch_size=64).resolve(50).batch_size == 64  # asked for: an error


def test_what_was_given_is_kept() -> None:
    given = TrainConfig(lr=0.0, momentum=0.0, weight_decay=0.0, augment="none", batch_size=7)
    config = given.resolve(60_000)
    assert (config.lr, config.momentum, config.weight_decay) == (0.0, 0.0, 0.0)
    assert config.augment == "none"
    assert config.batch_size == 7


def gradient(model: nn.Module, split: Split) -> tuple[torch.Tensor, ...]:
    loss = F.cross_entropy(model(split.images), split.labels.long())
    return torch.autograd.grad(loss, list(model.parameters()))


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_the_optimizers_are_those_of_torch(name: str, momentum: float, few: Split) -> None:
    mine, theirs = build_model("cnn"), build_model("cnn")
    config = TrainConfig(optimizer=name, momentum=momentum, weight_decay=0.05).resolve(60_000)
    optimizer = build_optimizer(mine, config)
    parameters = theirs.parameters()
    reference = (
        torch.optim.SGD(parameters, lr=0.1, momentum=momentum, weight_decay=0.05, fused=True)
        if name == "sgd"
        else torch.optim.AdamW(
            parameters, lr=0.1, betas=(momentum, BETA2), weight_decay=0.05, fused=True
        )
    )
    for lr in (0.01, 0.03, 0.02):
        optimizer.step(gradient(mine, few), lr)
        theirs.zero_grad()
        F.cross_entropy(theirs(few.images), few.labels.long()).backward()
        reference.param_groups[0]["lr"] = lr
        reference.step()
        for a, b in zip(mine.parameters(), theirs.parameters(), strict=True):
            assert torch.equal(a, b)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_gradient_may_lie_otherwise_in_memory(name: str, few: Split) -> None:
    digests = set()
    for lay in (torch.clone, lambda g: g.clone(memory_format=torch.contiguous_format)):
        model = build_model("cnn")
        optimizer = build_optimizer(model, TrainConfig(optimizer=name).resolve(60_000))
        optimizer.step([lay(g) for g in gradient(model, few)], 0.01)
        digests.add(weights_sha256(model.state_dict()))
    assert len(digests) == 1


def test_an_optimizer_goes_on_from_its_state(few: Split) -> None:
    def update(model: nn.Module, optimizer: Optimizer) -> None:
        optimizer.step(gradient(model, few), 0.01)

    first = build_model("mlp")
    optimizer = AdamW(first)
    update(first, optimizer)
    second = build_model("mlp", seed=1)
    second.load_state_dict(first.state_dict())
    other = AdamW(second)
    other.load_state_dict(optimizer.state_dict(), steps=1)
    update(first, optimizer)
    update(second, other)
    assert weights_sha256(first.state_dict()) == weights_sha256(second.state_dict())


@pytest.mark.parametrize("shape", [(16, 36), (64, 20), (1, 50), (30, 30)])
def test_a_matrix_is_made_orthogonal_but_for_the_size_of_its_singular_values(
    shape: tuple[int, int],
) -> None:
    torch.manual_seed(0)
    matrix = torch.randn(shape, dtype=torch.float64)
    found = orthogonalized(matrix)
    left, sizes, right = torch.linalg.svd(matrix, full_matrices=False)
    in_basis = left.T @ found @ right.T
    torch.testing.assert_close(in_basis, in_basis.diag().diag(), rtol=0, atol=1e-9)
    enough = sizes > 0.05 * sizes.norm()  # the others are still growing
    assert 0.65 < in_basis.diag()[enough].min() <= in_basis.diag().max() < 1.25


def test_the_iteration_is_that_of_newton_and_schulz() -> None:
    torch.manual_seed(0)
    matrix = torch.randn(8, 20, dtype=torch.float64)
    x = matrix / matrix.norm()
    for _ in range(5):
        gram = x @ x.T
        x = 3.4445 * x - 4.7750 * gram @ x + 2.0315 * gram @ gram @ x
    torch.testing.assert_close(orthogonalized(matrix), x)
    torch.testing.assert_close(orthogonalized(matrix.T), x.T)
    assert torch.equal(orthogonalized(torch.zeros(3, 4)), torch.zeros(3, 4))


def test_muon_is_torchs_for_hidden_weights_and_adamw_for_the_others() -> None:
    torch.manual_seed(0)
    mine = nn.Sequential(nn.Linear(50, 32), nn.ReLU(), nn.Linear(32, 10))
    theirs, adam = deepcopy(mine), deepcopy(mine)
    optimizer = Muon(mine, momentum=0.8, weight_decay=0.1)
    by_adam = AdamW(adam, momentum=0.8, weight_decay=0.1)
    reference = torch.optim.Muon(
        [theirs[0].weight],
        lr=0.01,
        weight_decay=0.1,
        momentum=0.8,
        adjust_lr_fn="match_rms_adamw",
    )
    before = theirs[0].weight.detach().clone()
    for _ in range(5):
        gradient = [torch.randn_like(one) for one in mine.parameters()]
        optimizer.step(gradient, 0.01)
        by_adam.step(gradient, 0.01)
        theirs[0].weight.grad = gradient[0].clone()
        reference.step()  # which iterates in bfloat16
        wanted = theirs[0].weight - before
        assert (mine[0].weight - before - wanted).norm() < 0.02 * wanted.norm()
    for number in (0, 2):
        assert torch.equal(mine[number].bias, adam[number].bias)
    assert torch.equal(mine[2].weight, adam[2].weight)
    assert not torch.equal(mine[0].weight, adam[0].weight)


def test_muon_does_not_depend_on_how_filters_lie_in_memory() -> None:
    torch.manual_seed(0)
    plain = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Flatten(), nn.Linear(8 * 26 * 26, 10)).double()
    last = deepcopy(plain).to(memory_format=torch.channels_last)
    before = plain[0].weight.detach().clone()
    optimizers = Muon(plain), Muon(last)
    for _ in range(3):
        gradient = [torch.randn_like(one) for one in plain.parameters()]
        for optimizer in optimizers:
            optimizer.step(gradient, 0.01)
    assert not torch.equal(plain[0].weight, before)
    torch.testing.assert_close(plain[0].weight, last[0].weight, rtol=0, atol=1e-9)


def test_hidden_weights_are_all_but_the_last_of_each_network() -> None:
    assert hidden_weights(build_model("linear")) == []
    layers = build_model("nano")
    shapes = [tuple(weight.shape) for weight in hidden_weights(layers)]
    assert shapes == [(9, 1, 6), (9, 9, 4), (9, 9, 4)], "not the weights of places"
    assert len(hidden_weights(build_model("mlp", members=3))) == 6


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_an_update_that_is_not_to_be_made_changes_nothing(name: str, few: Split) -> None:
    model = build_model("quick")
    optimizer = build_optimizer(model, TrainConfig(optimizer=name).resolve(60_000))
    optimizer.step(gradient(model, few), 0.01, unless=torch.zeros(()))
    weights = weights_sha256(model.state_dict())
    slots = {key: [t.clone() for t in slot] for key, slot in optimizer.state_dict().items()}
    broken = [torch.full_like(one, math.nan) for one in model.parameters()]
    optimizer.step(broken, 0.01, unless=torch.ones(()))
    assert weights_sha256(model.state_dict()) == weights
    for key, slot in optimizer.state_dict().items():
        assert all(map(torch.equal, slot, slots[key]))


def test_a_state_that_does_not_fit_is_refused() -> None:
    optimizer = AdamW(build_model("mlp"))
    for other in (AdamW(build_model("linear")), SGD(build_model("mlp"), momentum=0.9)):
        with pytest.raises(ValueError, match="does not fit the network|state has"):
            optimizer.load_state_dict(other.state_dict(), steps=1)


def test_an_unknown_optimizer_or_schedule_is_an_error_and_not_a_default() -> None:
    config = TrainConfig().resolve(samples=100)
    with pytest.raises(UsageError, match="--optimizer: 'lion' is not one of sgd, adamw, muon"):
        build_optimizer(build_model("linear"), replace(config, optimizer="lion"))
    with pytest.raises(UsageError, match="--schedule: 'stairs' is not one of constant, one-cycle"):
        learning_rate("stairs", 0.1, 0, 10)
