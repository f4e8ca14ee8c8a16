"""The trainer: learning rates, and the time that updates take."""

import pytest
import torch

from mnist_cli.data.datasets import Dataset, Split
from mnist_cli.errors import DivergedError
from mnist_cli.runtime.device import ThreadPool
from mnist_cli.training.optim import learning_rate
from mnist_cli.training.state import TrainingState
from mnist_cli.training.trainer import Trainer
from tests.helpers.trainings import Configure


@pytest.fixture
def trainer(small: Configure, mnist: Dataset) -> Trainer:
    config = small(model="linear", schedule="cosine").resolve(200)
    samples = Split(*mnist.train[:200])
    state = TrainingState(config, torch.device("cpu"))
    return Trainer(
        config, state, samples, pool=ThreadPool(), clock=lambda: 0.0, train_seconds=1000.0
    )


@pytest.mark.parametrize(("update", "last", "after"), [(0, 0, 0), (1, 0, 1), (7, 6, 7), (8, 7, 7)])
def test_learning_rates_are_those_of_the_last_and_the_next_update(
    update: int, last: int, after: int, trainer: Trainer
) -> None:
    trainer.state.update = update
    rates = [learning_rate("cosine", trainer.config.lr, number, 8) for number in range(8)]
    assert (trainer.last_lr, trainer.lr) == (rates[last], rates[after])


def test_the_seconds_of_updates_are_added_to_those_of_earlier_runs(trainer: Trainer) -> None:
    list(trainer.train_epoch())
    assert 1000.0 < trainer.train_seconds < 1100.0
    assert (trainer.state.update, trainer.samples_seen) == (4, 200)
    assert trainer.is_at_epoch_end


def test_an_evaluation_whose_loss_overflows_is_divergence(trainer: Trainer) -> None:
    """With finite weights, so that only the loss shows it."""
    for parameter in trainer.state.model.parameters():
        parameter.data.normal_().mul_(1e37)
    trainer.check_finite()
    with pytest.raises(DivergedError, match=r"the test loss .* is (nan|inf)"):
        trainer.evaluate(trainer.train_split, "test")
