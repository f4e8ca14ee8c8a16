"""One training, from config to checkpoint."""

import logging
import shlex
import time
from collections.abc import Generator, Iterator
from dataclasses import asdict
from pathlib import Path

from mnist_cli import __version__, recipes, settings
from mnist_cli.checkpoint import Checkpoint, save_checkpoint, weights_sha256
from mnist_cli.config import TrainConfig
from mnist_cli.data import load_dataset, part
from mnist_cli.errors import DivergedError, ThresholdNotMetError
from mnist_cli.evaluation import Score, evaluate
from mnist_cli.events import End, Epoch, Event, Progress, Start, Step, to_dict
from mnist_cli.files import is_special
from mnist_cli.loop import Tally
from mnist_cli.models import count_parameters
from mnist_cli.preflight import check_output, check_unchanged, epoch_shape
from mnist_cli.probes import Probes
from mnist_cli.runtime import pick_device, set_threads, threads_for
from mnist_cli.signals import StopSignals
from mnist_cli.state import TrainingState
from mnist_cli.team import Team
from mnist_cli.trainer import Trainer

_log = logging.getLogger(__name__)


def train(config: TrainConfig, resume: Checkpoint | None = None) -> Iterator[Event]:
    """Train, and yield what happens; the checkpoint is at `config.output` when the `End` comes.

    With `resume`, the training goes on from there; `config` may differ from the checkpoint's in
    the fields that `preflight.CHANGEABLE` names.

    Raises:
        UsageError: options contradict each other, the data or the checkpoint.
        DataError: see `load_dataset`.
        OutputError: see `save_checkpoint`.
        ThresholdNotMetError: `until_accuracy` was not reached; the `End` came before.
        DivergedError: the loss is not finite; the last good checkpoint is kept.
        InterruptedRunError, TerminatedRunError: a signal came; the state was saved.

    """
    run = _Run(config, resume)
    with StopSignals() as signals:
        yield run.start()
        try:
            reason = yield from run.train(signals)
            yield run.finish(reason)
        except DivergedError:
            yield run.end("diverged")
            raise
        run.judge(reason, signals)


class _Run:
    """A training in progress."""

    def __init__(self, asked: TrainConfig, resume: Checkpoint | None) -> None:
        self._began = time.perf_counter()
        if resume is None:
            settings.check(asked)
        check_output(asked)
        set_threads(asked.threads)
        self.device = pick_device(asked.device)
        self.team = Team(threads_for(self.device))
        dataset = load_dataset(asked.dataset, asked.data_dir)
        samples, val = part(
            dataset.train, val_size=asked.val_size, subset=asked.subset, seed=asked.seed
        )
        self.config = config = recipes.resolve(asked, len(samples))
        if resume is not None:
            check_unchanged(config, resume.config)
            settings.check(config)
        samples, self.val = samples.to(self.device), val.to(self.device)
        self.test = dataset.test.to(self.device)
        self.state = TrainingState(config, self.device)
        self.trainer = Trainer(config, self.state, samples, team=self.team, clock=self.clock)
        self.shape, self.planned = self.trainer.shape, self.trainer.planned
        self.probes = Probes(config, samples, self.team, self.clock)
        if resume is not None:
            self.state.restore(resume, epoch_shape(resume.config, len(samples)))
        self.first_update = self.state.update
        if self.first_update >= self.planned:
            _log.warning(
                "Nothing is left to train: %d of %d updates are made; ask for more --epochs",
                self.first_update,
                self.planned,
            )
        self.saved_at: int | None = None
        self.test_score: Score | None = None
        self.val_score: Score | None = None

    def clock(self) -> float:
        """Return the seconds since the start of the run."""
        return time.perf_counter() - self._began

    def start(self) -> Start:
        """Return the event that opens the run."""
        return Start(
            seconds=self.clock(),
            version=__version__,
            mode=self.config.mode,
            samples=len(self.trainer.samples),
            batch_size=self.shape.update_size,
            updates_per_epoch=self.shape.updates,
            updates=min(self.planned, self.config.max_updates or self.planned),
            parameters=count_parameters(self.state.model),
            device=str(self.device),
            world_size=1,
            config=asdict(self.config),
            first_update=self.state.update,
            samples_seen=self.trainer.samples_seen,
        )

    def train(self, signals: StopSignals) -> Generator[Event, None, str]:
        """Train to the end or to a reason to stop, and return that reason."""
        if self.state.update == 0 and self.probes.due(0):
            yield from self._probe()
        while self.state.update < self.planned:
            reason = self._reason_to_stop(signals) or (yield from self._train_epoch(signals))
            if reason:
                return reason
            self.state.check_finite()
            event = self._score_epoch()
            self._save()  # first: whoever is told of the epoch may rely on the file
            yield event
            if self._reached() and not signals.error:
                return "until-accuracy"
        return "interrupted" if signals.error else "completed"

    def _train_epoch(self, signals: StopSignals) -> Generator[Event, None, str | None]:
        """Train to the end of the epoch, or to a reason to stop before it, and return that."""
        epoch_end = (self.state.update // self.shape.updates + 1) * self.shape.updates
        for event in self.trainer.finish_epoch():
            if isinstance(event, Progress) or self._is_due(event):
                yield event
            if isinstance(event, Step) and self.probes.due(event.update):
                yield from self._probe()
            elif isinstance(event, Progress) and self.state.update < epoch_end:
                reason = self._reason_to_stop(signals)
                if reason:
                    return reason
        return None

    def _probe(self) -> Iterator[Event]:
        trainer = self.trainer
        self.state.check_finite()
        yield from self.probes.measure(
            self.state.model,
            update=self.state.update,
            samples_seen=trainer.samples_seen,
            lr=trainer.lr,
        )

    def _is_due(self, step: Step) -> bool:
        return self.config.mode == "batch" or step.update % self.config.log_interval == 0

    def _reason_to_stop(self, signals: StopSignals) -> str | None:
        config = self.config
        if signals.error:
            return "interrupted"
        if config.max_updates and self.state.update >= config.max_updates:
            return "max-updates"
        if config.max_seconds and self.clock() >= config.max_seconds:
            return "max-seconds"
        return None

    def _score_epoch(self) -> Epoch:
        state, tally = self.state, self.state.tally
        test, val = self._score()
        event = Epoch(
            seconds=self.clock(),
            epoch=state.update // self.shape.updates,
            update=state.update,
            samples_seen=self.trainer.samples_seen,
            train_loss=tally.loss_sum / tally.samples,
            train_accuracy=tally.correct / tally.samples,
            test_loss=test.loss,
            test_accuracy=test.accuracy,
            val_loss=val.loss if val else None,
            val_accuracy=val.accuracy if val else None,
        )
        state.tally = Tally()
        state.history.append(to_dict(event))
        return event

    def _score(self) -> tuple[Score, Score | None]:
        self.test_score = evaluate(self.state.model, self.test, team=self.team)
        self.val_score = (
            evaluate(self.state.model, self.val, team=self.team) if len(self.val) else None
        )
        return self.test_score, self.val_score

    def _reached(self) -> bool:
        wanted, score = self.config.until_accuracy, self.val_score
        return wanted is not None and score is not None and score.accuracy >= wanted

    def finish(self, reason: str) -> End:
        """Score what no epoch's end has scored, save, and return the last event."""
        if reason != "interrupted":
            self.state.check_finite()
            if self.state.tally.samples or self.test_score is None:
                self._score()
            self._save(last=True)
        elif self.state.update > self.first_update:
            self._save()
        return self.end(reason)

    def end(self, reason: str) -> End:
        """Return the event that closes the run."""
        whole = reason not in ("interrupted", "diverged")
        weights = self.state.model.state_dict()
        return End(
            seconds=self.clock(),
            reason=reason,
            checkpoint=self.config.output if self.saved_at is not None else None,
            epoch=-(-self.state.update // self.shape.updates),
            update=self.state.update,
            samples_seen=self.trainer.samples_seen,
            test_accuracy=self.test_score.accuracy if whole and self.test_score else None,
            train_seconds=self.trainer.train_seconds,
            weights_sha256=weights_sha256(weights) if reason != "diverged" else None,
        )

    def judge(self, reason: str, signals: StopSignals) -> None:
        """Raise what the exit code has to say of a run that ended in good order."""
        update, output = self.state.update, self.config.output
        if reason == "interrupted" and signals.error:
            way_on = (
                "nothing new was written"
                if self.saved_at is None
                else f"go on with: mnist-train --resume {shlex.quote(output)}"
            )
            raise signals.error(f"interrupted at update {update}; {way_on}")
        if self.config.until_accuracy is not None and not self._reached():
            assert self.val_score
            raise ThresholdNotMetError(
                f"validation accuracy is {self.val_score.accuracy:.4f} after {update} updates, "
                f"below --until-accuracy {self.config.until_accuracy}; allow more --epochs"
            )

    def _save(self, *, last: bool = False) -> None:
        """Write the checkpoint if it is news; a pipe or a device gets only the last one."""
        output = self.config.output
        streamed = output == "-" or is_special(Path(output))
        if self.saved_at == self.state.update or (streamed and not last):
            return
        save_checkpoint(self.state.checkpoint(self.config), output)
        self.saved_at = self.state.update
