"""The updates of a training, an epoch at a time, and the seconds they take."""

import time
from collections.abc import Callable, Iterator

from mnist_cli.augment import Shifted
from mnist_cli.config import TrainConfig
from mnist_cli.data import Split
from mnist_cli.events import Progress, Step
from mnist_cli.group import Group
from mnist_cli.loaders import epoch_updates, everything
from mnist_cli.loop import Plan, fit
from mnist_cli.optim import learning_rate
from mnist_cli.preflight import epoch_shape
from mnist_cli.state import TrainingState
from mnist_cli.team import Team


class Trainer:
    """Makes the updates that a resolved config plans, on a training's state.

    `planned` is the number of updates that the learning rate's schedule runs over.
    """

    def __init__(
        self,
        config: TrainConfig,
        state: TrainingState,
        samples: Split,
        *,
        team: Team,
        clock: Callable[[], float],
        group: Group | None = None,
    ) -> None:
        self.config = config
        self.state = state
        self.samples = samples
        self.shape = epoch_shape(config, len(samples))
        self.planned = config.epochs * self.shape.updates
        self.train_seconds = 0.0
        self._dataset = Shifted(samples) if config.augment else samples
        self._team = team
        self._group = group or Group()
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
            share=self._group.share if self._group.size > 1 else everything,
        )
        assert config.label_smoothing is not None
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
            state.tally,
            team=self._team,
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
        assert self.config.lr is not None
        return learning_rate(self.config.schedule, self.config.lr, update, self.planned)
