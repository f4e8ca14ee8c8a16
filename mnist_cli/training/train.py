"""`train`: one training, from the config to the checkpoint."""

import logging
import time
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import asdict, replace

import torch

from mnist_cli import __version__
from mnist_cli.config import sources
from mnist_cli.config.network_file import begun, is_named, named_file
from mnist_cli.config.own_data import are_same_data, is_begun_data, is_data_path, shown_data
from mnist_cli.config.quoting import printable, quote
from mnist_cli.config.train import ResolvedConfig, TrainConfig
from mnist_cli.data.batches import training_shape
from mnist_cli.data.datasets import load_dataset
from mnist_cli.data.own.named import (
    known_data,
    log_summary,
    named_as,
    own_data_options,
)
from mnist_cli.data.splits import Dataset, Split, train_val_split
from mnist_cli.errors import (
    DivergedError,
    InterruptedRunError,
    PeerError,
    ThresholdNotMetError,
    UsageError,
)
from mnist_cli.evaluation.metrics import EvaluationResult
from mnist_cli.events import FAILURES, End, Epoch, Event, Progress, Resumed, Start, Step, to_dict
from mnist_cli.models.checkpoint import Checkpoint
from mnist_cli.models.networks import count_parameters, weights_sha256
from mnist_cli.runtime.device import (
    ThreadPool,
    check_torch_modes,
    pick_device,
    pick_precision,
    threads_for,
    threads_set,
)
from mnist_cli.runtime.distributed.group import ProcessGroup
from mnist_cli.runtime.files import OutputLock
from mnist_cli.runtime.signals import StopRequested, StopSignals
from mnist_cli.training.checkpointing import Saver, lock_output
from mnist_cli.training.compatibility import (
    changed_options,
    check_same_options,
    check_unchanged,
    differences,
)
from mnist_cli.training.initial import (
    check_number_of_classes,
    load_weights,
    warn_of_other_classes,
    warn_of_seen_samples,
)
from mnist_cli.training.loop import RunningSums
from mnist_cli.training.state import TrainingState, versions_on
from mnist_cli.training.stop_rule import StopRule
from mnist_cli.training.trainer import Callback, Trainer

_log = logging.getLogger(__name__)


def train(
    config: TrainConfig, resume: Checkpoint | None = None, group: ProcessGroup | None = None
) -> Iterator[Event]:
    """Train, and yield what happens; the checkpoint is at `config.output` when the `End` comes.

    With `resume`, the training goes on from that checkpoint; `config` may differ from its config
    in the options that are declared as `changeable`. What it began with, `config.init`, is not read
    again; a teacher is, so `config.teacher` has to name its file. Until the iterator ends or is
    closed, no other run can write to the same output. All ranks of a `group` must call this with
    the same arguments; rank 0 writes.

    A process that is forked afterwards hangs as soon as it computes, since PyTorch's threads are
    not in it: start processes with the method "spawn".

    Raises:
        UsageError: options contradict each other, the data or the checkpoint.
        CheckpointError: `config.init` or `config.teacher` cannot be read.
        DataError: see `load_dataset`.
        OutputError: see `lock_output`.
        ThresholdNotMetError: `until_accuracy` was not reached; the `End` came before.
        DivergedError: loss, gradient or weights are not finite; the last good checkpoint is kept.
        InterruptedRunError, TerminatedRunError: a signal came; the state was saved.
        PeerError: another rank failed or was lost; the state was saved.

    """
    group = group or ProcessGroup()
    config = sources.validate(config, TrainConfig)
    if resume is not None and not isinstance(resume, Checkpoint):
        raise UsageError(f"resume={quote(resume)} is no Checkpoint; give load_checkpoint(path)")
    check_torch_modes(gradients=True)
    if resume is None:
        sources.check_consistency(config)
    with (lock_output(config, resume) if group.is_main else None) or nullcontext() as lock:
        signals = StopSignals()
        with threads_set(config.threads, group.rank_info):
            run = _prepare(config, resume, lock, group, signals)
            with signals, run.pool:
                yield from run.events()


def _prepare(
    asked: TrainConfig,
    resume: Checkpoint | None,
    lock: OutputLock | None,
    group: ProcessGroup,
    signals: StopSignals,
) -> "_Run":
    """Load the data and build, or restore, everything that a run needs."""
    began = time.perf_counter()

    def clock() -> float:
        return time.perf_counter() - began

    group.listen(signals, clock)
    device = pick_device(asked.device, group.rank_info)
    asked = replace(
        asked, precision=pick_precision(asked.precision, device), model=begun(asked.model)
    )
    resume = _with_network(resume, asked)
    asked = _with_data(resume, asked)
    check_same_options(asked, device, group)
    initial = teacher = None
    if resume is None and asked.init is not None:
        initial = load_weights("--init", asked.init, asked, group)
    teacher_path = asked.teacher
    if resume is not None and teacher_path == resume.config.teacher:
        teacher_path = None  # the digest of the teacher's weights, which names no file
    if teacher_path is not None:
        teacher = load_weights("--teacher", teacher_path, None, group)
    asked = replace(asked, teacher=None if teacher is None else weights_sha256(teacher.weights))
    if resume is not None:
        _check_teacher(teacher_path, asked, resume.config)
        check_unchanged(_as_before(asked, resume), resume.config)
    pool = ThreadPool(threads_for(device), signals.check_stop)
    dataset = _load_data(asked, resume, group)
    asked = replace(asked, dataset=dataset.name)
    samples, val = train_val_split(
        dataset.train, val_size=asked.val_size, subset=asked.subset, seed=asked.seed
    )
    if asked.sort_by_class:
        samples = samples.sorted_by_class()
    config = asked.resolve(len(samples))
    _check_others(initial, teacher, config, dataset, group)
    if initial is not None:
        config = replace(config, init=weights_sha256(initial.weights))
    if resume is not None:
        check_unchanged(config, resume.config)
        sources.check_consistency(config)
    saver = Saver(lock, config, resume, signals, writing=group.is_main, teacher=teacher_path)
    samples, val, test = (split.to(device) for split in (samples, val, dataset.test))
    state = TrainingState(config, device, initial.weights if initial else None)
    _describe(state, len(dataset.classes), group)
    trainer = Trainer(
        config,
        state,
        samples,
        pool=pool,
        clock=clock,
        group=group,
        estimates_noise=True,
        reads_rarely=True,
        teacher=None if teacher is None else teacher.build_model().to(device),
    )
    versions = versions_on(device, group.size)
    resumed = None if resume is None else _restore(trainer, resume, versions)
    if state.update >= trainer.planned:
        _log.warning(
            "Nothing is left to train: %d of %d updates are made; ask for more --epochs",
            state.update,
            trainer.planned,
        )
    saver.check_disk_space(state.checkpoint(config, versions))
    return _Run(
        trainer,
        test=test,
        val=val,
        saver=saver,
        signals=signals,
        versions=versions,
        resumed=resumed,
    )


def _with_network(resume: Checkpoint | None, asked: TrainConfig) -> Checkpoint | None:
    """Return a checkpoint with the network of a file, if the config names one."""
    if resume is not None:
        if is_named(asked.model):
            resume = resume.with_network(named_file(asked.model).model)
        resume.check_named()
        if resume.network_file is not None:
            resume.build_model()  # raises unless the weights are those of the network in the file
    return resume


def _with_data(resume: Checkpoint | None, asked: TrainConfig) -> TrainConfig:
    """Return the config with the path of one's own data, where a checkpoint only has their name."""
    is_open = is_begun_data(asked.dataset) and known_data(asked.dataset) is None
    if not is_open:
        return asked
    if resume is None or resume.data is None:
        name = shown_data(asked.dataset)
        raise UsageError(
            f"the data set {name} is your own; name its file or folder: --dataset PATH"
        )
    return replace(asked, dataset=resume.data.path)


def _check_others(
    initial: Checkpoint | None,
    teacher: Checkpoint | None,
    config: ResolvedConfig,
    dataset: Dataset,
    group: ProcessGroup,
) -> None:
    """Raise UsageError, or warn, if the checkpoint of an option does not fit the data."""
    for name, other in (("--init", initial), ("--teacher", teacher)):
        if other is not None:
            check_number_of_classes(name, other, dataset)
            if group.is_main:
                warn_of_seen_samples(name, other, config, dataset.train)
    if group.is_main and teacher is not None:
        warn_of_other_classes(teacher, dataset)


def _as_before(asked: TrainConfig, resume: Checkpoint) -> TrainConfig:
    """Return the config with the checkpoint's name of one's own data, before they are read."""
    is_own = resume.data is not None and is_data_path(asked.dataset)
    return replace(asked, dataset=resume.config.dataset) if is_own else asked


def _load_data(asked: TrainConfig, resume: Checkpoint | None, group: ProcessGroup) -> Dataset:
    """Return the data set; of one's own data, log what was found, and check that they are as then.

    Raises:
        UsageError: they are not those that the resumed training began with.
        DataError: see `load_dataset`.

    """
    with group.local_main_first():
        dataset = load_dataset(asked.dataset, asked.data_dir, **own_data_options(asked))
    if group.is_main:
        log_summary(dataset)
    if resume is None or resume.data is None:
        return dataset
    if not are_same_data(dataset.name, resume.config.dataset):
        raise UsageError(
            f"--dataset {printable(asked.dataset)}: these are not the samples that the training "
            "began with, their SHA-256 differs; name those, or begin anew"
        )
    return named_as(dataset, resume.config.dataset)


def _describe(state: TrainingState, classes: int, group: ProcessGroup) -> None:
    """Log what was found out about a network in a file."""
    file = state.network_file
    if file is None or not group.is_main:
        return
    _log.info(
        "%s: %s parameters; images [N, 1, 28, 28] %s, logits [N, %d]; %s",
        printable(file.model),
        f"{count_parameters(state.model):,}",
        "normalised" if file.takes_normalized else "from 0 to 255",
        classes,
        state.behaviour.in_words(),
    )


def _check_teacher(path: str | None, config: TrainConfig, before: TrainConfig) -> None:
    """Raise UsageError if a resumed training has no teacher any more, or another one in `path`."""
    if config.teacher == before.teacher:
        return
    if config.teacher is None:
        raise UsageError(
            "this training learns from a teacher, which the checkpoint does not have; give it "
            "again: --teacher CHECKPOINT"
        )
    which = "began without a teacher; leave it out"
    if before.teacher is not None:
        which = "has learned from other weights; give those"
    raise UsageError(
        f"--teacher {printable(path or '')}: the training to go on with {which}, or train without "
        "--resume"
    )


def _restore(trainer: Trainer, before: Checkpoint, versions: dict[str, str]) -> Resumed:
    """Restore the state of a checkpoint; return the event with what differs from then."""
    config, state = trainer.config, trainer.state
    state.restore(before, training_shape(before.config, len(trainer.train_split)))
    if before.config.probe != config.probe:
        state.probed_update = None
    if state.update > trainer.planned:
        epoch, step = trainer.shape.place_of(state.update)
        made = epoch - 1 + step / trainer.shape.epoch_shape(epoch).updates
        raise UsageError(
            f"--epochs {config.epochs} is fewer than the {made:g} that the checkpoint has "
            "behind it; ask for more"
        )
    event = Resumed(
        seconds=trainer.clock(),
        update=state.update,
        samples_seen=trainer.samples_seen,
        changes={
            **changed_options(config, before.config),
            **differences(
                {"ranks": "1", "processor": versions["processor"], **before.versions}, versions
            ),
        },
    )
    state.remember(to_dict(event))
    return event


class _Run(Callback):
    """A run of a trainer that reports, evaluates every epoch, probes, and saves checkpoints."""

    def __init__(
        self,
        trainer: Trainer,
        *,
        test: Split,
        val: Split,
        saver: Saver,
        signals: StopSignals,
        versions: dict[str, str],
        resumed: Resumed | None,
    ) -> None:
        config, group = trainer.config, trainer.group
        self._trainer = trainer
        self.pool = trainer.pool
        self._test, self._val = test, val
        self._saver = saver
        self._signals = signals
        self._versions = versions
        self._resumed = resumed
        self._first_update = trainer.state.update
        self._test_score: EvaluationResult | None = None
        self._val_score: EvaluationResult | None = None
        self._stop = StopRule(
            planned=trainer.planned,
            max_updates=config.max_updates,
            max_seconds=config.max_seconds,
            until_accuracy=config.until_accuracy,
            seconds=group.seconds,
            val_accuracy=lambda: self._val_score.accuracy if self._val_score else None,
        )

    def events(self) -> Iterator[Event]:
        """Yield all events, then raise the error that sets the exit code."""
        yield self._start()
        if self._resumed is not None:
            yield self._resumed
        lost = None
        try:
            try:
                reason: str = yield from self._trainer.run(self._stop, self)
                if self._trainer.state.sums.samples or self._test_score is None:
                    self._evaluate()
                self._save(last=True)
            except StopRequested:
                reason = "interrupted"
            except PeerError as error:
                reason, lost = "interrupted", error
            if reason == "interrupted" and self._trainer.state.update > self._first_update:
                self._save()
            yield self._end(reason)
        except DivergedError as error:
            yield self._end("diverged")
            raise DivergedError(f"{error}\n{self._saver.recovery_hint()}") from error
        self._raise_exit_error(reason, lost)

    def after_micro_batch(self, progress: Progress) -> Iterator[Event]:
        """Report the progress."""
        yield progress

    def before_training(self) -> Iterator[Event]:
        """Probe the network as it is at the start."""
        yield from self._trainer.probe_if_due()

    def after_update(self, step: Step) -> Iterator[Event]:
        """Report the loss, save and probe, each as often as the config says."""
        config = self._trainer.config
        if config.mode == "batch" or step.update % config.log_interval == 0:
            yield step
        every = config.save_every
        if every and step.update % every == 0 and not self._trainer.is_at_epoch_end:
            self._save()
        yield from self._trainer.probe_if_due()

    def after_epoch(self) -> Iterator[Event]:
        """Evaluate the network, save, and report the epoch."""
        trainer, state, sums = self._trainer, self._trainer.state, self._trainer.state.sums
        trainer.check_finite()
        test, val = self._evaluate()
        epoch = trainer.shape.epochs_begun(state.update)
        noise = sums.noise.ratio()
        event = Epoch(
            seconds=trainer.clock(),
            epoch=epoch,
            update=state.update,
            samples_seen=trainer.samples_seen,
            train_loss=sums.loss_sum / sums.samples,
            train_accuracy=sums.correct / sums.samples,
            test_loss=test.loss,
            test_accuracy=test.accuracy,
            batch_size=trainer.shape.epoch_shape(epoch).update_size,
            val_loss=val.loss if val else None,
            val_accuracy=val.accuracy if val else None,
            noise_scale_estimate=noise.value if noise else None,
            noise_scale_estimate_error=noise.error if noise else None,
            trace_estimate=noise.numerator if noise else None,
            trace_estimate_error=noise.numerator_error if noise else None,
            gradient_square_estimate=noise.denominator if noise else None,
            gradient_square_estimate_error=noise.denominator_error if noise else None,
        )
        state.sums = RunningSums()
        state.remember(to_dict(event))
        self._save()  # before the event: whoever receives it may rely on the file
        yield event

    def _evaluate(self) -> tuple[EvaluationResult, EvaluationResult | None]:
        """Evaluate the network on the test split, and on the validation split if there is one."""
        test = self._trainer.evaluate(self._test, "test")
        val = self._trainer.evaluate(self._val, "validation") if len(self._val) else None
        self._test_score, self._val_score = test, val
        return test, val

    def _save(self, *, last: bool = False) -> None:
        """Write the checkpoint if it has changed since it was written."""
        self._trainer.check_finite()
        checkpoint = self._trainer.state.checkpoint(self._trainer.config, self._versions)
        if self._saver.needs_save(checkpoint, last=last):
            self._saver.save(checkpoint)

    def _start(self) -> Start:
        """Return the event that opens the run."""
        trainer, config = self._trainer, self._trainer.config
        first = trainer.shape.epoch_shape(1)
        updates = min(trainer.planned, config.max_updates or trainer.planned)
        return Start(
            seconds=trainer.clock(),
            version=__version__,
            mode=config.mode,
            samples=len(trainer.train_split),
            samples_per_epoch=first.samples,
            batch_size=first.update_size,
            updates_per_epoch=first.updates,
            updates=updates,
            planned_updates=trainer.planned,
            end_samples=trainer.shape.samples_seen(updates),
            parameters=count_parameters(trainer.state.model),
            device=self._versions["device"],
            world_size=trainer.group.size,
            threads=torch.get_num_threads(),
            config=asdict(config),
            first_update=trainer.state.update,
            samples_seen=trainer.samples_seen,
        )

    def _end(self, reason: str) -> End:
        """Return the event that closes the run."""
        trainer, update = self._trainer, self._trainer.state.update
        score = None if reason in FAILURES else self._test_score
        return End(
            seconds=trainer.clock(),
            reason=reason,
            checkpoint=self._saver.output,
            epoch=trainer.shape.epochs_begun(update),
            update=update,
            samples_seen=trainer.samples_seen,
            test_accuracy=score.accuracy if score else None,
            train_seconds=trainer.train_seconds,
            weights_sha256=None
            if reason == "diverged"
            else weights_sha256(trainer.state.evaluated.state_dict()),
        )

    def _raise_exit_error(self, reason: str, lost: PeerError | None) -> None:
        """Raise the error that sets the exit code, unless that is 0."""
        update = self._trainer.state.update
        if lost is not None:
            # Another rank does not know what the first one, which may be lost, has saved.
            hint = f"; {self._saver.resume_hint()}" if self._trainer.group.is_main else ""
            raise PeerError(f"{lost}\nstopped at update {update}{hint}", lost.code)
        if reason == "interrupted":
            error = self._signals.error or InterruptedRunError
            raise error(f"interrupted at update {update}; {self._saver.resume_hint()}")
        target = self._trainer.config.until_accuracy
        if target is not None and not self._stop.has_reached_accuracy():
            raise ThresholdNotMetError(
                f"validation accuracy is {self._stop.val_accuracy():.4f} after {update} updates, "
                f"below --until-accuracy {target}; allow more --epochs"
            )
