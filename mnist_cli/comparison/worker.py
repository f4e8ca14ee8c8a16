"""Where arms are trained: by one process in turn, or by many ranks, each a job of its own."""

import os
import time
from collections.abc import Callable, Generator, Iterator

import torch

from mnist_cli.comparison import plan
from mnist_cli.comparison.arm_run import SharedData
from mnist_cli.comparison.events import Dealt, RunEnd, RunProgress, RunStart
from mnist_cli.comparison.job_queue import Desk, Found, Job
from mnist_cli.comparison.lr_search import Search
from mnist_cli.comparison.plan import Run
from mnist_cli.comparison.records import Store
from mnist_cli.config.compare import ResolvedComparison
from mnist_cli.data.datasets import Dataset, load_dataset, train_val_split
from mnist_cli.events import Event
from mnist_cli.runtime.device import pick_device, processor, set_threads, threads_for
from mnist_cli.runtime.distributed.group import ProcessGroup
from mnist_cli.runtime.signals import StopRequested, StopSignals
from mnist_cli.runtime.threads import ThreadPool
from mnist_cli.training.distributed import check_alike

_SAVE_EVERY = 5.0  # seconds
_LOOK_EVERY = 0.5  # seconds, at whether another rank failed
_WAIT = 0.05  # seconds


class Worker:
    """A rank's samples, threads and records; `config` is resolved.

    Raises:
        UsageError, DataError: see `pick_device` and `load_dataset`.

    """

    def __init__(
        self,
        config: ResolvedComparison,
        signals: StopSignals,
        clock: Callable[[], float],
        group: ProcessGroup,
    ) -> None:
        self.config = config
        self.clock = clock
        self.group = group
        self.store = Store(config.output, claiming=group.is_main)
        self.fresh: set[str] = set()  # names of the arms that this comparison has trained
        self._signals = signals
        self._desk = Desk(group)
        self._pending: dict[Job, None] = {}
        self._dealt = 0
        self._looked = 0.0
        set_threads(config.threads, group.rank_info)
        self._device = pick_device(config.device, group.rank_info)
        check_alike(config, self._device, group)
        self._team = ThreadPool(threads_for(self._device), signals.check)
        each = f" in each of {group.size} ranks" if group.size > 1 else ""
        self.machine = (
            f"{processor()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads{each}, "
            f"on {self._device.type}, PyTorch {torch.__version__}"
        )
        with group.local_main_first():
            self._dataset: Dataset = load_dataset(config.dataset, config.data_dir)
        self._materials: dict[int, SharedData] = {}
        self.samples = len(self.material(config.seed).train)

    def material(self, seed: int) -> SharedData:
        """Return the samples as a seed parts them; those of one seed are kept."""
        if seed not in self._materials:
            config = self.config
            train, val = train_val_split(
                self._dataset.train, val_size=config.val_size, subset=config.subset, seed=seed
            )
            train, val, test = (s.to(self._device) for s in (train, val, self._dataset.test))
            self._materials = {
                seed: SharedData(train, val, test, self._team, self.clock, self.machine)
            }
        return self._materials[seed]

    def arm(self, size: int | None, seed: int, lr: float, purpose: str = "arm") -> Run:
        """Return an arm of this comparison."""
        return plan.plan_run(self.config, size, seed, lr, samples=self.samples, purpose=purpose)

    def search(self, size: int | None, start: float) -> Search:
        """Return the search of a batch size's learning rate, which trains with the first seed."""

        def run(arm: Run) -> Generator[Event, None, RunEnd]:
            record = yield from self.run_arm(arm)
            return _end_of(record)

        trial = self.arm(size, self.config.seed, start, "trial")
        return Search(trial, run, hurried=not self.config.lr_range)

    def run_arm(
        self, arm: Run, number: int | None = None, arms: int = 0
    ) -> Generator[Event, None, list[Event]]:
        """Train an arm, or read the record of one that is finished; return the record.

        It is the arm with that number of so many, if it has one.
        """
        record = self.store.finished(arm)
        yield RunStart(
            self.clock(),
            arm=arm.name,
            batch_size=arm.batch_size,
            seed=arm.config.seed,
            lr=arm.config.lr,
            purpose=arm.purpose,
            number=number,
            arms=arms,
            updates=arm.end_updates,
            finished_before=record is not None and arm.name not in self.fresh,
        )
        if record is None:
            record = yield from self._train_arm(arm)
        else:
            yield from record
        if not self.group.is_main:
            self._desk.report(Found(record, arm.name in self.fresh))
        return record

    def _train_arm(self, arm: Run) -> Generator[Event, None, list[Event]]:
        self._check(f"before the arm {arm.name}")
        run = self.store.open(arm, self.material(arm.config.seed))
        saved = self.clock()
        try:
            for event in run.events(self._signals):
                yield event
                if isinstance(event, RunProgress) and self.clock() - saved > _SAVE_EVERY:
                    self.store.save(run)
                    saved = self.clock()
        except StopRequested:
            self._check(f"while the arm {arm.name} was measured")
        if self._signals.error and not (run.record and isinstance(run.record[-1], RunEnd)):
            self.store.save(run)
            self._check(f"at update {run.state.update} of the arm {arm.name}")
        self.store.finish(arm.name, run.record)
        self.fresh.add(arm.name)
        return run.record

    def _check(self, where: str) -> None:
        """Raise what the exit code has to say of a signal, if one came."""
        if error := self._signals.error:
            kept = f"what is done is kept in {self.config.output}: the same command goes on"
            raise error(f"interrupted {where}; {kept}")

    def deal(self, jobs: list[Job]) -> None:
        """Lay out those jobs that are not done, longest first, if there are others to do them."""
        if self.group.size == 1:
            return
        self._pending = dict.fromkeys(job for job in jobs if not self._is_done(job))
        self._dealt = len(self._pending)
        if self._pending:
            self._desk.lay_out(sorted(self._pending, key=self._cost, reverse=True))

    def dismiss(self) -> None:
        """Let the others go."""
        if self.group.size > 1:
            self._desk.lay_out([])

    def wait_for(self, job: Job) -> Iterator[Dealt]:
        """Do jobs that were dealt, until one is done, whoever does it."""
        while job in self._pending:
            self._check("between two arms")
            self._read_reports()
            if job not in self._pending:
                return
            own = self._desk.take()
            if own is not None:
                for _ in self._do(own):
                    yield self._heartbeat()
                del self._pending[own]
            else:
                self._look()
                time.sleep(_WAIT)
                yield self._heartbeat()

    def help(self) -> None:
        """Do jobs that the first rank deals, until it dismisses this one."""
        with self.group.heartbeat():
            while self._next_round():
                while (job := self._desk.take()) is not None:
                    for _ in self._do(job):
                        pass
                    self._desk.report(job)

    def _next_round(self) -> list[Job]:
        while (jobs := self._desk.look()) is None:
            self._check("between two arms")
            self._look()
            time.sleep(_WAIT)
        return jobs

    def _look(self) -> bool:
        """Look whether the others are well, if it is time again, and tell whether it was."""
        is_time = self.clock() - self._looked > _LOOK_EVERY
        if is_time:
            self._looked = self.clock()
            self.group.check_peers()
        return is_time

    def _do(self, job: Job) -> Iterator[None]:
        """Do a job, and yield now and then."""
        for _ in self._doing(job):
            if self._look():
                yield

    def _doing(self, job: Job) -> Iterator[Event]:
        if job.is_search:
            search = self.search(job.size, job.lr)
            place = yield from search.best()
            if self.config.lr_range:
                yield from search.stable(place)
        else:
            yield from self.run_arm(self.arm(job.size, job.seed, job.lr))

    def _read_reports(self) -> None:
        """Keep what the other ranks have found."""
        for report in self._desk.reports():
            if isinstance(report, Job):
                del self._pending[report]
                continue
            name = _end_of(report.record).arm
            self.store.finish(name, report.record)
            if report.is_fresh:
                self.fresh.add(name)

    def _is_done(self, job: Job) -> bool:
        if job.is_search:
            return False  # its trials may be; then it is quickly done
        return self.store.finished(self.arm(job.size, job.seed, job.lr)) is not None

    def _cost(self, job: Job) -> float:
        return plan.cost_of(self.arm(job.size, job.seed, job.lr), self.samples)

    def _heartbeat(self) -> Dealt:
        done = self._dealt - len(self._pending)
        return Dealt(self.clock(), done=done, jobs=self._dealt, ranks=self.group.size)


def _end_of(record: list[Event]) -> RunEnd:
    end = record[-1]
    assert isinstance(end, RunEnd)
    return end
