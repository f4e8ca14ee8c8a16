"""Probes: exact where they say so, estimates within their error, and harmless to the training."""

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from mnist_cli.comparison.records import event_from_json
from mnist_cli.config.registry import NETWORKS
from mnist_cli.config.train import TrainConfig
from mnist_cli.data.splits import Dataset, Split
from mnist_cli.errors import UsageError
from mnist_cli.events import End, Event, ProbeEvent, to_dict
from mnist_cli.models.checkpoint import load_checkpoint
from mnist_cli.models.layers import Flatten, Normalize
from mnist_cli.models.networks import build_model
from mnist_cli.runtime.device import ThreadPool
from mnist_cli.runtime.distributed.group import ProcessGroup
from mnist_cli.runtime.seeding import stream
from mnist_cli.runtime.signals import StopRequested
from mnist_cli.training.noise_estimate import ratio_of_means
from mnist_cli.training.probes import alignment as alignment_module
from mnist_cli.training.probes import probes as probes_module
from mnist_cli.training.probes.alignment import alignment
from mnist_cli.training.probes.noise import (
    Noise,
    NoiseProbe,
    curvature_noise,
    noise_scale,
    two_batches,
)
from mnist_cli.training.probes.probes import (
    Objective,
    Probes,
    draw_samples,
    flat,
    probe_class,
)
from mnist_cli.training.probes.sharpness import hessian_product, sharpness
from mnist_cli.training.state import TrainingState
from mnist_cli.training.train import train
from mnist_cli.training.trainer import Trainer
from tests.helpers.shell import Shell
from tests.helpers.trainings import Configure, end_of, objects


def with_ones(samples: Split) -> torch.Tensor:
    """Return the normalised pixels and a one for the bias, `float64 [N, 785]`."""
    pixels = samples.images.flatten(1).double() / 255
    ones = torch.ones(len(samples), 1, dtype=torch.float64)
    return torch.cat([(pixels - 0.1307) / 0.3081, ones], 1)


def independent_noise(samples: Split) -> tuple[float, float]:
    """Return tr Σ and |G|² of softmax regression at zero, by the formula of its gradient.

    Every class has probability 0.1, so a sample's gradient by weight and bias is the outer product
    of (p - y) and (x, 1).
    """
    inputs = with_ones(samples)
    excess = 0.1 - F.one_hot(samples.labels.long(), 10).double()
    mean = excess.T @ inputs / len(samples)
    square_norms = excess.square().sum(1) * inputs.square().sum(1)
    return float(square_norms.mean() - mean.square().sum()), float(mean.square().sum())


@pytest.mark.slow
def test_the_two_batch_estimate_agrees_with_the_exact_noise_within_three_standard_errors(
    mnist: Dataset,
) -> None:
    samples = Split(*mnist.train[:6000])
    objective = Objective(build_model("linear"))
    draws = 200
    generator = stream(0, "test")
    found = [two_batches(objective, samples, (32, 512), generator) for _ in range(draws)]
    trace, gradient_square = independent_noise(samples)
    estimate = ratio_of_means(found)
    assert estimate.value is not None
    assert estimate.error is not None
    for mean, error, exact in (
        (estimate.numerator, estimate.numerator_error, trace),
        (estimate.denominator, estimate.denominator_error, gradient_square),
        (estimate.value, estimate.error, trace / gradient_square),
    ):
        assert error < 0.1 * exact, "the draws are too few to show anything"
        assert abs(mean - exact) < 3 * error


def test_the_error_of_a_ratio_is_the_deviation_of_ratios_of_other_draws() -> None:
    generator = stream(0, "test")
    ratios, errors = [], []
    for _ in range(500):
        normal = torch.randn(20, 2, generator=generator, dtype=torch.float64)
        pairs = [(4 + a, 2 + (a + b) / 4) for a, b in normal.tolist()]
        found = ratio_of_means(pairs)
        assert found.value is not None
        assert found.error is not None
        ratios.append(found.value)
        errors.append(found.error)
    deviation = torch.tensor(ratios).std()
    assert sum(errors) / 500 == pytest.approx(float(deviation), rel=0.1)  # 3 standard errors


def test_no_noise_scale_is_estimated_where_the_gradient_is_not_clearly_positive(
    few: Split,
) -> None:
    """With each image once in every class, the gradient of softmax regression at zero vanishes."""
    images = few.images[:30].repeat_interleave(10, 0)
    population = Split(images, torch.arange(10, dtype=torch.uint8).repeat(30))
    config = TrainConfig(model="linear", probe="noise").resolve(len(population))
    probes = Probes(config, population, ThreadPool(), lambda: 0.0)
    model = build_model("linear")
    negative = 0
    for update in range(4):
        _, event = probes.measure(model, update=update, samples_seen=0, lr=0.1)
        assert isinstance(event, NoiseProbe)
        negative += event.two_batch_gradient_square < 0
        assert event.two_batch_noise_scale is None
        assert event.two_batch_noise_scale_error is None
        error = event.two_batch_gradient_square_error
        assert error is not None
        assert event.two_batch_gradient_square < 3 * error
        assert "no two-batch estimate, because its squared gradient norm is not" in event.summary()
    assert negative > 0, "the ratio would never have been negative"


def test_rules_for_batch_sizes_are_those_of_the_formula_of_softmax_regression(few: Split) -> None:
    config = TrainConfig(model="linear", probe="noise").resolve(len(few))
    probes = Probes(config, few, ThreadPool(), lambda: 0.0)
    _, event = probes.measure(build_model("linear"), update=0, samples_seen=0, lr=0.3)
    assert isinstance(event, NoiseProbe)
    trace, gradient_square = independent_noise(few)
    assert event.norm_test_batch_size == pytest.approx(4 * trace / gradient_square, rel=1e-5)
    assert event.cabs_batch_size == pytest.approx(0.3 * trace / math.log(10), rel=1e-5)


def test_a_negative_noise_scale_of_an_old_record_is_not_printed() -> None:
    old = event_from_json(
        {
            **{"event": "probe", "probe": "noise", "seconds": 1.0, "update": 3},
            **{"samples_seen": 192, "noise_scale": 5000.0, "trace": 5.0},
            **{"gradient_square": 0.001, "samples": 2000, "population": 60000, "exact": False},
            **{"two_batch_noise_scale": -36675.0, "two_batch_trace": 5.0},
            **{"two_batch_gradient_square": -0.000136, "two_batch_sizes": [64, 1024]},
            **{"two_batch_draws": 20, "network_mode": "evaluation", "arm": "64-seed0"},
        }
    )
    assert isinstance(old, NoiseProbe)
    assert old.summary() == (
        "noise scale: 5,000.0 samples (from 2,000 of 60,000 samples); no two-batch estimate, "
        "because its squared gradient norm is not clearly above zero (-0.00014)"
    )


def test_the_noise_of_a_sample_comes_with_its_standard_error(few: Split) -> None:
    objective = Objective(build_model("linear"))
    full = objective.gradient(few)
    exact = noise_scale(objective, few, full, len(few))
    assert exact.trace_error == 0
    found = [
        noise_scale(objective, draw_samples(few, 50, seed), full, len(few)) for seed in range(100)
    ]
    deviation = float(torch.tensor([one.scale for one in found]).std())
    errors = [one.scale_error for one in found if one.scale_error is not None]
    assert sum(errors) / 100 == pytest.approx(deviation, rel=0.25)  # 3 standard errors
    mean = sum(one.scale for one in found) / 100
    assert abs(mean - exact.scale) < 3 * deviation / 10


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_square_norms_are_those_of_one_backward_pass_a_sample(
    name: str, smoothing: float, few: Split
) -> None:
    model = build_model(name)
    some = Split(*few[:7])
    expected = []
    for k in range(len(some)):
        loss = F.cross_entropy(
            model(some.images[k : k + 1]),
            some.labels[k : k + 1].long(),
            label_smoothing=smoothing,
        )
        gradient = flat(torch.autograd.grad(loss, list(model.parameters())))
        expected.append(float(gradient.square().sum()))
    found = Objective(model, smoothing).square_norms(some)
    assert found.tolist() == pytest.approx(expected, rel=1e-4)


def test_square_norms_of_dense_layers_are_exact_though_layers_write_to_their_input(
    few: Split, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Linear layers, with and without bias, and others beside them; in float64."""
    some = Split(*few[:40])
    torch.manual_seed(0)
    model = nn.Sequential(
        *(Normalize(), nn.Conv2d(1, 2, 5, stride=4), nn.ReLU(inplace=True), Flatten()),
        *(nn.Linear(72, 8, bias=False), nn.ReLU(inplace=True), nn.Linear(8, 10)),
    ).double()
    expected = []
    for image, label in zip(some.images, some.labels, strict=True):
        loss = F.cross_entropy(model(image.unsqueeze(0)), label.unsqueeze(0).long())
        gradient = flat(torch.autograd.grad(loss, list(model.parameters())))
        expected.append(float(gradient.square().sum()))
    monkeypatch.setattr(probes_module, "_MICRO_BATCH", 13)
    for pool in (ThreadPool(), ThreadPool(2)):
        found = Objective(model, pool=pool).square_norms(some)
        assert found.tolist() == pytest.approx(expected, rel=1e-12)
    assert not any(layer._forward_hooks for layer in model.modules())


def test_the_mean_gradient_is_that_of_one_backward_pass(few: Split) -> None:
    model = build_model("mlp")
    loss = F.cross_entropy(model(few.images), few.labels.long(), label_smoothing=0.1)
    expected = flat(torch.autograd.grad(loss, list(model.parameters())))
    for pool in (ThreadPool(), ThreadPool(2)):
        found = Objective(model, 0.1, pool).gradient(few)
        assert torch.allclose(found, expected, rtol=1e-4, atol=1e-7)


def small_network(*more: nn.Module) -> nn.Module:
    """Return a network of 170 parameters in float64, of which the whole Hessian can be had."""
    torch.manual_seed(0)
    return nn.Sequential(Normalize(), nn.AvgPool2d(7), Flatten(), nn.Linear(16, 10), *more).double()


def whole_hessian(model: nn.Module, samples: Split) -> torch.Tensor:
    names = [name for name, _ in model.named_parameters()]
    shapes = [p.shape for p in model.parameters()]

    def loss(vector: torch.Tensor) -> torch.Tensor:
        pieces = vector.split([s.numel() for s in shapes])
        values = {n: p.view(s) for n, p, s in zip(names, pieces, shapes, strict=True)}
        logits = torch.func.functional_call(model, values, (samples.images.double(),))
        return F.cross_entropy(logits, samples.labels.long())

    vector = flat(list(model.parameters()))
    return torch.autograd.functional.hessian(loss, vector)  # type: ignore[no-any-return]


def test_the_sharpness_is_the_largest_eigenvalue_of_the_whole_hessian(few: Split) -> None:
    model = small_network()
    hessian = whole_hessian(model, few)
    vector = torch.randn(170, dtype=torch.float64, generator=stream(1, "test"))
    assert torch.allclose(hessian_product(Objective(model), few, vector), hessian @ vector)
    found = sharpness(Objective(model), few, stream(0, "test"))
    largest = float(torch.linalg.eigvalsh(hessian)[-1])
    assert abs(found.value - largest) <= max(found.residual, 1e-9 * largest)
    assert found.residual <= 1e-3 * found.value
    assert found.iterations < 40


def test_the_noise_weighted_by_curvature_is_that_of_the_whole_hessian(few: Split) -> None:
    """tr(HΣ) / GᵀHG of softmax regression in float64, every term written out."""
    model = small_network()
    objective = Objective(model)
    hessian = whole_hessian(model, few)
    gradients = torch.stack([objective.gradient(Split(*few[k : k + 1])) for k in range(len(few))])
    full = gradients.mean(0)
    covariance = (gradients - full).T @ (gradients - full) / len(few)
    trace, curvature = float((hessian * covariance).sum()), float(full @ hessian @ full)
    found = curvature_noise(objective, few, full, stream(0, "test"), draws=100)
    assert found.value is not None
    assert found.error is not None
    for value, error, exact in (
        (found.numerator, found.numerator_error, trace),
        (found.denominator, found.denominator_error, curvature),
        (found.value, found.error, trace / curvature),
    ):
        assert error < 0.1 * exact, "the draws are too few to show anything"
        assert abs(value - exact) < 3 * error


def test_no_noise_is_weighted_by_a_curvature_that_is_not_clearly_positive(few: Split) -> None:
    model = small_network(nn.Tanh(), nn.Linear(10, 10).double())
    values, vectors = torch.linalg.eigh(whole_hessian(model, few))
    assert values[0] < -0.01
    found = curvature_noise(Objective(model), few, vectors[:, 0], stream(0, "test"), draws=20)
    assert abs(found.denominator - float(values[0])) < 3 * found.denominator_error
    assert found.value is None
    assert found.error is None


@pytest.mark.slow
def test_the_noise_scales_of_mlp_at_the_start_are_the_known_ones(mnist: Dataset) -> None:
    """Measured with 4,000 draws: 11.7 ± 0.15, and 40 from the samples' gradients."""
    population = draw_samples(Split(*mnist.train[:]), 20_000, 0)
    sample = draw_samples(population, 4000, 0)
    objective = Objective(build_model("mlp", 0), pool=ThreadPool(2))
    full = objective.gradient(population)
    found = curvature_noise(objective, population, full, stream(0, "test"), draws=256)
    assert found.value == pytest.approx(11.7, abs=1.3)
    assert found.error == pytest.approx(0.43, abs=0.15)
    assert noise_scale(objective, sample, full).scale == pytest.approx(40, abs=0.5)


@pytest.mark.slow
def test_the_known_answers_of_softmax_regression_at_zero_on_all_of_mnist(mnist: Dataset) -> None:
    """Its Hessian is (diag(p) - ppᵀ) ⊗ E x̃x̃ᵀ, with p = 0.1, so λmax is 0.1 λmax(E x̃x̃ᵀ)."""
    samples = Split(*mnist.train[:])
    objective = Objective(build_model("linear"), pool=ThreadPool(2))
    full = objective.gradient(samples)
    noise = noise_scale(objective, samples, full)
    trace, gradient_square = independent_noise(samples)
    assert noise.trace == pytest.approx(trace, rel=1e-6)
    assert noise.gradient_square == pytest.approx(gradient_square, rel=1e-6)
    inputs = with_ones(samples)
    moments = inputs.T @ inputs / len(samples)
    largest = 0.1 * float(torch.linalg.eigvalsh(moments)[-1])
    assert largest == pytest.approx(25.002821, abs=1e-6)
    found = sharpness(objective, samples, stream(0, "test"))
    assert found.value == pytest.approx(largest, rel=1e-3)
    weighted = curvature_noise(objective, samples, full, stream(0, "test"), draws=256)
    excess = (0.1 - F.one_hot(samples.labels.long(), 10)).double()
    # (diag(p) - ppᵀ) e = 0.1 e, because the entries of every e = p - y add up to zero
    each = excess.square().sum(1) * ((inputs @ moments) * inputs).sum(1)
    matrix = excess.T @ inputs / len(samples)
    curvature = 0.1 * float(((matrix @ moments) * matrix).sum())
    exact = (0.1 * float(each.mean()) - curvature) / curvature
    assert weighted.value is not None
    assert weighted.error is not None
    assert weighted.error < 0.1 * exact
    assert abs(weighted.value - exact) < 3 * weighted.error


@pytest.mark.slow
def test_batches_stray_as_far_as_the_noise_says(mnist: Dataset) -> None:
    """E|g_B - G|² = tr Σ / B · (N - B) / (N - 1) without replacement."""
    samples = Split(*mnist.train[:2000])
    objective = Objective(build_model("linear"))
    full = objective.gradient(samples)
    noise = noise_scale(objective, samples, full)
    for size in (10, 1000):
        found = alignment(
            objective, samples, full, size=size, draws=400, generator=stream(0, "test", size)
        )
        expected = noise.trace / size * (2000 - size) / 1999
        # 400 draws of some tens of effective dimensions: 3 % is one standard error or more
        assert found.deviation**2 == pytest.approx(expected, rel=0.1)
        cosine = math.sqrt(noise.gradient_square / (noise.gradient_square + expected))
        assert found.cosine_mean == pytest.approx(cosine, abs=0.05)


@pytest.mark.usefixtures("few_draws")
def test_networks_with_batch_norm_and_dropout_are_probed_in_evaluation_mode(few: Split) -> None:
    model = small_network(nn.BatchNorm1d(10), nn.Dropout(0.5)).float()
    model(few.images)  # moves the running means from their start
    config = TrainConfig(model="linear", batch_size=10, probe="noise,alignment,sharpness").resolve(
        60_000
    )
    probes = Probes(config, few, ThreadPool(), lambda: 0.0)
    model.train()
    first = list(probes.measure(model, update=3, samples_seen=0, lr=0.1))
    assert model.training
    assert list(probes.measure(model, update=3, samples_seen=0, lr=0.1)) == first
    modes = {event.network_mode for event in first if isinstance(event, ProbeEvent)}
    assert modes == {"evaluation"}
    model.eval()
    assert list(probes.measure(model, update=3, samples_seen=0, lr=0.1)) == first


def test_a_noise_scale_without_a_gradient_is_infinite() -> None:
    assert Noise(1.0, 0.0, 1).scale == math.inf


@pytest.fixture
def few_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the alignment probe take a few gradients, not 1,400."""
    monkeypatch.setattr(alignment_module, "_MIN_DRAWS", 4)
    monkeypatch.setattr(alignment_module, "_MIN_SAMPLES", 4)


PROBED: dict[str, Any] = {
    "model": "linear",
    "probe": "noise,alignment,sharpness",
    "probe_every": 4,
    "probe_samples": 100,
}


def probed(events: Iterable[Event]) -> list[dict[str, Any]]:
    """Return the results of probes, without their clocks."""
    found = [to_dict(event) for event in events if isinstance(event, ProbeEvent)]
    return [{k: v for k, v in event.items() if k != "seconds"} for event in found]


@pytest.mark.slow
@pytest.mark.usefixtures("few_draws")
def test_probing_changes_nothing_of_the_training(small: Configure) -> None:
    plain = end_of(small(model="linear"))
    *events, end = train(small(**PROBED))
    assert isinstance(end, End)
    assert end.weights_sha256 == plain.weights_sha256
    found = probed(events)
    assert {event["probe"] for event in found} == {"noise", "alignment", "sharpness"}
    assert {event["update"] for event in found} == {0, 4, 8}
    (noise, *_) = [event for event in found if event["probe"] == "noise"]
    assert noise["exact"] is False
    assert (noise["samples"], noise["population"]) == (100, 200)
    assert all(event["network_mode"] == "evaluation" for event in found)
    assert not any(key == "arm" for event in found for key in event)


@pytest.mark.slow
@pytest.mark.usefixtures("few_draws")
def test_a_resumed_training_probes_what_an_uninterrupted_one_does(small: Configure) -> None:
    config = small(**PROBED)
    whole = probed(train(config))
    part = probed(train(replace(config, max_updates=5)))
    checkpoint = load_checkpoint(config.output)
    rest = probed(train(replace(checkpoint.config, max_updates=None), checkpoint))
    assert part + rest == whole


def test_the_sharpness_comes_with_the_edge_of_stability(shell: Shell) -> None:
    options = ("--optimizer", "sgd", "--lr", "0.05", "--momentum", "0.5", "--schedule", "constant")
    done = shell.train("--json", "-q", *options, "--probe", "sharpness")
    (probe,) = [event for event in objects(done.out) if event["event"] == "probe"]
    assert probe["two_over_lr"] == pytest.approx(40)
    assert probe["stable_up_to"] == pytest.approx(60)


def test_an_unknown_probe_is_a_usage_error_that_names_the_nearest(shell: Shell) -> None:
    done = shell.train("--probe", "noise,sharpnes")
    assert done.code == 2
    assert "did you mean 'sharpness'?" in done.err
    assert "Traceback" not in done.err
    with pytest.raises(UsageError, match="'sharpnes' is unknown; did you mean 'sharpness'"):
        probe_class("sharpnes")


def test_probes_are_lines_for_people(shell: Shell) -> None:
    probes = ("--probe", "noise,alignment,sharpness", "--probe-every", "4")
    done = shell.train("--subset", "64", *probes)
    assert "Probe at update 0, noise scale: " in done.err
    assert "two-batch estimate" in done.err
    assert "Probe at update 0, alignment of batches of 16: cosine " in done.err
    assert "Probe at update 0, sharpness: " in done.err


class DeferringGroup(ProcessGroup):
    """Like a group of several ranks, in which the next all-reduce raises for a signal."""

    @contextmanager
    def defer_stop(self) -> Iterator[None]:
        with suppress(StopRequested):
            yield


def test_a_probe_that_a_signal_interrupts_in_a_group_is_not_taken_for_made(
    small: Configure, few: Split
) -> None:
    def stop() -> None:
        raise StopRequested

    config = small(model="linear", probe="noise").resolve(len(few))
    state = TrainingState(config, torch.device("cpu"))
    for pool, update in ((ThreadPool(1, stop), None), (ThreadPool(), 0)):
        group = DeferringGroup()
        trainer = Trainer(config, state, few, pool=pool, clock=float, group=group)
        assert len(probed(trainer.probe())) == (0 if update is None else 1)
        assert state.probed_update == update
