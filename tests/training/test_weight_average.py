"""The average of the weights: its formula, and that it is what is evaluated, saved and resumed."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from mnist_cli.errors import CheckpointError
from mnist_cli.events import End, Epoch
from mnist_cli.models.checkpoint import decode, encode, load_checkpoint
from mnist_cli.models.networks import weights_sha256
from mnist_cli.training.train import train
from mnist_cli.training.weight_average import WeightAverage
from tests.helpers.trainings import Configure, end_of


def test_it_begins_as_the_mean_and_goes_on_as_a_moving_average() -> None:
    model = nn.Linear(1, 1, bias=False).double()
    average = WeightAverage(model, decay=0.75)
    found = []
    for updates, weight in enumerate((1.0, 2.0, 6.0, 3.0, 7.0), start=1):
        with torch.no_grad():
            model.weight.fill_(weight)
        average.add(list(model.parameters()), updates)
        found.append(average.model.weight.item())
    # The means of the first four, then 3/4 of the average and 1/4 of the weight.
    assert found == pytest.approx([1.0, 1.5, 3.0, 3.0, 4.0], rel=1e-12)


def test_the_average_is_evaluated_and_saved_and_the_weights_beside_it(small: Configure) -> None:
    raw = load_checkpoint(end_of(small(model="linear")).checkpoint or "")
    config = small(model="linear", ema=0.5)
    events = list(train(config))
    kept = load_checkpoint(config.output)
    assert kept.raw_weights is not None
    assert weights_sha256(kept.raw_weights) == weights_sha256(raw.weights), "it trains as without"
    end, epochs = events[-1], [event for event in events if isinstance(event, Epoch)]
    assert isinstance(end, End)
    assert end.weights_sha256 == weights_sha256(kept.weights) != weights_sha256(raw.weights)
    # What the saved network does is what was reported.
    assert epochs[-1].test_accuracy == end.test_accuracy
    key = "2.weight"
    steps = [load_checkpoint(end_of(small(model="linear", max_updates=n)).checkpoint or "")
             for n in range(1, end.update + 1)]  # fmt: skip
    average = steps[0].weights[key].clone()
    for updates, step in enumerate(steps[1:], start=2):
        average.lerp_(step.weights[key], max(0.5, 1 / updates))
    torch.testing.assert_close(kept.weights[key], average, rtol=1e-5, atol=1e-7)


def test_a_checkpoint_without_one_of_the_two_is_damaged(small: Configure) -> None:
    config = small(model="linear", ema=0.5)
    end_of(config)
    both = load_checkpoint(config.output)
    plain = replace(both.config, ema=0.0)
    for damaged in (replace(both, raw_weights=None), replace(both, config=plain)):
        with pytest.raises(CheckpointError, match="do not fit --ema"):
            decode(encode(damaged), "it")
    nan = {key: value.clone().fill_(torch.nan) for key, value in both.weights.items()}
    fewer = {key: value.clone() for key, value in both.weights.items() if key != "2.bias"}
    for raw, message in ((nan, "not finite"), (fewer, "are not those of the model")):
        with pytest.raises(CheckpointError, match=message):
            decode(encode(replace(both, raw_weights=raw)), "it")
