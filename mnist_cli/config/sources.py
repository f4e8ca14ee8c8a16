"""Options from flags, environment, files and defaults to a checked config."""

import math
import sys
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from types import NoneType
from typing import TYPE_CHECKING, Any, TypeVar, get_args, get_type_hints

from mnist_cli.config.options import Option, names_in, options_of
from mnist_cli.config.suggestions import suggestion
from mnist_cli.config.train import TrainConfig
from mnist_cli.errors import UsageError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

_TRUE, _FALSE = ("1", "true", "yes", "on"), ("0", "false", "no", "off")
_NOUNS = {int: "an integer", float: "a number", bool: "true or false", str: "a string"}
_MAX_FILE_BYTES, _MAX_LINE = 1 << 16, 1000  # for a key of a thousand parts, tomllib takes seconds
_MAX_TEXT = 4096  # the longest path that Linux takes
_SHOWN = 60  # characters of a value in a message
_MAX_INT = 2**63 - 1


C = TypeVar("C", bound="DataclassInstance")


@dataclass(frozen=True)
class Layer:
    """The values of one source, and how a message names a key of that source.

    `origin` is the name of the whole source, where a message does not need the key. If `typed`, a
    value must have the type of its option; otherwise a string is parsed.
    """

    values: Mapping[str, object]
    label: Callable[[str], str]
    origin: str = ""
    typed: bool = False


def flag(name: str) -> str:
    """Return the option of the command line for a config's field."""
    return "--" + name.replace("_", "-")


def typed(name: str, value: object) -> str:
    """Return an option with a value as one types it."""
    if isinstance(value, bool):
        return flag(name) if value else flag(f"no_{name}")
    return f"{flag(name)} {value}"


def environment(environ: Mapping[str, str], *config_types: type) -> Layer:
    """Return the layer of `MNIST_…` variables, such as `MNIST_BATCH_SIZE=128`."""
    names = {name: f"MNIST_{name.upper()}" for name in _names(config_types)}
    values = {name: environ[key] for name, key in names.items() if environ.get(key)}
    return Layer(values, lambda name: names[name])


def toml_file(named: str, presets: Path, *config_types: type) -> Layer:
    """Return the layer of a TOML file, of the preset of that name, or of standard input for `-`.

    Raises:
        UsageError: no such file or preset, not TOML, or an unknown key.

    """
    path: str | Path = "standard input"
    try:
        if named != "-":
            path = _config_path(named, presets)
        with sys.stdin.buffer if named == "-" else Path(path).open("rb") as file:
            content = file.read(_MAX_FILE_BYTES + 1)
        if len(content) > _MAX_FILE_BYTES:
            raise UsageError(f"--config {named}: larger than 64 KiB; this is no configuration file")
        if any(len(line) > _MAX_LINE for line in content.splitlines()):
            raise UsageError(f"--config {named}: a line has more than {_MAX_LINE} characters")
        values = tomllib.loads(content.decode())
    except FileNotFoundError as error:
        raise UsageError(
            f"--config {named}: cannot be read: {error.strerror}; name a TOML file or a preset"
        ) from error
    except OSError as error:
        raise UsageError(f"--config {named}: cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise UsageError(f"--config {named}: not valid TOML: {str(error)[:_SHOWN]}") from error
    known = _names(config_types)
    unknown = [key for key in values if key not in known]
    complain(
        [f"{path}: unknown key {shown(key)}{suggestion(key, known)}" for key in unknown[:2]],
        more=len(unknown) - 2,
    )
    is_preset = isinstance(path, Path) and path.parent == presets
    origin = f"preset {named}" if is_preset else str(path)
    return Layer(values, lambda name: f"{path}: {name}", origin)


def build(config_type: type[C], layers: Iterable[Layer], base: C | None = None) -> C:
    """Return a config: each value from the first layer that has it, or else from `base`.

    Batch mode of one layer overrules the batch size of a layer below it, and one of the options
    that a config type calls `exclusive` the others of layers below.

    Raises:
        UsageError: with a line for each value that cannot be used.

    """
    layers = list(layers)
    hints, options = get_type_hints(config_type), options_of(config_type)
    values: dict[str, Any] = {}
    problems = []
    deciding = deciding_layers(config_type, layers)
    for name, layer in deciding.items():
        try:
            value = layer.values[name]
            values[name] = _convert(value, hints[name], options[name], typed=layer.typed)
        except ValueError as error:
            problems.append(f"{layer.label(name)}: {error}")
    complain(problems)
    return replace(base if base is not None else config_type(), **values)


def deciding_layers(config_type: type, layers: list[Layer]) -> dict[str, Layer]:
    """Return the layer that decides each field, as `build` has it; none decides the others."""
    floors = {}
    for name in _names([config_type]):
        floor = next((n for n, layer in enumerate(layers) if name in layer.values), None)
        if floor is not None:
            floors[name] = floor
    mode = floors.get("mode", len(layers))
    if mode < floors.get("batch_size", 0) and layers[mode].values["mode"] == "batch":
        del floors["batch_size"]
    group = [name for name in getattr(config_type, "exclusive", ()) if name in floors]
    first = min((floors[name] for name in group), default=0)
    overruled = {name for name in group if floors[name] > first}
    return {name: layers[floor] for name, floor in floors.items() if name not in overruled}


def validate(config: C) -> C:
    """Return a config after checking its values as those of the command line are checked.

    A `pathlib.Path` becomes a string.

    Raises:
        UsageError: with a line for each value of a wrong type or out of bounds.

    """
    values = {field.name: getattr(config, field.name) for field in fields(config)}
    return build(type(config), [Layer(values, lambda name: name, typed=True)], config)


def check(config: TrainConfig) -> None:
    """Raise UsageError if options contradict each other."""
    problems = []
    if config.mode == "batch" and config.batch_size is not None:
        problems.append(
            f"--batch-size {config.batch_size} contradicts --mode batch, whose update takes all "
            "training samples; leave one of them out"
        )
    if config.until_accuracy is not None and not config.val_size:
        problems.append(
            f"--until-accuracy {config.until_accuracy} needs samples to judge by that are not "
            "the test set: add --val-size 5000"
        )
    complain(problems)


def complain(problems: list[str], *, more: int = 0) -> None:
    """Raise UsageError if there are problems, with a line for each of the first two."""
    more = max(more, 0) + len(problems[2:])
    if problems:
        raise UsageError("\n".join(problems[:2]) + (f" (and {more} more)" if more else ""))


def shown(value: object) -> str:
    """Return a value as a message shows it: in quotes, and not at any length."""
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"


def _names(config_types: Iterable[type]) -> list[str]:
    return [field.name for config_type in config_types for field in fields(config_type)]


def _config_path(named: str, presets: Path) -> Path:
    path = Path(named)
    if path.suffix == ".toml" or path.parent != Path() or path.is_file():
        return path
    return presets / f"{named}.toml"


def _convert(value: object, hint: Any, option: Option, *, typed: bool) -> object:  # noqa: ANN401
    """Return a value of an option's type and within its bounds; ValueError says why not."""
    kinds = get_args(hint) or (hint,)
    kind = next(kind for kind in kinds if kind is not NoneType)
    is_auto = value == "auto" and (kind is not str or bool(option.choices)) and not typed
    if NoneType in kinds and (value is None or is_auto):
        return None
    if isinstance(value, Path):
        value = str(value)
    if option.listed and isinstance(value, list):
        value = ",".join(map(str, value))
    converted = (
        _parse(value, kind) if isinstance(value, str) and not typed else _accept(value, kind)
    )
    for name in names_in(str(converted)) if option.listed else [converted]:
        if option.choices and name not in option.choices:
            hint_text = suggestion(str(name), option.choices)
            raise ValueError(f"{shown(name)} is not one of {', '.join(option.choices)}{hint_text}")
    _check_bounds(converted, option)
    return converted


def _parse(text: str, kind: type) -> object:
    """Return the value that a string from a flag, a variable or a file stands for."""
    if kind is bool:
        if text.lower() not in _TRUE + _FALSE:
            raise ValueError(f"{shown(text)} is not true or false")
        return text.lower() in _TRUE
    try:
        return _accept(kind(text), kind)
    except (ValueError, OverflowError):
        raise ValueError(f"{shown(text)} is not {_NOUNS[kind]}") from None


def _accept(value: object, kind: type) -> object:
    """Return a value as `kind`, if it is one."""
    if kind is float and type(value) is int and abs(value) <= _MAX_INT:
        value = float(value)
    if type(value) is not kind or (isinstance(value, float) and not math.isfinite(value)):
        raise ValueError(f"{shown(value)} is not {_NOUNS[kind]}")
    if isinstance(value, int) and abs(value) > _MAX_INT:
        raise ValueError("the number is too large")
    if isinstance(value, str) and len(value) > _MAX_TEXT:
        raise ValueError(f"{shown(value)} has {len(value):,} characters, too many")
    if isinstance(value, str) and "\0" in value:
        raise ValueError(f"{shown(value)} has a null character")
    return value


def _check_bounds(value: object, option: Option) -> None:
    if not isinstance(value, int | float):
        return
    if option.minimum is not None and value < option.minimum:
        raise ValueError(f"must be at least {option.minimum:g}, not {value}")
    if option.above is not None and value <= option.above:
        raise ValueError(f"must be above {option.above:g}, not {value}")
    if option.maximum is not None and value > option.maximum:
        raise ValueError(f"must be at most {option.maximum:g}, not {value}")
