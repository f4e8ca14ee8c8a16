"""Search for a batch size's best learning rate, and for the range of rates that train stably."""

import math
from dataclasses import dataclass, field, replace

from mnist_cli.comparison.events import RunEnd, Trial, Tuned
from mnist_cli.comparison.run import Run
from mnist_cli.data.catalogue import CLASSES

STABLE_LOSS = math.log(CLASSES) / 2  # a training that gets below it is called stable
_LOWEST, _HIGHEST = -18, 9  # indices on the grid: rates from 1e-6 to 1000


def rate_at(index: int) -> float:
    """Return a rate of the grid … 0.1, 0.2, 0.5, 1, 2, 5 …; index 0 is 1."""
    return float(f"{(1, 2, 5)[index % 3]}e{index // 3}")


def nearest_index(rate: float) -> int:
    """Return the index of the grid's rate that is nearest on a logarithmic scale."""
    indices = range(_LOWEST, _HIGHEST + 1)
    return min(indices, key=lambda index: abs(math.log(rate_at(index) / max(rate, 1e-12))))


@dataclass
class Search:
    """A search over the grid of learning rates; each trial is a training with the run's budget.

    Trials are compared by the validation loss, or by the updates to the target accuracy. In the
    latter case a trial ends after as many updates as the best trial took to the target, unless
    `find_range` is set, which also searches the range of rates that train stably.
    """

    run: Run
    find_range: bool = False
    ends: dict[int, RunEnd] = field(default_factory=dict)  # by index on the grid

    def next_trial(self) -> Run | None:
        """Return the trial that the search needs next, or `None` if it is complete."""
        index = self._climb()
        if index in self.ends and self.find_range:
            index = self._extend(index)
        return None if index in self.ends else self._trial(index)

    def add(self, end: RunEnd) -> None:
        """Add the end of a trial."""
        self.ends[nearest_index(end.lr)] = end

    def result(self) -> Tuned:
        """Return the best rate, and the range of stable rates around it, of a complete search."""
        best = self._climb()
        stable = sorted(self._stable_around(best)) if self.find_range else []
        return Tuned(
            seconds=0.0,
            batch_size=self.run.batch_size,
            setting=self.run.variant.setting,
            seed=self.run.config.seed,
            lr=rate_at(best),
            tried=[_tried(rate_at(k), self.ends[k]) for k in sorted(self.ends)],
            train_seconds=sum(end.train_seconds for end in self.ends.values()),
            stable_from=rate_at(stable[0]) if stable else None,
            stable_to=rate_at(stable[-1]) if stable else None,
            at_edge=best in (_LOWEST, _HIGHEST),
        )

    def _climb(self) -> int:
        """Return the index of the next rate of the hill climb, or of the best if it is over."""
        best = nearest_index(self.run.config.lr)
        while True:
            around = [k for k in (best, best + 1, best - 1) if _LOWEST <= k <= _HIGHEST]
            untried = [k for k in around if k not in self.ends]
            if untried:
                return untried[0]
            better = min(around, key=self._rank)
            if better == best:
                return best
            best = better

    def _extend(self, best: int) -> int:
        """Return the index of an untried rate beside the stable ones, or `best` if none is left."""
        stable = self._stable_around(best)
        if not stable:
            return best
        for k in (max(stable) + 1, min(stable) - 1):
            if _LOWEST <= k <= _HIGHEST and k not in self.ends:
                return k
        return best

    def _stable_around(self, best: int) -> set[int]:
        """Return the indices of the contiguous stable rates around the best one."""
        stable: set[int] = set()
        for step in (1, -1):
            k = best
            while k in self.ends and is_stable(self.ends[k]):
                stable.add(k)
                k += step
        return stable

    def _trial(self, index: int) -> Run:
        run = replace(self.run, config=replace(self.run.config, lr=rate_at(index)))
        if run.config.until_accuracy is not None and not self.find_range:
            reached = [e.update for e in self.ends.values() if e.reason == "until-accuracy"]
            run = replace(run, end_updates=min(reached, default=None))
        return run

    def _rank(self, index: int) -> tuple[float, float]:
        """Return a key by which trials are sorted, the best first."""
        end = self.ends[index]
        if end.reason == "diverged":
            return (2, index)  # smaller rates first
        if end.reason == "until-accuracy":
            return (0, end.update)
        if self.run.config.until_accuracy is not None:
            return (1, -(end.val_accuracy or 0.0))
        return (0, math.inf if end.val_loss is None else end.val_loss)


def is_stable(end: RunEnd) -> bool:
    """Return True if the training loss ended below half of that of guessing, ln 10."""
    return end.train_loss is not None and end.train_loss <= STABLE_LOSS


def _tried(lr: float, end: RunEnd) -> Trial:
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
