"""The updates of a training, an epoch at a time, and the seconds they take."""

import math
import time
from collections.abc import Callable, Iterator

from mnist_cli.config.train import ResolvedConfig
from mnist_cli.data.augment import ShiftAugmented
from mnist_cli.data.batches import epoch_shape, epoch_updates, full_batch
from mnist_cli.data.datasets import Split
from mnist_cli.errors import DivergedError
from mnist_cli.evaluation.evaluate import evaluate
from mnist_cli.evaluation.metrics import EvaluationResult
from mnist_cli.events import Epoch, Progress, Step, to_dict
from mnist_cli.runtime.distributed.group import ProcessGroup
from mnist_cli.runtime.threads import ThreadPool
from mnist_cli.training.distributed import RunningSums
from mnist_cli.training.loop import Plan, fit
from mnist_cli.training.optim import learning_rate
from mnist_cli.training.state import TrainingState


class Trainer:
    """Makes the updates that a resolved config plans, on a training's state.

    `planned` is the number of updates that the learning rate's schedule runs over.
    """

    def __init__(
        self,
        config: ResolvedConfig,
        state: TrainingState,
        samples: Split,
        *,
        pool: ThreadPool,
        clock: Callable[[], float],
        group: ProcessGroup | None = None,
    ) -> None:
        self.config = config
        self.state = state
        self.samples = samples
        self.shape = epoch_shape(config, len(samples))
        self.planned = config.epochs * self.shape.updates
        self.train_seconds = 0.0
        self._dataset = ShiftAugmented(samples) if config.augment else samples
        self._team = pool
        self._group = group or ProcessGroup()
        self._clock = clock

    @property
    def samples_seen(self) -> int:
        """The samples that the updates made so far have seen."""
        return self.shape.samples_seen(self.state.update)

    @property
    def lr(self) -> float:
        """The learning rate of the next update, or of the last where none is left."""
        return self._learning_rate(min(self.state.update, self.planned - 1))

    @property
    def last_lr(self) -> float:
        """The learning rate of the last update."""
        return self._learning_rate(max(self.state.update - 1, 0))

    def finish_epoch(self) -> Iterator[Step | Progress]:
        """Make the updates that the epoch under way still lacks; the state is ahead of its `Step`.

        Only the time that goes into updates counts, and not that of whoever asks for the events.
        """
        config, state = self.config, self.state
        epochs, first = divmod(state.update, self.shape.updates)
        batches = epoch_updates(
            self._dataset,
            size=self.shape.update_size,
            seed=config.seed,
            epoch=epochs + 1,
            shuffle=config.shuffle,
            first=first,
            shard=self._group.shard if self._group.size > 1 else full_batch,
        )
        plan = Plan(
            epoch=epochs + 1,
            first=first,
            shape=self.shape,
            micro_batch_size=config.micro_batch_size,
            learning_rate=self._learning_rate,
            label_smoothing=config.label_smoothing,
            clock=self._clock,
        )
        events = fit(
            state.model,
            state.optimizer,
            batches,
            plan,
            state.sums,
            pool=self._team,
            group=self._group,
        )
        spent = 0.0  # on the update under way, which may yet be abandoned
        while True:
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

    def _learning_rate(self, update: int) -> float:
        return learning_rate(self.config.schedule, self.config.lr, update, self.planned)


class Scorer:
    """Scores a training's network on the test split, and on the validation split if it has one.

    `test` and `val` are the last scores: `None` before the first ones, `val` also without
    validation samples.
    """

    def __init__(
        self,
        trainer: Trainer,
        test: Split,
        val: Split,
        *,
        pool: ThreadPool,
        group: ProcessGroup,
        clock: Callable[[], float],
    ) -> None:
        self.test: EvaluationResult | None = None
        self.val: EvaluationResult | None = None
        self._trainer = trainer
        self._state: TrainingState = trainer.state
        self._splits = test, val
        self._team = pool
        self._group = group
        self._clock = clock

    def score(self) -> tuple[EvaluationResult, EvaluationResult | None]:
        """Score the network as it is now.

        Raises:
            DivergedError: a loss is not finite.
            StopRequested, PeerError: see `ProcessGroup.all_reduce`.

        """
        test, val = self._splits
        self.test = self._score_on("test", test)
        self.val = self._score_on("validation", val) if len(val) else None
        return self.test, self.val

    def score_epoch(self) -> Epoch:
        """Score the epoch that has ended, add it to the history, and start new running sums.

        Raises:
            DivergedError, StopRequested, PeerError: see `score`; the epoch is not scored.

        """
        state, sums = self._state, self._state.sums
        state.check_finite(self._trainer.last_lr)
        test, val = self.score()
        event = Epoch(
            seconds=self._clock(),
            epoch=state.update // self._trainer.shape.updates,
            update=state.update,
            samples_seen=self._trainer.samples_seen,
            train_loss=sums.loss_sum / sums.samples,
            train_accuracy=sums.correct / sums.samples,
            test_loss=test.loss,
            test_accuracy=test.accuracy,
            val_loss=val.loss if val else None,
            val_accuracy=val.accuracy if val else None,
        )
        state.sums = RunningSums()
        state.remember(to_dict(event))
        return event

    def has_reached(self, wanted: float | None) -> bool:
        """Tell whether the last validation accuracy is as high as wanted, if one is wanted."""
        return wanted is not None and self.val is not None and self.val.accuracy >= wanted

    def _score_on(self, name: str, split: Split) -> EvaluationResult:
        score = evaluate(self._state.model, split, pool=self._team, group=self._group)
        if not math.isfinite(score.loss):
            raise DivergedError(
                f"training diverged: the {name} loss after update {self._state.update} is "
                f"{score.loss} at a learning rate of {self._trainer.last_lr:g}; "
                "use a smaller --lr"
            )
        return score
