"""One training, from config to checkpoint."""

import sys
import time
from collections.abc import Generator, Iterator
from dataclasses import asdict
from pathlib import Path

import torch

from mnist_cli import __version__, recipes, settings
from mnist_cli.augment import draw_shifts
from mnist_cli.checkpoint import Checkpoint, save_checkpoint, weights_sha256
from mnist_cli.config import TrainConfig
from mnist_cli.data import load_dataset, part
from mnist_cli.errors import DivergedError, OutputError, ThresholdNotMetError, UsageError
from mnist_cli.evaluation import Score, evaluate
from mnist_cli.events import End, Epoch, Event, Progress, Start, Step, to_dict
from mnist_cli.files import check_writable
from mnist_cli.loaders import epoch_loader, updates_per_epoch
from mnist_cli.loop import Plan, Tally, fit
from mnist_cli.models import count_parameters
from mnist_cli.optim import learning_rate
from mnist_cli.runtime import pick_device, set_threads, stream
from mnist_cli.signals import StopSignals
from mnist_cli.state import TrainingState, check_unchanged


def train(config: TrainConfig, resume: Checkpoint | None = None) -> Iterator[Event]:
    """Train, and yield what happens; the checkpoint is at `config.output` when the `End` comes.

    With `resume`, the training goes on from there; `config` may differ from the checkpoint's in
    the fields that `state.CHANGEABLE` names.

    Raises:
        UsageError: options contradict each other, the data or the checkpoint.
        DataError: see `load_dataset`.
        OutputError: see `save_checkpoint`.
        ThresholdNotMetError: `until_accuracy` was not reached; the `End` came before.
        DivergedError: the loss is not finite; the last good checkpoint is kept.
        InterruptedRunError, TerminatedRunError: a signal came; the state was saved.

    """
    with StopSignals() as signals:
        run = _Run(config, resume, signals)
        yield run.start()
        try:
            reason = yield from run.train()
            yield run.finish(reason)
        except DivergedError:
            yield run.end("diverged")
            raise
        run.judge(reason)


class _Run:
    """A training in progress."""

    def __init__(self, asked: TrainConfig, resume: Checkpoint | None, signals: StopSignals) -> None:
        self._began = time.perf_counter()
        self._signals = signals
        settings.check(asked)
        self.config = config = recipes.resolve(asked)
        if resume is not None:
            check_unchanged(config, resume.config)
        _check_output(config)
        set_threads(config.threads)
        self.device = pick_device(config.device)
        dataset = load_dataset(config.dataset, config.data_dir)
        samples, val = part(
            dataset.train, val_size=config.val_size, subset=config.subset, seed=config.seed
        )
        self.update_size = _update_size(config, len(samples))
        self.per_epoch = updates_per_epoch(len(samples), self.update_size)
        self.planned = config.epochs * self.per_epoch
        self.samples, self.val = samples.to(self.device), val.to(self.device)
        self.test = dataset.test.to(self.device)
        self.state = TrainingState(config, self.device)
        if resume is not None:
            self.state.restore(resume)
        self.train_seconds = 0.0
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
            samples=len(self.samples),
            batch_size=self.update_size,
            updates_per_epoch=self.per_epoch,
            updates=min(self.planned, self.config.max_updates or self.planned),
            parameters=count_parameters(self.state.model),
            device=str(self.device),
            world_size=1,
            config=asdict(self.config),
            first_update=self.state.update,
        )

    def train(self) -> Generator[Event, None, str]:
        """Train to the end or to a reason to stop, and return that reason."""
        while self.state.update < self.planned:
            reason = self._reason_to_stop() or (yield from self._train_epoch())
            if reason:
                return reason
            yield self._score_epoch()
            self._save()
            if self._reached():
                return "until-accuracy"
        return "completed"

    def _train_epoch(self) -> Generator[Event, None, str | None]:
        """Train to the end of the epoch, or to a reason to stop before it, and return that."""
        config, state = self.config, self.state
        epoch, first = state.update // self.per_epoch + 1, state.update % self.per_epoch
        batches = epoch_loader(
            self.samples,
            size=self.update_size,
            seed=config.seed,
            epoch=epoch,
            shuffle=config.shuffle,
            first=first,
        )
        began = time.perf_counter()
        try:
            plan = self._plan(epoch, first)
            for event in fit(state.model, state.optimizer, batches, plan, state.tally):
                if isinstance(event, Step):
                    state.update = event.update
                yield event if self._is_due(event) else _sign_of_life(event)
                at_end = isinstance(event, Step) and event.step == self.per_epoch
                if not at_end and (reason := self._reason_to_stop()):
                    return reason
        finally:
            self.train_seconds += time.perf_counter() - began
        return None

    def _plan(self, epoch: int, first: int) -> Plan:
        config = self.config
        schedule, peak = config.schedule, config.lr
        assert schedule is not None
        assert peak is not None
        assert config.label_smoothing is not None

        def shifts(update: int, size: int) -> torch.Tensor:
            return draw_shifts(size, stream(config.seed, "noise", update)).to(self.device)

        return Plan(
            epoch=epoch,
            first=first,
            samples=len(self.samples),
            updates_per_epoch=self.per_epoch,
            micro_batch_size=config.micro_batch_size,
            learning_rate=lambda update: learning_rate(schedule, peak, update, self.planned),
            shifts=shifts if config.augment else None,
            label_smoothing=config.label_smoothing,
            clock=self.clock,
        )

    def _is_due(self, event: Step | Progress) -> bool:
        if isinstance(event, Progress) or self.config.mode == "batch":
            return True
        return event.update % self.config.log_interval == 0

    def _reason_to_stop(self) -> str | None:
        config = self.config
        if self._signals.error:
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
            epoch=state.update // self.per_epoch,
            update=state.update,
            samples_seen=self._samples_seen(),
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
        self.test_score = evaluate(self.state.model, self.test)
        self.val_score = evaluate(self.state.model, self.val) if len(self.val) else None
        return self.test_score, self.val_score

    def _samples_seen(self) -> int:
        epochs, steps = divmod(self.state.update, self.per_epoch)
        return epochs * len(self.samples) + steps * self.update_size

    def _reached(self) -> bool:
        wanted, score = self.config.until_accuracy, self.val_score
        return wanted is not None and score is not None and score.accuracy >= wanted

    def finish(self, reason: str) -> End:
        """Score what no epoch's end has scored, save, and return the last event."""
        if reason != "interrupted":
            if self.state.tally.samples or self.test_score is None:
                self._score()
            self._save(last=True)
        else:
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
            epoch=-(-self.state.update // self.per_epoch),
            update=self.state.update,
            samples_seen=self._samples_seen(),
            test_accuracy=self.test_score.accuracy if whole and self.test_score else None,
            train_seconds=self.train_seconds,
            weights_sha256=weights_sha256(weights) if reason != "diverged" else None,
        )

    def judge(self, reason: str) -> None:
        """Raise what the exit code has to say of a run that ended in good order."""
        update, output = self.state.update, self.config.output
        if reason == "interrupted" and self._signals.error:
            way_on = (
                "nothing was written to standard output"
                if output == "-"
                else f"go on with: mnist-train --resume {output}"
            )
            raise self._signals.error(f"interrupted at update {update}; {way_on}")
        if self.config.until_accuracy is not None and not self._reached():
            assert self.val_score
            raise ThresholdNotMetError(
                f"validation accuracy is {self.val_score.accuracy:.4f} after {update} updates, "
                f"below --until-accuracy {self.config.until_accuracy}; allow more --epochs"
            )

    def _save(self, *, last: bool = False) -> None:
        """Write the checkpoint if it is news; standard output gets only the last one."""
        if self.saved_at == self.state.update or (self.config.output == "-" and not last):
            return
        save_checkpoint(self.state.checkpoint(self.config), self.config.output)
        self.saved_at = self.state.update


def _sign_of_life(event: Step | Progress) -> Progress:
    return Progress(event.seconds, event.samples_seen)


def _check_output(config: TrainConfig) -> None:
    """Find out before the training whether its result can be written."""
    if config.output == "-":
        if sys.stdout.isatty():
            raise UsageError("-o - would write a binary file to the terminal; redirect stdout")
        return
    path = Path(config.output)
    check_writable(path)
    if config.no_clobber and path.exists():
        raise OutputError(f"{path} exists, and --no-clobber keeps it; choose another --output")


def _update_size(config: TrainConfig, samples: int) -> int:
    """Return the samples in an update: all of them in batch mode."""
    size = samples if config.batch_size is None else config.batch_size
    if size > samples:
        raise UsageError(
            f"--batch-size {size} is more than the {samples:,} training samples; "
            "use a smaller one, or --mode batch for one update from all of them"
        )
    return size
