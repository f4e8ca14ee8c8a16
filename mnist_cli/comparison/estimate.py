"""An estimate of how long the runs of a comparison take, from a short timing."""

import time
from collections.abc import Callable, Sequence
from contextlib import closing

from mnist_cli.comparison.run import Run
from mnist_cli.comparison.run_training import SharedData, scored_updates
from mnist_cli.comparison.variants import Variant
from mnist_cli.config.train import ResolvedConfig
from mnist_cli.data.splits import Split
from mnist_cli.events import Progress
from mnist_cli.training.trainer import Trainer

_SECONDS = 0.15  # of training, divided among the batch sizes
_SCORED = 1000  # samples whose evaluation is timed


def estimated_seconds(
    runs: Sequence[Run], data_of: Callable[[ResolvedConfig, int], SharedData]
) -> float | None:
    """Return about how many seconds runs take, or `None` if their work is not known beforehand.

    A few micro-batches of each batch size are timed, with weights that are thrown away. `data_of`
    returns the samples for a config and a seed.

    Raises:
        DivergedError: a loss or a gradient is not finite.
        StopRequested: a signal came.

    """
    each: dict[Variant, float] = {}
    scoring: dict[tuple[str, int], float] = {}  # by model and members
    variants = {run.variant: run for run in runs}
    for variant, run in variants.items():
        if run.end_updates is None or run.config.probe:
            return None
        data = data_of(run.config, runs[0].config.seed)
        trainer = Trainer(
            run.config,
            data.new_state(run),
            data.train,
            pool=data.pool,
            clock=data.clock,
            planned=run.end_updates,
        )
        trained = trainer.shape.samples_seen(run.end_updates)
        on_train, on_others = scored_updates(run.end_updates)
        scored = on_train * len(data.train) + on_others * (len(data.test) + len(data.val))
        training = _seconds_of_training(trainer, _SECONDS / len(variants))
        network = (run.config.model, run.config.members)
        if network not in scoring:
            scoring[network] = _seconds_of_scoring(trainer, data.test)
        each[variant] = trained * training + scored * scoring[network]
    return sum(each[run.variant] for run in runs)


def _seconds_of_training(trainer: Trainer, budget: float) -> float:
    """Return the seconds that training takes for a sample, timed after the first micro-batch."""
    began, first = time.perf_counter(), 0
    spent, samples = 0.0, 1
    with closing(trainer.train_epoch()) as events:
        for event in events:
            if not isinstance(event, Progress):
                continue
            spent, samples = time.perf_counter() - began, event.samples_seen - first
            if not first:
                began, first = time.perf_counter(), event.samples_seen
            elif spent > budget:
                break
    return spent / samples


def _seconds_of_scoring(trainer: Trainer, split: Split) -> float:
    """Return the seconds that the evaluation of a sample takes."""
    few = split.at(slice(_SCORED))
    began = time.perf_counter()
    trainer.evaluate(few, "test")
    return (time.perf_counter() - began) / len(few)
