"""A comparison, from its options to its verdict."""

import os
import platform
import time
from collections.abc import Generator, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TypeVar

import torch

from mnist_cli import __version__
from mnist_cli.data import Dataset, load_dataset, part
from mnist_cli.errors import DivergedError, ThresholdNotMetError
from mnist_cli.events import Event
from mnist_cli.lab import plan
from mnist_cli.lab.arm import Arm
from mnist_cli.lab.arm_run import Material
from mnist_cli.lab.events import (
    ArmEnd,
    ArmProgress,
    ArmStart,
    CompareEnd,
    CompareStart,
    Tuned,
)
from mnist_cli.lab.options import CompareConfig, resolve
from mnist_cli.lab.results import Results
from mnist_cli.lab.store import Store
from mnist_cli.lab.tuning import Search, grid
from mnist_cli.lab.verdict import verdict
from mnist_cli.models import build_model, count_parameters
from mnist_cli.runtime import pick_device, set_threads, threads_for
from mnist_cli.signals import Stopped, StopSignals
from mnist_cli.team import Team

E = TypeVar("E", bound=Event)

_SAVE_EVERY = 5.0  # seconds


def compare(asked: CompareConfig, results: Results | None = None) -> Iterator[Event]:
    """Train every batch size with every seed, and yield what happens; `results` collects it.

    Raises:
        UsageError: options contradict each other or the data.
        DataError: see `load_dataset`.
        OutputError: a record could not be written.
        ThresholdNotMetError: no arm reached `until_accuracy`.
        DivergedError: every arm diverged.
        InterruptedRunError, TerminatedRunError: a signal came; the arm under way was saved.

    """
    signals = StopSignals()
    comparison = _Comparison(asked, Results() if results is None else results, signals)
    with comparison.store, signals:
        yield from comparison.run(signals)
    comparison.judge()


class _Comparison:
    """A comparison in progress."""

    def __init__(self, asked: CompareConfig, results: Results, signals: StopSignals) -> None:
        self._began = time.perf_counter()
        self.asked = asked
        self.config = config = resolve(asked)
        self.results = results
        self.store = Store(config.output)
        set_threads(config.threads)
        self.device = pick_device(config.device)
        self.team = Team(threads_for(self.device), signals.check)
        self.machine = (
            f"{_processor()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads, "
            f"on {self.device}, PyTorch {torch.__version__}"
        )
        self.dataset: Dataset = load_dataset(config.dataset, config.data_dir)
        self.material = self._material(config.seed)
        self.samples = len(self.material.train)
        self.sizes = plan.check_sizes(config, self.samples)
        self.seeds = plan.seeds_of(config)
        self.arms_run = 0
        self.tuning_seconds = 0.0

    def clock(self) -> float:
        """Return the seconds since the start of the comparison."""
        return time.perf_counter() - self._began

    def run(self, signals: StopSignals) -> Iterator[Event]:
        """Yield all that happens."""
        yield self._show(self._start())
        rates: dict[int | None, float] = {}
        for size in self.sizes:
            rates[size] = plan.learning_rate_of(self.config, size, self.samples)
            if self.config.lr_rule == "tuned" or self.config.lr_range:
                rates[size] = yield from self._tune(size, rates[size], signals)
        number = 0
        for seed in self.seeds:
            self.material = self._material(seed)
            for size in self.sizes:
                number += 1
                arm = self._arm(size, seed, rates[size])
                yield from self._run_arm(arm, signals, number)
        yield from self.results.summaries(self.clock())
        yield self._show(verdict(self.clock(), self.config, self.results))
        yield CompareEnd(
            self.clock(),
            arms=number,
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
        return CompareStart(
            seconds=self.clock(),
            version=__version__,
            samples=self.samples,
            val_samples=len(self.material.val),
            test_samples=len(self.material.test),
            parameters=count_parameters(model),
            arms=len(self.sizes) * len(self.seeds),
            machine=self.machine,
            command=plan.command_of(self.asked),
            config=asdict(self.config),
        )

    def _material(self, seed: int) -> Material:
        """Return the samples as the seed parts them."""
        config = self.config
        assert config.val_size is not None
        train, val = part(
            self.dataset.train, val_size=config.val_size, subset=config.subset, seed=seed
        )
        train, val, test = (split.to(self.device) for split in (train, val, self.dataset.test))
        return Material(train, val, test, self.team, self.clock, self.machine)

    def _arm(self, size: int | None, seed: int, lr: float, purpose: str = "arm") -> Arm:
        return plan.arm_of(self.config, size, seed, lr, samples=self.samples, purpose=purpose)

    def _tune(
        self, size: int | None, start: float, signals: StopSignals
    ) -> Generator[Event, None, float]:
        """Search the rate of a batch size with the first seed; return the one to be used."""

        def run(arm: Arm) -> Generator[Event, None, ArmEnd]:
            return (yield from self._run_arm(arm, signals))

        trial = self._arm(size, self.config.seed, start, "trial")
        search = Search(trial, run, hurried=not self.config.lr_range)
        tuned = self.config.lr_rule == "tuned"
        place = yield from search.best()
        stable = (yield from search.stable(place)) if self.config.lr_range else None
        event: Tuned = self._show(search.event(self.clock(), place, stable))
        self.tuning_seconds += event.train_seconds
        yield event
        return grid(place) if tuned else start

    def _run_arm(
        self, arm: Arm, signals: StopSignals, number: int | None = None
    ) -> Generator[Event, None, ArmEnd]:
        """Train an arm, or read the record of one that is finished."""
        record = self.store.finished(arm)
        config = arm.config
        assert config.lr is not None
        yield ArmStart(
            self.clock(),
            arm=arm.name,
            batch_size=arm.batch_size,
            seed=config.seed,
            lr=config.lr,
            purpose=arm.purpose,
            number=number,
            arms=len(self.sizes) * len(self.seeds),
            updates=arm.end_updates,
            finished_before=record is not None,
        )
        if record is None:
            record = yield from self._train_arm(arm, signals)
            self.arms_run += number is not None
        else:
            yield from record
        if number is not None:
            self.results.add_arm(record)
        end = record[-1]
        assert isinstance(end, ArmEnd)
        return end

    def _train_arm(self, arm: Arm, signals: StopSignals) -> Generator[Event, None, list[Event]]:
        if signals.error:
            raise signals.error(f"interrupted before the arm {arm.name}; {self._way_on()}")
        run = self.store.open(arm, self.material)
        saved = self.clock()
        try:
            for event in run.events(signals):
                yield event
                if isinstance(event, ArmProgress) and self.clock() - saved > _SAVE_EVERY:
                    self.store.save(run)
                    saved = self.clock()
        except Stopped:
            assert signals.error
            raise signals.error(
                f"interrupted while the arm {arm.name} was measured; {self._way_on()}"
            ) from None
        if signals.error and not (run.record and isinstance(run.record[-1], ArmEnd)):
            self.store.save(run)
            raise signals.error(
                f"interrupted at update {run.state.update} of the arm {arm.name}; {self._way_on()}"
            )
        self.store.finish(run)
        return run.record

    def _way_on(self) -> str:
        return f"what is done is kept in {self.config.output}: the same command goes on"

    def _show(self, event: E) -> E:
        self.results.add(event)
        return event


def _processor() -> str:
    """Return the processor's name, as far as the system tells."""
    try:
        with Path("/proc/cpuinfo").open() as file:
            for line in file:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
