"""Resolved options with where each came from, as TOML that `--config` takes again."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import Field, dataclass, fields
from typing import TYPE_CHECKING, Any, TypeVar

from mnist_cli.config.options import Option, options_of
from mnist_cli.config.sources import Layer, deciding_layers
from mnist_cli.config.train import ResolvedConfig, TrainConfig

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

DEFAULT = "default"
_TRAINING_SAMPLES = 60_000  # of every data set here
C = TypeVar("C", bound="DataclassInstance")


@dataclass(frozen=True)
class Setting:
    """An option as it will be used; `value` is `None` where it is not set.

    `origin` says where the value came from, and `absent` what it means that there is none.
    """

    name: str
    value: object
    origin: str
    absent: str = ""


def settings_of(
    asked: C, resolved: C, layers: list[Layer], origins: Mapping[str, str]
) -> list[Setting]:
    """Return the settings of a config before and after its defaults were resolved.

    `origins` are those of the options that no layer decides; what it lacks is a default.
    """
    deciding = deciding_layers(type(asked), layers)
    return [
        _setting(field, asked, resolved, deciding, origins.get(field.name, DEFAULT))
        for field in fields(asked)
    ]


def _setting(
    field: "Field[Any]",
    asked: "DataclassInstance",
    resolved: "DataclassInstance",
    deciding: dict[str, Layer],
    base: str,
) -> Setting:
    name = field.name
    about = options_of(type(asked))[name]
    value = getattr(resolved, name)
    layer = deciding.get(name)
    if layer is not None and getattr(asked, name) is not None:
        origin = layer.origin or layer.label(name)
    elif getattr(asked, name) is None and value is not None:
        origin = _decided(resolved, about)
    elif value is None:
        origin = "not set"
    else:
        origin = base
    absent = (about.if_absent or about.shown_default) if value is None else ""
    return Setting(name, value, origin, absent)


def _decided(resolved: "DataclassInstance", about: Option) -> str:
    """Return the origin of a value that was left to the others."""
    if isinstance(resolved, TrainConfig) and about.resolved_by == "model":
        return f"default of {resolved.model} in {resolved.mode} mode"
    return DEFAULT


def resolved_training(config: TrainConfig) -> ResolvedConfig:
    """Return a training's options as the run will resolve them."""
    held_out = max(_TRAINING_SAMPLES - config.val_size, 1)
    return config.resolve(config.subset or held_out)


def as_toml(listed: Iterable[Setting], title: str) -> str:
    """Return the settings as a TOML file, each with its origin as a comment.

    What is not set is a comment as a whole: TOML has no word for nothing.
    """
    lines = [(_assignment(setting), _remark(setting)) for setting in listed]
    width = max(len(assignment) for assignment, _ in lines if len(assignment) <= 40)
    body = [f"{assignment:<{width}}  # {remark}" for assignment, remark in lines]
    return "\n".join([f"# {title}", *body]) + "\n"


def as_json(listed: Iterable[Setting]) -> str:
    """Return the settings as one JSON object: `options` and their `origins`."""
    listed = list(listed)
    values = {setting.name: setting.value for setting in listed}
    origins = {setting.name: setting.origin for setting in listed}
    return json.dumps({"event": "config", "options": values, "origins": origins}) + "\n"


def _assignment(setting: Setting) -> str:
    if setting.value is None:
        return f"# {setting.name} = …"
    return f"{setting.name} = {_toml(setting.value)}"


def _remark(setting: Setting) -> str:
    """Return the comment; a name of a file cannot end it."""
    text = f"{setting.origin}: {setting.absent}" if setting.absent else setting.origin
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def _toml(value: object) -> str:
    """Return a value as TOML writes it: much as JSON does, but without escaped surrogates."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
