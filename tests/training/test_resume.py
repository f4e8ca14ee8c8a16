"""Trainings that are interrupted and go on: exactly, or not at all."""

import itertools
import signal
from collections.abc import Iterable
from dataclasses import Field, fields, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from mnist_cli.config.options import LAST_BATCHES
from mnist_cli.config.train import TrainConfig
from mnist_cli.data.batches import EpochShape, TrainingShape
from mnist_cli.data.splits import Dataset, Split
from mnist_cli.errors import (
    CheckpointError,
    InterruptedRunError,
    OutputError,
    TerminatedRunError,
    UsageError,
)
from mnist_cli.events import End, Epoch, Event, ProbeEvent, Resumed, Start, Step, to_dict
from mnist_cli.models.checkpoint import Position, decode, encode, load_checkpoint
from mnist_cli.training import train as training
from mnist_cli.training.compatibility import check_unchanged
from mnist_cli.training.state import TrainingState
from mnist_cli.training.train import train
from tests.helpers.trainings import Configure, SignalAt, end_of, steps
from tests.torture.amount import count


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        {"model": "cnn"},  # augmented, Muon, one-cycle
        {"model": "lenet"},  # augmented, AdamW, one-cycle
        {"model": "nano", "optimizer": "muon", "members": 2, "ema": 0.9},
        {"model": "lenet", "optimizer": "sgd", "schedule": "cosine"},
        {"model": "mlp", "mode": "batch", "epochs": 8},
        {"model": "linear", "shuffle": False, "schedule": "constant", "sort_by_class": True},
        {"model": "linear", "schedule": "cosine", "warm_up": 5},
        {"model": "linear", "replacement": True, "batch_size": 60, "last_batch": "scale"},
        {"model": "linear", "batch_size": 45, "last_batch": "drop", "order_seed": 9},
        {"model": "cnn", "batch_schedule": "50:200", "epochs": 3},  # 4, 2 and 1 updates
        {"model": "cnn", "augment": "affine", "ema": 0.7},
        {"model": "quick", "augment": "elastic", "members": 2, "precision": "bfloat16"},
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
    history = load_checkpoint(config.output).history
    assert [e["epoch"] for e in history if e["event"] == "epoch"] == [s[0] for s in scores[0]]
    assert [e["update"] for e in history if e["event"] == "resume"] == [1, 3, 4, 6]


def test_the_noise_of_an_epoch_is_that_of_an_uninterrupted_one(small: Configure) -> None:
    config = small(model="linear", batch_size=16, micro_batch_size=5)
    whole = [event for event in train(config) if isinstance(event, Epoch)]
    pieces: list[Event] = list(train(replace(config, max_updates=5)))
    for stop in (13, 20, None):  # within an epoch, at its end
        checkpoint = load_checkpoint(config.output)
        pieces += train(replace(checkpoint.config, max_updates=stop), checkpoint)
    assert whole[0].noise_scale_estimate is not None
    found = [event for event in pieces if isinstance(event, Epoch)]
    assert [replace(event, seconds=0.0) for event in found] == [
        replace(event, seconds=0.0) for event in whole
    ]


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


@pytest.mark.parametrize("last_batch", LAST_BATCHES)
def test_a_growing_batch_goes_on_from_any_update(last_batch: str, small: Configure) -> None:
    """Of 190 samples 30, 60 and 120: 7, 4 and 2 updates an epoch, or 6, 3 and 1 if dropped."""
    growing = {"batch_size": 30, "batch_schedule": "30:120", "epochs": 3, "last_batch": last_batch}
    config = small(model="linear", subset=190, schedule="one-cycle", **growing)
    whole = end_of(config)
    ends = (180, 360, 480) if last_batch == "drop" else (190, 380, 570)
    updates = 10 if last_batch == "drop" else 13
    assert (whole.epoch, whole.update, whole.samples_seen) == (3, updates, ends[-1])
    for stop in range(1, whole.update):
        end_of(replace(config, max_updates=stop))
        checkpoint = load_checkpoint(config.output)
        events = list(train(replace(checkpoint.config, max_updates=None), checkpoint))
        assert isinstance(events[-1], End)
        assert events[-1].weights_sha256 == whole.weights_sha256
        seen = [event.samples_seen for event in events if isinstance(event, Epoch)]
        assert tuple(seen) == ends[-len(seen) :]


def test_a_growing_batch_keeps_its_epochs(small: Configure) -> None:
    config = small(model="linear", batch_schedule="50:100", max_updates=5)
    end_of(config)
    checkpoint = load_checkpoint(config.output)
    with pytest.raises(UsageError, match="--epochs 3 differs from the checkpoint's 2, by which"):
        end_of(replace(checkpoint.config, epochs=3), resume=checkpoint)


def test_another_seed_is_refused(small: Configure) -> None:
    config = small(model="linear")
    end_of(config)
    checkpoint = load_checkpoint(config.output)
    with pytest.raises(UsageError, match="--seed 1 differs from the checkpoint's --seed 0"):
        list(train(replace(checkpoint.config, seed=1), checkpoint))


ANOTHER_TRAINING: dict[str, Any] = {
    "mode": "batch",
    "batch_size": 10,
    "batch_schedule": "50:100",
    "model": "mlp",
    "init": "other.pt",
    "members": 3,
    "teacher": "other.pt",
    "optimizer": "sgd",
    "lr": 0.5,
    "momentum": 0.5,
    "weight_decay": 0.5,
    "schedule": "constant",
    "warm_up": 3,
    "ema": 0.5,
    "label_smoothing": 0.5,
    "augment": "affine",
    "augment_strength": 2.0,
    "shuffle": False,
    "order_seed": 1,
    "replacement": True,
    "last_batch": "drop",
    "sort_by_class": True,
    "subset": 300,
    "val_size": 100,
    "dataset": "kmnist",
    "test_size": 0.5,
    "label_column": "digit",
    "max_value": 16.0,
    "transposed": True,
    "seed": 1,
    "precision": "bfloat16",
}


@pytest.mark.parametrize("field", fields(TrainConfig), ids=lambda field: field.name)
def test_what_would_make_it_another_training_may_not_change(
    field: Field[Any], small: Configure
) -> None:
    config = small(model="linear").resolve(200)
    if field.name in ANOTHER_TRAINING:
        with pytest.raises(UsageError, match="differs from the checkpoint's"):
            check_unchanged(replace(config, **{field.name: ANOTHER_TRAINING[field.name]}), config)
    else:
        check_unchanged(replace(config, **{field.name: "another"}), config)


def test_more_epochs_go_on_from_the_end(small: Configure) -> None:
    config = small(model="linear")
    end_of(config)
    checkpoint = load_checkpoint(config.output)
    end = end_of(replace(checkpoint.config, epochs=3), resume=checkpoint)
    assert (end.epoch, end.update) == (3, 12)


@pytest.mark.parametrize(
    "damage",
    [
        {"position": Position(10**15)},  # beyond the plan
        {"position": Position(4, 0, 1.0, 0)},  # an epoch that has not begun has no sums
        {"position": Position(3, 150, 1.0, 151)},  # more right than seen
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


def without_times(events: list[Event]) -> list[dict[str, Any]]:
    times = ("seconds", "train_seconds")
    return [{k: v for k, v in to_dict(e).items() if k not in times} for e in events if e.lasting]


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        {"model": "linear", "val_size": 20, "probe": "noise,sharpness", "probe_every": 3},
        {"model": "cnn", "save_every": 3},
        {"model": "mlp", "mode": "batch", "epochs": 3, "micro_batch_size": 20},
        {"model": "linear", "max_updates": 5, "optimizer": "sgd", "schedule": "cosine"},
    ],
    ids=str,
)
def test_wherever_a_signal_comes_the_rest_can_follow(
    options: dict[str, Any], small: Configure, few: Split, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At every eleventh look for a signal, or each: in updates, evaluations and probes."""
    monkeypatch.setattr(training, "load_dataset", lambda *_, **__: Dataset(few, few, "qmnist"))
    config = replace(small(**options), subset=None)
    config = config if config.mode == "batch" else replace(config, batch_size=30)
    whole = without_times(list(train(config)))[1:]
    monkeypatch.setattr(training, "StopSignals", SignalAt)
    for place in itertools.count(1, count(11, 1)):
        Path(config.output).unlink()
        SignalAt.place, SignalAt.looks = place, 0
        events: list[Event] = []
        try:
            events.extend(train(config))
        except TerminatedRunError:
            end = events.pop()
            assert isinstance(end, End)
            assert (end.reason, end.test_accuracy) == ("interrupted", None)
        else:
            break  # every place was tried
        events += train(config, load_checkpoint(config.output) if end.checkpoint else None)
        told = without_times([e for e in events if not isinstance(e, Start | Resumed)])
        # Probes of the state that the training stops in are made again.
        again = [e for n, e in enumerate(told) if e["event"] == "probe" and e in told[:n]]
        assert [e for n, e in enumerate(told) if e not in again or e not in told[:n]] == whole
    assert place > 20


def test_a_second_signal_ends_the_run_at_once(small: Configure) -> None:
    config = small(model="linear")
    end_of(config)
    before = Path(config.output).read_bytes()
    events = train(replace(config, seed=1))
    for event in events:
        if isinstance(event, Step):
            break
    signal.raise_signal(signal.SIGINT)
    with pytest.raises(TerminatedRunError, match="stopped at once"):
        signal.raise_signal(signal.SIGTERM)
    events.close()  # type: ignore[attr-defined]
    assert Path(config.output).read_bytes() == before
    assert list(Path(config.output).parent.iterdir()) == [Path(config.output)]


def test_what_is_changed_is_kept_in_the_history(small: Configure) -> None:
    config = small(model="linear", max_updates=3)
    end_of(config)
    checkpoint = load_checkpoint(config.output)
    before = replace(checkpoint, versions=checkpoint.versions | {"torch": "2.10.0"})
    events = list(train(replace(config, max_updates=None, epochs=3, log_interval=7), before))
    changes = {
        "epochs": [2, 3],
        "max_updates": [3, None],
        "log_interval": [1, 7],
        "torch": ["2.10.0", str(torch.__version__)],
    }
    assert [e.changes for e in events if isinstance(e, Resumed)] == [changes]
    history = load_checkpoint(config.output).history
    assert [(e["update"], e["changes"]) for e in history if e["event"] == "resume"] == [
        (3, changes)
    ]


def test_a_training_saves_as_often_as_it_is_asked_to(small: Configure) -> None:
    config = small(model="linear", save_every=3)
    found = []
    for event in train(config):
        if isinstance(event, Step) and Path(config.output).exists():
            found.append((event.update, load_checkpoint(config.output).position.update))
    assert found == [(4, 3), (5, 4), (6, 4), (7, 6), (8, 6)]


def test_when_an_epoch_is_reported_it_is_saved(small: Configure) -> None:
    config = small(model="linear")
    for event in train(config):
        if isinstance(event, Epoch):
            assert load_checkpoint(config.output).history[-1] == to_dict(event)


def test_no_two_runs_write_to_one_output(small: Configure) -> None:
    config = small(model="linear")
    first = train(config)
    next(first)
    with pytest.raises(OutputError, match="is being written by another program"):
        next(train(config))
    *_, end = first
    assert isinstance(end, End)
    assert end_of(config).weights_sha256 == end.weights_sha256
    assert list(Path(config.output).parent.iterdir()) == [Path(config.output)]


def test_fewer_epochs_than_are_made_are_refused_and_the_file_is_kept(small: Configure) -> None:
    config = small(model="linear", max_updates=6)
    end_of(config)
    checkpoint = load_checkpoint(config.output)
    before = Path(config.output).read_bytes()
    with pytest.raises(UsageError, match=r"--epochs 1 is fewer than the 1\.5 that"):
        list(train(replace(config, epochs=1, max_updates=None), checkpoint))
    assert Path(config.output).read_bytes() == before


def test_a_file_that_was_written_since_it_was_read_is_not_overwritten(small: Configure) -> None:
    config = small(model="linear", max_updates=3)
    end_of(config)
    checkpoint = load_checkpoint(config.output)
    newer = end_of(replace(config, max_updates=6), resume=checkpoint)
    with pytest.raises(OutputError, match="was written to since it was read"):
        list(train(replace(config, max_updates=4), checkpoint))
    assert load_checkpoint(config.output).position.update == newer.update == 6


def test_a_run_that_went_on_names_its_file_when_it_is_stopped_at_once(small: Configure) -> None:
    config = small(model="linear", max_updates=3)
    end_of(config)
    events = train(replace(config, max_updates=None), load_checkpoint(config.output))
    assert isinstance(next(events), Start)
    signal.raise_signal(signal.SIGINT)
    with pytest.raises(InterruptedRunError, match=f"--resume {config.output} --data-dir "):
        list(events)


def test_a_config_with_defaults_resumes_a_set_smaller_than_the_default_batch(
    small: Configure,
) -> None:
    config = small(model="linear", subset=30, batch_size=None)
    end_of(replace(config, max_updates=1))
    assert end_of(config, resume=load_checkpoint(config.output)).update == 2


@pytest.mark.slow
def test_probes_at_the_update_of_a_checkpoint_are_not_repeated(small: Configure) -> None:
    def probed(events: Iterable[Event]) -> list[int]:
        return [event.update for event in events if isinstance(event, ProbeEvent)]

    config = small(model="linear", probe="noise", probe_every=2)
    whole = probed(train(config))
    first = probed(train(replace(config, max_updates=4)))
    assert first == [0, 2, 4]
    checkpoint = load_checkpoint(config.output)
    assert first + probed(train(config, checkpoint)) == whole == [0, 2, 4, 6, 8]
    end_of(replace(config, max_updates=4))
    more = replace(config, probe="sharpness")  # has not been run at this update
    assert probed(train(more, load_checkpoint(config.output))) == [4, 6, 8]


class OnDevice(torch.Tensor):
    """Stands for a tensor on a GPU: only `cpu` brings its values to the CPU."""

    def cpu(self, *_: object) -> torch.Tensor:
        return self.as_subclass(torch.Tensor)


def test_a_checkpoint_is_saved_on_the_cpu_and_restored_to_the_device(small: Configure) -> None:
    config = small(model="linear").resolve(200)

    def state_on_device() -> TrainingState:
        state = TrainingState(config, torch.device("cpu"))
        for slot in state.optimizer.state_dict().values():
            slot[:] = [tensor.as_subclass(OnDevice) for tensor in slot]
        return state

    state = state_on_device()
    state.optimizer.state_dict()["mean"][0].fill_(0.5)
    checkpoint = decode(encode(state.checkpoint(config, {})), "x")
    restored = state_on_device()
    restored.restore(checkpoint, TrainingShape(2, (EpochShape(200, 50),)))
    mean = restored.optimizer.state_dict()["mean"][0]
    assert type(mean) is OnDevice
    assert bool((mean == 0.5).all())
