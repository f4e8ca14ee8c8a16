"""The trainer: it makes updates until a stop rule ends the run, and a callback measures."""

import math
import time
from collections.abc import Callable, Generator, Iterator
from typing import Any

from torch import Tensor, nn

from mnist_cli.config.network_file import shown_name
from mnist_cli.config.train import ResolvedConfig
from mnist_cli.data.augment import augmented
from mnist_cli.data.batches import full_batch, training_shape, training_updates
from mnist_cli.data.splits import Split
from mnist_cli.errors import DivergedError, UsageError
from mnist_cli.evaluation.evaluate import evaluate
from mnist_cli.evaluation.metrics import EvaluationResult
from mnist_cli.events import Event, ProbeEvent, ProbeStart, Progress, Step
from mnist_cli.models.networks import trained_parameters
from mnist_cli.runtime.device import ThreadPool, check_torch_modes
from mnist_cli.runtime.distributed.group import ProcessGroup
from mnist_cli.training.loop import EpochPlan, Update, fit, label_targets
from mnist_cli.training.optim import learning_rate
from mnist_cli.training.probes.probes import Probes
from mnist_cli.training.state import TrainingState
from mnist_cli.training.stop_rule import StopReason, StopRule

_FILLS, _FILL_SAMPLES = 3, 256  # gradients that fill the caches, and the most samples of each


class Callback:
    """Base class of the hooks that a trainer calls between updates.

    Each method yields the events that it adds to the run, here none. Subclasses override
    `after_epoch`, which has to reset the running sums, and whatever else they need.
    """

    def before_training(self) -> Iterator[Event]:
        """Run once, before the first update of this run."""
        yield from ()

    def after_micro_batch(self, progress: Progress) -> Iterator[Event]:
        """Run after every micro-batch, before the stop rule is checked.

        After the last one of an update, `after_update` has run already.
        """
        yield from ()

    def after_update(self, step: Step) -> Iterator[Event]:
        """Run after every update."""
        yield from ()

    def after_epoch(self) -> Iterator[Event]:
        """Run after every epoch, and reset the state's running sums.

        A run that stopped before these were reset begins with this.
        """
        yield from ()


class Trainer:
    """Makes the updates of a resolved config on a training's state.

    `planned` is the number of updates that the learning rate's schedule runs over: those of all
    epochs, if it is not given. `train_seconds` is the time that earlier runs spent on updates.
    `initial_probes` is what `Probes` calls `initial`. With `fills_caches`, the seconds of updates
    do not depend on what was measured in between: see `_fill_caches`. With `estimates_noise`, the
    state's running sums have those of the gradient's noise, on rank 0, where updates of several
    micro-batches or ranks are drawn at random. A `teacher` gives the target probabilities.
    With `reads_rarely`, a GPU is waited for, and a `Step` yielded, only where the config wants to
    report, save or probe, and at the end of an epoch: see `EpochPlan.reads`.
    """

    def __init__(
        self,
        config: ResolvedConfig,
        state: TrainingState,
        train_split: Split,
        *,
        pool: ThreadPool,
        clock: Callable[[], float],
        group: ProcessGroup | None = None,
        planned: int | None = None,
        train_seconds: float = 0.0,
        initial_probes: dict[str, Any] | None = None,
        fills_caches: bool = False,
        estimates_noise: bool = False,
        teacher: nn.Module | None = None,
        reads_rarely: bool = False,
    ) -> None:
        self.config = config
        self.state = state
        self.train_split = train_split
        self.shape = training_shape(config, len(train_split))
        self.planned = self.shape.updates if planned is None else planned
        self.train_seconds = train_seconds
        self.clock = clock
        self.group = group or ProcessGroup()
        self.pool = pool
        self._fills_caches = self._is_cold = fills_caches
        self._estimates_noise = estimates_noise
        self._teacher = teacher
        self._reads_rarely = reads_rarely
        self._dataset = augmented(train_split, config)
        self._check_pieces()
        self._probes = Probes(config, train_split, pool, clock, initial_probes)

    def _check_pieces(self) -> None:
        """Raise UsageError if a network whose updates have to be in one piece would be divided."""
        behaviour, config = self.state.behaviour, self.config
        if behaviour.is_plain:
            return
        name, why = shown_name(config.model), behaviour.in_words()
        largest = max(shape.update_size for shape in self.shape.shapes)
        if largest > config.micro_batch_size:
            raise UsageError(
                f"--micro-batch-size {config.micro_batch_size} would divide updates of {largest:,} "
                f"samples, which {name} does not allow: {why}; give --micro-batch-size {largest}"
            )
        if self.group.size > 1:
            raise UsageError(
                f"{self.group.size} ranks would divide each update, which {name} does not allow: "
                f"{why}; train in one process"
            )
        if config.probe:
            raise UsageError(
                f"--probe {config.probe} needs the gradient of each sample, which {name} does not "
                f"have: {why}; leave the probes out"
            )

    @property
    def samples_seen(self) -> int:
        """The samples that the updates made so far have seen."""
        return self.shape.samples_seen(self.state.update)

    @property
    def is_at_epoch_end(self) -> bool:
        """True between the last update of an epoch and its evaluation."""
        _, step = self.shape.place_of(self.state.update)
        return self.state.sums.samples > 0 and not step

    @property
    def lr(self) -> float:
        """The learning rate of the next update, or of the last where none is left."""
        return self._learning_rate(min(self.state.update, self.planned - 1))

    @property
    def last_lr(self) -> float:
        """The learning rate of the last update."""
        return self._learning_rate(max(self.state.update - 1, 0))

    def run(self, stop: StopRule, callback: Callback) -> Generator[Event, None, StopReason]:
        """Train until the stop rule ends the run; yield the callback's events, return the reason.

        Raises:
            DivergedError: the loss, the gradient or the weights are not finite.
            StopRequested, PeerError: see `ProcessGroup.check_stop` and `ProcessGroup.all_reduce`.
                The state is that after the last whole update.

        """
        yield from callback.before_training()
        while True:
            if self.is_at_epoch_end:
                yield from callback.after_epoch()
                if stop.has_reached_accuracy():  # even if a signal came meanwhile
                    return "until-accuracy"
            self.group.check_stop()
            if reason := stop.reason(self.state.update):
                return reason
            yield from self._train_epoch(stop, callback)

    def _train_epoch(self, stop: StopRule, callback: Callback) -> Iterator[Event]:
        """Run the rest of the current epoch, or as much of it as the stop rule leaves."""
        for event in self.train_epoch():
            if isinstance(event, Step):
                yield from callback.after_update(event)
                continue
            yield from callback.after_micro_batch(event)
            if not self.is_at_epoch_end:
                self.group.check_stop()
                if stop.reason(self.state.update):
                    return

    def train_epoch(self) -> Generator[Step | Progress, None, None]:
        """Run the rest of the current epoch. The state is advanced before each `Step` is yielded.

        Only the time that updates take counts, not that of the caller between two events.

        Raises:
            UsageError: the caller has entered a mode of PyTorch that would change the results.

        """
        check_torch_modes(gradients=True)  # the caller of a generator may change them at any time
        config, state = self.config, self.state
        epoch, first = self.shape.place_of(state.update)
        shard = self.group.shard if self.group.size > 1 else full_batch
        batches = training_updates(self._dataset, config, self.shape, state.update, shard)
        plan = EpochPlan(
            epoch=epoch,
            first=first,
            training=self.shape,
            micro_batch_size=config.micro_batch_size,
            learning_rate=self._learning_rate,
            label_smoothing=config.label_smoothing,
            clock=self.clock,
            drawn_from=self._drawn_from,
            precision=config.precision,
            reads=self._reads(epoch) if self._reads_rarely else None,
            seed=None if state.behaviour.is_plain else config.seed,
            classes=len(self.train_split.classes),
        )
        events = fit(
            state.model,
            state.optimizer,
            batches,
            plan,
            state.sums,
            pool=self.pool,
            group=self.group,
            teacher=self._teacher,
            average=state.average,
        )
        spent = 0.0  # on the current update, which may yet be abandoned
        while True:
            if self._is_cold and state.behaviour.is_plain:
                self._fill_caches()
            began = time.perf_counter()
            event = next(events, None)
            spent += time.perf_counter() - began
            if event is None:
                return
            if isinstance(event, Step):
                state.update = event.update
                self.train_seconds += spent
                spent = 0.0
            yield event

    def _reads(self, epoch: int) -> Callable[[int], bool] | None:
        """Return what `EpochPlan` calls so, for an epoch: `None` where each update is read."""
        config = self.config
        is_whole = self.shape.epoch_shape(epoch).update_size <= config.micro_batch_size
        is_one = is_whole and self.group.size == 1 and self.state.behaviour.is_plain
        if not is_one or self.train_split.device.type != "cuda":
            return None
        ends = {self.shape.updates_before(epoch + 1), config.max_updates, self.planned}
        intervals = [config.log_interval, config.save_every, config.probe and config.probe_every]
        every = [int(interval) for interval in intervals if interval]
        return lambda update: update in ends or any(update % n == 0 for n in every)

    @property
    def _drawn_from(self) -> float | None:
        """What `EpochPlan` calls so."""
        if not self._estimates_noise or not self.group.is_main:
            return None
        if self.config.replacement:
            return math.inf
        return len(self.train_split) if self.config.shuffle else None

    def _fill_caches(self) -> None:
        """Compute gradients that nothing uses, of the samples of an update at most.

        After an evaluation, or at the start, the processor's caches hold nothing that an update
        needs: it takes up to twice as long, and the next two take somewhat longer. Updates of more
        than about a thousand samples do not depend on it.
        """
        epoch, _ = self.shape.place_of(self.state.update)
        samples = slice(0, min(_FILL_SAMPLES, self.shape.epoch_shape(epoch).update_size))
        parameters: list[Tensor] = [*trained_parameters(self.state.model)]
        targets = label_targets(
            self.config.label_smoothing, len(self.train_split.classes), parameters[0]
        )
        images, labels = self.train_split[samples]
        update = Update(self.state.model, parameters, images, labels, len(labels), targets)
        micro_batch = slice(0, min(len(labels), self.config.micro_batch_size))
        for _ in range(_FILLS):
            update.gradient_of(micro_batch)
        self._is_cold = False

    def evaluate(self, split: Split, name: str) -> EvaluationResult:
        """Evaluate the network, as it is now, on the split that errors call `name`.

        Raises:
            DivergedError: the loss is not finite.
            StopRequested, PeerError: see `ProcessGroup.all_reduce`.

        """
        self._is_cold = self._fills_caches
        score = evaluate(self.state.evaluated, split, pool=self.pool, group=self.group)
        if not math.isfinite(score.loss):
            what = f"the {name} loss after update {self.state.update} is {score.loss}"
            raise self.state.optimizer.diverged(what, self.last_lr)
        return score

    def check_finite(self) -> None:
        """Raise DivergedError if a value of the state is not finite."""
        self.state.check_finite(self.last_lr)

    def probe(self) -> Iterator[ProbeStart | ProbeEvent]:
        """Run the probes that the config asks for; rank 0 does.

        Raises:
            DivergedError: a value of the state, or what is measured, is not finite.
            StopRequested: a signal came.

        """
        if not self.config.probe:
            return
        self.check_finite()
        self._is_cold = self._fills_caches
        with self.group.defer_stop():
            if self.group.is_main:
                try:
                    yield from self._probes.measure(
                        self.state.model,
                        update=self.state.update,
                        samples_seen=self.samples_seen,
                        lr=self.lr,
                    )
                except DivergedError as error:
                    error.raised_on_all_ranks = False  # the other ranks measure nothing
                    raise
            self.state.probed_update = self.state.update  # unless a signal interrupted it

    def probe_if_due(self) -> Iterator[ProbeStart | ProbeEvent]:
        """Run the probes after every `probe_every` updates, unless they were run already."""
        update = self.state.update
        if update % self.config.probe_every == 0 and update != self.state.probed_update:
            yield from self.probe()

    def _learning_rate(self, update: int) -> float:
        config = self.config
        return learning_rate(
            config.schedule, config.lr, update, self.planned, warm_up=config.warm_up
        )
