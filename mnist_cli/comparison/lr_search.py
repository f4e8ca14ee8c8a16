"""The search for a batch size's learning rate, and for the range of rates that it bears."""

import math
from collections.abc import Callable, Generator
from dataclasses import dataclass, field, replace

from mnist_cli.comparison.events import RunEnd, Trial, Tuned
from mnist_cli.comparison.plan import Run
from mnist_cli.data.catalogue import CLASSES
from mnist_cli.events import Event

STABLE_LOSS = math.log(CLASSES) / 2  # a training that gets below it is called stable
_LOWEST, _HIGHEST = -18, 9  # places on the grid: rates from 1e-6 to 1000

RunArm = Callable[[Run], Generator[Event, None, RunEnd]]


def grid(place: int) -> float:
    """Return a rate of the grid … 0.1, 0.2, 0.5, 1, 2, 5 …; place 0 is 1."""
    return float(f"{(1, 2, 5)[place % 3]}e{place // 3}")


def nearest(rate: float) -> int:
    """Return the place of the grid's rate that is nearest on a logarithmic scale."""
    places = range(_LOWEST, _HIGHEST + 1)
    return min(places, key=lambda place: abs(math.log(grid(place) / max(rate, 1e-12))))


@dataclass
class Search:
    """Trials of one arm at rates of the grid, each a training to the arm's own budget.

    Trials are judged by the loss on held-out samples, or by the updates that the target took. If
    `hurried`, a trial ends when it has made as many updates as the best took to the target.
    """

    arm: Run
    run: RunArm
    hurried: bool = True
    ends: dict[int, RunEnd] = field(default_factory=dict)

    def best(self) -> Generator[Event, None, int]:
        """Climb from the arm's rate to one that is better than its neighbours; return its place."""
        place = nearest(self.arm.config.lr)
        while True:
            around = [k for k in (place, place + 1, place - 1) if _LOWEST <= k <= _HIGHEST]
            for k in around:
                yield from self._try(k)
            better = min(around, key=self._badness)
            if better == place:
                return place
            place = better

    def stable(self, place: int) -> Generator[Event, None, tuple[int, int] | None]:
        """Return the ends of the range around a place in which every rate trained stably."""
        yield from self._try(place)
        if not is_stable(self.ends[place]):
            return None
        low = high = place
        while high < _HIGHEST and (yield from self._bears(high + 1)):
            high += 1
        while low > _LOWEST and (yield from self._bears(low - 1)):
            low -= 1
        return low, high

    def event(self, seconds: float, place: int, stable: tuple[int, int] | None) -> Tuned:
        """Return what the search came to."""
        return Tuned(
            seconds=seconds,
            batch_size=self.arm.batch_size,
            seed=self.arm.config.seed,
            lr=grid(place),
            tried=[_trial(grid(k), self.ends[k]) for k in sorted(self.ends)],
            train_seconds=sum(end.train_seconds for end in self.ends.values()),
            stable_from=grid(stable[0]) if stable else None,
            stable_to=grid(stable[1]) if stable else None,
            at_edge=place in (_LOWEST, _HIGHEST),
        )

    def _bears(self, place: int) -> Generator[Event, None, bool]:
        yield from self._try(place)
        return is_stable(self.ends[place])

    def _try(self, place: int) -> Generator[Event, None, None]:
        if place not in self.ends:
            arm = replace(self.arm, config=replace(self.arm.config, lr=grid(place)))
            if arm.config.until_accuracy is not None and self.hurried:
                reached = [e.update for e in self.ends.values() if e.reason == "until-accuracy"]
                arm = replace(arm, end_updates=min(reached, default=None))
            self.ends[place] = yield from self.run(arm)

    def _badness(self, place: int) -> tuple[float, float]:
        end = self.ends[place]
        if end.reason == "diverged":
            return (2, place)  # the smaller one, to come away from there
        if end.reason == "until-accuracy":
            return (0, end.update)
        if self.arm.config.until_accuracy is not None:
            return (1, -(end.val_accuracy or 0.0))
        assert end.val_loss is not None
        return (0, end.val_loss)


def is_stable(end: RunEnd) -> bool:
    """Tell whether a training got half of the way from guessing, ln 10, to no loss at all."""
    return end.train_loss is not None and end.train_loss <= STABLE_LOSS


def _trial(lr: float, end: RunEnd) -> Trial:
    return Trial(
        lr=lr,
        reason=end.reason,
        update=end.update,
        train_seconds=end.train_seconds,
        train_loss=end.train_loss,
        val_loss=end.val_loss,
        val_accuracy=end.val_accuracy,
        stable=is_stable(end),
    )
