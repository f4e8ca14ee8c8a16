"""How an option is declared: as a dataclass field that carries everything known of the option.

The command line, the environment, TOML files, the Python API, checkpoints, histories and reports
read an option's properties from its field. There is no other list of options.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, fields, is_dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

MODES = ("mini-batch", "batch")
SCHEDULES = ("constant", "one-cycle", "cosine")
DATASETS = ("mnist", "fashion-mnist", "kmnist", "qmnist")
DEVICES = ("auto", "cpu", "cuda", "mps")

DEFAULT_BATCH_SIZE = 64


class Effect(Enum):
    """What changes when the value of an option changes."""

    RESULT = "what is trained"
    CHANCE = "the random numbers that a training draws"
    ROUNDING = "the order in which sums are computed, and so their rounding"
    RECORD = "what is measured and saved on the way"
    PLACE = "where data are read and results written, and how often they are shown"


@dataclass(frozen=True)
class Option:
    """What is known of an option besides its name, type and default.

    Attributes:
        help: What it does, for `--help` and the reference.
        metavar: What stands for its value in the help.
        choices: The values that it may have; all values are allowed if there are none.
        minimum: The least value.
        above: A value that it must be above.
        maximum: The greatest value.
        short: A second name of the flag, of one letter.
        shown_default: What the help says instead of the default.
        panel: The heading in the help.
        listed: The value is a list with commas; a TOML file may have an array instead.
        effect: What changes with it.
        changeable: A resumed training may change it.
        restored: A resumed training takes it from the checkpoint, unless it is given. What isn't
            restored names files, and a checkpoint may be a stranger's.
        resolved_by: What decides the value that replaces `None` when a run starts: "model" (with
            the mode and the optimizer) or "samples" (their number).
        by_machine: What it asks for depends on the machine. A history has what was used instead.
        per_rank: It may differ between the ranks of a process group.
        if_absent: What it means for `--show-config` if it isn't set.

    """

    help: str
    metavar: str = ""
    choices: tuple[str, ...] = ()
    minimum: float | None = None
    above: float | None = None
    maximum: float | None = None
    short: str = ""
    shown_default: str = ""
    panel: str = ""
    listed: bool = False
    effect: Effect = Effect.RESULT
    changeable: bool = False
    restored: bool = True
    resolved_by: str = ""
    by_machine: bool = False
    per_rank: bool = False
    if_absent: str = ""


def option(default: Any, help: str, **about: Any) -> Any:  # noqa: ANN401
    """Declare a dataclass field that is also an option of the command line."""
    return field(default=default, metadata={"option": Option(help, **about)})


def options_of(config_type: "type[DataclassInstance]") -> dict[str, Option]:
    """Return the options of a config type by the names of their fields.

    A resolved config declares a field again, without its option; that of its base class counts.
    """
    declared = [
        f for kind in reversed(config_type.__mro__) if is_dataclass(kind) for f in fields(kind)
    ]
    return {f.name: f.metadata["option"] for f in declared if "option" in f.metadata}


def names_where(
    config_type: "type[DataclassInstance]", condition: Callable[[Option], bool]
) -> frozenset[str]:
    """Return the names of the fields whose options meet a condition."""
    return frozenset(name for name, about in options_of(config_type).items() if condition(about))


def names_in(text: str | None) -> tuple[str, ...]:
    """Return the names in an option's value that has commas between them."""
    return tuple(name.strip() for name in (text or "").split(",") if name.strip())
