"""What was measured of models and presets, from a generated file; without torch.

`python -m benchmarks.figures` writes `figures.json`; a test fails while an entry is not of the
present options.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import mean, median, stdev
from typing import Any

from mnist_cli.config.options import Effect, names_where
from mnist_cli.config.train import TrainConfig

_TRAINING_SAMPLES = 60_000  # of every data set here
FILE = Path(__file__).with_name("measured.json")


@dataclass(frozen=True)
class Measured:
    """Trainings with the same options and the seeds 0, 1, …; seconds are of whole processes.

    `busy` tells that other programs were computing meanwhile, so that the seconds are too many.
    """

    options: str
    accuracies: tuple[float, ...]
    seconds: tuple[float, ...]
    busy: bool
    parameters: int
    about: str = ""

    @property
    def accuracy(self) -> float:
        """The mean test accuracy."""
        return mean(self.accuracies)

    @property
    def deviation(self) -> float | None:
        """The standard deviation over seeds, if there are several."""
        return stdev(self.accuracies) if len(self.accuracies) > 1 else None

    @property
    def median_seconds(self) -> float:
        """The median of the seconds."""
        return median(self.seconds)


@dataclass(frozen=True)
class Figures:
    """Everything in the file: what was measured of each model and preset, and on what."""

    machine: dict[str, Any]
    models: dict[str, Measured]
    presets: dict[str, Measured]

    def to_json(self) -> str:
        """Return the file's contents."""
        head = {"generated": "by python -m benchmarks.figures; do not edit"}
        return json.dumps({**head, **asdict(self)}, indent=1) + "\n"


def load_figures(path: Path = FILE) -> Figures:
    """Return what was measured.

    Raises:
        OSError, ValueError, KeyError: the file is missing or damaged; it is part of the package.

    """
    content = json.loads(path.read_text())
    models, presets = (
        {name: _measured(entry) for name, entry in content[kind].items()}
        for kind in ("models", "presets")
    )
    return Figures(content["machine"], models, presets)


def _measured(entry: dict[str, Any]) -> Measured:
    lists: dict[str, Sequence[float]] = {
        name: tuple(entry[name]) for name in ("accuracies", "seconds")
    }
    return Measured(**{**entry, **lists})


def options_digest(config: TrainConfig) -> str:
    """Return a digest of the options that decide a result but for chance and rounding.

    An option that is absent or off is left out: a new one changes nothing where it is not used.
    """
    decisive = names_where(TrainConfig, lambda about: about.effect is Effect.RESULT)
    values = asdict(config.resolve(_TRAINING_SAMPLES))
    used = {
        name: value
        for name, value in sorted(values.items())
        if name in decisive and value not in (None, False, 0)
    }
    return hashlib.sha256(json.dumps(used).encode()).hexdigest()[:16]
