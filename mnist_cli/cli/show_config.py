"""`--show-config`: print the resolved options and their sources, as TOML for `--config`."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import Field, dataclass, fields
from typing import TYPE_CHECKING, Any, TypeVar

from mnist_cli.config.network_file import is_begun, shown_name
from mnist_cli.config.options import Option, options_of
from mnist_cli.config.own_data import is_begun_data, shown_data
from mnist_cli.config.programs import Display
from mnist_cli.config.quoting import escape_controls, quote
from mnist_cli.config.sources import Source, deciding_sources, flag
from mnist_cli.config.train import ResolvedConfig, TrainConfig
from mnist_cli.data.catalogue import CATALOGUE
from mnist_cli.errors import UsageError
from mnist_cli.runtime.files import write_standard_output

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

DEFAULT = "default"
C = TypeVar("C", bound="DataclassInstance")


@dataclass(frozen=True)
class Setting:
    """An option that will be used, and where its value came from.

    `value` is None if it is not set; `if_absent` then describes what that means.
    """

    name: str
    value: object
    origin: str
    if_absent: str = ""


def show_config(
    program: str,
    sources: list[Source],
    display: Display,
    *configs: tuple["DataclassInstance", "DataclassInstance"],
    origins: Mapping[str, str] | None = None,
) -> None:
    """Write the options to standard output, as TOML or as a JSON object.

    Each config is a pair, before and after its defaults were resolved. `origins` names the origin
    of the options that no source sets, where that is not their default.
    """
    settings: list[Setting] = []
    for asked, resolved in configs:
        settings += settings_of(asked, resolved, sources, origins or {})
    title = f"The options of {program}; save this in a file, and --config FILE takes them again."
    write_standard_output(as_json(settings) if display.json else as_toml(settings, title))


def settings_of(
    asked: C, resolved: C, sources: list[Source], origins: Mapping[str, str]
) -> list[Setting]:
    """Return the settings of a config, which is given before and after it was resolved."""
    deciding = deciding_sources(type(asked), sources)
    return [
        _setting(field, asked, resolved, deciding, origins.get(field.name, DEFAULT))
        for field in fields(asked)
    ]


def _setting(
    field: "Field[Any]",
    asked: "DataclassInstance",
    resolved: "DataclassInstance",
    deciding: dict[str, Source],
    base: str,
) -> Setting:
    name = field.name
    about = options_of(type(asked))[name]
    value = getattr(resolved, name)
    if isinstance(value, str) and (is_begun(value) or is_begun_data(value)):
        # Of a checkpoint: a file has to be named again.
        return Setting(name, None, "not set", f"{shown_data(shown_name(value))}; name its file")
    source = deciding.get(name)
    if source is not None and getattr(asked, name) is not None:
        origin = source.origin or source.label(name)
    elif getattr(asked, name) is None and value is not None:
        origin = _origin_of_default(resolved, name, about)
    elif value is None:
        origin = "not set"
    else:
        origin = base
    if_absent = (about.if_absent or about.shown_default) if value is None else ""
    return Setting(name, value, origin, if_absent)


def _origin_of_default(resolved: "DataclassInstance", name: str, about: Option) -> str:
    """Return the origin of an option's default: the network, a teacher, or the program."""
    if isinstance(resolved, TrainConfig) and about.resolved_by == "model":
        if name == "label_smoothing" and resolved.teacher is not None:
            return "default with a teacher"
        return f"default of {resolved.model} in {resolved.mode} mode"
    return DEFAULT


def resolved_training(config: TrainConfig) -> ResolvedConfig:
    """Return the options of a training as its run will resolve them."""
    known = CATALOGUE.get(config.dataset, CATALOGUE["mnist"])  # the size of others is not known yet
    held_out = max(known.training_samples - config.val_size, 1)
    return config.resolve(config.subset or held_out)


def as_toml(settings: Iterable[Setting], title: str) -> str:
    """Return the settings as a TOML file, each with its origin as a comment.

    Options that are not set are comments, since TOML has no null.
    """
    lines = [(_assignment(setting), _comment(setting)) for setting in settings]
    width = max(len(assignment) for assignment, _ in lines if len(assignment) <= 40)
    body = [f"{assignment:<{width}}  # {comment}" for assignment, comment in lines]
    return "\n".join([f"# {title}", *body]) + "\n"


def as_json(settings: list[Setting]) -> str:
    """Return the settings as one JSON object: `options` and their `origins`."""
    values = {setting.name: setting.value for setting in settings}
    origins = {setting.name: setting.origin for setting in settings}
    return json.dumps({"event": "config", "options": values, "origins": origins}) + "\n"


def _assignment(setting: Setting) -> str:
    if setting.value is None:
        return f"# {setting.name} = …"
    assignment = f"{setting.name} = {_toml(setting.value)}"
    try:
        assignment.encode()
    except UnicodeEncodeError:
        raise UsageError(
            f"{flag(setting.name)} {quote(setting.value)} is not in UTF-8, so that no TOML file "
            "can have it; choose another name, or leave --show-config out"
        ) from None
    return assignment


def _comment(setting: Setting) -> str:
    """Return the comment on a setting, without line breaks that the name of a file may have."""
    text = f"{setting.origin}: {setting.if_absent}" if setting.if_absent else setting.origin
    return escape_controls(text).encode(errors="backslashreplace").decode()


def _toml(value: object) -> str:
    """Return a value in TOML's notation, which is that of JSON but for what is escaped."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
