"""The events of a program as frozen dataclasses; displays and files show nothing else.

`seconds` is the time since the start of the run, `time` the wall-clock time. `epoch`, and `step`
within it, count from 1; `update` and `samples_seen` count from the start of training, resumed runs
included. Losses are mean cross-entropies in nats; accuracies are fractions from 0 to 1.
"""

import math
from abc import ABC, abstractmethod
from dataclasses import KW_ONLY, Field, asdict, dataclass, field, fields
from datetime import UTC, datetime
from typing import Any, ClassVar

SCHEMA = 1
FAILURES = ("interrupted", "diverged")  # the reasons for which a run ends without a result


def wall_clock() -> str:
    """Return the time now, in UTC, such as `2026-11-27T20:15:30+00:00`."""
    return datetime.now(UTC).isoformat(timespec="seconds")


@dataclass(frozen=True)
class Event:
    """The base of all events. Only `lasting` ones are written as JSON."""

    name: ClassVar[str]
    lasting: ClassVar[bool] = True
    seconds: float


@dataclass(frozen=True)
class Start(Event):
    """A run begins. `batch_size` is the number of samples in an update.

    `samples_per_epoch` is less than `samples` where the last batch is dropped. These, and
    `updates_per_epoch`, are those of the first epoch where the batch grows. The run ends after
    `updates` updates, when it has seen `end_samples` samples; all epochs have `planned_updates`.
    `world_size` is the number of ranks, and `threads` the CPU threads of each. `first_update` and
    `samples_seen` are 0, or in a resumed training the counts at which it continues.
    """

    name: ClassVar[str] = "start"
    version: str
    mode: str
    samples: int
    batch_size: int
    updates_per_epoch: int
    updates: int
    parameters: int
    device: str
    world_size: int
    threads: int
    config: dict[str, Any]
    first_update: int
    samples_seen: int
    samples_per_epoch: int
    planned_updates: int
    end_samples: int
    time: str = field(default_factory=wall_clock)
    schema: int = SCHEMA


@dataclass(frozen=True)
class Progress(Event):
    """A micro-batch was computed, which moves the bar of a display.

    `epoch_share` is the fraction of the epoch's samples that were seen.
    `loss` and `accuracy` are means over the samples of the epoch so far; `lr` is the learning rate
    of the update that the micro-batch belongs to. If it completed an update, `update` is the number
    of that, and `update_loss` the mean loss over its samples before it.
    """

    name: ClassVar[str] = "progress"
    lasting: ClassVar[bool] = False
    epoch: int
    epoch_share: float
    samples_seen: int
    loss: float
    accuracy: float
    lr: float
    update: int | None = None
    update_loss: float | None = None


@dataclass(frozen=True)
class Step(Event):
    """An update was made. `loss` is the mean over its samples before the update.

    `updates_per_epoch` is the number of updates in its epoch.
    """

    name: ClassVar[str] = "step"
    epoch: int
    step: int
    update: int
    samples_seen: int
    loss: float
    lr: float
    updates_per_epoch: int


@dataclass(frozen=True)
class ProbeStart(Event):
    """A probe begins to measure, which may take a while; `probe` is its name."""

    name: ClassVar[str] = "probe-start"
    lasting: ClassVar[bool] = False
    probe: str


@dataclass(frozen=True)
class ProbeEvent(Event, ABC):
    """What a probe measured after `update` updates, with the network in `network_mode`.

    Each probe is a subclass in `training/probes/`, with fields of its own. `probe` is its name in
    the registry. Keys of `curves` become curves in TensorBoard.
    """

    name: ClassVar[str] = "probe"
    curves: ClassVar[tuple[str, ...]] = ()
    update: int
    samples_seen: int
    _: KW_ONLY
    probe: str = ""
    network_mode: str = "evaluation"
    arm: str | None = None

    @abstractmethod
    def summary(self) -> str:
        """Return the result and its uncertainty, for people."""

    @property
    def curve_suffix(self) -> str:
        """The end of the curves' names, where a probe yields several events after an update."""
        return ""


@dataclass(frozen=True)
class Epoch(Event):
    """An epoch ended. The training metrics are means over its samples as they were trained on.

    `batch_size` is the number of samples in its updates.

    `noise_scale_estimate` = tr Σ / |G|² is the gradient noise scale in samples, estimated from the
    norms that the epoch's updates and their micro-batches had: see `NoiseSums`. Both are means over
    the epoch, in which updates with large gradients, such as the first, count most. It is None
    where |G|² is not clearly positive. All estimates are None if updates have one micro-batch on
    one rank, the samples are not in random order, or the updates are fewer than ten.
    """

    name: ClassVar[str] = "epoch"
    epoch: int
    update: int
    samples_seen: int
    train_loss: float
    train_accuracy: float
    test_loss: float
    test_accuracy: float
    batch_size: int
    val_loss: float | None = None
    val_accuracy: float | None = None
    noise_scale_estimate: float | None = None
    noise_scale_estimate_error: float | None = None
    trace_estimate: float | None = None
    trace_estimate_error: float | None = None
    gradient_square_estimate: float | None = None
    gradient_square_estimate_error: float | None = None


@dataclass(frozen=True)
class Resumed(Event):
    """A training was resumed.

    `changes` maps each changed option, program version or kind of hardware to the pair of its old
    and its new value.
    """

    name: ClassVar[str] = "resume"
    update: int
    samples_seen: int
    changes: dict[str, list[Any]]


@dataclass(frozen=True)
class End(Event):
    """The run ended for `reason`. `train_seconds` excludes evaluation and saving."""

    name: ClassVar[str] = "end"
    reason: str
    checkpoint: str | None
    epoch: int
    update: int
    samples_seen: int
    test_accuracy: float | None
    train_seconds: float
    weights_sha256: str | None


@dataclass(frozen=True)
class ClassMetrics:
    """The metrics of one class."""

    digit: int
    samples: int
    precision: float
    recall: float
    f1: float


@dataclass(frozen=True)
class Doubt:
    """A sample whose label the network doubts: it prefers the `prediction`.

    `known_error`: people have found this label of MNIST's test set to be wrong.
    """

    index: int
    label: int
    label_probability: float
    prediction: int
    probability: float
    known_error: bool


@dataclass(frozen=True)
class Evaluated(Event):
    """A checkpoint was evaluated. `confusion`: rows are true classes, columns predicted ones.

    `classes` has their names; elsewhere, as `digit` for one, they are numbers, from 0 on.

    The keys with `tta_` are those of the score with test-time augmentation, if it was asked for;
    all others are those of the plain score. If asked for, `corruptions` has the accuracies with
    each corruption in its five strengths, and `doubted` the samples whose label the network doubts
    most.
    """

    name: ClassVar[str] = "eval"
    checkpoint: str
    split: str
    samples: int
    correct: int
    accuracy: float
    loss: float
    weights_sha256: str
    per_class: list[ClassMetrics] = field(default_factory=list)
    confusion: list[list[int]] = field(default_factory=list)
    classes: list[str] = field(default_factory=list)
    tta_correct: int | None = None
    tta_accuracy: float | None = None
    tta_loss: float | None = None
    corruptions: dict[str, list[float]] | None = None
    doubted: list[Doubt] | None = None
    time: str = field(default_factory=wall_clock)
    schema: int = SCHEMA


@dataclass(frozen=True)
class Prediction(Event):
    """An image was predicted as `digit`, with `probability`; `probabilities` are those of all.

    `digit` is the number of a class, from 0 on, and `label` its name. The prediction is `uncertain`
    if `probability` is below a threshold, or if no digit was found in the image; then `digit`,
    `label`, `probabilities` and `box` are None, and `probability` is 0. `box` is where the digit
    is: left, top, right and bottom in pixels of the upright image, the last two exclusive.
    """

    name: ClassVar[str] = "prediction"
    path: str
    digit: int | None
    probability: float
    probabilities: list[float] | None
    uncertain: bool
    box: tuple[int, int, int, int] | None
    label: str | None = None


@dataclass(frozen=True)
class Exported(Event):
    """A checkpoint's network was written to `output`.

    `largest_difference` is the largest one between PyTorch's logits and those of the exported
    network, or None if the export was not verified.
    """

    name: ClassVar[str] = "export"
    checkpoint: str
    output: str
    format: str
    bytes: int
    model: str
    parameters: int
    weights_sha256: str
    largest_difference: float | None = None
    time: str = field(default_factory=wall_clock)
    schema: int = SCHEMA


@dataclass(frozen=True)
class LessonWritten(Event):
    """The page of the lesson was written to `output`, with some images of a data set."""

    name: ClassVar[str] = "lesson"
    output: str
    bytes: int
    dataset: str
    samples: int
    test_samples: int
    time: str = field(default_factory=wall_clock)
    schema: int = SCHEMA


@dataclass(frozen=True)
class ServingStarted(Event):
    """A page that was written is served at `address` until a signal comes."""

    name: ClassVar[str] = "serving"
    address: str
    port: int
    time: str = field(default_factory=wall_clock)
    schema: int = SCHEMA


@dataclass(frozen=True)
class Unreadable(Event):
    """An image could not be read; `reason` is the message for the user."""

    name: ClassVar[str] = "unreadable"
    lasting: ClassVar[bool] = False
    path: str
    reason: str


_OPTIONAL = ("arm", "corruptions", "doubted")  # keys that are written only if they have a value


def to_dict(event: Event) -> dict[str, Any]:
    """Return the JSON object of an event: its name first, validation only if there is some.

    The run of a comparison (`arm`), test-time augmentation and corruptions are left out likewise. A
    number that is not finite becomes null, since JSON has none.
    """
    values = {
        key: None if isinstance(value, float) and not math.isfinite(value) else value
        for key, value in values_of(event).items()
    }
    present = {k: v for k, v in values.items() if v is not None or not is_optional(k)}
    return {"event": event.name, **present}


def values_of(event: Event) -> dict[str, Any]:
    """Return the values of an event by key, in the order in which they are written."""
    values = asdict(event)
    return {field.name: values[field.name] for field in fields_of(type(event))}


def fields_of(kind: type[Event]) -> list[Field[Any]]:
    """Return the fields of an event in the order in which they are written.

    Those of a base class that are keyword-only come last.
    """
    return sorted(fields(kind), key=lambda field: field.kw_only is True)


def is_optional(key: str) -> bool:
    """Return True if a key without a value is left out of the JSON object."""
    return key.startswith(("val_", "tta_")) or key in _OPTIONAL
