"""An arm of a comparison: a value that says all about a training, and names its files."""

import hashlib
import json
from dataclasses import asdict, dataclass

from mnist_cli import __version__
from mnist_cli.config import TrainConfig
from mnist_cli.lab.options import FULL

PLACES = ("data_dir", "output", "no_clobber", "log_interval")  # they change no result


@dataclass(frozen=True)
class Arm:
    """A batch size with a seed: a resolved config, whose limits are the budget of the comparison.

    `end_updates` is the number of updates at which it ends, if that is known. `probe_ends` asks
    for the probes at the start and the end only.
    """

    config: TrainConfig
    end_updates: int | None
    purpose: str = "arm"  # or "trial"
    probe_ends: bool = False

    @property
    def batch_size(self) -> int | str:
        """The samples in an update, or `full`."""
        return FULL if self.config.batch_size is None else self.config.batch_size

    @property
    def name(self) -> str:
        """A name for its files: another arm has another one, the same arm the same."""
        value = {k: v for k, v in asdict(self).items() if k != "config"}
        options = {k: v for k, v in asdict(self.config).items() if k not in PLACES}
        text = json.dumps([__version__, value, options], sort_keys=True)
        digest = hashlib.sha256(text.encode()).hexdigest()[:10]
        kind = "trial-" if self.purpose == "trial" else ""
        return f"{kind}{self.batch_size}-seed{self.config.seed}-lr{self.config.lr:g}-{digest}"
