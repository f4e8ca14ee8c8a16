"""The probe of single samples' losses: those of the batch that the next update takes."""

import math
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from mnist_cli.config.train import TrainConfig
from mnist_cli.data.splits import Dataset, Split
from mnist_cli.models.networks import build_model
from mnist_cli.runtime.device import ThreadPool
from mnist_cli.training.probes.losses import LossesProbe, sample_losses, worst_tenth_share
from mnist_cli.training.probes.probes import Objective, Probes
from mnist_cli.training.train import train
from tests.helpers.trainings import Configure, steps


def probed(samples: Split, **options: Any) -> LossesProbe:
    """Return what is measured of a network before its first update."""
    config = TrainConfig(probe="losses", **options).resolve(len(samples))
    probes = Probes(config, samples, ThreadPool(), lambda: 0.0)
    model = build_model(config.model, config.seed)
    _, event = probes.measure(model, update=0, samples_seen=0, lr=0.1)
    assert isinstance(event, LossesProbe)
    return event


def test_softmax_regression_from_zero_has_the_loss_ln_10_for_every_sample(few: Split) -> None:
    event = probed(few, model="linear", batch_size=64, shuffle=False)
    expected = pytest.approx(math.log(10), rel=1e-6)
    assert [event.mean_loss, *event.losses, *event.loss_quantiles] == [expected] * 72
    assert event.worst_tenth_share == pytest.approx(7 / 64)
    assert event.labels == few.labels[:64].tolist()
    assert event.summary() == (
        "losses of the next 64 samples: mean 2.3026, median 2.3026; "
        "the worst tenth has 11 % of the sum"
    )


def test_the_losses_are_those_in_double_precision(few: Split) -> None:
    event = probed(few, model="mlp", batch_size=100, shuffle=False)
    logits = build_model("mlp", 0).double()(few.images)
    expected = F.cross_entropy(logits, few.labels.long(), reduction="none").detach()
    assert event.losses == pytest.approx(expected.tolist(), rel=1e-4, abs=1e-5)
    assert event.mean_loss == pytest.approx(float(expected.mean()), rel=1e-5)
    ordered = expected.sort().values
    share = float(ordered[-10:].sum() / ordered.sum())
    assert event.worst_tenth_share == pytest.approx(share, rel=1e-5)
    assert event.loss_quantiles[::6] == pytest.approx(ordered[[0, -1]].tolist(), rel=1e-4)
    assert event.loss_quantiles[3] == pytest.approx(float(ordered[49:51].mean()), rel=1e-4)


@pytest.mark.parametrize(
    "options",
    [
        {"model": "cnn"},  # shifted images, smoothed labels
        {"model": "linear", "replacement": True, "order_seed": 5},
        {"model": "linear", "batch_size": 60, "last_batch": "drop"},
        {"model": "mlp", "mode": "batch", "epochs": 3},
    ],
    ids=str,
)
def test_their_mean_is_the_loss_of_the_next_update(
    options: dict[str, Any], small: Configure
) -> None:
    events = list(train(small(probe="losses", probe_every=1, **options)))
    probes = [event for event in events if isinstance(event, LossesProbe)]
    made = steps(events)
    assert [probe.update for probe in probes] == [0, *(step.update for step in made)]
    assert len({probe.mean_loss for probe in probes}) == len(probes) > 3
    for probe, step in zip(probes, made, strict=False):
        assert probe.mean_loss == pytest.approx(step.loss, rel=1e-5)


def test_at_most_1024_samples_are_listed_but_all_are_counted(mnist: Dataset) -> None:
    samples = Split(*mnist.train[:1100])
    event = probed(samples, model="mlp", mode="batch")
    assert event.samples == 1100
    assert len(event.losses) == len(event.labels) == 1024
    logits = build_model("mlp", 0)(samples.images)
    assert event.mean_loss == pytest.approx(
        F.cross_entropy(logits, samples.labels.long()).item(), rel=1e-5
    )


def test_tiny_losses_are_not_rounded_to_0(few: Split) -> None:
    model = build_model("linear")
    with torch.no_grad():
        for name, value in model.named_parameters():
            value.zero_()
            if name.endswith("bias"):
                value[3] = 20.0
    labels = torch.full_like(few.labels[:2], 3)
    losses = sample_losses(Objective(model), few.images[:2], labels)
    assert losses.tolist() == pytest.approx([math.log1p(9 * math.exp(-20))] * 2, rel=1e-6)


def test_the_worst_tenth_is_rounded_up_to_whole_samples() -> None:
    losses = torch.tensor([1.0, 4.0, 2.0, 3.0, *[0.0] * 7], dtype=torch.float64)  # eleven
    assert worst_tenth_share(losses) == pytest.approx(0.7)
    assert worst_tenth_share(losses[:10]) == pytest.approx(0.4)
    assert worst_tenth_share(torch.zeros(3)) is None
