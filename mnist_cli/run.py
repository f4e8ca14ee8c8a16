"""One training, from config to checkpoint."""

import platform
import sys
import time
from collections.abc import Generator, Iterator
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import torch

from mnist_cli import __version__, recipes, settings
from mnist_cli.augment import draw_shifts
from mnist_cli.checkpoint import Checkpoint, Position, save_checkpoint, weights_sha256
from mnist_cli.config import TrainConfig
from mnist_cli.data import load_dataset, part
from mnist_cli.errors import (
    CheckpointError,
    DivergedError,
    OutputError,
    ThresholdNotMetError,
    UsageError,
)
from mnist_cli.evaluate import Score, evaluate
from mnist_cli.events import End, Epoch, Event, Progress, Start, Step, to_dict
from mnist_cli.files import check_writable
from mnist_cli.loaders import epoch_loader, updates_per_epoch
from mnist_cli.loop import Plan, Tally, fit
from mnist_cli.models import build_model, count_parameters
from mnist_cli.optim import build_optimizer, learning_rate
from mnist_cli.runtime import pick_device, set_threads, stream
from mnist_cli.signals import StopSignals

# What a resumed training may change; the rest would make it another training.
CHANGEABLE = frozenset(
    "epochs max_updates max_seconds until_accuracy micro_batch_size data_dir device threads "
    "output no_clobber log_interval".split()
)


def train(config: TrainConfig, resume: Checkpoint | None = None) -> Iterator[Event]:
    """Train, and yield what happens; the checkpoint is at `config.output` when the `End` comes.

    With `resume`, the training goes on from there; `config` may differ from the checkpoint's in
    the fields that `CHANGEABLE` names.

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
        except DivergedError:
            yield run.end("diverged")
            raise
        yield from run.finish(reason)


class _Run:
    """A training in progress."""

    def __init__(
        self, asked: TrainConfig, resume: Checkpoint | None, signals: StopSignals
    ) -> None:
        self._began = time.perf_counter()
        self._signals = signals
        settings.check(asked)
        self.config = config = recipes.resolve(asked)
        if resume is not None:
            _check_unchanged(config, resume.config)
        _check_output(config)
        set_threads(config.threads)
        self.device = pick_device(config.device)
        dataset = load_dataset(config.dataset, config.data_dir)
        samples, val = part(
            dataset.train, val_size=config.val_size, subset=config.subset, seed=config.seed
        )
        _check_size(config, len(samples))
        self.samples, self.val = samples.to(self.device), val.to(self.device)
        self.test = dataset.test.to(self.device)

        self.update_size = config.batch_size or len(samples)
        self.per_epoch = updates_per_epoch(len(samples), self.update_size)
        self.planned = config.epochs * self.per_epoch
        self.model = build_model(config.model, config.seed).to(self.device)
        self.optimizer = build_optimizer(self.model, config)
        self.update = 0
        self.tally = Tally()  # of the epoch under way
        self.history: list[dict[str, Any]] = []
        if resume is not None:
            self._restore(resume)
        self.train_seconds = 0.0
        self.saved_at: int | None = None
        self.test_score: Score | None = None
        self.val_score: Score | None = None

    def _restore(self, checkpoint: Checkpoint) -> None:
        self.model.load_state_dict(dict(checkpoint.weights))
        try:
            self.optimizer.load_state_dict(checkpoint.optimizer)
        except (ValueError, KeyError, TypeError, AttributeError, RuntimeError) as error:
            raise CheckpointError(f"the checkpoint's optimizer state does not fit: {error}") from error
        at = checkpoint.position
        self.update = at.update
        self.tally = Tally(at.loss_sum, at.correct, at.samples)
        self.history = list(checkpoint.history)

    def clock(self) -> float:
        """Return the seconds since the start of the run."""
        return time.perf_counter() - self._began

    @property
    def epoch(self) -> int:
        """The epoch of the last update, from 1; 0 before the first."""
        return -(-self.update // self.per_epoch)

    @property
    def samples_seen(self) -> int:
        return self.update // self.per_epoch * len(self.samples) + self.tally.samples

    def start(self) -> Start:
        return Start(
            seconds=self.clock(),
            version=__version__,
            mode=self.config.mode,
            samples=len(self.samples),
            batch_size=self.update_size,
            updates_per_epoch=self.per_epoch,
            updates=min(self.planned, self.config.max_updates or self.planned),
            parameters=count_parameters(self.model),
            device=str(self.device),
            world_size=1,
            config=asdict(self.config),
            first_update=self.update,
        )

    def train(self) -> Generator[Event, None, str]:
        """Train to the end or to a reason to stop, and return that reason."""
        while self.update < self.planned:
            if reason := self._reason_to_stop():
                return reason
            reason = yield from self._train_epoch()
            if reason:
                return reason
            yield self._score_epoch()
            self._save()
            if self._reached():
                return "until-accuracy"
        return "completed"

    def _train_epoch(self) -> Generator[Event, None, str | None]:
        """Train to the end of the epoch, or to a reason to stop before it, and return that."""
        config, epoch, first = self.config, self.update // self.per_epoch + 1, self.tally_steps
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
            for event in fit(
                self.model, self.optimizer, batches, self._plan(epoch), self.tally, first
            ):
                if isinstance(event, Step):
                    self.update = event.update
                    yield event if self._is_due(event) else Progress(
                        event.seconds, event.samples_seen
                    )
                    if self.update % self.per_epoch == 0:
                        return None
                else:
                    yield event
                if reason := self._reason_to_stop():
                    return reason
        finally:
            self.train_seconds += time.perf_counter() - began
        return None

    @property
    def tally_steps(self) -> int:
        """Updates made in the epoch under way."""
        return self.update % self.per_epoch

    def _plan(self, epoch: int) -> Plan:
        config = self.config
        schedule, peak, micro = config.schedule, config.lr, config.micro_batch_size
        assert schedule is not None
        assert peak is not None
        assert micro is not None

        def shifts(update: int, size: int) -> torch.Tensor:
            return draw_shifts(size, stream(config.seed, "noise", update)).to(self.device)

        return Plan(
            epoch=epoch,
            samples=len(self.samples),
            updates_per_epoch=self.per_epoch,
            micro_batch_size=micro,
            learning_rate=lambda update: learning_rate(schedule, peak, update, self.planned),
            shifts=shifts if config.augment else None,
            clock=self.clock,
        )

    def _is_due(self, step: Step) -> bool:
        return self.config.mode == "batch" or step.update % self.config.log_interval == 0

    def _reason_to_stop(self) -> str | None:
        config = self.config
        if self._signals.error:
            return "interrupted"
        if config.max_updates and self.update >= config.max_updates:
            return "max-updates"
        if config.max_seconds and self.clock() >= config.max_seconds:
            return "max-seconds"
        return None

    def _score_epoch(self) -> Epoch:
        tally = self.tally
        self._score()
        assert self.test_score
        val = self.val_score
        event = Epoch(
            seconds=self.clock(),
            epoch=self.epoch,
            update=self.update,
            samples_seen=self.epoch * len(self.samples),
            train_loss=tally.loss_sum / tally.samples,
            train_accuracy=tally.correct / tally.samples,
            test_loss=self.test_score.loss,
            test_accuracy=self.test_score.accuracy,
            val_loss=val.loss if val else None,
            val_accuracy=val.accuracy if val else None,
        )
        self.tally = Tally()
        self.history.append(to_dict(event))
        return event

    def _score(self) -> None:
        self.test_score = evaluate(self.model, self.test)
        if len(self.val):
            self.val_score = evaluate(self.model, self.val)

    def _reached(self) -> bool:
        wanted, score = self.config.until_accuracy, self.val_score
        return wanted is not None and score is not None and score.accuracy >= wanted

    def finish(self, reason: str) -> Iterator[Event]:
        """Save, yield the end, and raise what the exit code has to say."""
        if reason != "interrupted" and (self.tally.samples or self.test_score is None):
            self._score()
        self._save(last=reason != "interrupted")
        yield self.end(reason)
        if self._signals.error and reason == "interrupted":
            raise self._signals.error(self._farewell())
        if self.config.until_accuracy is not None and not self._reached():
            assert self.val_score
            raise ThresholdNotMetError(
                f"validation accuracy is {self.val_score.accuracy:.4f} after {self.update} updates, "
                f"below --until-accuracy {self.config.until_accuracy}; allow more --epochs"
            )

    def _farewell(self) -> str:
        if self.config.output == "-":
            return f"interrupted at update {self.update}; nothing was written to standard output"
        return (
            f"interrupted at update {self.update}; go on with: "
            f"mnist-train --resume {self.config.output}"
        )

    def end(self, reason: str) -> End:
        good = reason != "diverged"
        mid_epoch = reason == "interrupted" or not good
        score = None if mid_epoch else self.test_score
        return End(
            seconds=self.clock(),
            reason=reason,
            checkpoint=self.config.output if self.saved_at is not None else None,
            epoch=self.epoch,
            update=self.update,
            samples_seen=self.samples_seen,
            test_accuracy=score.accuracy if score else None,
            train_seconds=self.train_seconds,
            weights_sha256=weights_sha256(self.model.state_dict()) if good else None,
        )

    def _save(self, *, last: bool = False) -> None:
        """Write the checkpoint, unless the file has this state; standard output gets only the last."""
        to_stdout = self.config.output == "-"
        if self.saved_at == self.update or (to_stdout and not last):
            return
        _check_finite(self.model, self.update)
        tally = self.tally
        checkpoint = Checkpoint(
            config=self.config,
            weights={key: value.cpu() for key, value in self.model.state_dict().items()},
            optimizer=self.optimizer.state_dict(),
            position=Position(self.update, tally.loss_sum, tally.correct, tally.samples),
            history=self.history,
            versions={
                "mnist_cli": __version__,
                "torch": str(torch.__version__),
                "python": platform.python_version(),
            },
        )
        save_checkpoint(checkpoint, self.config.output)
        self.saved_at = self.update


def _check_unchanged(config: TrainConfig, before: TrainConfig) -> None:
    problems = []
    for field in fields(TrainConfig):
        now, then = getattr(config, field.name), getattr(before, field.name)
        if field.name not in CHANGEABLE and now != then:
            problems.append(
                f"{settings.flag(field.name)} {now} differs from the checkpoint's {then}: a resumed "
                "training goes on as it began; leave the option out, or start a new training"
            )
    if problems:
        raise UsageError("\n".join(problems))


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


def _check_size(config: TrainConfig, samples: int) -> None:
    if config.batch_size is not None and config.batch_size > samples:
        raise UsageError(
            f"--batch-size {config.batch_size} is more than the {samples:,} training samples; "
            "use a smaller one, or --mode batch for one update from all of them"
        )


def _check_finite(model: torch.nn.Module, update: int) -> None:
    if not all(bool(value.isfinite().all()) for value in model.state_dict().values()):
        raise DivergedError(
            f"training diverged: a weight is no longer finite after update {update}; "
            "use a smaller --lr"
        )
