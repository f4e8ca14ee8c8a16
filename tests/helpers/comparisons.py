"""Helpers of the tests of comparisons."""

from typing import Any

from mnist_cli.comparison.compare import compare
from mnist_cli.config.compare import CompareConfig
from mnist_cli.events import Event, to_dict


def run(config: CompareConfig) -> list[Event]:
    return list(compare(config))


def of(kind: type, events: list[Event]) -> list[Any]:
    return [event for event in events if isinstance(event, kind)]


def timeless(events: list[Event]) -> list[dict[str, Any]]:
    """Return the lasting events without what a clock says."""
    clocks = ("seconds", "train_seconds", "time", "busy_share")
    clocks += ("update_seconds", "update_seconds_iqr")
    return [
        {k: v for k, v in to_dict(event).items() if k not in clocks}
        for event in events
        if event.lasting
    ]
