"""Nodes that share nothing but a network: namespaces, or loopback where they cannot be made."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.scaling.namespaces import Rooms, two_rooms
from benchmarks.scaling.two_nodes import LOST, ONE, TWO, Scenario, Trained


@pytest.fixture
def rooms() -> Iterator[Rooms]:
    with two_rooms() as made:
        yield made


def test_two_nodes_train_as_one_does_even_if_one_is_lost(
    rooms: Rooms, tmp_path: Path, mnist_dir: Path
) -> None:
    def trained(scenario: Scenario) -> Trained:  # by 235 updates, a checkpoint every 20
        return scenario.train(rooms, tmp_path / scenario.name, mnist_dir, epochs=1)

    one, two, lost = trained(ONE), trained(TWO), trained(LOST)
    assert (one.codes, two.codes, lost.codes) == ((0,), (0, 0), (0, 0))
    assert len(one.digest) == 64
    assert lost.digest == two.digest == one.digest
    assert (one.resumed, two.resumed) == ((), ())
    (resumed,) = lost.resumed
    assert 20 <= resumed < 235
    assert not (tmp_path / LOST.name / "node2" / "checkpoint.pt").exists()  # it was sent


def test_what_a_launcher_says_of_a_failure_is_told(
    rooms: Rooms, tmp_path: Path, mnist_dir: Path
) -> None:
    with pytest.raises(RuntimeError, match="--epochs"):
        ONE.train(rooms, tmp_path, mnist_dir, epochs=-1)
