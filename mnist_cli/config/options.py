"""The options of training: each is declared here, once, as those of `uses` are there.

A field's metadata carries its help and its bounds. The command line, the environment, TOML files
and the Python API are all read and checked against the same declaration (see `settings`).
"""

from dataclasses import dataclass, field
from typing import Any

MODES = ("mini-batch", "batch")
MODELS = ("linear", "mlp", "lenet", "cnn", "quick")
OPTIMIZERS = ("sgd", "adamw")
SCHEDULES = ("constant", "one-cycle", "cosine")
DATASETS = ("mnist", "fashion-mnist", "kmnist", "qmnist")
DEVICES = ("auto", "cpu", "cuda", "mps")
PROBES = ("noise", "alignment", "sharpness")

DEFAULT_BATCH_SIZE = 64


@dataclass(frozen=True)
class Option:
    """What is known of an option besides its name, type and default."""

    help: str
    metavar: str = ""
    choices: tuple[str, ...] = ()
    minimum: float | None = None
    above: float | None = None
    maximum: float | None = None
    short: str = ""
    shown_default: str = ""
    panel: str = ""
    listed: bool = False  # its text has commas between; a TOML file may have a list instead


def option(default: Any, help: str, **about: Any) -> Any:  # noqa: ANN401
    """Declare a dataclass field that is also an option of the command line."""
    return field(default=default, metadata={"option": Option(help, **about)})


def names_in(text: str | None) -> tuple[str, ...]:
    """Return the names in an option's value that has commas between them."""
    return tuple(name.strip() for name in (text or "").split(",") if name.strip())
