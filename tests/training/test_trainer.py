"""The trainer: learning rates, and the time that updates take."""

import time
from collections.abc import Callable

import pytest
import torch

from mnist_cli.config.train import ResolvedConfig
from mnist_cli.data.splits import Dataset, Split
from mnist_cli.errors import DivergedError
from mnist_cli.models.networks import weights_sha256
from mnist_cli.runtime.device import ThreadPool
from mnist_cli.training.loop import Gradient, MicroBatchSums, Update
from mnist_cli.training.optim import learning_rate
from mnist_cli.training.state import TrainingState
from mnist_cli.training.trainer import Trainer
from tests.helpers.trainings import Configure


@pytest.fixture
def trainer(small: Configure, mnist: Dataset) -> Trainer:
    config = small(model="linear", schedule="cosine").resolve(200)
    return make_trainer(config, mnist)


def make_trainer(config: ResolvedConfig, mnist: Dataset, *, fills_caches: bool = False) -> Trainer:
    return Trainer(
        config,
        TrainingState(config, torch.device("cpu")),
        Split(*mnist.train[:200]),
        pool=ThreadPool(),
        clock=lambda: 0.0,
        train_seconds=1000.0,
        fills_caches=fills_caches,
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


def test_what_an_evaluation_leaves_behind_counts_as_no_second_of_updates(
    small: Configure, mnist: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first gradient after each evaluation is made to take 0.1 s longer."""
    config = small(model="linear").resolve(200)
    seconds, digests = {}, set()
    is_cold = True

    def slow_if_cold(
        compute: Callable[[Update, slice], tuple[Gradient, MicroBatchSums]],
    ) -> Callable[[Update, slice], tuple[Gradient, MicroBatchSums]]:
        def gradient_of(update: Update, micro_batch: slice) -> tuple[Gradient, MicroBatchSums]:
            nonlocal is_cold
            time.sleep(0.1 if is_cold else 0.0)
            is_cold = False
            return compute(update, micro_batch)

        return gradient_of

    monkeypatch.setattr(Update, "gradient_of", slow_if_cold(Update.gradient_of))
    for fills_caches in (False, True):
        trainer = make_trainer(config, mnist, fills_caches=fills_caches)
        is_cold = True
        for _ in trainer.train_epoch():
            trainer.evaluate(trainer.train_split, "train")
            is_cold = True
        seconds[fills_caches] = trainer.train_seconds - 1000
        digests.add(weights_sha256(trainer.state.model.state_dict()))
    assert seconds[False] >= 0.4  # 4 updates
    assert seconds[True] < 0.1
    assert len(digests) == 1


def test_an_evaluation_whose_loss_overflows_is_divergence(trainer: Trainer) -> None:
    """With finite weights, so that only the loss shows it."""
    for parameter in trainer.state.model.parameters():
        parameter.data.normal_().mul_(1e37)
    trainer.check_finite()
    with pytest.raises(DivergedError, match=r"the test loss .* is (nan|inf)"):
        trainer.evaluate(trainer.train_split, "test")
