"""The worker of a comparison: it trains the runs that no other process is training."""

import os
import time
from collections.abc import Callable, Generator, Iterable, Iterator

import torch

from mnist_cli.comparison import plan
from mnist_cli.comparison.events import RunEnd, RunProgress, RunStart, Waiting
from mnist_cli.comparison.plan import COMPARED, Run
from mnist_cli.comparison.records import RunFolder
from mnist_cli.comparison.run import SharedData
from mnist_cli.config.compare import ResolvedComparison
from mnist_cli.data.datasets import Dataset, load_dataset, train_val_split
from mnist_cli.events import Event
from mnist_cli.runtime.device import pick_device, processor, set_threads, threads_for, usable_cores
from mnist_cli.runtime.signals import StopRequested, StopSignals
from mnist_cli.runtime.threads import ThreadPool

_SAVE_EVERY = 5.0  # seconds
_POLL_EVERY = 0.1  # seconds


class Worker:
    """The samples, threads and folder with which a process trains runs.

    Raises:
        UsageError, DataError, OutputError: see `pick_device`, `load_dataset` and `RunFolder`.

    """

    def __init__(
        self, config: ResolvedComparison, signals: StopSignals, clock: Callable[[], float]
    ) -> None:
        self.config = config
        self.clock = clock
        self.folder = RunFolder(config.output)
        self._signals = signals
        threads = config.threads
        if threads is None and config.jobs > 1:
            threads = max(1, usable_cores() // config.jobs)
        set_threads(threads)
        self._device = pick_device(config.device)
        self._pool = ThreadPool(threads_for(self._device), signals.check)
        each = f" in each of {config.jobs} processes" if config.jobs > 1 else ""
        self.machine = (
            f"{processor()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads{each}, "
            f"on {self._device.type}, PyTorch {torch.__version__}"
        )
        self._dataset: Dataset = load_dataset(config.dataset, config.data_dir)
        self._shared: dict[int, SharedData] = {}
        self.samples = len(self.shared_data(config.seed).train)

    def shared_data(self, seed: int) -> SharedData:
        """Return the samples split by a seed; those of the latest seed are cached."""
        if seed not in self._shared:
            config = self.config
            train, val = train_val_split(
                self._dataset.train, val_size=config.val_size, subset=config.subset, seed=seed
            )
            train, val, test = (s.to(self._device) for s in (train, val, self._dataset.test))
            self._shared = {
                seed: SharedData(train, val, test, self._pool, self.clock, self.machine)
            }
        return self._shared[seed]

    def plan_run(self, size: int | None, seed: int, lr: float, purpose: str = COMPARED) -> Run:
        """Return a run of this comparison."""
        return plan.plan_run(self.config, size, seed, lr, samples=self.samples, purpose=purpose)

    def complete(
        self,
        run: Run,
        others: Callable[[], Iterable[Run]],
        number: int | None = None,
        runs: int = 0,
    ) -> Generator[Event, None, list[Event]]:
        """Yield the events of a run and return them, whichever process trains it.

        While another process trains it, this one trains free runs of `others`. `number` out of
        `runs` is the number of the run in the events.

        Raises:
            InterruptedRunError, TerminatedRunError: a signal came; what was trained is saved.
            OutputError: a record could not be written.

        """
        while (record := self.folder.finished(run)) is None:
            with self.folder.lock(run) as locked:
                if locked and self.folder.finished(run) is None:
                    yield self._start(run, number, runs)
                    return (yield from self._train(run))
            if not locked:
                yield Waiting(self.clock(), run.name)
                yield from self._train_another(others())
        yield self._start(run, number, runs)
        yield from record
        return record

    def _start(self, run: Run, number: int | None, runs: int) -> RunStart:
        return RunStart(
            self.clock(),
            arm=run.name,
            batch_size=run.batch_size,
            seed=run.config.seed,
            lr=run.config.lr,
            purpose=run.purpose,
            number=number,
            arms=runs,
            updates=run.end_updates,
            finished_before=run.name in self.folder.finished_before,
        )

    def _train(self, run: Run) -> Generator[Event, None, list[Event]]:
        """Train a locked run, from its saved state if there is one, and write its record."""
        self._check(f"before the run {run.name}")
        self.folder.finished_before.discard(run.name)  # its record was damaged
        training = self.folder.open(run, self.shared_data(run.config.seed))
        saved = self.clock()
        try:
            for event in training.events(self._signals):
                yield event
                if isinstance(event, RunProgress) and self.clock() - saved > _SAVE_EVERY:
                    self.folder.save(training)
                    saved = self.clock()
        except StopRequested:
            self._check(f"while the run {run.name} was measured")
        if self._signals.error and not (
            training.record and isinstance(training.record[-1], RunEnd)
        ):
            self.folder.save(training)
            self._check(f"at update {training.state.update} of the run {run.name}")
        self.folder.finish(run.name, training.record)
        return training.record

    def _train_another(self, others: Iterable[Run]) -> Iterator[Event]:
        """Train the first free run of `others`, or wait briefly if there is none."""
        for run in others:
            if self.folder.has_record(run):
                continue
            with self.folder.lock(run) as locked:
                if locked and not self.folder.has_record(run):
                    for event in self._train(run):
                        if isinstance(event, RunProgress):
                            yield event
                    return
        self._check("between two runs")
        time.sleep(_POLL_EVERY)

    def _check(self, where: str) -> None:
        """Raise the error of the signal that was received, if one was."""
        if error := self._signals.error:
            kept = f"what is done is kept in {self.config.output}: the same command goes on"
            raise error(f"interrupted {where}; {kept}")
