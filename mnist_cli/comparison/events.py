"""Events of a comparison, as frozen dataclasses whose fields are the JSON keys.

A run is a variant with a seed; a variant is a batch size and, with `--vary`, the `setting` of an
option. Some keys have other words than the code: a run is an `arm`, a standard deviation a
`deviation`, monitored updates are `watched`, and those on which the full training loss increased
are `rises`.
`seconds` counts from the start of the comparison in which the event first happened; `train_seconds`
is the time of the run's updates, without measurements.
"""

from dataclasses import dataclass, field
from typing import Any, ClassVar

from mnist_cli.comparison.stats import MeanAndDeviation
from mnist_cli.comparison.variants import Variant
from mnist_cli.events import SCHEMA, Event, wall_clock

REASONS = ("completed", "until-accuracy", "gave-up", "diverged")  # why a run ended


@dataclass(frozen=True)
class CompareStart(Event):
    """The comparison begins. `command` repeats it; the data have so many `classes`.

    `options` are, for each of the variants, the values of the options in which it differs from
    `config`.
    """

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
    variants: list[Variant] = field(default_factory=list)
    options: list[dict[str, Any]] = field(default_factory=list)
    classes: int = 10
    time: str = field(default_factory=wall_clock)
    schema: int = SCHEMA

    def value_of(self, variant: Variant, name: str) -> Any:  # noqa: ANN401 (of any option)
        """Return the value of an option in a variant."""
        own = dict(zip(self.variants, self.options, strict=False)).get(variant, {})
        return own.get(name, self.config[name])

    def values_of(self, name: str) -> list[Any]:
        """Return the values of an option in the variants."""
        return [self.value_of(variant, name) for variant in self.variants]


@dataclass(frozen=True)
class Estimate(Event):
    """How many runs have no record yet, and about how long they take, or `None` if unknown."""

    name: ClassVar[str] = "estimate"
    lasting: ClassVar[bool] = False
    runs: int
    expected: float | None


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
    setting: str | None = None


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
class RunOptions(Event):
    """What the results of a run depend on: its options, as on a command line, and the version.

    It is in a run's record, but not among the events that are written as JSON.
    """

    name: ClassVar[str] = "arm-options"
    lasting: ClassVar[bool] = False
    arm: str
    options: list[str]


@dataclass(frozen=True)
class Change(Event):
    """The full training loss before and after an update that was monitored."""

    name: ClassVar[str] = "change"
    arm: str
    update: int
    before: float
    after: float


@dataclass(frozen=True)
class BatchLosses(Event):
    """The losses of single updates, each over its own samples and before it: a bounded number.

    It is in a run's record, but not among the events that are written as JSON.
    """

    name: ClassVar[str] = "batch-losses"
    lasting: ClassVar[bool] = False
    arm: str
    updates: list[int]
    losses: list[float]

    def __post_init__(self) -> None:
        """Raise ValueError if the updates are not multiples of the first, each with a loss."""
        first = self.updates[0] if self.updates else 1
        multiples = first and self.updates == [first * (n + 1) for n in range(len(self.losses))]
        if not multiples:
            raise ValueError("its updates do not fit its losses")


@dataclass(frozen=True)
class PathPlane(Event):
    """The paths of the weights of one seed's runs, in the plane of their principal directions.

    `share` is the fraction of the variance of the weights that lies in the plane. `across` and `up`
    are the places of each run's weights after its `updates`; `losses` are the mean losses over
    `samples` samples at the grid's places, row by row from below.
    """

    name: ClassVar[str] = "path"
    seed: int
    share: float
    samples: int
    batch_sizes: list[int | str]
    updates: list[list[int]]
    across: list[list[float]]
    up: list[list[float]]
    grid_across: list[float]
    grid_up: list[float]
    losses: list[list[float]]
    settings: list[str | None] = field(default_factory=list)  # empty without --vary

    @property
    def runs(self) -> list[tuple[int | str, str | None]]:
        """The batch size and the setting of each run."""
        settings = self.settings or [None] * len(self.batch_sizes)
        return list(zip(self.batch_sizes, settings, strict=True))

    def __post_init__(self) -> None:
        """Raise ValueError if the lists do not fit each other, or the grid has no area."""
        lengths = [[len(run) for run in runs] for runs in (self.updates, self.across, self.up)]
        rows = [len(row) for row in self.losses]
        fits = lengths == 3 * [lengths[0]] and 0 not in lengths[0]
        fits = fits and len(lengths[0]) == len(self.batch_sizes) > 0
        fits = fits and len(self.settings) in (0, len(self.batch_sizes))
        fits = fits and rows == [len(self.grid_across)] * len(self.grid_up)
        for places in (self.grid_across, self.grid_up):
            fits = fits and len(places) > 1 and places == sorted({*places})
        if not fits:
            raise ValueError("its lists do not fit each other")


@dataclass(frozen=True)
class RunEnd(Event):
    """A run ended. The losses are `None` if it diverged.

    `reason` is one of `REASONS`. `change_deviation` is the standard deviation of the changes of
    the full training loss, the large ones at the beginning included. The seconds were measured on
    `machine`, while other programs took the share `busy_share` of the time of the cores that the
    run uses. `update_seconds` is the median time of an update, and `update_seconds_iqr` the
    interquartile range. They are `None` where they are unknown.
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
    busy_share: float | None = None
    update_seconds: float | None = None
    update_seconds_iqr: float | None = None


@dataclass(frozen=True)
class Tuned(Event):
    """The search of a variant's learning rate ended.

    The best rate was chosen with `seeds` seeds, of which `seed` is the first. With that seed, the
    tried rates from `flat_from` to `flat_to` took at most 10 % more than the best. `stable_from`
    to `stable_to` is the range that trained stably, if it was searched: in it every rate of the
    coarse grid got the training loss below half of ln 10 by the end of the budget. `at_edge`: no
    larger or no smaller rate was left to try.
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
    setting: str | None = None
    seeds: int = 1
    flat_from: float | None = None
    flat_to: float | None = None


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
    seed: int | None = None


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
    updates: MeanAndDeviation | None
    samples_seen: MeanAndDeviation | None
    train_seconds: MeanAndDeviation | None
    train_loss: MeanAndDeviation | None
    train_accuracy: MeanAndDeviation | None
    test_loss: MeanAndDeviation | None
    test_accuracy: MeanAndDeviation | None
    val_accuracy: MeanAndDeviation | None
    rise_share: MeanAndDeviation | None
    change_deviation: MeanAndDeviation | None
    watched: int
    stable_from: float | None = None
    stable_to: float | None = None
    tuning_seconds: float | None = None
    noise_scale: MeanAndDeviation | None = None
    sharpness: MeanAndDeviation | None = None
    stable_up_to: float | None = None
    setting: str | None = None


@dataclass(frozen=True)
class Verdict(Event):
    """The conclusions in sentences, as they are written as JSON."""

    name: ClassVar[str] = "verdict"
    findings: list["Sentence"]


@dataclass(frozen=True)
class Sentence:
    """A sentence, its topic, the p-value of its test, if there is one, and its numbers."""

    about: str
    text: str
    p: float | None = None
    numbers: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class ProfileRound(Event):
    """Every batch size of a profile was measured once more."""

    name: ClassVar[str] = "profile-round"
    lasting: ClassVar[bool] = False
    number: int
    rounds: int


@dataclass(frozen=True)
class Throughput(Event):
    """The speed and the memory of training with a batch size, in `passes` micro-batches an update.

    `samples_per_second` is the median of the rounds, `lowest` and `highest` are their range, and
    `peak_bytes` is the median of the most memory of a process that trains with this size alone.
    They are `None` if it failed, or where the system does not say.
    """

    name: ClassVar[str] = "throughput"
    batch_size: int | str
    samples: int
    passes: int
    samples_per_second: float | None
    lowest: float | None
    highest: float | None
    peak_bytes: int | None


@dataclass(frozen=True)
class ProfileEnd(Event):
    """The profile ended. From `enough` samples on, the throughput is within 5 % of the highest.

    `enough` is `None` if the largest size was the first. The time of an update is fitted by
    `update_seconds` + `sample_seconds` · B. Other programs took the share `busy_share` of the time
    of the cores.
    """

    name: ClassVar[str] = "profile-end"
    enough: int | str | None
    update_seconds: float | None
    sample_seconds: float | None
    busy_share: float | None
    machine: str
    command: str


@dataclass(frozen=True)
class CompareEnd(Event):
    """The comparison ended."""

    name: ClassVar[str] = "end"
    arms: int
    arms_run: int
    train_seconds: float
    tuning_seconds: float
