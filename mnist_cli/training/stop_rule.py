"""The stop rule: the limits that end a run.

A signal and a divergence end a run as well: as `StopRequested` and `DivergedError`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

StopReason = Literal["completed", "max-updates", "max-seconds", "until-accuracy"]


@dataclass(frozen=True)
class StopRule:
    """Stops a run at the first of its limits; a limit of `None` is none.

    `planned` is the number of updates after which the run is complete. `seconds` returns the time
    that counts against `max_seconds`. `val_accuracy` returns the latest validation accuracy, or
    `None`; it may evaluate the network, and raise what that raises. Both are called only if there
    is such a limit.
    """

    planned: int
    max_updates: int | None
    max_seconds: float | None
    until_accuracy: float | None
    seconds: Callable[[], float]
    val_accuracy: Callable[[], float | None]

    def reason(self, update: int) -> StopReason | None:
        """Return why a run stops after `update` updates, or `None` if it goes on."""
        if self.has_reached_accuracy():
            return "until-accuracy"
        if update >= self.planned:
            return "completed"
        if self.max_updates is not None and update >= self.max_updates:
            return "max-updates"
        if self.max_seconds is not None and self.seconds() >= self.max_seconds:
            return "max-seconds"
        return None

    def has_reached_accuracy(self) -> bool:
        """Return True if there is a target, and the validation accuracy has reached it."""
        if self.until_accuracy is None:
            return False
        accuracy = self.val_accuracy()
        return accuracy is not None and accuracy >= self.until_accuracy
