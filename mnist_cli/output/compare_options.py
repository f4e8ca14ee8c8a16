"""The options of a comparison in words, where `--vary` gives an option several values."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from mnist_cli.comparison.events import CompareStart
from mnist_cli.config.compare import CompareConfig, setting_of
from mnist_cli.config.network_file import is_begun, named_file, shown_name
from mnist_cli.config.options import MAPS

_EXTRAS = ("ema", "label_smoothing", "augment", "augment_strength", "precision")


def or_(values: Sequence[str]) -> str:
    """Return alternatives as in a sentence: `linear`, or `linear, mlp or cnn`."""
    *others, last = values
    return f"{', '.join(others)} or {last}" if others else last


def values_of(start: CompareStart, name: str) -> list[str]:
    """Return the different values of an option in a comparison's variants, in their order."""
    return [*map(_shown, dict.fromkeys(start.values_of(name)))]


def describe_network(start: CompareStart) -> str:
    """Return what is trained: `mlp (235,146 parameters)`, or `ensembles of 1 or 4 mlp`."""
    names, members = (values_of(start, name) for name in ("model", "members"))
    network = or_(names)
    if members != ["1"]:
        network = f"ensembles of {or_(members)} {network}"
    is_one = len(names) == len(members) == 1
    return f"{network} ({start.parameters:,} parameters)" if is_one else network


def describe_samples(start: CompareStart) -> str:
    """Return the number of training samples: the largest, where it is varied."""
    varies = len(values_of(start, "subset")) > 1
    return f"{'up to ' if varies else ''}{start.samples:,} samples"


def describe_extras(start: CompareStart) -> Iterator[str]:
    """Yield the options of training that a comparison leaves off unless they are asked for."""
    for name in _EXTRAS:
        default = getattr(CompareConfig, name)
        values = start.values_of(name)
        if name == "augment_strength" and not set(MAPS) & set(start.values_of("augment")):
            continue
        if any(value != default for value in values):
            first, *others = dict.fromkeys(values)
            yield or_([setting_of(name, first), *map(_shown, others)])


def _shown(value: object) -> str:
    if isinstance(value, str) and is_begun(value):
        return Path(named_file(value).path).name + f":{shown_name(value)}"
    return f"{value:g}" if isinstance(value, float) else str(value)
