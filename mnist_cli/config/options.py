"""Declaration of options as dataclass fields with all their properties.

The command line, the environment, TOML files, the Python API, checkpoints, histories and reports
read the properties of an option from its field. There is no other list of options.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, fields, is_dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

MODES = ("mini-batch", "batch")
LAST_BATCHES = ("keep", "drop", "scale")
SCHEDULES = ("constant", "one-cycle", "cosine", "step")
TEN_CLASSES = ("mnist", "fashion-mnist", "kmnist", "qmnist")
DATASETS = (
    *TEN_CLASSES,
    *("emnist-letters", "emnist-balanced", "emnist-byclass", "emnist-bymerge"),
    *("emnist-digits", "emnist-mnist"),
)
MAPS = ("affine", "elastic")  # the augmentations that have a strength
AUGMENTATIONS = ("none", "shift", *MAPS)
PRECISIONS = ("float32", "bfloat16", "auto")
DEVICES = ("auto", "cpu", "cuda", "mps")

DEFAULT_BATCH_SIZE = 64
MAX_MEMBERS = 64  # of an ensemble
OFF = "off"  # no batch schedule
MAX_INT = 2**63 - 1


class Effect(Enum):
    """The strongest effect that an option has on a training."""

    RESULT = "the trained network"
    CHANCE = "the random numbers"
    ROUNDING = "the order in which sums are computed, and so their rounding"
    RECORD = "measurements and saved states"
    PLACE = "the paths of data and results, and the frequency of messages"


@dataclass(frozen=True)
class Option:
    """The properties of an option besides its name, type and default.

    Attributes:
        help: Description, for `--help` and the reference.
        metavar: Placeholder of the value in the help.
        choices: Allowed values; if empty, all values are allowed.
        minimum: Smallest allowed value.
        above: Exclusive lower bound.
        maximum: Largest allowed value.
        short: One-letter flag.
        shown_default: Text for the help instead of the default.
        panel: Heading in the help.
        is_path: The value is a path, whose `~` stands for the home folder.
        listed: The value is a comma-separated list; a TOML file may have an array instead.
        effect: Effect of the option on a training.
        changeable: A resumed training may change it.
        restored: A resumed training takes it from the checkpoint, unless it is given. Options that
            name files are not restored, since the checkpoint may come from somebody else.
        resolved_by: Source of the value that replaces `None` when a run starts: "model" (with the
            mode and the optimizer) or "samples" (their number).
        by_machine: Its meaning depends on the machine; a history records the value that was used.
        per_rank: It may differ between the ranks of a process group.
        if_absent: Text for `--show-config` if the option isn't set.
        takes_file: Besides the choices it takes a network in a file, `FILE.py:NAME`.
        takes_data: Besides the choices it takes data of one's own, the path of a file or folder.
        named_if_set: The name of a comparison's run has it only where it differs from its default,
            so that records from before there was the option keep their names.

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
    is_path: bool = False
    listed: bool = False
    effect: Effect = Effect.RESULT
    changeable: bool = False
    restored: bool = True
    resolved_by: str = ""
    by_machine: bool = False
    per_rank: bool = False
    if_absent: str = ""
    takes_file: bool = False
    takes_data: bool = False
    named_if_set: bool = False


def option(default: Any, help: str, **about: Any) -> Any:  # noqa: ANN401
    """Declare a dataclass field that is also an option of the command line."""
    return field(default=default, metadata={"option": Option(help, **about)})


def data_dir_option(**about: Any) -> Any:  # noqa: ANN401
    """Declare the field `data_dir`, which several programs have."""
    return option(
        None,
        "Folder of the data, in torchvision's layout.",
        metavar="DIR",
        shown_default="MNIST is in the package, others in data",
        is_path=True,
        **about,
    )


def label_column_option(**about: Any) -> Any:  # noqa: ANN401
    """Declare the field `label_column`, of the column that has the labels in a table."""
    return option(
        None,
        "Column of the labels in your own table: its name, or its number, 1 the first and -1 the "
        "last.",
        metavar="COLUMN",
        shown_default="found",
        **about,
    )


def max_value_option(**about: Any) -> Any:  # noqa: ANN401
    """Declare the field `max_value`, of the scale of one's own data."""
    return option(
        None,
        "Largest value that a pixel can have in your own data.",
        metavar="X",
        above=0,
        shown_default="found",
        **about,
    )


def transposed_option(**about: Any) -> Any:  # noqa: ANN401
    """Declare the field `transposed`, for files like those of EMNIST."""
    return option(
        False,
        "Exchange rows and columns of your own images, which files made like EMNIST's need.",
        **about,
    )


def model_option(**about: Any) -> Any:  # noqa: ANN401
    """Declare the field `model` of the programs that read a checkpoint."""
    return option(
        None,
        "The network, if it is your own: its Python file, which is run, and its name there.",
        metavar="FILE.py:NAME",
        takes_file=True,
        **about,
    )


def options_of(config_type: "type[DataclassInstance]") -> dict[str, Option]:
    """Return the options of a config type by the names of their fields.

    A field that a resolved config declares again keeps the option of the base class.
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
    """Return the names in a comma-separated value."""
    return tuple(name.strip() for name in (text or "").split(",") if name.strip())
