"""Whole trainings, in process: what is exact, what stops them, what a resumed one may change."""

import signal
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from mnist_cli.checkpoint import Position, load_checkpoint
from mnist_cli.config import TrainConfig
from mnist_cli.errors import (
    CheckpointError,
    DivergedError,
    InterruptedRunError,
    OutputError,
    TerminatedRunError,
    ThresholdNotMetError,
    UsageError,
)
from mnist_cli.events import End, Epoch, Event, Progress, Start, Step
from mnist_cli.run import train

Configure = Callable[..., TrainConfig]


@pytest.fixture
def small(mnist_dir: Path, tmp_path: Path) -> Configure:
    """Return a maker of configs: 200 samples, 4 updates an epoch, 2 epochs, every step told."""

    def make(**changes: Any) -> TrainConfig:
        batch = {} if changes.get("mode") == "batch" else {"batch_size": 50}
        base = TrainConfig(
            subset=200,
            epochs=2,
            log_interval=1,
            data_dir=str(mnist_dir),
            output=str(tmp_path / "checkpoint.pt"),
        )
        return replace(base, **{**batch, **changes})

    return make


def end_of(config: TrainConfig, **options: Any) -> End:
    *_, end = train(config, **options)
    assert isinstance(end, End)
    return end


def steps(events: list[Event]) -> list[Step]:
    return [event for event in events if isinstance(event, Step)]


def test_events_come_in_order_and_agree(small: Configure) -> None:
    events = [e for e in train(small(val_size=100)) if not isinstance(e, Progress)]
    kinds = "".join(type(e).__name__[:2] for e in events)
    assert kinds == "St" + "St" * 4 + "Ep" + "St" * 4 + "Ep" + "En"
    start, end = events[0], events[-1]
    assert isinstance(start, Start)
    assert isinstance(end, End)
    assert (start.samples, start.batch_size, start.updates_per_epoch) == (200, 50, 4)
    assert start.updates == end.update == 8
    assert [(s.epoch, s.step, s.update, s.samples_seen) for s in steps(events)] == [
        (1 + u // 4, 1 + u % 4, u + 1, 50 * (u + 1)) for u in range(8)
    ]
    epochs = [e for e in events if isinstance(e, Epoch)]
    first = sum(step.loss for step in steps(events)[:4]) / 4
    assert epochs[0].train_loss == pytest.approx(first)
    assert epochs[0].val_accuracy is not None
    assert end.test_accuracy == epochs[-1].test_accuracy
    assert end.samples_seen == 400
    assert [e.seconds for e in events] == sorted(e.seconds for e in events)


@pytest.mark.parametrize("model", ["mlp", "cnn"])
def test_the_same_seed_gives_the_same_weights(model: str, small: Configure) -> None:
    torch.manual_seed(1)
    first = end_of(small(model=model)).weights_sha256
    torch.manual_seed(2)
    assert end_of(small(model=model)).weights_sha256 == first
    assert end_of(small(model=model, seed=1)).weights_sha256 != first


@pytest.mark.parametrize(
    "options",
    [
        {"model": "cnn"},  # augmented, AdamW, one-cycle
        {"model": "lenet", "optimizer": "sgd", "schedule": "cosine"},
        {"model": "mlp", "mode": "batch", "epochs": 8},
        {"model": "linear", "shuffle": False, "schedule": "constant"},
    ],
    ids=str,
)
def test_a_resumed_training_ends_with_the_weights_of_an_uninterrupted_one(
    options: dict[str, Any], small: Configure
) -> None:
    config = small(**options)
    whole = list(train(config))
    pieces: list[Event] = list(train(replace(config, max_updates=1)))
    for stop in (3, 4, 6, None):  # within an epoch, at its end, and to the end
        checkpoint = load_checkpoint(config.output)
        pieces += train(replace(checkpoint.config, max_updates=stop), checkpoint)
    ends = [event for event in (whole[-1], pieces[-1]) if isinstance(event, End)]
    assert ends[0].weights_sha256 == ends[1].weights_sha256
    assert [s.loss for s in steps(pieces)] == [s.loss for s in steps(whole)]
    scores = [
        [
            (e.epoch, e.train_loss, e.train_accuracy, e.test_loss)
            for e in run
            if isinstance(e, Epoch)
        ]
        for run in (whole, pieces)
    ]
    assert scores[0] == scores[1]
    assert [e["epoch"] for e in load_checkpoint(config.output).history] == [s[0] for s in scores[0]]


def test_batch_mode_has_one_trajectory_whatever_the_micro_batch_size(small: Configure) -> None:
    def losses(micro: int) -> list[float]:
        config = small(mode="batch", model="lenet", epochs=4, micro_batch_size=micro)
        return [step.loss for step in steps(list(train(config)))]

    whole = losses(200)
    assert len(whole) == 4
    for micro in (7, 64):
        assert losses(micro) == pytest.approx(whole, rel=1e-4)  # float32, four updates on


def test_budgets_stop_in_good_order(small: Configure) -> None:
    end = end_of(small(max_updates=3))
    assert (end.reason, end.update, end.samples_seen) == ("max-updates", 3, 150)
    assert end.test_accuracy is not None
    assert load_checkpoint(str(end.checkpoint)).position.update == 3
    end = end_of(small(epochs=1000, max_seconds=0.3))
    assert end.reason == "max-seconds"
    assert 0.3 <= end.seconds < 5
    assert end_of(small(max_updates=100)).reason == "completed"


def test_a_reached_accuracy_ends_the_training(small: Configure) -> None:
    end = end_of(small(epochs=50, val_size=500, until_accuracy=0.5))
    assert end.reason == "until-accuracy"
    assert end.epoch < 50


def test_an_accuracy_that_is_never_reached_is_an_error_after_the_end(small: Configure) -> None:
    events = []
    with pytest.raises(ThresholdNotMetError, match=r"below --until-accuracy 0\.999"):
        for event in train(small(val_size=500, until_accuracy=0.999)):
            events.append(event)
    end = events[-1]
    assert isinstance(end, End)
    assert end.reason == "completed"
    assert end.checkpoint


def test_divergence_keeps_the_last_good_checkpoint(small: Configure) -> None:
    good = end_of(small(model="mlp"))
    before = Path(str(good.checkpoint)).read_bytes()
    events = []
    with pytest.raises(DivergedError, match="use a smaller --lr"):
        for event in train(small(model="mlp", optimizer="sgd", lr=1e30)):
            events.append(event)
    end = events[-1]
    assert isinstance(end, End)
    assert (end.reason, end.checkpoint, end.weights_sha256) == ("diverged", None, None)
    assert Path(str(good.checkpoint)).read_bytes() == before


def test_weights_that_overflow_in_the_last_update_are_divergence(small: Configure) -> None:
    config = small(model="mlp", mode="batch", epochs=1, optimizer="sgd", lr=1e39)
    with pytest.raises(DivergedError, match="a weight is not finite"):
        list(train(config))
    assert not Path(config.output).exists()


@pytest.mark.parametrize(
    ("number", "error"),
    [(signal.SIGINT, InterruptedRunError), (signal.SIGTERM, TerminatedRunError)],
)
def test_a_signal_saves_and_the_rest_can_follow(
    number: signal.Signals, error: type[Exception], small: Configure
) -> None:
    config = small(model="cnn")
    whole = end_of(config).weights_sha256
    before = signal.getsignal(signal.SIGINT)  # ignored, if the tests run in the background
    events = []
    with pytest.raises(error, match="go on with: mnist-train --resume"):
        for event in train(config):
            events.append(event)
            if isinstance(event, Step) and event.update == 3:
                signal.raise_signal(number)
    end = events[-1]
    assert isinstance(end, End)
    assert (end.reason, end.update, end.test_accuracy) == ("interrupted", 3, None)
    checkpoint = load_checkpoint(config.output)
    assert end_of(checkpoint.config, resume=checkpoint).weights_sha256 == whole
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.parametrize(
    "change", [{"seed": 1}, {"model": "mlp"}, {"batch_size": 10}, {"lr": 0.5}, {"subset": 300}]
)
def test_what_would_make_it_another_training_is_refused(
    change: dict[str, Any], small: Configure
) -> None:
    config = small(model="linear")
    end_of(config)
    checkpoint = load_checkpoint(config.output)
    with pytest.raises(UsageError, match="differs from the checkpoint's"):
        list(train(replace(checkpoint.config, **change), checkpoint))


def test_more_epochs_go_on_from_the_end(small: Configure) -> None:
    config = small(model="linear")
    end_of(config)
    checkpoint = load_checkpoint(config.output)
    end = end_of(replace(checkpoint.config, epochs=3), resume=checkpoint)
    assert (end.epoch, end.update) == (3, 12)


def test_a_batch_larger_than_the_training_set_is_refused(small: Configure) -> None:
    with pytest.raises(UsageError, match="--batch-size 201 is more than the 200"):
        list(train(small(batch_size=201)))


def test_no_clobber_keeps_what_is_there(small: Configure) -> None:
    config = small(model="linear", no_clobber=True)
    end_of(config)
    with pytest.raises(OutputError, match="exists, and --no-clobber keeps it"):
        list(train(config))


def test_an_unwritable_output_is_found_before_the_training(small: Configure) -> None:
    with pytest.raises(OutputError, match="cannot write"):
        next(train(small(output="/proc/none/checkpoint.pt")))
    with pytest.raises(OutputError, match="is a folder"):
        next(train(small(output="/proc")))
    with pytest.raises(OutputError, match="is not the name of a file"):
        next(train(small(output="new/")))


@pytest.mark.parametrize(
    "damage",
    [
        {"position": Position(10**15, 0.0, 0)},  # beyond the plan
        {"position": Position(4, 1.0, 0)},  # an epoch that has not begun has no sums
        {"position": Position(3, 1.0, 151)},  # more right than seen
        {"optimizer": {}},
        {"optimizer": {"mean": [], "square": []}},
        {"optimizer": {"mean": [torch.zeros(10, 784)] * 2, "square": 3}},
        {
            "optimizer": {
                "mean": [torch.zeros(10, 784), torch.full((10,), float("nan"))],
                "square": [torch.zeros(10, 784), torch.zeros(10)],
            }
        },
    ],
    ids=str,
)
def test_a_state_that_does_not_fit_is_a_damaged_checkpoint(
    damage: dict[str, Any], small: Configure
) -> None:
    config = small(model="linear", max_updates=3)
    end_of(config)
    checkpoint = replace(load_checkpoint(config.output), **damage)
    with pytest.raises(CheckpointError, match="is damaged"):
        next(train(checkpoint.config, checkpoint))


def test_a_signal_before_the_first_update_leaves_the_file_alone(small: Configure) -> None:
    config = small(model="linear")
    end_of(config)
    before = Path(config.output).read_bytes()
    events = train(replace(config, seed=1))
    assert isinstance(next(events), Start)
    signal.raise_signal(signal.SIGINT)
    end = next(events)
    assert isinstance(end, End)
    assert (end.reason, end.update, end.checkpoint) == ("interrupted", 0, None)
    with pytest.raises(InterruptedRunError, match="nothing new was written"):
        next(events)
    assert Path(config.output).read_bytes() == before


def test_a_signal_in_the_last_evaluation_still_counts(small: Configure) -> None:
    config = small(model="linear", epochs=1)
    events = []
    with pytest.raises(InterruptedRunError):
        for event in train(config):
            events.append(event)
            if isinstance(event, Epoch):
                signal.raise_signal(signal.SIGINT)
    assert load_checkpoint(config.output).position.update == 4


def test_resuming_a_finished_training_says_so(
    small: Configure, caplog: pytest.LogCaptureFixture
) -> None:
    config = small(model="linear")
    first = end_of(config)
    checkpoint = load_checkpoint(config.output)
    again = end_of(checkpoint.config, resume=checkpoint)
    assert "Nothing is left to train: 8 of 8 updates are made" in caplog.text
    assert again.weights_sha256 == first.weights_sha256
    assert again.test_accuracy == first.test_accuracy


def test_time_that_others_take_is_not_training(small: Configure) -> None:
    for event in train(small(model="linear", epochs=1)):
        if isinstance(event, Step):
            time.sleep(0.2)
    assert isinstance(event, End)
    assert event.seconds > 0.8  # four updates
    assert event.train_seconds < 0.8
