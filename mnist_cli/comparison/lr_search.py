"""Search for a variant's best learning rate, and for the range of rates that train stably."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from statistics import fmean

from mnist_cli.comparison.events import RunEnd, Trial, Tuned
from mnist_cli.comparison.run import Run

FLAT = 1.1  # rates are as good as the best if they cost up to this factor more
_DECADE = (1, 1.5, 2, 3, 5, 7)  # the grid; its coarse half is 1, 2, 5
_COARSE = 2
_LOWEST, _HIGHEST = -36, 18  # indices on the grid: rates from 1e-6 to 1000
_PATIENCE = 3  # times the updates of the best trial, after which one in the final choice gives up
_MISSED, _DIVERGED = 1, 2  # what is worse than any cost of a trial: see `Search._cost`


def stable_loss(classes: int) -> float:
    """Return the training loss below which a training is called stable: half that of guessing."""
    return math.log(classes) / 2


def rate_at(index: int) -> float:
    """Return a rate of the grid … 0.1, 0.15, 0.2, 0.3, 0.5, 0.7, 1 …; index 0 is 1."""
    return float(f"{_DECADE[index % len(_DECADE)]}e{index // len(_DECADE)}")


def nearest_index(rate: float, step: int = 1) -> int:
    """Return the index of the grid's rate that is nearest on a logarithmic scale.

    Only every `step`-th rate counts.
    """
    indices = range(_LOWEST, _HIGHEST + 1, step)
    return min(indices, key=lambda index: abs(math.log(rate_at(index) / max(rate, 1e-12))))


@dataclass
class Search:
    """A search over a grid of learning rates; each trial is a training with the run's budget.

    It climbs on the coarse grid with the first of `seeds`, until both neighbours of a rate are
    worse. If it has to `refine`, the rates halfway to them are tried, too, and the three with all
    seeds; the best on average wins. `find_range` extends the coarse grid to the first rates that
    do not train stably.

    Trials are compared by the validation loss, or by the updates to the target accuracy. In the
    latter case a trial of the climb ends after 10 % more updates than the best trial took to the
    target, unless `find_range` is set.
    """

    run: Run
    seeds: range = range(1)
    refine: bool = False
    find_range: bool = False
    classes: int = 10
    ends: dict[tuple[int, int], RunEnd] = field(default_factory=dict)  # by index and seed

    def next_trial(self) -> Run | None:
        """Return the trial that the search needs next, or `None` if it is complete."""
        best = self._climb()
        wanted = [(best, self.seeds[0]), *self._finals(best)]
        if self._end(best) and self.find_range:
            wanted.append((self._extend(best), self.seeds[0]))
        return next((self._trial(*each) for each in wanted if each not in self.ends), None)

    def add(self, end: RunEnd) -> None:
        """Add the end of a trial."""
        self.ends[nearest_index(end.lr), end.seed] = end

    def result(self) -> Tuned:
        """Return the best rate, and the range of stable rates around it, of a complete search."""
        coarse = self._climb()
        best = min([coarse, *(index for index, _ in self._finals(coarse))], key=self._rank)
        stable = sorted(self._around(coarse, _COARSE, self._is_stable)) if self.find_range else []
        flat = self._flat(best)
        return Tuned(
            seconds=0.0,
            batch_size=self.run.batch_size,
            setting=self.run.variant.setting,
            seed=self.seeds[0],
            lr=rate_at(best),
            tried=[self._tried(end) for _, end in sorted(self.ends.items())],
            train_seconds=sum(end.train_seconds for end in self.ends.values()),
            stable_from=rate_at(stable[0]) if stable else None,
            stable_to=rate_at(stable[-1]) if stable else None,
            at_edge=best in (_LOWEST, _HIGHEST),
            seeds=len(self.seeds) if self.refine else 1,
            flat_from=rate_at(flat[0]) if flat else None,
            flat_to=rate_at(flat[-1]) if flat else None,
        )

    def _end(self, index: int) -> RunEnd | None:
        """Return the end of a rate's trial with the first seed, if it has ended."""
        return self.ends.get((index, self.seeds[0]))

    def _climb(self) -> int:
        """Return the index of the next rate of the hill climb, or of the best if it is over."""
        best = nearest_index(self.run.config.lr, _COARSE)
        while True:
            steps = (best, best + _COARSE, best - _COARSE)
            around = [k for k in steps if _LOWEST <= k <= _HIGHEST]
            untried = [k for k in around if self._end(k) is None]
            if untried:
                return untried[0]
            better = min(around, key=lambda k: self._rank(k, self.seeds[:1]))
            if better == best:
                return best
            best = better

    def _finals(self, best: int) -> list[tuple[int, int]]:
        """Return the rates and seeds among which the choice is made, once the climb is over."""
        end = self._end(best)
        if not self.refine or end is None or end.reason == "diverged":
            return []
        rates = [k for k in (best, best - 1, best + 1) if _LOWEST <= k <= _HIGHEST]
        return [(k, seed) for seed in self.seeds for k in rates]

    def _extend(self, best: int) -> int:
        """Return the index of an untried rate beside the stable ones, or `best` if none is left."""
        stable = self._around(best, _COARSE, self._is_stable)
        if not stable:
            return best
        for k in (max(stable) + _COARSE, min(stable) - _COARSE):
            if _LOWEST <= k <= _HIGHEST and self._end(k) is None:
                return k
        return best

    def _around(self, best: int, step: int, condition: Callable[[RunEnd], bool]) -> set[int]:
        """Return the indices of the contiguous rates around `best` whose trials fulfil it."""
        found: set[int] = set()
        for direction in (step, -step):
            k = best
            while (end := self._end(k)) is not None and condition(end):
                found.add(k)
                k += direction
        return found

    def _flat(self, best: int) -> list[int]:
        """Return the indices of the tried rates that are about as good as `best`, in order."""
        end = self._end(best)
        if end is None or self._cost(end)[0]:
            return []
        most = self._cost(end)[1] + math.log(FLAT)
        tried = sorted(k for k, seed in self.ends if seed == self.seeds[0])
        place, found = tried.index(best), {best}
        for beside in (tried[place + 1 :], tried[:place][::-1]):
            for k in beside:
                kind, cost = self._cost(self.ends[k, self.seeds[0]])
                if kind or cost > most:
                    break
                found.add(k)
        return sorted(found)

    def _trial(self, index: int, seed: int) -> Run:
        config = replace(self.run.config, lr=rate_at(index), seed=seed)
        if config.order_seed is not None:
            config = replace(config, order_seed=config.order_seed + seed - self.seeds[0])
        run = replace(self.run, config=config)
        if config.until_accuracy is not None and not self.find_range:
            first = [end for (_, own), end in self.ends.items() if own == self.seeds[0]]
            reached = [end.update for end in first if end.reason == "until-accuracy"]
            is_final = seed != self.seeds[0] or index % _COARSE
            if reached:
                most = math.ceil((_PATIENCE if is_final else FLAT) * min(reached))
                run = replace(run, end_updates=most)
        return run

    def _rank(self, index: int, seeds: Sequence[int] | None = None) -> tuple[float, float]:
        """Return a key by which rates are sorted, the best first: over all seeds, or over some."""
        ends = [self.ends.get((index, seed)) for seed in seeds or self.seeds]
        costs = [self._cost(end) for end in ends if end is not None]
        worst = max(kind for kind, _ in costs)
        if worst == _DIVERGED:
            return (worst, index)  # smaller rates first
        return (worst, fmean(cost for kind, cost in costs if kind == worst))

    def _cost(self, end: RunEnd) -> tuple[int, float]:
        """Return whether a trial did what it should, and the logarithm of what it took."""
        if end.reason == "diverged":
            return (_DIVERGED, 0.0)
        if end.reason == "until-accuracy":
            return (0, math.log(max(end.update, 1)))
        if self.run.config.until_accuracy is not None:
            return (_MISSED, -(end.val_accuracy or 0.0))
        return (0, math.inf if end.val_loss is None else math.log(max(end.val_loss, 1e-30)))

    def _is_stable(self, end: RunEnd) -> bool:
        return end.train_loss is not None and end.train_loss <= stable_loss(self.classes)

    def _tried(self, end: RunEnd) -> Trial:
        return Trial(
            lr=end.lr,
            reason=end.reason,
            update=end.update,
            train_seconds=end.train_seconds,
            train_loss=end.train_loss,
            val_loss=end.val_loss,
            val_accuracy=end.val_accuracy,
            stable=self._is_stable(end),
            seed=end.seed,
        )
