"""One run of a comparison: a training that is measured as it goes."""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from statistics import median, quantiles
from typing import Any, TypeVar

from torch import Tensor

from mnist_cli.comparison.events import BatchLosses, Change, Point, RunEnd, RunProgress
from mnist_cli.comparison.path import Path
from mnist_cli.comparison.run import Run
from mnist_cli.comparison.stats import mean_and_deviation
from mnist_cli.comparison.thinned import Thinned
from mnist_cli.data.splits import Split
from mnist_cli.errors import DivergedError
from mnist_cli.evaluation.metrics import EvaluationResult
from mnist_cli.events import Event, ProbeEvent, ProbeStart, Progress, Step
from mnist_cli.models.networks import weights_sha256
from mnist_cli.runtime.cores import BusyCores
from mnist_cli.runtime.device import ThreadPool
from mnist_cli.runtime.distributed.group import ProcessGroup
from mnist_cli.runtime.signals import StopRequested, StopSignals
from mnist_cli.training.loop import RunningSums
from mnist_cli.training.state import TrainingState
from mnist_cli.training.stop_rule import StopReason, StopRule
from mnist_cli.training.trainer import Callback, Trainer

E = TypeVar("E", bound=Event)

MAX_BATCH_LOSSES = 500  # of a run
_MAX_UPDATE_TIMES = 500  # likewise
SPREAD = 12  # points, evenly spread over a run whose end is known; closer at its start
_GROWTH = 1.5  # from the update of a point to that of the next, if the end is unknown
CHECK_GROWTH = 1.05  # likewise, from one check of the target accuracy to the next


@dataclass(frozen=True)
class SharedData:
    """What the runs of a comparison with the same seed share: samples, threads, clock, probes.

    Their weights are the same at the start, `weights` or drawn from the seed, so that the probes
    measure these once.
    """

    train: Split
    val: Split
    test: Split
    pool: ThreadPool
    clock: Callable[[], float]
    machine: str = ""
    initial_probes: dict[str, Any] = field(default_factory=dict)
    records_path: bool = False
    weights: Mapping[str, Tensor] | None = None

    def new_state(self, run: Run) -> TrainingState:
        """Return the state of a run before its first update."""
        return TrainingState(run.config, self.train.device, self.weights)


class RunTraining(Callback):
    """The training of a run: its state, and the record of the events so far."""

    def __init__(
        self,
        run: Run,
        data: SharedData,
        state: TrainingState,
        record: list[Event],
        train_seconds: float,
        *,
        snapshots: dict[int, Tensor] | None = None,
    ) -> None:
        self.run = run
        # A run whose snapshots were lost records no more of them: they would lack its start.
        has_path = data.records_path and not run.is_trial and (snapshots or not record)
        self.path = Path(snapshots or {}) if has_path else None
        self.state = state
        self.record = [event for event in record if not isinstance(event, BatchLosses)]
        self.clock = data.clock
        self._data = data
        self._group = ProcessGroup()
        self._trainer = Trainer(
            run.config,
            state,
            data.train,
            pool=data.pool,
            clock=data.clock,
            group=self._group,
            planned=run.end_updates,  # the schedule runs over the run's own updates
            train_seconds=train_seconds,
            initial_probes=data.initial_probes,
            fills_caches=True,
        )
        self._stop = StopRule(
            planned=self._trainer.planned,
            max_updates=run.config.max_updates,
            max_seconds=run.config.max_seconds,
            until_accuracy=run.config.until_accuracy,
            seconds=lambda: self._trainer.train_seconds,
            val_accuracy=self._val_accuracy,
        )
        self._record_is_complete = True  # up to the state's update
        # By update and split, of the last update only.
        self._scores: dict[tuple[int, str], EvaluationResult] = {}
        self._loss_before: float | None = None
        kept = [event for event in record if isinstance(event, BatchLosses)]
        losses = dict(zip(kept[-1].updates, kept[-1].losses, strict=True)) if kept else {}
        self._batch_losses = Thinned(MAX_BATCH_LOSSES, losses)
        self._update_seconds = Thinned[float](_MAX_UPDATE_TIMES, {})
        self._seconds_before = train_seconds
        self._busy_cores = BusyCores()
        self._growing_steps = _GeometricSteps(_GROWTH)
        self._target_checks = _GeometricSteps(CHECK_GROWTH)
        end = run.end_updates
        self._spread = {k * end // SPREAD for k in range(SPREAD)} if end else None

    @property
    def train_seconds(self) -> float:
        """The seconds that its updates took."""
        return self._trainer.train_seconds

    def _add_to_path(self) -> None:
        if self.path is not None:
            self.path.add(self.state.update, self.state.model)

    def batch_losses(self) -> BatchLosses:
        """Return the losses of the updates so far, or of evenly spread ones of many."""
        losses = self._batch_losses.values
        return BatchLosses(self.clock(), self.run.name, [*losses], [*losses.values()])

    def events(self, signals: StopSignals) -> Iterator[Event]:
        """Train and measure to the end; yield a `RunEnd` last, unless a signal came first.

        The events before an interruption come first, so that a resumed run yields all its events.

        Raises:
            StopRequested: a signal came while something was measured, and the record lacks it.

        """
        self._group.listen(signals, self.clock)
        yield from list(self.record)
        try:
            reason = yield from self._trainer.run(self._stop, self)
            yield from self._finish(reason)
        except StopRequested:
            if not self._record_is_complete:
                raise
        except DivergedError:
            if not self.run.is_trial:
                yield self._keep(self.batch_losses())
            yield self._keep(self._end("diverged"))

    def before_training(self) -> Iterator[Event]:
        """Measure the network as it is at the start."""
        if not self.record:
            self._add_to_path()
            yield from self._measure()
        self._measure_loss_before_update()

    def after_micro_batch(self, progress: Progress) -> Iterator[Event]:
        """Report the progress."""
        yield self._progress(progress)

    def after_update(self, step: Step) -> Iterator[Event]:
        """Measure what is due, and the loss before the next update."""
        self._update_seconds.add(step.update, self.train_seconds - self._seconds_before)
        self._seconds_before = self.train_seconds
        self._batch_losses.add(step.update, float(f"{step.loss:.5g}"))
        self._add_to_path()
        yield from self._measure()
        self._measure_loss_before_update()

    def after_epoch(self) -> Iterator[Event]:
        """Reset the running sums, which are not reported."""
        self.state.sums = RunningSums()
        yield from ()

    def _val_accuracy(self) -> float | None:
        """Return the validation accuracy, or `None` if the target is not checked now."""
        update = self.state.update
        if update and (self._target_checks.includes(update) or update >= self._trainer.planned):
            return self._score("val").accuracy
        return None

    def _measure(self) -> Iterator[Event]:
        """Measure what is due after an update, or before the first one."""
        self._record_is_complete = False
        update = self.state.update
        if self._loss_before is not None:
            after = self._score("train").loss
            yield self._keep(Change(self.clock(), self.run.name, update, self._loss_before, after))
        if not self.run.is_trial and not self._stop.reason(update):
            early = self.run.end_updates and update * SPREAD < self.run.end_updates
            if self._is_monitored(update) or (early and update.bit_count() == 1):
                yield self._keep(self._point())
            if update == 0:
                yield from self._probe()
            elif not self.run.probe_ends:
                yield from self._named(self._trainer.probe_if_due())
        self._record_is_complete = True

    def _measure_loss_before_update(self) -> None:
        """Measure the loss before the next update, if that is monitored."""
        monitored = self._is_monitored(self.state.update) and not self.run.is_trial
        self._loss_before = self._score("train").loss if monitored else None

    def _is_monitored(self, update: int) -> bool:
        """Return True if the loss is measured after `update` updates and after one more."""
        return (
            self._growing_steps.includes(update) if self._spread is None else update in self._spread
        )

    def _finish(self, stop_reason: StopReason) -> Iterator[Event]:
        """Measure the network at the end, and complete the record."""
        self._record_is_complete = False
        point = self._point()
        if not self.run.is_trial:
            yield self._keep(point)
            yield from self._probe()
            yield self._keep(self.batch_losses())
        reason: str = stop_reason
        if reason != "until-accuracy":
            reason = "completed" if self.run.config.until_accuracy is None else "gave-up"
        yield self._keep(self._end(reason, point))

    def _probe(self) -> Iterator[Event]:
        yield from self._named(self._trainer.probe())

    def _named(self, probes: Iterator[ProbeStart | ProbeEvent]) -> Iterator[Event]:
        """Add the run's name to the probes' events, and keep those."""
        for event in probes:
            if isinstance(event, ProbeStart):
                yield event
            else:
                yield self._keep(replace(event, arm=self.run.name))

    def _score(self, split: str) -> EvaluationResult:
        """Evaluate the network on a whole split, once for every update.

        Raises:
            DivergedError: the loss is not finite.

        """
        key = (self.state.update, split)
        if key not in self._scores:
            score = self._trainer.evaluate(getattr(self._data, split), split)
            others = {k: v for k, v in self._scores.items() if k[0] == key[0]}
            self._scores = {**others, key: score}
        return self._scores[key]

    def _point(self) -> Point:
        train, test = self._score("train"), self._score("test")
        val = self._score("val") if len(self._data.val) else None
        return Point(
            seconds=self.clock(),
            arm=self.run.name,
            batch_size=self.run.batch_size,
            seed=self.run.config.seed,
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
        times = [*self._update_seconds.values.values()]
        quartiles = quantiles(times, n=4) if times[1:] else None
        return RunEnd(
            seconds=self.clock(),
            arm=self.run.name,
            batch_size=self.run.batch_size,
            seed=self.run.config.seed,
            lr=self.run.config.lr,
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
            change_deviation=mean_and_deviation(changes).deviation if changes[1:] else None,
            weights_sha256=weights_sha256(self.state.evaluated.state_dict()) if point else None,
            machine=self._data.machine,
            busy_share=self._busy_cores.share_taken(self._data.pool.size),
            update_seconds=median(times) if times else None,
            update_seconds_iqr=quartiles[2] - quartiles[0] if quartiles else None,
        )

    def _progress(self, event: Progress) -> RunProgress:
        config, end = self.run.config, self.run.end_updates
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


def next_check(update: int) -> int:
    """Return the update after which the target is checked next."""
    return max(update + 1, math.ceil(update * CHECK_GROWTH))


def scored_updates(end: int) -> tuple[int, int]:
    """Return how often a run of `end` updates is scored on the training set, and on other splits.

    The loss before and after an update that is monitored needs the training set alone.
    """
    monitored = {k * end // SPREAD for k in range(SPREAD)}
    early = {1 << k for k in range(end.bit_length()) if SPREAD << k < end}
    points = monitored | early | {end}
    return len(points | {update + 1 for update in monitored}), len(points)


class _GeometricSteps:
    """The numbers from 0 of which each is `growth` times the one before, rounded up.

    They grow by 1 at least: for a growth of 1.5 they are 0, 1, 2, 3, 5, 8, 12, …
    """

    def __init__(self, growth: float) -> None:
        self._growth = growth
        self._place = 0

    def includes(self, number: int) -> bool:
        """Return True if a number is one of them; numbers must not decrease from call to call."""
        while self._place < number:
            self._place = max(self._place + 1, math.ceil(self._place * self._growth))
        return self._place == number
