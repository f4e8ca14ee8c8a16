"""An arm under way: a training that is measured as it goes."""

import math
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TypeVar

from mnist_cli.comparison.events import Change, Point, RunEnd, RunProgress
from mnist_cli.comparison.plan import Run
from mnist_cli.comparison.stats import sample
from mnist_cli.data.datasets import Split
from mnist_cli.errors import DivergedError
from mnist_cli.evaluation.evaluate import evaluate
from mnist_cli.evaluation.metrics import EvaluationResult
from mnist_cli.events import Event, Progress, Step
from mnist_cli.models.digest import weights_sha256
from mnist_cli.runtime.signals import StopRequested, StopSignals
from mnist_cli.runtime.threads import ThreadPool
from mnist_cli.training.distributed import RunningSums
from mnist_cli.training.probes.probes import Probes
from mnist_cli.training.state import TrainingState
from mnist_cli.training.trainer import Trainer

E = TypeVar("E", bound=Event)

SPREAD = 12  # points, evenly spread over an arm whose end is known; earlier there are closer ones
_GROWTH, CHECK_GROWTH = 1.5, 1.05  # from one point to the next otherwise; of checks of the target


@dataclass(frozen=True)
class SharedData:
    """What the arms of a comparison share: samples, and who computes."""

    train: Split
    val: Split
    test: Split
    pool: ThreadPool
    clock: Callable[[], float]
    machine: str = ""


class RunTraining:
    """An arm under way: its training's state, and the record of what was measured so far."""

    def __init__(
        self,
        arm: Run,
        material: SharedData,
        state: TrainingState,
        record: list[Event],
        train_seconds: float,
    ) -> None:
        self.arm = arm
        self.state = state
        self.record = record
        self._material = material
        self._trainer = Trainer(
            arm.config, state, material.train, pool=material.pool, clock=material.clock
        )
        self._trainer.train_seconds = train_seconds
        if arm.end_updates:
            self._trainer.planned = arm.end_updates  # a schedule runs over the arm's own updates
        self._probes = Probes(arm.config, material.train, material.pool, material.clock)
        # By update and split, of this update only.
        self._scores: dict[tuple[int, str], EvaluationResult] = {}
        self._watched_loss: float | None = None
        self._places, self._checks = _Grid(_GROWTH), _Grid(CHECK_GROWTH)
        end = arm.end_updates
        self._spread = {k * end // SPREAD for k in range(SPREAD)} if end else None

    @property
    def train_seconds(self) -> float:
        """The seconds that went into its updates."""
        return self._trainer.train_seconds

    def events(self, signals: StopSignals) -> Iterator[Event]:
        """Train and measure to the end; without an `RunEnd` if a signal came first.

        What was recorded before comes first, so that an arm that goes on tells the whole story.

        Raises:
            StopRequested: a signal came while something was measured, and the record lacks it.

        """
        yield from list(self.record)
        try:
            if not self.record:
                yield from self._measure()
            self._look_ahead()
            while not self._ended() and not signals.error:
                yield from self._train_epoch(signals)
            if not signals.error:
                yield from self._finish()
        except DivergedError:
            yield self._keep(self._end("diverged"))

    def _train_epoch(self, signals: StopSignals) -> Iterator[Event]:
        """Train to the end of the epoch, of the arm, or to a signal."""
        for event in self._updates():
            if isinstance(event, Progress):
                yield self._progress(event)
                if signals.error:
                    return
            else:
                if event.update % self._trainer.shape.updates == 0:
                    self.state.sums = RunningSums()
                yield from self._measure()
                self._look_ahead()
                if signals.error or self._ended():
                    return

    def _updates(self) -> Iterator[Step | Progress]:
        """Make the updates of an epoch; a signal ends them, and leaves a state to be saved."""
        with suppress(StopRequested):
            yield from self._trainer.finish_epoch()

    def _ended(self) -> bool:
        """Tell whether the budget is spent or the target reached."""
        config, update = self.arm.config, self.state.update
        if config.max_seconds is not None and self.train_seconds >= config.max_seconds:
            return True
        return self._reached() or update >= (self.arm.end_updates or self._trainer.planned)

    def _reached(self) -> bool:
        wanted, update = self.arm.config.until_accuracy, self.state.update
        if wanted is None or not update:
            return False
        if not self._checks.has(update) and update < self._trainer.planned:
            return False
        return self._score("val").accuracy >= wanted

    def _measure(self) -> Iterator[Event]:
        """Measure what is due after the update that was just made, or before the first."""
        update = self.state.update
        if self._watched_loss is not None:
            after = self._score("train").loss
            yield self._keep(Change(self.clock(), self.arm.name, update, self._watched_loss, after))
        if self.arm.purpose == "trial" or self._ended():
            return
        early = self.arm.end_updates and update * SPREAD < self.arm.end_updates
        if self._is_watched(update) or (early and update.bit_count() == 1):
            yield self._keep(self._point())
        if update == 0 or (self._probes.due(update) and not self.arm.probe_ends):
            yield from self._probe()

    def _look_ahead(self) -> None:
        """Measure the loss before the update to come, if that is watched."""
        watched = self._is_watched(self.state.update) and self.arm.purpose != "trial"
        self._watched_loss = self._score("train").loss if watched else None

    def _is_watched(self, update: int) -> bool:
        """Tell whether the loss is measured after so many updates, and after one more."""
        return self._places.has(update) if self._spread is None else update in self._spread

    def _finish(self) -> Iterator[Event]:
        """Measure the end, and close the record."""
        point = self._point()
        if self.arm.purpose != "trial":
            yield self._keep(point)
            yield from self._probe()
        wanted = self.arm.config.until_accuracy
        reason = "until-accuracy" if self._reached() else "gave-up" if wanted else "completed"
        yield self._keep(self._end(reason, point))

    def _probe(self) -> Iterator[Event]:
        if not self.arm.config.probe:
            return
        self.state.check_finite()
        for event in self._probes.measure(
            self.state.model,
            update=self.state.update,
            samples_seen=self._trainer.samples_seen,
            lr=self._trainer.lr,
        ):
            yield self._keep(replace(event, arm=self.arm.name))

    def _score(self, split: str) -> EvaluationResult:
        """Return the score on a whole split as the network is now.

        Raises:
            DivergedError: the loss is not finite.

        """
        key = (self.state.update, split)
        if key not in self._scores:
            samples: Split = getattr(self._material, split)
            score = evaluate(self.state.model, samples, pool=self._material.pool)
            if not math.isfinite(score.loss):
                raise DivergedError(f"the {split} loss is {score.loss}")
            others = {k: v for k, v in self._scores.items() if k[0] == key[0]}
            self._scores = {**others, key: score}
        return self._scores[key]

    def _point(self) -> Point:
        train, test = self._score("train"), self._score("test")
        val = self._score("val") if len(self._material.val) else None
        return Point(
            seconds=self.clock(),
            arm=self.arm.name,
            batch_size=self.arm.batch_size,
            seed=self.arm.config.seed,
            update=self.state.update,
            samples_seen=self._trainer.samples_seen,
            train_seconds=self.train_seconds,
            train_loss=train.loss,
            train_accuracy=train.accuracy,
            test_loss=test.loss,
            test_accuracy=test.accuracy,
            val_loss=val.loss if val else None,
            val_accuracy=val.accuracy if val else None,
        )

    def _end(self, reason: str, point: Point | None = None) -> RunEnd:
        changes = [c.after - c.before for c in self.record if isinstance(c, Change)]
        return RunEnd(
            seconds=self.clock(),
            arm=self.arm.name,
            batch_size=self.arm.batch_size,
            seed=self.arm.config.seed,
            lr=self.arm.config.lr,
            reason=reason,
            update=self.state.update,
            samples_seen=self._trainer.samples_seen,
            train_seconds=self.train_seconds,
            train_loss=point.train_loss if point else None,
            train_accuracy=point.train_accuracy if point else None,
            test_loss=point.test_loss if point else None,
            test_accuracy=point.test_accuracy if point else None,
            val_loss=point.val_loss if point else None,
            val_accuracy=point.val_accuracy if point else None,
            watched=len(changes),
            rises=sum(change > 0 for change in changes),
            change_deviation=sample(changes).deviation if changes[1:] else None,
            weights_sha256=weights_sha256(self.state.model.state_dict()) if point else None,
            machine=self._material.machine,
        )

    def _progress(self, event: Progress) -> RunProgress:
        config, end = self.arm.config, self.arm.end_updates
        share = None
        if end:
            share = event.samples_seen / self._trainer.shape.samples_seen(end)
        elif config.max_seconds:
            share = self.train_seconds / config.max_seconds
        return RunProgress(
            seconds=event.seconds,
            update=self.state.update,
            samples_seen=event.samples_seen,
            loss=event.loss,
            share=None if share is None else min(share, 1.0),
        )

    def _keep(self, event: E) -> E:
        self.record.append(event)
        return event

    def clock(self) -> float:
        """Return the seconds since the start of the comparison."""
        return self._material.clock()


class _Grid:
    """The numbers 0, 1, 2, … of which each is `growth` times the one before, rounded up."""

    def __init__(self, growth: float) -> None:
        self._growth = growth
        self._place = 0

    def has(self, number: int) -> bool:
        """Tell whether a number is one of them; asked of numbers that do not fall."""
        while self._place < number:
            self._place = max(self._place + 1, math.ceil(self._place * self._growth))
        return self._place == number
