"""Trainings that begin with the weights of a checkpoint."""

import logging
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from mnist_cli.data.datasets import load_dataset
from mnist_cli.data.splits import split_indices
from mnist_cli.errors import CheckpointError, TerminatedRunError, UsageError
from mnist_cli.events import Start, Step
from mnist_cli.models.checkpoint import load_checkpoint
from mnist_cli.models.networks import weights_sha256
from mnist_cli.training.probes.path import PathProbe
from mnist_cli.training.state import TrainingState
from mnist_cli.training.train import train
from tests.helpers.checkpoints import save_checkpoint
from tests.helpers.trainings import Configure, end_of, steps


def start_of(config: Any) -> Start:
    start = next(iter(train(config)))
    assert isinstance(start, Start)
    return start


def test_a_training_from_its_own_random_weights_is_the_same_as_without_init(
    small: Configure, tmp_path: Path
) -> None:
    config = small(model="linear")
    whole = list(train(config))
    state = TrainingState(config.resolve(200), torch.device("cpu"))
    save_checkpoint(state.checkpoint(config.resolve(200), {}), tmp_path / "random.pt")
    begun = list(train(replace(config, init=str(tmp_path / "random.pt"))))
    assert [step.loss for step in steps(begun)] == [step.loss for step in steps(whole)]


def test_a_training_begins_with_the_weights_and_a_fresh_position_and_schedule(
    small: Configure, tmp_path: Path
) -> None:
    first = str(tmp_path / "first.pt")
    digest = end_of(small(model="linear", output=first)).weights_sha256
    config = small(model="linear", init=first, lr=0.0, max_updates=3)
    events = list(train(config))
    assert isinstance(events[0], Start)
    assert (events[0].first_update, events[0].config["init"]) == (0, digest)
    assert [step.update for step in steps(events)] == [1, 2, 3]
    kept = load_checkpoint(config.output)
    assert weights_sha256(kept.weights) == digest  # at a rate of 0 they stay
    assert kept.config.init == digest
    assert not kept.history


def test_an_interrupted_training_goes_on_without_the_file_that_it_began_with(
    small: Configure, tmp_path: Path
) -> None:
    first = tmp_path / "first.pt"
    end_of(small(model="linear", output=str(first), seed=5))
    config = small(model="linear", init=str(first))
    whole = end_of(config).weights_sha256
    assert whole != end_of(replace(config, init=None)).weights_sha256
    events = train(config)
    with pytest.raises(TerminatedRunError):
        for event in events:
            if isinstance(event, Step) and event.update == 3:
                signal.raise_signal(signal.SIGTERM)
    first.unlink()
    checkpoint = load_checkpoint(config.output)
    assert end_of(checkpoint.config, resume=checkpoint).weights_sha256 == whole


def test_weights_of_another_network_are_refused_and_both_are_named(
    small: Configure, trained: Path
) -> None:
    with pytest.raises(UsageError, match=rf"--model mlp differs from the linear of .*{trained}"):
        end_of(small(model="mlp", init=str(trained)))


@pytest.mark.parametrize("contents", [b"", b"PK\x03\x04 damaged", b"\x80\x02."], ids=str)
def test_a_file_that_is_no_checkpoint_is_refused(
    contents: bytes, small: Configure, tmp_path: Path
) -> None:
    (tmp_path / "odd.pt").write_bytes(contents)
    with pytest.raises(CheckpointError, match=r"odd\.pt is "):
        end_of(small(model="linear", init=str(tmp_path / "odd.pt")))


@pytest.mark.parametrize("name", ["init", "teacher"])
@pytest.mark.parametrize("value", ["first.pt", "a" * 63, "A" * 64])
def test_a_checkpoint_with_something_else_than_a_digest_is_damaged(
    value: str, name: str, trained: Path, tmp_path: Path
) -> None:
    checkpoint = load_checkpoint(trained)
    config = replace(checkpoint.config, **{name: value})  # type: ignore[arg-type]
    save_checkpoint(replace(checkpoint, config=config), tmp_path / "odd.pt")
    with pytest.raises(CheckpointError, match="the SHA-256 of other weights is"):
        load_checkpoint(tmp_path / "odd.pt")


@pytest.mark.parametrize(
    ("options", "advice"),
    [
        ({"seed": 0, "val_size": 500}, None),
        ({"seed": 0, "val_size": 100}, None),  # of those that were held out
        ({"seed": 1, "val_size": 500}, "with --seed 0 --val-size 500"),
        ({"seed": 0, "val_size": 600}, "with --val-size 500"),
        ({"seed": 1, "val_size": 0}, None),
    ],
    ids=str,
)
def test_validation_samples_that_the_checkpoint_was_trained_on_are_counted(
    options: dict[str, int],
    advice: str | None,
    small: Configure,
    trained: Path,
    caplog: pytest.LogCaptureFixture,
    few_dir: Path,
) -> None:
    whole = load_dataset("qmnist", few_dir)
    caplog.set_level(logging.WARNING)
    config = small(model="linear", init=str(trained), subset=200, **options)
    start_of(config)
    told = [record.getMessage() for record in caplog.records if "--init" in record.getMessage()]
    if advice is None:
        assert not told
        return
    seen, _ = split_indices(whole.train.labels, val_size=500, subset=500, seed=0)
    split = {"val_size": config.val_size, "subset": config.subset, "seed": config.seed}
    _, held_out = split_indices(whole.train.labels, **split)  # type: ignore[arg-type]
    both = len({*seen.tolist()} & {*held_out.tolist()})
    assert both > 0
    (text,) = told
    assert f"trained on {both} of the {config.val_size} validation samples" in text
    assert text.endswith(f"hold out what it held out, {advice}")


def test_a_checkpoint_that_held_nothing_out_cannot_be_validated(
    small: Configure, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = str(tmp_path / "first.pt")
    end_of(small(model="linear", output=first, subset=None, max_updates=1))
    start_of(small(model="linear", init=first, val_size=50))
    assert "trained on 50 of the 50 validation samples" in caplog.text
    assert "train it with --val-size" in caplog.text


def test_the_distance_from_weights_that_are_not_kept_is_not_told(
    small: Configure, trained: Path
) -> None:
    config = small(model="linear", probe="path", max_updates=1)
    for init, is_known in ((None, True), (str(trained), False)):
        probes = [e for e in train(replace(config, init=init)) if isinstance(e, PathProbe)]
        assert [probe.distance is not None for probe in probes] == [is_known]
        assert ("from the initial weights" in probes[0].summary()) == is_known
