"""Events of a comparison, as frozen dataclasses whose fields are the JSON keys.

A run is a batch size with a seed. The keys call it an arm, and a standard deviation a deviation.
`seconds` counts from the start of the comparison in which the event first happened; `train_seconds`
is the time of the run's updates, without measurements.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

from mnist_cli.comparison.stats import SIGNIFICANCE_LEVEL, Sample
from mnist_cli.events import SCHEMA, Event

REASONS = ("completed", "until-accuracy", "gave-up", "diverged")  # why a run ended


@dataclass(frozen=True)
class CompareStart(Event):
    """The comparison begins. `command` repeats it."""

    name: ClassVar[str] = "start"
    version: str
    samples: int
    val_samples: int
    test_samples: int
    parameters: int
    arms: int
    world_size: int
    machine: str
    command: str
    config: dict[str, Any]
    schema: int = SCHEMA


@dataclass(frozen=True)
class RunStart(Event):
    """A run begins, is resumed, or is read from its record. `updates` is `None` if unknown."""

    name: ClassVar[str] = "arm-start"
    arm: str
    batch_size: int | str
    seed: int
    lr: float
    purpose: str
    number: int | None
    arms: int
    updates: int | None
    finished_before: bool


@dataclass(frozen=True)
class RunProgress(Event):
    """Progress of a run: `share` is the spent fraction of its budget, or `None` if unknown."""

    name: ClassVar[str] = "arm-progress"
    lasting: ClassVar[bool] = False
    update: int
    samples_seen: int
    loss: float
    share: float | None


@dataclass(frozen=True)
class Waiting(Event):
    """Another process trains the next run; meanwhile this one may train a later run."""

    name: ClassVar[str] = "waiting"
    lasting: ClassVar[bool] = False
    arm: str


@dataclass(frozen=True)
class Point(Event):
    """Losses and accuracies after `update` updates, over whole splits."""

    name: ClassVar[str] = "point"
    arm: str
    batch_size: int | str
    seed: int
    update: int
    samples_seen: int
    train_seconds: float
    train_loss: float
    train_accuracy: float
    test_loss: float
    test_accuracy: float
    val_loss: float | None = None
    val_accuracy: float | None = None


@dataclass(frozen=True)
class Change(Event):
    """The full training loss before and after an update that was monitored."""

    name: ClassVar[str] = "change"
    arm: str
    update: int
    before: float
    after: float


@dataclass(frozen=True)
class RunEnd(Event):
    """A run ended. The losses are `None` if it diverged.

    `reason` is `completed`, `until-accuracy`, `gave-up` or `diverged`. `watched` counts the
    updates that were monitored, and `rises` those of them on which the full training loss
    increased; `change_deviation` is the standard deviation of its changes, the large ones at the
    beginning included. The seconds were measured on `machine`.
    """

    name: ClassVar[str] = "arm-end"
    arm: str
    batch_size: int | str
    seed: int
    lr: float
    reason: str
    update: int
    samples_seen: int
    train_seconds: float
    train_loss: float | None
    train_accuracy: float | None
    test_loss: float | None
    test_accuracy: float | None
    watched: int
    rises: int
    change_deviation: float | None
    weights_sha256: str | None
    val_loss: float | None = None
    val_accuracy: float | None = None
    machine: str = ""


@dataclass(frozen=True)
class Tuned(Event):
    """The search of a batch size's learning rate ended.

    `stable_from` to `stable_to` is the range that trained stably, if it was searched: in it
    every rate of the grid got the training loss below half of ln 10 by the end of the budget.
    `at_edge`: no larger or no smaller rate was left to try.
    """

    name: ClassVar[str] = "tuned"
    batch_size: int | str
    seed: int
    lr: float
    tried: list["Trial"]
    train_seconds: float
    stable_from: float | None
    stable_to: float | None
    at_edge: bool


@dataclass(frozen=True)
class Trial:
    """One learning rate that was tried, and the result of its run."""

    lr: float
    reason: str
    update: int
    train_seconds: float
    train_loss: float | None
    val_loss: float | None
    val_accuracy: float | None
    stable: bool


@dataclass(frozen=True)
class Summary(Event):
    """The runs of a batch size: means and standard deviations over the seeds.

    `None` if no run has a value. Runs that diverged are left out; under --until-accuracy, updates,
    samples and seconds are those of the runs that reached the target.
    """

    name: ClassVar[str] = "summary"
    batch_size: int | str
    lr: float
    seeds: int
    diverged: int
    reached: int | None
    updates: Sample | None
    samples_seen: Sample | None
    train_seconds: Sample | None
    train_loss: Sample | None
    train_accuracy: Sample | None
    test_loss: Sample | None
    test_accuracy: Sample | None
    val_accuracy: Sample | None
    rise_share: Sample | None
    change_deviation: Sample | None
    watched: int
    stable_from: float | None = None
    stable_to: float | None = None
    tuning_seconds: float | None = None
    noise_scale: Sample | None = None
    sharpness: Sample | None = None
    stable_up_to: float | None = None


@dataclass(frozen=True)
class Diverged:
    """The number of runs of a batch size that diverged."""

    batch_size: int | str
    lr: float
    diverged: int
    seeds: int


@dataclass(frozen=True)
class TargetMissed:
    """The number of runs of a batch size that missed the target; `best` is their best accuracy."""

    batch_size: int | str
    missed: int
    seeds: int
    best: Sample


@dataclass(frozen=True)
class TargetsMissed:
    """The batch sizes that did not reach the target with every seed."""

    missed: list[TargetMissed]


@dataclass(frozen=True)
class Ranked:
    """The estimate of a batch size, and the p-value of its difference from the best.

    `p` is corrected for the number of tests; it is `None` if no test was possible.
    """

    batch_size: int | str
    estimate: Sample
    p: float | None = None

    @property
    def is_significant(self) -> bool:
        """True if the difference from the best is significant."""
        return self.p is not None and self.p < SIGNIFICANCE_LEVEL


@dataclass(frozen=True)
class Ranking:
    """Batch sizes sorted by a quantity, the best first.

    `at` is the value at which they are compared, such as an equal number of updates.
    """

    quantity: str
    best: Ranked
    others: list[Ranked]
    at: float | None = None

    @property
    def p(self) -> float | None:
        """The smallest p-value; `None` if every batch size has a single seed."""
        if all(ranked.estimate.count < 2 for ranked in (self.best, *self.others)):
            return None
        return min(1.0 if ranked.p is None else ranked.p for ranked in self.others)


@dataclass(frozen=True)
class CriticalBatchSize:
    """The fit of updates to the target, `updates` · (1 + `batch_size` / B); `None` without a fit.

    `noise_scales` are the medians of those measured first and last in the runs.
    """

    updates: float | None = None
    batch_size: float | None = None
    noise_scales: tuple[float, float] | None = None


@dataclass(frozen=True)
class LossIncreases:
    """By batch size: the updates on which the full training loss increased, and those monitored."""

    increases: dict[int | str, tuple[int, int]]
    evenly_spread: bool


@dataclass(frozen=True)
class LearningRates:
    """The search of a batch size's learning rate."""

    tuned: Tuned
    is_used: bool
    has_range: bool


@dataclass(frozen=True)
class Sharpness:
    """The sharpness at the end of the runs of a batch size, measured on `samples` samples.

    `edge` is the last edge of stability; `near_edge` of the `probes` were close to theirs.
    """

    batch_size: int | str
    last: Sample
    samples: int
    edge: float | None
    near_edge: int
    probes: int
    momentum: float


@dataclass(frozen=True)
class GradientExponent:
    """The power of B with which the deviation of a batch's gradient from the full one falls."""

    exponent: Sample


@dataclass(frozen=True)
class SameLearningRate:
    """A caveat: all batch sizes had the same learning rate."""

    lr: float


@dataclass(frozen=True)
class SeveralMachines:
    """A caveat: the seconds were measured on several machines."""

    machines: list[str]


@dataclass(frozen=True)
class FewSeeds:
    """A caveat: there are too few seeds."""

    seeds: int


Finding = (
    Diverged
    | TargetsMissed
    | Ranking
    | CriticalBatchSize
    | LossIncreases
    | LearningRates
    | Sharpness
    | GradientExponent
    | SameLearningRate
    | SeveralMachines
    | FewSeeds
)


@dataclass(frozen=True)
class Conclusions(Event):
    """The findings of a comparison. As JSON they are written as a `Verdict`."""

    name: ClassVar[str] = "conclusions"
    lasting: ClassVar[bool] = False
    findings: list[Finding]


@dataclass(frozen=True)
class Verdict(Event):
    """The conclusions in sentences, as they are written as JSON."""

    name: ClassVar[str] = "verdict"
    findings: list["Sentence"]


@dataclass(frozen=True)
class Sentence:
    """A sentence, its topic, and the p-value of its test, if there is one."""

    about: str
    text: str
    p: float | None = None


@dataclass(frozen=True)
class CompareEnd(Event):
    """The comparison ended."""

    name: ClassVar[str] = "end"
    arms: int
    arms_run: int
    train_seconds: float
    tuning_seconds: float
