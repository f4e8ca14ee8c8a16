"""The scores of a training, of its epochs and at its end."""

import math
from collections.abc import Callable

from mnist_cli.data import Split
from mnist_cli.errors import DivergedError
from mnist_cli.evaluation import Score, evaluate
from mnist_cli.events import Epoch, to_dict
from mnist_cli.exchange import Tally
from mnist_cli.group import Group
from mnist_cli.state import TrainingState
from mnist_cli.team import Team
from mnist_cli.trainer import Trainer


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
        team: Team,
        group: Group,
        clock: Callable[[], float],
    ) -> None:
        self.test: Score | None = None
        self.val: Score | None = None
        self._trainer = trainer
        self._state: TrainingState = trainer.state
        self._splits = test, val
        self._team = team
        self._group = group
        self._clock = clock

    def score(self) -> tuple[Score, Score | None]:
        """Score the network as it is now.

        Raises:
            DivergedError: a loss is not finite.
            Stopped, PeerError: see `Group.add_up`.

        """
        test, val = self._splits
        self.test = self._score_on("test", test)
        self.val = self._score_on("validation", val) if len(val) else None
        return self.test, self.val

    def score_epoch(self) -> Epoch:
        """Score the epoch that has just ended, note that in the history, and begin a new tally.

        Raises:
            DivergedError, Stopped, PeerError: see `score`; the epoch is not scored.

        """
        state, tally = self._state, self._state.tally
        state.check_finite(self._trainer.last_lr)
        test, val = self.score()
        event = Epoch(
            seconds=self._clock(),
            epoch=state.update // self._trainer.shape.updates,
            update=state.update,
            samples_seen=self._trainer.samples_seen,
            train_loss=tally.loss_sum / tally.samples,
            train_accuracy=tally.correct / tally.samples,
            test_loss=test.loss,
            test_accuracy=test.accuracy,
            val_loss=val.loss if val else None,
            val_accuracy=val.accuracy if val else None,
        )
        state.tally = Tally()
        state.remember(to_dict(event))
        return event

    def has_reached(self, wanted: float | None) -> bool:
        """Tell whether the last validation accuracy is as high as wanted, if one is wanted."""
        return wanted is not None and self.val is not None and self.val.accuracy >= wanted

    def _score_on(self, name: str, split: Split) -> Score:
        score = evaluate(self._state.model, split, team=self._team, group=self._group)
        if not math.isfinite(score.loss):
            raise DivergedError(
                f"training diverged: the {name} loss after update {self._state.update} is "
                f"{score.loss} at a learning rate of {self._trainer.last_lr:g}; "
                "use a smaller --lr"
            )
        return score
