"""The state of a training: its history, and the positions that it can be restored at."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from mnist_cli.data.batches import EpochShape, TrainingShape
from mnist_cli.errors import CheckpointError
from mnist_cli.models.checkpoint import Position
from mnist_cli.training import state as module
from mnist_cli.training.state import TrainingState
from tests.helpers.trainings import Configure


@pytest.fixture
def state(small: Configure) -> TrainingState:
    return TrainingState(small(model="linear").resolve(200), torch.device("cpu"))


def test_a_long_history_loses_every_second_entry_of_its_older_half(
    state: TrainingState, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_EPOCHS", 8)
    monkeypatch.setattr(module, "MAX_RESUMPTIONS", 3)
    for number in range(1, 10):
        state.remember({"event": "resume", "number": number})
        state.remember({"event": "epoch", "number": number})
    kept: dict[str, list[Any]] = {"epoch": [], "resume": []}
    for entry in state.history:
        kept[entry["event"]].append(entry["number"])
    assert kept == {"epoch": [2, 4, 5, 6, 7, 8, 9], "resume": [7, 8, 9]}


@pytest.mark.parametrize(
    ("position", "fits"),
    [
        (Position(0), True),
        (Position(3, 150, 1.0, 150), True),
        (Position(3, 150, 1.0, 151), False),  # more correct than seen
        (Position(3, 149, 1.0, 1), False),
        (Position(4), True),  # evaluated
        (Position(4, 190, 1.0, 1), True),  # not yet
        (Position(4, 200, 1.0, 1), False),  # the last update of an epoch has 40 samples
        (Position(4, 0, 1.0), False),
        (Position(0, 190, 1.0), False),
        (Position(8), True),
        (Position(9, 50), False),  # beyond the two epochs
    ],
    ids=str,
)
def test_a_position_is_one_that_the_training_can_have(
    position: Position, fits: bool, small: Configure, state: TrainingState
) -> None:
    config = small(model="linear").resolve(200)
    saved = replace(state.checkpoint(config, {}), position=position)
    if fits:
        state.restore(saved, TrainingShape(2, (EpochShape(190, 50),)))
        assert state.update == position.update
        assert state.sums.samples == position.samples
    else:
        with pytest.raises(CheckpointError, match="its position is"):
            state.restore(saved, TrainingShape(2, (EpochShape(190, 50),)))
