"""What happens in a run, as frozen dataclasses: the only output of the loop.

`seconds` counts from the start of the run. Epochs and steps count from 1; `update` counts the
updates since the start of training, resumed runs included.
"""

import math
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar

SCHEMA = 1


@dataclass(frozen=True)
class Event:
    """Something that happened, and when. What is not `lasting` is never written as JSON."""

    name: ClassVar[str]
    lasting: ClassVar[bool] = True
    seconds: float


@dataclass(frozen=True)
class Start(Event):
    """The run is about to begin. `batch_size` is the number of samples in an update.

    `world_size` is the number of ranks, and `threads` the processor threads of each.

    `first_update` and `samples_seen` are what a resumed training has behind it.
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
    schema: int = SCHEMA


@dataclass(frozen=True)
class Progress(Event):
    """A micro-batch was computed: a sign of life for displays.

    `loss` and `accuracy` are means over the samples of the epoch so far; `lr` is the learning rate
    of the update that it belongs to.
    """

    name: ClassVar[str] = "progress"
    lasting: ClassVar[bool] = False
    samples_seen: int
    loss: float
    accuracy: float
    lr: float


@dataclass(frozen=True)
class Step(Event):
    """An update was made. `loss` is the mean over its samples before the update."""

    name: ClassVar[str] = "step"
    epoch: int
    step: int
    update: int
    samples_seen: int
    loss: float
    lr: float


@dataclass(frozen=True)
class NoiseProbe(Event):
    """The gradient noise scale after so many updates, in samples: see `probes.noise`.

    `trace` and `gradient_square` are tr Σ and |G|². They are exact for the training set if `exact`,
    or else from the own gradients of `samples` out of the `population`. The two-batch figures are
    estimates, means over draws. Networks are probed in evaluation mode.
    """

    name: ClassVar[str] = "probe"
    update: int
    samples_seen: int
    noise_scale: float
    trace: float
    gradient_square: float
    samples: int
    population: int
    exact: bool
    two_batch_noise_scale: float
    two_batch_trace: float
    two_batch_gradient_square: float
    two_batch_sizes: list[int]
    two_batch_draws: int
    probe: str = "noise"
    network_mode: str = "evaluation"
    arm: str | None = None


@dataclass(frozen=True)
class AlignmentProbe(Event):
    """Gradients of batches of a size beside the full one: see `probes.alignment`.

    The full gradient is exact; cosines and deviation are estimates, from so many draws.
    """

    name: ClassVar[str] = "probe"
    update: int
    samples_seen: int
    batch_size: int
    population: int
    draws: int
    cosine_mean: float
    cosine_deviation: float
    deviation: float
    gradient_norm: float
    probe: str = "alignment"
    network_mode: str = "evaluation"
    arm: str | None = None

    @property
    def as_if_independent(self) -> float:
        """The deviation that batches of independently drawn samples would have.

        Drawn without replacement, they stray less, by the factor √((N - B) / (N - 1)).
        """
        rest = (self.population - self.batch_size) / (self.population - 1)
        return self.deviation / math.sqrt(rest)


@dataclass(frozen=True)
class SharpnessProbe(Event):
    """The largest eigenvalue of the Hessian of the mean loss over `samples`.

    An eigenvalue lies within `residual` of it. Gradient descent at the rate `lr` is stable on a
    quadratic below `two_over_lr`; with SGD's momentum, below `stable_up_to`, which AdamW lacks.
    """

    name: ClassVar[str] = "probe"
    update: int
    samples_seen: int
    sharpness: float
    residual: float
    iterations: int
    samples: int
    population: int
    lr: float
    two_over_lr: float | None
    stable_up_to: float | None
    probe: str = "sharpness"
    network_mode: str = "evaluation"
    arm: str | None = None


ProbeEvent = NoiseProbe | AlignmentProbe | SharpnessProbe


@dataclass(frozen=True)
class Epoch(Event):
    """An epoch ended. The training figures are means over its samples as they were trained on."""

    name: ClassVar[str] = "epoch"
    epoch: int
    update: int
    samples_seen: int
    train_loss: float
    train_accuracy: float
    test_loss: float
    test_accuracy: float
    val_loss: float | None = None
    val_accuracy: float | None = None


@dataclass(frozen=True)
class Resumed(Event):
    """A training went on after a stop.

    `changes` has what is not as it was: options, versions of programs, and what they compute on,
    each with the value before and the one now.
    """

    name: ClassVar[str] = "resume"
    update: int
    samples_seen: int
    changes: dict[str, list[Any]]


@dataclass(frozen=True)
class End(Event):
    """The run ended, and why. `train_seconds` leaves evaluation and saving out."""

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
class Evaluated(Event):
    """A checkpoint was evaluated. `confusion`: rows are true digits, columns predicted ones."""

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
    schema: int = SCHEMA


@dataclass(frozen=True)
class Prediction(Event):
    """An image was read as `digit`. `probabilities` are those of 0 to 9, `probability` its own.

    It is `uncertain` if `probability` is below a threshold, or if no digit was found in the image;
    then all ten are 0.1.
    """

    name: ClassVar[str] = "prediction"
    path: str
    digit: int
    probability: float
    probabilities: list[float]
    uncertain: bool


@dataclass(frozen=True)
class Exported(Event):
    """A checkpoint's network was written to `output`, so many bytes.

    `largest_difference` is that of logits between PyTorch and what was written, where the export
    was checked by computing some, or else None.
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
    schema: int = SCHEMA


@dataclass(frozen=True)
class Unreadable(Event):
    """An image could not be read; `reason` says which, why, and what to do."""

    name: ClassVar[str] = "unreadable"
    lasting: ClassVar[bool] = False
    path: str
    reason: str


def to_dict(event: Event) -> dict[str, Any]:
    """Return the JSON object of an event: its name first, validation only where there is some.

    The arm of a comparison is left out likewise. A number that is not finite, which JSON does not
    have, becomes null.
    """
    fields = {
        key: None if isinstance(value, float) and not math.isfinite(value) else value
        for key, value in asdict(event).items()
    }
    present = {k: v for k, v in fields.items() if v is not None or not is_optional(k)}
    return {"event": event.name, **present}


def is_optional(key: str) -> bool:
    """Tell whether a key is left out of the JSON object where it has no value."""
    return key.startswith("val_") or key == "arm"
