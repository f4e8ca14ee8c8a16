"""Helpers for tests of whole trainings."""

import json
import signal
from collections.abc import Callable
from typing import Any

from mnist_cli.config.train import TrainConfig
from mnist_cli.events import End, Event, Step
from mnist_cli.runtime.signals import StopSignals
from mnist_cli.training.train import train

Configure = Callable[..., TrainConfig]


def end_of(config: TrainConfig, **options: Any) -> End:
    *_, end = train(config, **options)
    assert isinstance(end, End)
    return end


def steps(events: list[Event]) -> list[Step]:
    return [event for event in events if isinstance(event, Step)]


class SignalAt(StopSignals):
    """Has a signal come at the nth look for one."""

    place, looks = 0, 0

    def check_stop(self) -> None:
        type(self).looks += 1
        if self.looks == self.place:
            signal.raise_signal(signal.SIGTERM)
        super().check_stop()


def objects(out: str) -> list[dict[str, Any]]:
    """Return the events of --json."""
    return [json.loads(line) for line in out.splitlines()]
