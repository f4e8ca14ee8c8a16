"""Build checked configs from flags, environment variables, TOML files and defaults."""

import codecs
import math
import os
import re
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields, replace
from numbers import Integral, Real
from pathlib import Path
from types import NoneType
from typing import TYPE_CHECKING, Any, TypeVar, get_args, get_type_hints

from mnist_cli.config.batch_schedule import growing_sizes, problems_of_epochs
from mnist_cli.config.network_file import (
    is_begun,
    is_named,
    is_network_file,
    shown_name,
    split_name,
)
from mnist_cli.config.options import (
    MAPS,
    MAX_INT,
    OFF,
    Option,
    names_in,
    options_of,
)
from mnist_cli.config.own_data import is_begun_data, is_data_path
from mnist_cli.config.quoting import MAX_QUOTED, escape_controls, printable, quote
from mnist_cli.config.reading import expand_home, is_pipe, read_input
from mnist_cli.config.registry import network_entry
from mnist_cli.config.suggestions import not_one_of, suggestion, value_hint
from mnist_cli.config.train import TrainConfig
from mnist_cli.errors import UsageError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    from mnist_cli.config.compare import CompareConfig

TRAIN, COMPARE = "mnist-train", "mnist-compare"
_ROOT = Path(__file__).parents[1]
# In an installed package the presets lie inside it; in a checkout, beside it.
PRESETS = next((p for p in (_ROOT / "configs", _ROOT.parent / "configs") if p.is_dir()), _ROOT)

_TRUE, _FALSE = ("1", "true", "yes", "on"), ("0", "false", "no", "off")
_NOUNS = {int: "an integer", float: "a number", bool: "true or false", str: "a string"}
_MAX_FILE_BYTES, _MAX_LINE = 1 << 16, 1000  # for a key of a thousand parts, tomllib takes seconds
_MAX_TEXT = 4096  # the longest path that Linux takes
_MAX_NAME_BYTES = 255  # a longer name raises an error when the file is opened

C = TypeVar("C", bound="DataclassInstance")


@dataclass(frozen=True)
class Source:
    """A source of option values, such as the flags or a file.

    `label` returns the name of a key in messages; `origin` is the name of the whole source. If
    `typed`, a value must have the type of its option; otherwise strings are parsed.
    """

    values: Mapping[str, object]
    label: Callable[[str], str]
    origin: str = ""
    typed: bool = False


def flag(name: str) -> str:
    """Return the command-line flag of a config field."""
    return "--" + name.replace("_", "-")


def flag_with_value(name: str, value: object) -> str:
    """Return an option with its value as it is written on a command line."""
    if isinstance(value, bool):
        return flag(name) if value else flag(f"no_{name}")
    return f"{flag(name)} {value}"


def environment(environ: Mapping[str, str], *config_types: type) -> Source:
    """Return the values of `MNIST_…` variables, such as `MNIST_BATCH_SIZE=128`.

    MNIST_MODEL may be for a training only: where `model` takes nothing but a file, other values are
    left out.
    """
    names = {name: f"MNIST_{name.upper()}" for name in _names(config_types)}
    files = {
        name
        for kind in config_types
        for name, about in options_of(kind).items()
        if about.takes_file and not about.choices
    }
    values = {
        name: environ[key]
        for name, key in names.items()
        if environ.get(key) and (name not in files or is_network_file(environ[key]))
    }
    return Source(values, lambda name: names[name])


def toml_file(named: str, presets: Path, *config_types: type) -> Source:
    """Return the values in a TOML file, in the preset of that name, or on standard input for `-`.

    Raises:
        UsageError: no such file or preset, not TOML, or an unknown key.

    """
    where, path = f"--config {printable(named)}", Path("standard input")
    try:
        if named != "-":
            path = config_path(named, presets)
        content, _ = read_input("-" if named == "-" else path, _MAX_FILE_BYTES + 1)
        if len(content) > _MAX_FILE_BYTES:
            raise UsageError(f"{where}: larger than 64 KiB; not a configuration file")
        if any(len(line) > _MAX_LINE for line in content.splitlines()):
            raise UsageError(f"{where}: a line has more than {_MAX_LINE} characters")
        if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            raise UsageError(
                f"{where}: it is UTF-16, as PowerShell's > writes; save it as UTF-8: "
                "--show-config | Out-File -Encoding utf8 FILE.toml"
            )
        values = tomllib.loads(content.decode("utf-8-sig"))  # with or without a byte-order mark
    except FileNotFoundError as error:
        raise UsageError(
            f"{where}: cannot be read: {error.strerror}; name a TOML file or a preset"
        ) from error
    except OSError as error:
        raise UsageError(f"{where}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise UsageError(
            f"{where}: a character in line {line} is not UTF-8; save the file as UTF-8"
        ) from error
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{where}: not valid TOML: {_shortened(str(error))}") from error
    shown, known = printable(path), _names(config_types)
    unknown = [key for key in values if key not in known]
    raise_if_any(
        [f"{shown}: unknown key {quote(key)}{suggestion(key, known)}" for key in unknown[:2]],
        more=len(unknown) - 2,
    )
    is_preset = path.parent == presets
    origin = f"preset {named}" if is_preset else shown
    return Source(values, lambda name: f"{shown}: {name}", origin)


def build_config(config_type: type[C], sources: Iterable[Source], base: C | None = None) -> C:
    """Return a config with each value from the first source that has it, or else from `base`.

    Batch mode in one source overrides the batch size in a later one. An option that the config
    type lists in `exclusive` overrides the other listed options in later sources.

    Raises:
        UsageError: some values are invalid; the message has a line for each.

    """
    hints, options = get_type_hints(config_type), options_of(config_type)
    values: dict[str, Any] = {}
    problems = []
    for name, source in deciding_sources(config_type, list(sources)).items():
        try:
            value = source.values[name]
            values[name] = _convert(value, hints[name], options[name], typed=source.typed)
        except ValueError as error:
            hint = value_hint(name, source.values[name])
            problems.append(f"{source.label(name)}: {error}{hint}")
    raise_if_any(problems)
    return replace(base if base is not None else config_type(), **values)


def deciding_sources(config_type: type, sources: list[Source]) -> dict[str, Source]:
    """Return the source from which `build_config` takes each field that a source sets."""
    first = {}  # the index of the first source that sets a field
    for name in _names([config_type]):
        index = next((n for n, source in enumerate(sources) if name in source.values), None)
        if index is not None:
            first[name] = index
    mode = first.get("mode", len(sources))
    if mode < first.get("batch_size", 0) and sources[mode].values["mode"] == "batch":
        del first["batch_size"]
    exclusive = [name for name in getattr(config_type, "exclusive", ()) if name in first]
    lowest = min((first[name] for name in exclusive), default=0)
    overridden = {name for name in exclusive if first[name] > lowest}
    return {name: sources[index] for name, index in first.items() if name not in overridden}


def validate(config: C, kind: type[C]) -> C:
    """Return a config after checking types and bounds; a `pathlib.Path` becomes a string.

    Raises:
        UsageError: it is no `kind`, or some values are invalid; the message has a line for each.

    """
    if not isinstance(config, kind):
        raise UsageError(f"{quote(config)} is no {kind.__name__}; give {kind.__name__}(...)")
    values = {field.name: getattr(config, field.name) for field in fields(config)}
    return build_config(type(config), [Source(values, lambda name: name, typed=True)], config)


def check_consistency(config: TrainConfig) -> None:
    """Raise UsageError if options contradict each other."""
    problems = []
    if config.mode == "batch" and config.batch_size is not None:
        problems.append(
            f"--batch-size {config.batch_size} contradicts --mode batch, whose update takes all "
            "training samples; leave one of them out"
        )
    if config.until_accuracy is not None and not config.val_size:
        problems.append(
            f"--until-accuracy {config.until_accuracy} needs validation samples, since the test "
            "set is not used for decisions: add --val-size 5000"
        )
    if config.mode == "batch" and config.replacement:
        problems.append(
            "--replacement contradicts --mode batch, whose update takes each training sample once; "
            "leave one of them out"
        )
    if config.mode == "batch" and config.batch_schedule != OFF:
        problems.append(
            f"--batch-schedule {config.batch_schedule} contradicts --mode batch, whose update "
            "takes all training samples; leave one of them out"
        )
    problems += _contradictions_of_extras(config)
    problems += contradictions(config)
    problems += problems_of_epochs(config.batch_schedule, config.epochs)
    sizes = growing_sizes(config.batch_schedule)
    if sizes and config.batch_size not in (None, sizes[0]) and config.mode != "batch":
        problems.append(
            f"--batch-size {config.batch_size} contradicts --batch-schedule "
            f"{config.batch_schedule}, which begins with {sizes[0]}; leave one of them out"
        )
    raise_if_any(problems)


def _contradictions_of_extras(config: TrainConfig) -> list[str]:
    """Return what contradicts a teacher or an augmentation."""
    problems = []
    augment = config.augment or network_entry(config.model).defaults(config.mode).augment
    if config.augment_strength not in (None, 1) and augment not in MAPS:
        problems.append(needs_map(config.augment_strength))
    if config.probe and config.teacher is not None:
        problems.append(_probes_contradict(config.probe, "--teacher"))
    if config.teacher is not None and config.label_smoothing:
        problems.append(
            f"--label-smoothing {config.label_smoothing} contradicts --teacher, whose "
            "probabilities take the place of the labels; leave one of them out"
        )
    return problems


def needs_map(strength: float | None) -> str:
    """Return what is wrong with a strength of an augmentation that has none."""
    return (
        f"--augment-strength {strength} changes only --augment affine and elastic; add one of "
        "them, or leave it out"
    )


def _probes_contradict(probe: str, option: str) -> str:
    return (
        f"--probe {probe} contradicts {option}: the probes measure the loss of one network by the "
        "labels; leave one of them out"
    )


def contradictions(config: "TrainConfig | CompareConfig") -> list[str]:
    """Return what contradicts each other in both a training and a comparison."""
    problems = []
    if config.probe and config.members > 1:
        problems.append(_probes_contradict(config.probe, f"--members {config.members}"))
    if config.replacement and not config.shuffle:
        problems.append(
            "--replacement contradicts --no-shuffle: samples that are drawn have no order; "
            "leave one of them out"
        )
    if config.order_seed is not None and not config.shuffle:
        problems.append(
            f"--order-seed {config.order_seed} contradicts --no-shuffle: there is no order to "
            "draw; leave one of them out"
        )
    if config.init is not None and is_pipe(config.init):
        name = printable(config.init)
        problems.append(f"--init {name} : the weights are read more than once; name a file")
    if config.warm_up and config.schedule == "one-cycle":
        problems.append(
            f"--warm-up {config.warm_up} contradicts --schedule one-cycle, which begins with its "
            "own; use --schedule constant, cosine or step"
        )
    return problems


def raise_if_any(problems: list[str], *, more: int = 0) -> None:
    """Raise UsageError if there are problems, with a line for each of the first two."""
    more = max(more, 0) + len(problems[2:])
    if problems:
        raise UsageError("\n".join(problems[:2]) + (f" (and {more} more)" if more else ""))


def _shortened(message: str) -> str:
    """Return a message of tomllib, shortened in its middle: at its end is the line number."""
    text = repr(message)[1:-1]  # without control characters
    if len(text) <= 2 * MAX_QUOTED:
        return text
    return f"{text[:MAX_QUOTED]}…{text[-MAX_QUOTED:]}"


def _names(config_types: Iterable[type]) -> list[str]:
    return [field.name for config_type in config_types for field in fields(config_type)]


def config_path(named: str, presets: Path = PRESETS) -> Path:
    """Return the file that `--config` names, or that of the preset of this name."""
    path = Path(expand_home(named))
    if path.suffix == ".toml" or path.parent != Path() or path.is_file():
        return path
    return presets / f"{named}.toml"


def _convert(value: object, hint: Any, option: Option, *, typed: bool) -> object:  # noqa: ANN401
    """Return a value converted to the type of its option; raise ValueError if it is invalid."""
    kinds = get_args(hint) or (hint,)
    kind = next(kind for kind in kinds if kind is not NoneType)
    is_auto = isinstance(value, str) and value == "auto" and not typed
    is_auto = is_auto and (kind is not str or bool(option.choices))
    if NoneType in kinds and (value is None or is_auto):
        return None
    if isinstance(value, Path):
        value = str(value)
    if option.listed and isinstance(value, list):
        value = ",".join(map(str, value))
    converted = (
        _parse(value, kind) if isinstance(value, str) and not typed else _accept(value, kind)
    )
    if option.is_path:
        converted = expand_home(str(converted))
        _check_file_name(converted)
    for name in names_in(str(converted)) if option.listed else [converted]:
        if option.takes_file and is_network_file(str(name)):
            split_name(str(name))
        elif option.takes_file and is_begun(str(name)):
            if not typed and not is_named(str(name)):
                what = shown_name(str(name))
                raise ValueError(f"{what} is in a Python file; name it: --model FILE.py:{what}")
        elif option.takes_data and name not in option.choices:
            converted = _own_data(str(name), option.choices, typed=typed)
        elif option.choices and name not in option.choices:
            raise ValueError(not_one_of(name, option.choices))
    _check_bounds(converted, option)
    return converted


def _own_data(name: str, choices: tuple[str, ...], *, typed: bool) -> str:
    """Return the path of one's own data, or the name of data in a training that has begun."""
    if is_data_path(name):
        name = expand_home(name)
        _check_file_name(name)
        return name
    if typed and is_begun_data(name):
        return name
    raise ValueError(f"{not_one_of(name, choices)}, or the path of your own data")


def _parse(text: str, kind: type) -> object:
    """Return the value of a string from a flag, a variable or a file."""
    if kind is bool:
        if text.lower() not in _TRUE + _FALSE:
            raise ValueError(f"{quote(text)} is not true or false")
        return text.lower() in _TRUE
    try:
        value = kind(text)
    except (ValueError, OverflowError):
        if re.fullmatch(r"[+-]?\d+", text.strip()):
            raise ValueError("the number is too large") from None
        raise ValueError(f"{quote(text)} is not {_NOUNS[kind]}") from None
    if isinstance(value, float) and re.search("[1-9]", text.lower().partition("e")[0]):
        if value == 0:
            raise ValueError(f"{quote(text)} is so close to 0 that it becomes 0")
        if math.isinf(value):
            raise ValueError(f"{quote(text)} is too large")
    return _accept(value, kind)


def _accept(value: object, kind: type) -> object:
    """Return a value as `kind`; raise ValueError if it is of another type or too large.

    From Python, numbers of NumPy and subclasses of the type are as good as its own.
    """
    if kind is int and isinstance(value, Integral) and not isinstance(value, bool):
        value = int(value)
    elif kind is float and isinstance(value, Real) and not isinstance(value, bool):
        try:
            value = float(value)
        except OverflowError:
            raise ValueError("the number is too large") from None
    elif kind is str and isinstance(value, str):
        value = str.__str__(value)
    if type(value) is not kind:
        raise ValueError(f"{quote(value)} is not {_NOUNS[kind]}")
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{value} is not finite")
    if isinstance(value, int) and abs(value) > MAX_INT:
        raise ValueError("the number is too large")
    if isinstance(value, str) and len(value) > _MAX_TEXT:
        raise ValueError(f"{quote(value)} has {len(value):,} characters, too many")
    if isinstance(value, str) and escape_controls(value) != value:
        raise ValueError(f"{quote(value)} has a control character")
    return value


def _check_file_name(path: str) -> None:
    """Raise ValueError if the file system's encoding, which the locale sets, lacks a character."""
    try:
        os.fsencode(path)
    except UnicodeEncodeError as error:
        raise ValueError(
            f"{quote(path)} cannot be the name of a file in {error.encoding}; set a locale of "
            "UTF-8, or choose another name"
        ) from None


def _check_bounds(value: object, option: Option) -> None:
    if not isinstance(value, int | float):
        return
    if option.minimum is not None and value < option.minimum:
        raise ValueError(f"must be at least {option.minimum:g}, not {value}")
    if option.above is not None and value <= option.above:
        raise ValueError(f"must be above {option.above:g}, not {value}")
    if option.maximum is not None and value > option.maximum:
        raise ValueError(f"must be at most {option.maximum:g}, not {value}")


def preset_names(program: str) -> list[str]:
    """Return the presets of `mnist-train` or of `mnist-compare`, in alphabetical order."""
    paths = sorted(PRESETS.glob("*.toml"))
    return [path.stem for path in paths if _is_comparison(path) == (program == COMPARE)]


def check_preset(named: str, program: str) -> None:
    """Raise UsageError if `--config named` is neither a path nor a preset of the program."""
    path = Path(named)
    is_path = path.suffix == ".toml" or path.parent != Path()
    if named == "-" or is_path or len(os.fsencode(named)) > _MAX_NAME_BYTES or path.is_file():
        return
    names = preset_names(program)
    other = COMPARE if program == TRAIN else TRAIN
    if named in preset_names(other):
        raise UsageError(f"--config {named}: that is a preset of {other}: {other} --config {named}")
    if named not in names:
        raise UsageError(
            f"--config {quote(named)}: no such preset{suggestion(named, names) or '.'} There are "
            f"{', '.join(names)} (see {program} --list-presets); a file's name ends in .toml"
        )


def purpose_of(name: str) -> str:
    """Return the first comment of a preset: its purpose, or the claim that it tests."""
    with (PRESETS / f"{name}.toml").open(encoding="utf-8") as file:
        return file.readline().removeprefix("#").strip()


def _is_comparison(path: Path) -> bool:
    """Return True if a preset has `batch_sizes`, an option of `mnist-compare` only."""
    return "batch_sizes" in tomllib.loads(path.read_text(encoding="utf-8"))
