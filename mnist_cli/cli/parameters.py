"""Command-line parameters, generated from the fields of the configs, and their shell completion."""

import inspect
import os
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import Field, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args, get_type_hints

import typer
from typer.core import TyperCommand, TyperGroup

from mnist_cli import __version__
from mnist_cli.cli.usage_errors import warn_about_unknown_variables
from mnist_cli.config.compare import CompareConfig
from mnist_cli.config.options import Option, option
from mnist_cli.config.programs import EvalConfig
from mnist_cli.config.quoting import printable
from mnist_cli.config.sources import (
    PRESETS,
    Source,
    check_preset,
    config_path,
    environment,
    flag,
    preset_names,
    toml_file,
)
from mnist_cli.errors import UsageError
from mnist_cli.runtime.files import write_standard_output

if TYPE_CHECKING:
    from mnist_cli.models.checkpoint import Checkpoint

AUTO = "auto"
HELP_NAMES = {"help_option_names": ["-h", "--help"]}
_INFO = "Information, without training"
_MAX_FILES = 200  # that the shell offers

Completer = Callable[[str], list[str]]


@dataclass(frozen=True)
class InfoFlags:
    """Flags that make a program print information and exit; not settable in a file."""

    list_presets: bool = option(False, "List the presets with their measured results.", panel=_INFO)
    show_config: bool = option(
        False,
        "Print the options that would be used and their sources, as TOML for --config.",
        panel=_INFO,
    )


@dataclass(frozen=True)
class TrainInfoFlags(InfoFlags):
    """Information flags of `mnist-train`."""

    list_models: bool = option(False, "List the models with their measured results.", panel=_INFO)


def command_sources(given: Mapping[str, Any], *config_types: type) -> list[Source]:
    """Return the flags and the environment variables that set options of the config types."""
    return [Source(given, flag, "flag"), environment(os.environ, *config_types)]


def config_file_source(config: str | None, program: str, *config_types: type) -> list[Source]:
    """Return the file or preset that `--config` or MNIST_CONFIG names, if one does.

    Raises:
        UsageError: see `toml_file`.

    """
    name = config_name(config)
    if name is None:
        return []
    check_preset(name, program)
    return [toml_file(name, PRESETS, *config_types)]


def model_source(path: str, initial: "Checkpoint") -> Source:
    """Return the source of the network that `--init` names, for where nothing else names one."""
    origin = f"checkpoint {printable(path)}"
    network = {"model": initial.config.model, "members": initial.config.members}
    return Source(network, lambda _: f"--init {printable(path)}", origin)


def config_name(config: str | None) -> str | None:
    """Return the file or preset that `--config`, if it is given, or else MNIST_CONFIG names."""
    return config if config is not None else os.environ.get("MNIST_CONFIG") or None


def config_file(config: str | None) -> str | None:
    """Return the file that `--config` or MNIST_CONFIG names; None for standard input."""
    name = config_name(config)
    return None if name is None or name == "-" else str(config_path(name))


def check_outputs(
    given: Mapping[str, Any], config: EvalConfig | CompareConfig, *, json: bool
) -> None:
    """Raise UsageError if `--report`, `--plot`, `--panel` and `--json` contradict each other."""
    if "panel" in given and config.plot is None:
        raise UsageError(f"--panel {config.panel} says what --plot shows; add --plot figure.svg")
    if [config.report, config.plot, "-" if json else None].count("-") > 1:
        raise UsageError("--report -, --plot - and --json all want standard output; choose one")


def config_parameter(program: str) -> inspect.Parameter:
    """Return the parameter that names a file or preset of `mnist-train` or `mnist-compare`."""
    info = typer.Option(
        "--config",
        metavar="FILE|PRESET",
        help="TOML file, or the name of a preset (see --list-presets).",
        autocompletion=configs(program),
    )
    return parameter("config", str | None, info)


def add_command(
    app: typer.Typer,
    run: Callable[..., None],
    configs: Iterable[type],
    extra: Iterable[inspect.Parameter],
    name: str,
) -> None:
    """Add a command that calls `run(given, **extra)`, with an option for every config field.

    `given` maps the names of fields to the strings and booleans of the command line. `extra` are
    the command's other parameters.
    """
    declared = [field for config in configs for field in fields(config)]
    hints = {k: v for config in configs for k, v in get_type_hints(config).items()}

    def wrapper(**values: Any) -> None:  # noqa: ANN401
        values.pop("version")
        warn_about_unknown_variables()
        given = {field.name: values.pop(field.name) for field in declared}
        run({key: value for key, value in given.items() if value is not None}, **values)

    parameters = [
        *extra,
        *(option_parameter(field, hints[field.name]) for field in declared),
        version_parameter(),
    ]
    wrapper.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    wrapper.__annotations__ = {p.name: p.annotation for p in parameters}
    about = _paragraphs(run.__doc__ or "")
    app.command(name, cls=Command, help=about, context_settings=HELP_NAMES)(wrapper)


def checkpoint_argument() -> inspect.Parameter:
    """Return the parameter that names a checkpoint."""
    info = typer.Argument(
        metavar="CHECKPOINT",
        help="A file of mnist-train; - is stdin.",
        autocompletion=checkpoints,
    )
    return parameter("checkpoint", str, info, default=...)


def parameter(
    name: str,
    kind: Any,  # noqa: ANN401
    info: Any,  # noqa: ANN401
    default: object = None,
) -> inspect.Parameter:
    """Return a keyword parameter that Typer reads as an option or argument."""
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[kind, info]
    )


def option_parameter(field: "Field[Any]", hint: Any) -> inspect.Parameter:  # noqa: ANN401
    """Return the parameter of a config field: a flag if it is boolean, else a string."""
    about: Option = field.metadata["option"]
    names = [flag(field.name)] + ([about.short] if about.short else [])
    common: dict[str, Any] = {
        "help": _help(field),
        "rich_help_panel": about.panel or None,
        "show_default": False,
    }
    if bool in (hint, *get_args(hint)):
        if field.default is not False:
            names[0] += f"/--no-{names[0][2:]}"
        return parameter(field.name, bool | None, typer.Option(*names, metavar="", **common))
    info = typer.Option(
        *names,
        metavar=about.metavar or "NAME",
        autocompletion=completer_of(field),
        **common,
    )
    return parameter(field.name, str | None, info)


def _help(field: "Field[Any]") -> str:
    """Return the help text of an option, with its choices and its default."""
    about: Option = field.metadata["option"]
    text = about.help
    if about.choices and not about.metavar:
        text += f" One of {', '.join(about.choices)}."
    default = about.shown_default
    if not default and field.default is True:
        default = flag(field.name)
    elif not default and field.default is not None and field.default is not False:
        default = str(field.default)
    return f"{text} Default: {default}." if default else text


def _paragraphs(docstring: str) -> str:
    """Return a docstring with the lines of each paragraph joined, except indented examples."""
    parts = inspect.cleandoc(docstring).split("\n\n")
    return "\n\n".join(p if p.startswith("  ") else " ".join(p.split()) for p in parts)


def version_parameter() -> inspect.Parameter:
    """Return the parameter that prints the version and exits."""

    def show(value: bool) -> None:
        if value:
            write_standard_output(f"mnist_cli {__version__}\n")
            raise typer.Exit

    info = typer.Option(
        "--version", callback=show, is_eager=True, metavar="", help="Show the version."
    )
    return parameter("version", bool, info, default=False)


class Command(TyperCommand):
    """A command whose help does not mention Python types."""

    def get_params(self, ctx: Any) -> list[Any]:  # noqa: ANN401
        """Return the parameters, without the names of their types."""
        return _without_types(super().get_params(ctx))

    def collect_usage_pieces(self, ctx: Any) -> list[str]:  # noqa: ANN401
        """Return the words that follow the name of the program in the usage line."""
        arguments = [p for p in self.get_params(ctx) if p.param_type_name == "argument"]
        names = [f"{param.metavar}{'...' if param.nargs != 1 else ''}" for param in arguments]
        return [self.options_metavar or "", *names]


class Group(TyperGroup):
    """A program with several commands, whose help does not mention Python types."""

    def get_params(self, ctx: Any) -> list[Any]:  # noqa: ANN401
        """Return the parameters, without the names of their types."""
        return _without_types(super().get_params(ctx))


def _without_types(params: list[Any]) -> list[Any]:
    for param in params:
        if param.param_type_name == "argument":
            vars(param)["display_type_rich"] = lambda ctx=None: ""
        elif param.metavar is None and param.is_flag:
            param.metavar = ""
    return params


def completer_of(field: "Field[Any]") -> Completer | None:
    """Return the completer of an option's value, or None to let the shell complete files."""
    about: Option = field.metadata["option"]
    if about.choices:
        return list_of(about.choices) if about.listed else one_of(about.choices)
    return {"resume": _resume, "init": checkpoints}.get(field.name)


def one_of(choices: Iterable[str]) -> Completer:
    """Return a completer that offers choices."""

    def complete(incomplete: str) -> list[str]:
        return [choice for choice in choices if choice.startswith(incomplete)]

    return complete


def list_of(choices: Iterable[str]) -> Completer:
    """Return a completer of comma-separated choices, none of them twice."""

    def complete(incomplete: str) -> list[str]:
        before, comma, last = incomplete.rpartition(",")
        used = before.split(",")
        return [f"{before}{comma}{word}" for word in one_of(choices)(last) if word not in used]

    return complete


def checkpoints(incomplete: str) -> list[str]:
    """Return the checkpoints whose paths start so; if there are none, the shell offers files."""
    return _files(incomplete, ".pt")


def configs(program: str) -> Completer:
    """Return a completer of a program's presets and of TOML files."""

    def complete(incomplete: str) -> list[str]:
        return [*one_of(preset_names(program))(incomplete), *_files(incomplete, ".toml")]

    return complete


def _resume(incomplete: str) -> list[str]:
    return [*one_of(["auto"])(incomplete), *checkpoints(incomplete)]


def _files(incomplete: str, ending: str) -> list[str]:
    """Return the files with an ending whose paths start so."""
    folder, name = os.path.split(incomplete)
    found: list[str] = []
    with suppress(OSError, RuntimeError):  # no such folder or user, or it may not be read
        for entry in sorted(os.listdir(Path(folder).expanduser())):  # noqa: PTH208 (names, not paths)
            hidden = entry.startswith(".") and not name.startswith(".")
            if entry.startswith(name) and entry.endswith(ending) and not hidden:
                found.append(os.path.join(folder, entry))  # noqa: PTH118 (keeps `./`)
    return found[:_MAX_FILES]
