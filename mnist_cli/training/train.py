"""One training, from config to checkpoint."""

import logging
import time
from collections.abc import Generator, Iterator
from contextlib import nullcontext
from dataclasses import asdict

import torch

from mnist_cli import __version__
from mnist_cli.config import sources
from mnist_cli.config.train import TrainConfig
from mnist_cli.data.batches import epoch_shape
from mnist_cli.data.datasets import load_dataset, train_val_split
from mnist_cli.errors import DivergedError, PeerError, ThresholdNotMetError, UsageError
from mnist_cli.events import End, Event, Progress, Resumed, Start, Step, to_dict
from mnist_cli.models.checkpoint import Checkpoint
from mnist_cli.models.digest import weights_sha256
from mnist_cli.models.networks import count_parameters
from mnist_cli.runtime.device import pick_device, set_threads, threads_for
from mnist_cli.runtime.distributed.group import ProcessGroup
from mnist_cli.runtime.files import OutputLock
from mnist_cli.runtime.signals import StopRequested, StopSignals
from mnist_cli.runtime.threads import ThreadPool
from mnist_cli.training.checkpointing import Saver, lock_output
from mnist_cli.training.distributed import check_alike, check_spreadable
from mnist_cli.training.probes.probes import Probes
from mnist_cli.training.resume import changes_since, check_unchanged, differences
from mnist_cli.training.state import TrainingState, versions_on
from mnist_cli.training.trainer import Scorer, Trainer

_log = logging.getLogger(__name__)


def train(
    config: TrainConfig, resume: Checkpoint | None = None, group: ProcessGroup | None = None
) -> Iterator[Event]:
    """Train, and yield what happens; the checkpoint is at `config.output` when the `End` comes.

    With `resume`, the training goes on from there; `config` may differ from the checkpoint's in
    the options that are declared as `changeable`. Until the iterator ends or is closed, no other
    run can write to the same output. With a `group` of ranks, all are to call this alike; the
    first of them writes.

    Raises:
        UsageError: options contradict each other, the data or the checkpoint.
        DataError: see `load_dataset`.
        OutputError: see `lock_output`.
        ThresholdNotMetError: `until_accuracy` was not reached; the `End` came before.
        DivergedError: loss, gradient or weights are not finite; the last good checkpoint is kept.
        InterruptedRunError, TerminatedRunError: a signal came; the state was saved.
        PeerError: another rank failed or was lost; the state was saved.

    """
    group = group or ProcessGroup()
    config = sources.validate(config)
    if resume is None:
        sources.check(config)
    with (lock_output(config) if group.is_main else None) or nullcontext() as lock:
        run = _Run(config, resume, lock, group)
        with run.signals:
            yield from run.events()


class _Run:
    """A training in progress."""

    def __init__(
        self,
        asked: TrainConfig,
        resume: Checkpoint | None,
        lock: OutputLock | None,
        group: ProcessGroup,
    ) -> None:
        self._began = time.perf_counter()
        self.signals = StopSignals()
        self.group = group
        group.listen(self.signals, self.clock)
        if resume is not None:
            check_unchanged(asked, resume.config)
        set_threads(asked.threads, group.rank_info)
        self.device = pick_device(asked.device, group.rank_info)
        check_alike(asked, self.device, group)
        self.pool = ThreadPool(threads_for(self.device), self.signals.check)
        with group.local_main_first():
            dataset = load_dataset(asked.dataset, asked.data_dir)
        samples, val = train_val_split(
            dataset.train, val_size=asked.val_size, subset=asked.subset, seed=asked.seed
        )
        self.config = config = asked.resolve(len(samples))
        if resume is not None:
            check_unchanged(config, resume.config)
        self.saver = Saver(lock, config, resume, self.signals, writing=group.is_main)
        if resume is not None:
            sources.check(config)
        samples, val, test = (s.to(self.device) for s in (samples, val, dataset.test))
        self.state = TrainingState(config, self.device)
        check_spreadable(self.state.model, group.size)
        self.trainer = Trainer(
            config, self.state, samples, pool=self.pool, clock=self.clock, group=group
        )
        self.scorer = Scorer(self.trainer, test, val, pool=self.pool, group=group, clock=self.clock)
        self.shape, self.planned = self.trainer.shape, self.trainer.planned
        self.probes = Probes(config, samples, self.pool, self.clock)
        self.versions = versions_on(self.device, group.size)
        self.lost: PeerError | None = None
        self.resumed: Resumed | None = None
        if resume is not None:
            self.resumed = self._restore(resume)
        self.first_update = self.state.update
        if self.first_update >= self.planned:
            _log.warning(
                "Nothing is left to train: %d of %d updates are made; ask for more --epochs",
                self.first_update,
                self.planned,
            )
        self.saver.check_room(self._checkpoint())

    def _restore(self, before: Checkpoint) -> Resumed:
        """Go back to where a checkpoint was written, and return what is not as it was then."""
        self.state.restore(before, epoch_shape(before.config, self.shape.samples))
        if self.state.update > self.planned:
            made = self.state.update / self.shape.updates
            raise UsageError(
                f"--epochs {self.config.epochs} is fewer than the {made:g} that the checkpoint has "
                "behind it; ask for more"
            )
        event = Resumed(
            seconds=self.clock(),
            update=self.state.update,
            samples_seen=self.trainer.samples_seen,
            changes={
                **changes_since(self.config, before.config),
                **differences({"ranks": "1", **before.versions}, self.versions),
            },
        )
        self.state.remember(to_dict(event))
        return event

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
            world_size=self.group.size,
            threads=torch.get_num_threads(),
            config=asdict(self.config),
            first_update=self.state.update,
            samples_seen=self.trainer.samples_seen,
        )

    def events(self) -> Iterator[Event]:
        """Yield all that happens, and raise what the exit code has to say of it."""
        yield self.start()
        if self.resumed is not None:
            yield self.resumed
        try:
            reason = yield from self.train()
            yield self.finish(reason)
        except DivergedError as error:
            yield self.end("diverged")
            raise DivergedError(f"{error}\n{self.saver.what_is_kept()}") from error
        self.judge(reason)

    def train(self) -> Generator[Event, None, str]:
        """Train to the end or to a reason to stop, score the result, and return that reason."""
        try:
            if self.probes.due(self.state.update):
                yield from self._probe()
            reason = None
            while reason is None and (self._is_unscored() or self.state.update < self.planned):
                reason = yield from self._go_on()
            self.group.check()
            if self.state.sums.samples or self.scorer.test is None:
                self.scorer.score()
        except StopRequested:
            return "interrupted"
        except PeerError as error:
            self.lost = error
            return "interrupted"
        return reason or "completed"

    def _go_on(self) -> Generator[Event, None, str | None]:
        """Train to the end of an epoch and score it, or to a reason to stop, and return that."""
        if not self._is_unscored():
            reason = self._reason_to_stop() or (yield from self._train_epoch())
            if reason:
                return reason
        event = self.scorer.score_epoch()
        self._save()  # first: whoever is told of the epoch may rely on the file
        yield event
        return "until-accuracy" if self._has_reached() else None

    def _is_unscored(self) -> bool:
        """Tell whether all updates of an epoch are made, and it has not been scored."""
        return self.state.sums.samples == self.shape.samples

    def _train_epoch(self) -> Generator[Event, None, str | None]:
        """Train to the end of the epoch, or to a reason to stop before it, and return that."""
        for event in self.trainer.finish_epoch():
            if isinstance(event, Progress) or self._is_due(event):
                yield event
            if isinstance(event, Step):
                every = self.config.save_every
                if every and event.update % every == 0 and not self._is_unscored():
                    self._save()
                if self.probes.due(event.update):
                    yield from self._probe()
            elif not self._is_unscored():
                reason = self._reason_to_stop()
                if reason:
                    return reason
        return None

    def _probe(self) -> Iterator[Event]:
        self.state.check_finite()
        if not self.group.is_main:
            return
        with self.group.defer_interrupt():
            yield from self.probes.measure(
                self.state.model,
                update=self.state.update,
                samples_seen=self.trainer.samples_seen,
                lr=self.trainer.lr,
            )

    def _is_due(self, step: Step) -> bool:
        return self.config.mode == "batch" or step.update % self.config.log_interval == 0

    def _reason_to_stop(self) -> str | None:
        config = self.config
        self.group.check()
        if config.max_updates and self.state.update >= config.max_updates:
            return "max-updates"
        if config.max_seconds and self.group.seconds() >= config.max_seconds:
            return "max-seconds"
        return None

    def _has_reached(self) -> bool:
        return self.scorer.has_reached(self.config.until_accuracy)

    def finish(self, reason: str) -> End:
        """Save, and return the last event."""
        if reason != "interrupted" or self.state.update > self.first_update:
            self._save(last=reason != "interrupted")
        return self.end(reason)

    def end(self, reason: str) -> End:
        """Return the event that closes the run."""
        whole = reason not in ("interrupted", "diverged")
        weights = self.state.model.state_dict()
        return End(
            seconds=self.clock(),
            reason=reason,
            checkpoint=self.saver.output,
            epoch=-(-self.state.update // self.shape.updates),
            update=self.state.update,
            samples_seen=self.trainer.samples_seen,
            test_accuracy=self.scorer.test.accuracy if whole and self.scorer.test else None,
            train_seconds=self.trainer.train_seconds,
            weights_sha256=weights_sha256(weights) if reason != "diverged" else None,
        )

    def judge(self, reason: str) -> None:
        """Raise what the exit code has to say of a run that ended in good order."""
        update, error = self.state.update, self.signals.error
        if self.lost is not None:
            # Another rank does not know what the first one, which may be lost, has saved.
            resume_hint = f"; {self.saver.resume_hint()}" if self.group.is_main else ""
            raise PeerError(f"{self.lost}\nstopped at update {update}{resume_hint}", self.lost.code)
        if reason == "interrupted":
            assert error
            raise error(f"interrupted at update {update}; {self.saver.resume_hint()}")
        if self.config.until_accuracy is not None and not self._has_reached():
            assert self.scorer.val
            raise ThresholdNotMetError(
                f"validation accuracy is {self.scorer.val.accuracy:.4f} after {update} updates, "
                f"below --until-accuracy {self.config.until_accuracy}; allow more --epochs"
            )

    def _save(self, *, last: bool = False) -> None:
        """Write the checkpoint if it is news."""
        self.state.check_finite(self.trainer.last_lr)
        checkpoint = self._checkpoint()
        if self.saver.needs_save(checkpoint, last=last):
            self.saver.save(checkpoint)

    def _checkpoint(self) -> Checkpoint:
        return self.state.checkpoint(self.config, self.versions)
