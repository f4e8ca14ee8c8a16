"""A comparison, from its options to its verdict."""

import time
from collections.abc import Generator, Iterator
from dataclasses import asdict
from typing import TypeVar

from mnist_cli import __version__
from mnist_cli.comparison import plan
from mnist_cli.comparison.events import CompareEnd, CompareStart, Tuned
from mnist_cli.comparison.findings import verdict
from mnist_cli.comparison.job_queue import Job
from mnist_cli.comparison.lr_search import grid
from mnist_cli.comparison.results import Results
from mnist_cli.comparison.worker import Worker
from mnist_cli.config.compare import CompareConfig, resolve
from mnist_cli.errors import DivergedError, ThresholdNotMetError
from mnist_cli.events import Event
from mnist_cli.models.networks import build_model, count_parameters
from mnist_cli.runtime.distributed.group import ProcessGroup
from mnist_cli.runtime.signals import StopSignals

E = TypeVar("E", bound=Event)


def compare(
    asked: CompareConfig, results: Results | None = None, group: ProcessGroup | None = None
) -> Iterator[Event]:
    """Train every batch size with every seed, and yield what happens; `results` collects it.

    With a `group` of ranks, all are to call this alike: they share the arms out, and the first
    yields what all have found, in the order in which one process would find it.

    Raises:
        UsageError: options contradict each other or the data.
        DataError: see `load_dataset`.
        OutputError: a record could not be written.
        ThresholdNotMetError: no arm reached `until_accuracy`.
        DivergedError: every arm diverged.
        InterruptedRunError, TerminatedRunError: a signal came; the arm under way was saved.
        PeerError: another rank failed or was lost.

    """
    signals = StopSignals()
    group = group or ProcessGroup()
    comparison = _Comparison(asked, Results() if results is None else results, signals, group)
    with comparison.workshop.store, signals:
        if not group.is_main:
            comparison.workshop.help()
            return
        yield from comparison.run()
    comparison.judge()


class _Comparison:
    """A comparison in progress."""

    def __init__(
        self, asked: CompareConfig, results: Results, signals: StopSignals, group: ProcessGroup
    ) -> None:
        self._began = time.perf_counter()
        self.asked = asked
        self.config = config = resolve(asked)
        self.results = results
        self.workshop = Worker(config, signals, self.clock, group)
        self.sizes = plan.check_sizes(config, self.workshop.samples)
        self.seeds = plan.seeds_of(config)
        self.arms_run = 0
        self.tuning_seconds = 0.0

    def clock(self) -> float:
        """Return the seconds since the start of the comparison."""
        return time.perf_counter() - self._began

    def run(self) -> Iterator[Event]:
        """Yield all that happens."""
        yield self._show(self._start())
        rates = yield from self._rates()
        jobs = [Job(size, seed, rates[size]) for seed in self.seeds for size in self.sizes]
        self.workshop.deal(jobs)
        for number, job in enumerate(jobs, start=1):
            yield from self.workshop.wait_for(job)
            arm = self.workshop.arm(job.size, job.seed, job.lr)
            record = yield from self.workshop.run_arm(arm, number, len(jobs))
            self.arms_run += arm.name in self.workshop.fresh
            self.results.add_arm(record)
        self.workshop.dismiss()
        yield from self.results.summaries(self.clock())
        yield self._show(verdict(self.clock(), self.config, self.results))
        yield CompareEnd(
            self.clock(),
            arms=len(jobs),
            arms_run=self.arms_run,
            train_seconds=sum(end.train_seconds for end in self.results.ends),
            tuning_seconds=self.tuning_seconds,
        )

    def judge(self) -> None:
        """Raise what the exit code has to say of a comparison that ended in good order."""
        ends = self.results.ends
        if all(end.reason == "diverged" for end in ends):
            raise DivergedError("every arm diverged; use a smaller --lr, or --lr-rule tuned")
        wanted = self.config.until_accuracy
        if wanted is not None and all(end.reason != "until-accuracy" for end in ends):
            best = max(end.val_accuracy or 0.0 for end in ends)
            raise ThresholdNotMetError(
                f"no arm reached --until-accuracy {wanted}; the best came to {best:.4f}; "
                "allow more --max-epochs or ask for less"
            )

    def _start(self) -> CompareStart:
        model = build_model(self.config.model)
        material = self.workshop.material(self.config.seed)
        return CompareStart(
            seconds=self.clock(),
            version=__version__,
            samples=self.workshop.samples,
            val_samples=len(material.val),
            test_samples=len(material.test),
            parameters=count_parameters(model),
            arms=len(self.sizes) * len(self.seeds),
            world_size=self.workshop.group.size,
            machine=self.workshop.machine,
            command=plan.command_of(self.asked),
            config=asdict(self.config),
        )

    def _rates(self) -> Generator[Event, None, dict[int | None, float]]:
        """Return the learning rate of each batch size, searched for where that is asked for."""
        config, samples = self.config, self.workshop.samples
        rates = {size: plan.learning_rate_of(config, size, samples) for size in self.sizes}
        if config.lr_rule == "tuned" or config.lr_range:
            jobs = {size: Job(size, config.seed, rates[size], True) for size in self.sizes}
            self.workshop.deal(list(jobs.values()))
            for size, job in jobs.items():
                yield from self.workshop.wait_for(job)
                rates[size] = yield from self._tune(size, rates[size])
        return rates

    def _tune(self, size: int | None, start: float) -> Generator[Event, None, float]:
        """Search the rate of a batch size with the first seed; return the one to be used."""
        search = self.workshop.search(size, start)
        place = yield from search.best()
        stable = (yield from search.stable(place)) if self.config.lr_range else None
        event: Tuned = self._show(search.event(self.clock(), place, stable))
        self.tuning_seconds += event.train_seconds
        yield event
        return grid(place) if self.config.lr_rule == "tuned" else start

    def _show(self, event: E) -> E:
        self.results.add(event)
        return event
