"""A comparison, from its options to its conclusions, trained by one or several processes."""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, replace
from functools import partial
from math import fsum

from mnist_cli import __version__
from mnist_cli.comparison.estimate import estimated_seconds
from mnist_cli.comparison.events import (
    CompareEnd,
    CompareStart,
    Estimate,
    PathPlane,
    RunEnd,
    RunProgress,
    RunStart,
    Waiting,
)
from mnist_cli.comparison.findings import conclusions
from mnist_cli.comparison.lr_search import Search
from mnist_cli.comparison.merge import MergedFolder
from mnist_cli.comparison.path import RunPath, plane_of
from mnist_cli.comparison.records import RunFolder
from mnist_cli.comparison.results import Results, end_of
from mnist_cli.comparison.run import (
    COMPARED,
    TRIAL,
    Run,
    command_of,
    learning_rate_of,
    plan_run,
    seeds_of,
)
from mnist_cli.comparison.run_training import SharedData
from mnist_cli.comparison.variants import Variant, variants_of
from mnist_cli.config import sources
from mnist_cli.config.compare import CompareConfig, ResolvedComparison, resolve, settings_of
from mnist_cli.config.options import names_in
from mnist_cli.config.train import ResolvedConfig, TrainConfig
from mnist_cli.data.catalogue import number_of_classes
from mnist_cli.data.datasets import load_dataset
from mnist_cli.data.own.named import log_summary, own_data_options
from mnist_cli.data.splits import Dataset, train_val_split
from mnist_cli.errors import DivergedError, ThresholdNotMetError, UsageError
from mnist_cli.evaluation.evaluate import evaluate
from mnist_cli.events import Event
from mnist_cli.models.checkpoint import Checkpoint
from mnist_cli.models.networks import build_model, count_parameters, weights_sha256
from mnist_cli.runtime.cores import usable_cores
from mnist_cli.runtime.device import (
    ThreadPool,
    check_torch_modes,
    machine,
    pick_device,
    pick_precision,
    threads_for,
    threads_set,
)
from mnist_cli.runtime.signals import StopRequested, StopSignals
from mnist_cli.training.initial import (
    check_number_of_classes,
    load_weights,
    warn_of_seen_samples,
)
from mnist_cli.training.probes.probes import draw_samples

_SAVE_EVERY = 5.0  # seconds
_POLL_EVERY = 0.1  # seconds
PATH = "path"  # the probe for which the paths of the weights are recorded


def compare(
    asked: CompareConfig, results: Results | None = None, *, estimating: bool = False
) -> Iterator[Event]:
    """Train every variant with every seed, and yield the events; `results` collects them.

    With `asked.merge`, nothing is trained: the runs are those of other folders.

    With `estimating`, an `Estimate` of the time comes before the first run; its timing takes some
    tenths of a second.

    Any number of processes may do this on one folder at once: each run is trained by one of them,
    and all yield the same lasting events, except for times.

    Raises:
        UsageError: options contradict each other or the data, or are not those of a merged folder.
        DataError: see `load_dataset` and `MergedFolder`.
        OutputError: a record could not be written.
        CheckpointError: `asked.init` cannot be read.
        ThresholdNotMetError: no run reached `until_accuracy`.
        DivergedError: every run diverged.
        InterruptedRunError, TerminatedRunError: a signal came; of the current run at most the
            last seconds are lost.

    """
    signals = StopSignals()
    asked = sources.validate(asked, CompareConfig)
    check_torch_modes(gradients=True)
    with threads_set(_threads_of(asked)):
        comparison = _Comparison(asked, Results() if results is None else results, signals)
        with signals, comparison.runner.pool, _worker_processes(asked):
            yield from comparison.events(estimating=estimating)
    comparison.check_outcome()


def work(asked: CompareConfig) -> None:
    """Train free runs of a comparison, and return when every run has a record.

    Raises:
        UsageError, DataError, OutputError, InterruptedRunError, TerminatedRunError: see `compare`.

    """
    signals = StopSignals()
    with threads_set(_threads_of(asked)):
        comparison = _Comparison(asked, Results(), signals)
        with signals, comparison.runner.pool:
            for _ in comparison.events():
                pass


def _threads_of(config: CompareConfig) -> int | None:
    """Return the threads of each process: those asked for, or a share of the cores."""
    if config.threads is None and config.jobs > 1:
        return max(1, usable_cores() // config.jobs)
    return config.threads


@contextmanager
def _worker_processes(config: CompareConfig) -> Iterator[None]:
    """Start `config.jobs` - 1 workers on the comparison's folder; terminate them on exit.

    They print nothing. If one fails, this process trains its run and so reports the error.
    """
    processes: list[subprocess.Popen[str]] = []
    with ExitStack() as stack:  # each is waited for, and its standard input closed
        try:
            for _ in range(config.jobs - 1):
                process = subprocess.Popen(
                    [sys.executable, "-m", "mnist_cli.comparison"],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    text=True,
                    start_new_session=True,  # Ctrl-C comes to this process, which passes it on once
                )
                processes.append(stack.enter_context(process))
                if process.stdin:  # left open: the worker stops when it is closed
                    with suppress(BrokenPipeError):
                        process.stdin.write(json.dumps(asdict(config)) + "\n")
                        process.stdin.flush()
            yield
        finally:
            for process in processes:  # all of them, before the first is waited for
                process.terminate()


def _initial_checkpoints(asked: CompareConfig) -> dict[str, Checkpoint]:
    """Return the checkpoints with whose weights runs begin, by the paths that options name."""
    found: dict[str, Checkpoint] = {}
    for _, config in settings_of(asked):
        if config.init is not None and config.init not in found:
            option = "--init" if config.init == asked.init else "--vary init"
            found[config.init] = load_weights(option, config.init, config)
    return found


class _Comparison:
    """A comparison in progress."""

    def __init__(self, asked: CompareConfig, results: Results, signals: StopSignals) -> None:
        self._began = time.perf_counter()
        self.asked = asked
        resolve(asked)  # options that contradict each other are told first
        initial = _initial_checkpoints(asked)
        digests = {path: weights_sha256(each.weights) for path, each in initial.items()}
        if asked.init is not None:
            asked = replace(asked, init=digests.get(asked.init, asked.init))
        dataset = load_dataset(asked.dataset, asked.data_dir, **own_data_options(asked))
        log_summary(dataset)
        for each in initial.values():
            check_number_of_classes("--init", each, dataset)
        asked = replace(asked, dataset=dataset.name)
        self.config = config = resolve(asked)
        self.results = results
        by_digest = {digests[path]: each for path, each in initial.items()}
        self.runner = Runner(config, dataset, signals, self.clock, by_digest)

        def begun(varied: ResolvedComparison) -> ResolvedComparison:
            init = varied.init if varied.init is None else digests.get(varied.init, varied.init)
            precision = pick_precision(varied.precision, self.runner.device)
            return replace(varied, init=init, precision=precision)

        variants = variants_of(asked, lambda varied: self.runner.samples_of(begun(varied)))
        self.variants = {variant: begun(varied) for variant, varied in variants.items()}
        for varied in self.variants.values():
            self.runner.check_target_is_ahead(varied)
        self.seeds = seeds_of(config)
        self.rates = {
            variant: learning_rate_of(varied, variant, self.runner.samples_of(varied))
            for variant, varied in self.variants.items()
        }

    def clock(self) -> float:
        """Return the seconds since the start of the comparison."""
        return time.perf_counter() - self._began

    def events(self, *, estimating: bool = False) -> Iterator[Event]:
        """Yield all events."""
        self.results.start = self._start()
        yield self.results.start
        if estimating and self.config.merge is None:
            yield from self._estimate()
        tuned = yield from self._tune()
        runs = self._runs({**self.rates, **tuned})
        for number, run in enumerate(runs, start=1):
            later = partial(iter, runs[number:])
            record = yield from self.runner.complete(run, later, number, len(runs))
            self.results.add_run(run.variant, record)
        if PATH in names_in(self.config.probe):
            self.results.plane = self.runner.plane(runs[: len(self.variants)])
            if self.results.plane is not None:
                yield self.results.plane
        yield from self.results.summaries(self.clock())
        self.results.conclusions = conclusions(self.clock(), self.config, self.results)
        yield self.results.conclusions
        yield CompareEnd(
            self.clock(),
            arms=len(runs),
            arms_run=sum(not self.runner.folder.finished_before(run) for run in runs),
            train_seconds=sum(end.train_seconds for end in self.results.ends),
            tuning_seconds=fsum(tuned.train_seconds for tuned in self.results.tuned),
        )

    def _runs(self, rates: Mapping[Variant, float]) -> list[Run]:
        """Return the runs in their order."""
        return [
            self._plan_run(variant, seed, rates[variant])
            for seed in self.seeds
            for variant in self.variants
        ]

    def _plan_run(self, variant: Variant, seed: int, lr: float, purpose: str = COMPARED) -> Run:
        config = self.variants[variant]
        samples = self.runner.samples_of(config)
        return plan_run(config, variant, seed, lr, samples=samples, purpose=purpose)

    def _estimate(self) -> Iterator[Estimate]:
        """Yield an estimate for the runs without a record, unless rates are yet to be tuned."""
        if self.config.lr_rule == "tuned" or self.config.lr_range:
            return
        runs = [run for run in self._runs(self.rates) if not self.runner.folder.has_record(run)]
        if not runs:
            return
        with suppress(DivergedError, StopRequested):  # the runs will report these
            expected = estimated_seconds(runs, self.runner.shared_data)
            if expected is not None:
                expected /= min(self.config.jobs, len(runs))
            yield Estimate(self.clock(), len(runs), expected)

    def check_outcome(self) -> None:
        """Raise an error if all runs diverged, or if none reached the target accuracy."""
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
        config = asdict(self.config)
        classes = number_of_classes(self.config.dataset)
        model = build_model(self.config.model, members=self.config.members, classes=classes)
        data = self.runner.shared_data(self.config, self.config.seed)
        return CompareStart(
            seconds=self.clock(),
            version=__version__,
            samples=max(map(self.runner.samples_of, self.variants.values())),
            val_samples=len(data.val),
            test_samples=len(data.test),
            parameters=count_parameters(model),
            arms=len(self.variants) * len(self.seeds),
            world_size=1,
            machine=self.runner.machine,
            command=command_of(self.asked),
            classes=classes,
            config=config,
            variants=[*self.variants],
            options=[
                {k: v for k, v in asdict(varied).items() if k != "vary" and v != config[k]}
                for varied in self.variants.values()
            ],
        )

    def _tune(self) -> Generator[Event, None, dict[Variant, float]]:
        """Return the tuned learning rates, if the options require a search."""
        rates: dict[Variant, float] = {}
        if self.config.lr_rule != "tuned" and not self.config.lr_range:
            return rates
        variants = [*self.variants]
        for k, variant in enumerate(variants):
            later = partial(self._next_trials, variants[k + 1 :])
            search = self._search(variant)
            while (trial := search.next_trial()) is not None:
                record = yield from self.runner.complete(trial, later)
                search.add(end_of(record))
            tuned = replace(search.result(), seconds=self.clock())
            self.results.tuned.append(tuned)
            if self.config.lr_rule == "tuned":
                rates[variant] = tuned.lr
            yield tuned
        return rates

    def _search(self, variant: Variant) -> Search:
        """Return the search for the learning rate of a variant."""
        trial = self._plan_run(variant, self.config.seed, self.rates[variant], TRIAL)
        return Search(
            trial,
            self.seeds[: self.config.tune_seeds],
            refine=self.config.lr_rule == "tuned",
            find_range=self.config.lr_range,
            classes=number_of_classes(self.config.dataset),
        )

    def _next_trials(self, variants: list[Variant]) -> Iterator[Run]:
        """Yield the trial that the search of each variant needs next."""
        for variant in variants:
            search = self._search(variant)
            while (trial := search.next_trial()) is not None:
                record = self.runner.folder.finished(trial)
                if record is None:
                    yield trial
                    break
                search.add(end_of(record))


class Runner:
    """The samples, threads and folder with which a process trains runs.

    `initial` are the checkpoints with whose weights runs begin, by the digests of these. If there
    are any, all runs divide the samples by the seed of the first: a split by their own seeds would
    hold out samples that it was trained on.

    Raises:
        UsageError, OutputError: see `pick_device` and `RunFolder`.

    """

    def __init__(
        self,
        config: ResolvedComparison,
        dataset: Dataset,
        signals: StopSignals,
        clock: Callable[[], float],
        initial: Mapping[str, Checkpoint] | None = None,
    ) -> None:
        self.config = config
        self._initial = initial or {}
        first = next(iter(self._initial.values()), None)
        self._split_seed = None if first is None else first.config.seed
        self.clock = clock
        merged = names_in(config.merge)
        self.folder = MergedFolder(config.output, merged) if merged else RunFolder(config.output)
        self._signals = signals
        self.device = pick_device(config.device)
        self.pool = ThreadPool(threads_for(self.device), signals.check_stop)
        self.machine = machine(self.device, config.jobs)
        self._dataset = dataset
        self._cached_data: dict[tuple[object, ...], SharedData] = {}
        for each in self._initial.values():
            asked = TrainConfig(
                dataset=config.dataset,
                val_size=config.val_size,
                subset=config.subset,
                seed=config.seed if self._split_seed is None else self._split_seed,
            )
            warn_of_seen_samples("--init", each, asked, self._dataset.train)

    def samples_of(self, config: ResolvedComparison) -> int:
        """Return the number of samples that runs with these options are trained on."""
        return len(self.shared_data(config, config.seed).train)

    def shared_data(self, config: ResolvedComparison | ResolvedConfig, seed: int) -> SharedData:
        """Return the samples that runs of a config share; those of the latest seed are cached."""
        network = (config.model, config.members, config.init)
        key = (seed, *network, config.subset, config.val_size, config.sort_by_class)
        if key not in self._cached_data:
            train, val = train_val_split(
                self._dataset.train,
                val_size=config.val_size,
                subset=config.subset,
                seed=seed if self._split_seed is None else self._split_seed,
            )
            if config.sort_by_class:
                train = train.sorted_by_class()
            train, val, test = (s.to(self.device) for s in (train, val, self._dataset.test))
            shared = SharedData(
                *(train, val, test, self.pool, self.clock, self.machine),
                records_path=PATH in names_in(self.config.probe) and seed == self.config.seed,
                weights=self._initial[config.init].weights if config.init is not None else None,
            )
            others = {k: data for k, data in self._cached_data.items() if k[0] == seed}
            self._cached_data = {**others, key: shared}
        return self._cached_data[key]

    def check_target_is_ahead(self, config: ResolvedComparison) -> None:
        """Raise UsageError if the first weights have reached the target: no size could save any."""
        target = config.until_accuracy
        if config.init is None or target is None:
            return
        held_out = self.shared_data(config, config.seed).val
        model = self._initial[config.init].build_model()
        accuracy = evaluate(model.to(self.device), held_out).accuracy
        if accuracy >= target:
            raise UsageError(
                f"--until-accuracy {target} is behind the weights of --init, which have "
                f"{accuracy:.4f}; ask for more"
            )

    def plane(self, runs: list[Run]) -> PathPlane | None:
        """Return the plane of the paths of the first seed's runs, measured unless it was before.

        Runs that diverged are left out. It is None if no paths were recorded.

        Raises:
            InterruptedRunError, TerminatedRunError: a signal came.

        """
        runs = [run for run in runs if _is_whole(self.folder.finished(run))]
        if (plane := self.folder.plane(runs)) is not None:
            return replace(plane, seconds=self.clock())
        data = self.shared_data(self.config, self.config.seed)
        classes = number_of_classes(self.config.dataset)
        model = build_model(self.config.model, classes=classes).to(data.train.device)
        found = [RunPath(run.variant, self.folder.snapshots(run, model)) for run in runs]
        paths = [path for path in found if path.snapshots]
        if not paths:
            return None
        seed = self.config.seed
        sample = draw_samples(data.train, self.config.probe_samples, seed)
        try:
            plane = plane_of(paths, model, sample, pool=self.pool, seconds=self.clock(), seed=seed)
        except StopRequested:
            self._raise_if_interrupted("while the plane of the paths was measured")
            raise
        if plane is not None:
            self.folder.save_plane(runs, plane)
        return plane

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
                    yield self._start(run, number, runs, finished_before=False)
                    return (yield from self._train(run))
            if not locked:
                yield Waiting(self.clock(), run.name)
                yield from self._train_another(others())
        before = self.folder.finished_before(run)
        yield self._start(run, number, runs, finished_before=before)
        yield from record
        return record

    def _start(self, run: Run, number: int | None, runs: int, *, finished_before: bool) -> RunStart:
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
            finished_before=finished_before,
            setting=run.variant.setting,
        )

    def _train(self, run: Run) -> Generator[Event, None, list[Event]]:
        """Train a locked run, from its saved state if there is one, and write its record."""
        self._raise_if_interrupted(f"before the run {run.name}")
        training = self.folder.open(run, self.shared_data(run.config, run.config.seed))
        saved = self.clock()
        try:
            for event in training.events(self._signals):
                yield event
                if isinstance(event, RunProgress) and self.clock() - saved > _SAVE_EVERY:
                    self.folder.save(training)
                    saved = self.clock()
        except StopRequested:
            self._raise_if_interrupted(f"while the run {run.name} was measured")
        if self._signals.error and not (
            training.record and isinstance(training.record[-1], RunEnd)
        ):
            self.folder.save(training)
            self._raise_if_interrupted(f"at update {training.state.update} of the run {run.name}")
        self.folder.save_path(training, ended=True)
        self.folder.finish(run, training.record)
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
        self._raise_if_interrupted("between two runs")
        time.sleep(_POLL_EVERY)

    def _raise_if_interrupted(self, where: str) -> None:
        """Raise the error of the signal that was received, if one was."""
        if error := self._signals.error:
            kept = f"what is done is kept in {self.config.output}: the same command goes on"
            raise error(f"interrupted {where}; {kept}")


def _is_whole(record: list[Event] | None) -> bool:
    """Return True for the record of a run that did not diverge."""
    return record is not None and end_of(record).reason != "diverged"
