"""A comparison, from its options to its conclusions."""

import time
from collections.abc import Generator, Iterator
from dataclasses import asdict, replace
from functools import partial
from math import fsum
from typing import TypeVar

from mnist_cli import __version__
from mnist_cli.comparison import plan
from mnist_cli.comparison.events import CompareEnd, CompareStart
from mnist_cli.comparison.findings import conclusions
from mnist_cli.comparison.jobs import worker_processes
from mnist_cli.comparison.lr_search import Search
from mnist_cli.comparison.plan import TRIAL, Run
from mnist_cli.comparison.results import Results, end_of
from mnist_cli.comparison.worker import Worker
from mnist_cli.config import sources
from mnist_cli.config.compare import CompareConfig, resolve
from mnist_cli.errors import DivergedError, ThresholdNotMetError
from mnist_cli.events import Event
from mnist_cli.models.networks import build_model, count_parameters
from mnist_cli.runtime.signals import StopSignals

E = TypeVar("E", bound=Event)


def compare(asked: CompareConfig, results: Results | None = None) -> Iterator[Event]:
    """Train every batch size with every seed, and yield the events; `results` collects them.

    Any number of processes may do this on one folder at once: each run is trained by one of them,
    and all yield the same lasting events, except for times.

    Raises:
        UsageError: options contradict each other or the data.
        DataError: see `load_dataset`.
        OutputError: a record could not be written.
        ThresholdNotMetError: no run reached `until_accuracy`.
        DivergedError: every run diverged.
        InterruptedRunError, TerminatedRunError: a signal came; the current run was saved.

    """
    signals = StopSignals()
    asked = sources.validate(asked)
    comparison = _Comparison(asked, Results() if results is None else results, signals)
    with signals, worker_processes(asked):
        yield from comparison.events()
    comparison.check_outcome()


def work(asked: CompareConfig) -> None:
    """Train the runs of a comparison that no other process trains, until none is missing."""
    signals = StopSignals()
    comparison = _Comparison(asked, Results(), signals)
    with signals:
        for _ in comparison.events():
            pass


class _Comparison:
    """A comparison in progress."""

    def __init__(self, asked: CompareConfig, results: Results, signals: StopSignals) -> None:
        self._began = time.perf_counter()
        self.asked = asked
        self.config = config = resolve(asked)
        self.results = results
        self.worker = Worker(config, signals, self.clock)
        self.sizes = plan.check_sizes(config, self.worker.samples)
        self.seeds = plan.seeds_of(config)
        self.rates = {
            size: plan.learning_rate_of(config, size, self.worker.samples) for size in self.sizes
        }

    def clock(self) -> float:
        """Return the seconds since the start of the comparison."""
        return time.perf_counter() - self._began

    def events(self) -> Iterator[Event]:
        """Yield all events."""
        yield self._keep(self._start())
        tuned = yield from self._tune()
        rates = {**self.rates, **tuned}
        runs = [
            self.worker.plan_run(size, seed, rates[size])
            for seed in self.seeds
            for size in self.sizes
        ]
        for number, run in enumerate(runs, start=1):
            later = partial(iter, runs[number:])
            self.results.add_run((yield from self.worker.complete(run, later, number, len(runs))))
        yield from self.results.summaries(self.clock())
        yield self._keep(conclusions(self.clock(), self.config, self.results))
        yield CompareEnd(
            self.clock(),
            arms=len(runs),
            arms_run=sum(run.name not in self.worker.folder.finished_before for run in runs),
            train_seconds=sum(end.train_seconds for end in self.results.ends),
            tuning_seconds=fsum(tuned.train_seconds for tuned in self.results.tuned),
        )

    def check_outcome(self) -> None:
        """Raise DivergedError or ThresholdNotMetError if no run of the comparison succeeded."""
        ends = self.results.ends
        if all(end.reason == "diverged" for end in ends):
            raise DivergedError("every run diverged; use a smaller --lr, or --lr-rule tuned")
        target = self.config.until_accuracy
        if target is not None and all(end.reason != "until-accuracy" for end in ends):
            best = max(end.val_accuracy or 0.0 for end in ends)
            raise ThresholdNotMetError(
                f"no run reached --until-accuracy {target}; the best came to {best:.4f}; "
                "allow more --max-epochs or ask for less"
            )

    def _start(self) -> CompareStart:
        model = build_model(self.config.model)
        data = self.worker.shared_data(self.config.seed)
        return CompareStart(
            seconds=self.clock(),
            version=__version__,
            samples=self.worker.samples,
            val_samples=len(data.val),
            test_samples=len(data.test),
            parameters=count_parameters(model),
            arms=len(self.sizes) * len(self.seeds),
            world_size=1,
            machine=self.worker.machine,
            command=plan.command_of(self.asked),
            config=asdict(self.config),
        )

    def _tune(self) -> Generator[Event, None, dict[int | None, float]]:
        """Return the tuned learning rates, if the options require a search."""
        rates: dict[int | None, float] = {}
        if self.config.lr_rule != "tuned" and not self.config.lr_range:
            return rates
        for k, size in enumerate(self.sizes):
            later = partial(self._next_trials, self.sizes[k + 1 :])
            search = self._search(size)
            while (trial := search.next_trial()) is not None:
                record = yield from self.worker.complete(trial, later)
                search.add(end_of(record))
            tuned = self._keep(replace(search.result(), seconds=self.clock()))
            if self.config.lr_rule == "tuned":
                rates[size] = tuned.lr
            yield tuned
        return rates

    def _search(self, size: int | None) -> Search:
        """Return the search for the learning rate of a batch size, with the first seed."""
        trial = self.worker.plan_run(size, self.config.seed, self.rates[size], TRIAL)
        return Search(trial, find_range=self.config.lr_range)

    def _next_trials(self, sizes: list[int | None]) -> Iterator[Run]:
        """Yield the trial that the search of each batch size needs next."""
        for size in sizes:
            search = self._search(size)
            while (trial := search.next_trial()) is not None:
                record = self.worker.folder.finished(trial)
                if record is None:
                    yield trial
                    break
                search.add(end_of(record))

    def _keep(self, event: E) -> E:
        self.results.add(event)
        return event
