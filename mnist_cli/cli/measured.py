"""Measured results of models and presets, read from `measured.json`; without torch.

`python -m benchmarks.listings` writes the file. A test fails if an entry was measured with other
options than those of today.
"""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import mean, median, stdev
from typing import Any

from mnist_cli.config.options import Effect, names_where
from mnist_cli.config.train import TrainConfig

_TRAINING_SAMPLES = 60_000  # of every data set here
FILE = Path(__file__).with_name("measured.json")


@dataclass(frozen=True)
class Measurement:
    """Trainings with the same options and the seeds 0, 1, …; seconds are of whole processes.

    If `busy`, other programs were computing at the same time, and the seconds are too many.
    """

    options: str
    accuracies: tuple[float, ...]
    seconds: tuple[float, ...]
    busy: bool
    parameters: int

    @property
    def accuracy(self) -> float:
        """The mean test accuracy."""
        return mean(self.accuracies)

    @property
    def std(self) -> float | None:
        """The standard deviation of the accuracies, if there are several seeds."""
        return stdev(self.accuracies) if len(self.accuracies) > 1 else None

    @property
    def median_seconds(self) -> float:
        """The median of the seconds."""
        return median(self.seconds)


@dataclass(frozen=True)
class MeasuredResults:
    """The contents of the file: the measurements by model and by preset, and the machine."""

    machine: dict[str, Any]
    models: dict[str, Measurement]
    presets: dict[str, Measurement]

    def to_json(self) -> str:
        """Return the file's contents."""
        head = {"generated": "by python -m benchmarks.listings; do not edit"}
        return json.dumps({**head, **asdict(self)}, indent=1) + "\n"


def load_measured_results(path: Path = FILE) -> MeasuredResults:
    """Return the measured results, from a file that is part of the package."""
    content = json.loads(path.read_text())
    models, presets = (
        {name: _measurement(entry) for name, entry in content[kind].items()}
        for kind in ("models", "presets")
    )
    return MeasuredResults(content["machine"], models, presets)


def _measurement(entry: dict[str, Any]) -> Measurement:
    lists = {name: tuple(entry[name]) for name in ("accuracies", "seconds")}
    return Measurement(**{**entry, **lists})


def options_digest(config: TrainConfig) -> str:
    """Return a digest of the options that affect the result, random numbers and rounding aside.

    Options that are not set are left out, so adding an option does not change the digest.
    """
    decisive = names_where(TrainConfig, lambda about: about.effect is Effect.RESULT)
    values = asdict(config.resolve(_TRAINING_SAMPLES))
    used = {
        name: value
        for name, value in sorted(values.items())
        if name in decisive and value not in (None, False, 0)
    }
    return hashlib.sha256(json.dumps(used).encode()).hexdigest()[:16]
