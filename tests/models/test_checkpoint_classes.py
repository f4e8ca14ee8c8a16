"""What a checkpoint says of one's own data: where they were, and the names of their classes."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from mnist_cli.config.own_data import DataOrigin
from mnist_cli.errors import CheckpointError
from mnist_cli.models.checkpoint import Checkpoint, load_checkpoint
from tests.helpers.checkpoints import save_checkpoint

NAMES = ("ape", "bear", "cat", "dog", "eel", "fox", "gnu", "hen", "ibex", "jay")
DATASET = f"zoo@10-{'0' * 64}"


@pytest.fixture
def path(trained: Path, tmp_path: Path) -> Path:
    """Return a checkpoint whose data were one's own."""
    checkpoint = load_checkpoint(trained)
    config = replace(checkpoint.config, dataset=DATASET)
    save_checkpoint(
        replace(checkpoint, config=config, data=DataOrigin("zoo.csv", NAMES)), tmp_path / "zoo.pt"
    )
    return tmp_path / "zoo.pt"


def test_the_names_come_back(path: Path) -> None:
    checkpoint: Checkpoint = load_checkpoint(path)
    assert (checkpoint.classes, checkpoint.subject) == (NAMES, "image")
    assert checkpoint.data == DataOrigin("zoo.csv", NAMES)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (None, "its part 'data' does not fit"),
        ({"path": "zoo.csv", "light_ground": True}, "names of its classes are malformed"),
        ({"path": "zoo.csv", "classes": list(NAMES), "light_ground": 1}, "polarity of its data"),
        ({"path": "", "classes": list(NAMES)}, "path of its data is malformed"),
        ({"path": "a\0b", "classes": list(NAMES)}, "path of its data is malformed"),
        ({"path": "x" * 5000, "classes": list(NAMES)}, "path of its data is malformed"),
        ({"path": "zoo.csv", "classes": list(NAMES[:9])}, "are not those of"),
        ({"path": "zoo.csv", "classes": [*NAMES[:9], "ape"]}, "are not those of"),
        ({"path": "zoo.csv", "classes": [*NAMES[:9], "a\tb"]}, "are malformed"),
        ({"path": "zoo.csv", "classes": [*NAMES[:9], "\x1b[2J"]}, "are malformed"),
        ({"path": "zoo.csv", "classes": [*NAMES[:9], "x" * 101]}, "are malformed"),
        ({"path": "zoo.csv", "classes": [*NAMES[:9], 9]}, "are malformed"),
        ([], "polarity of its data is malformed"),
    ],
)
def test_malformed_names_are_damage(path: Path, data: Any, why: str) -> None:
    parts = torch.load(path, weights_only=True)
    if isinstance(data, dict):
        data = {"light_ground": False, **data}
    torch.save({**parts, "data": data}, path)
    with pytest.raises(CheckpointError, match=why):
        load_checkpoint(path)


@pytest.mark.parametrize(
    "dataset", [f"zoo@99-{'0' * 64}", f"zoo@11-{'0' * 64}", "zoo.csv", "no such", "../../etc"]
)
def test_a_name_that_is_not_of_such_data_is_damage(path: Path, dataset: str) -> None:
    parts = torch.load(path, weights_only=True)
    torch.save({**parts, "config": {**parts["config"], "dataset": dataset}}, path)
    with pytest.raises(CheckpointError, match="damaged"):
        load_checkpoint(path)
