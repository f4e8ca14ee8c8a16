"""Helpers for tests of whole trainings in process."""

from typing import Any

from mnist_cli.config import TrainConfig
from mnist_cli.events import End, Event, Step
from mnist_cli.run import train


def end_of(config: TrainConfig, **options: Any) -> End:
    *_, end = train(config, **options)
    assert isinstance(end, End)
    return end


def steps(events: list[Event]) -> list[Step]:
    return [event for event in events if isinstance(event, Step)]
