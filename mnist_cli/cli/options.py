"""Options of the command line, made from the fields of the configs."""

import inspect
import os
from collections.abc import Callable, Iterable
from dataclasses import Field, dataclass, fields
from typing import Annotated, Any, get_args, get_type_hints

import typer
from typer.core import TyperCommand, TyperGroup

from mnist_cli import __version__
from mnist_cli.cli.completion import COMPLETERS, checkpoints, completer_of
from mnist_cli.cli.environment import warn_of_unknown_variables
from mnist_cli.config.options import Option, option
from mnist_cli.config.presets import COMPARE, PRESETS, TRAIN, check_preset
from mnist_cli.config.sources import Layer, environment, flag, toml_file
from mnist_cli.runtime.files import write_standard_output

AUTO = "auto"
_ASKED = "Answers, without computing"


@dataclass(frozen=True)
class Questions:
    """What a program answers instead of computing; only the command line asks."""

    list_presets: bool = option(False, "List the presets, and what was measured.", panel=_ASKED)
    show_config: bool = option(
        False,
        "Print the options that would be used, and where each comes from, as TOML for --config.",
        panel=_ASKED,
    )


@dataclass(frozen=True)
class TrainQuestions(Questions):
    """What `mnist-train` answers instead of training."""

    list_models: bool = option(False, "List the models, and what was measured.", panel=_ASKED)


def layers_of(given: dict[str, Any], config: str | None, *known: type) -> list[Layer]:
    """Return where the options of a command come from: flags, environment, and a file if any.

    `config` is what `--config` says.

    Raises:
        UsageError: see `toml_file`.

    """
    layers = [Layer(given, flag, "flag"), environment(os.environ, *known)]
    named = config if config is not None else os.environ.get("MNIST_CONFIG") or None
    if named is not None:
        is_comparison = any("batch_sizes" in get_type_hints(kind) for kind in known)
        check_preset(named, COMPARE if is_comparison else TRAIN)
        layers.append(toml_file(named, PRESETS, *known))
    return layers


def config_parameter(program: str) -> inspect.Parameter:
    """Return the parameter that names a file or preset of `mnist-train` or `mnist-compare`."""
    info = typer.Option(
        "--config",
        metavar="FILE|PRESET",
        help="TOML file, or the name of a preset (see --list-presets).",
        autocompletion=COMPLETERS[program],
    )
    return parameter("config", str | None, info)


def add_command(
    app: typer.Typer,
    run: Callable[..., None],
    configs: Iterable[type],
    extra: Iterable[inspect.Parameter],
    name: str,
) -> None:
    """Make `run(given, **extra)` the command `name`, with an option for every field of the configs.

    `given` maps names of fields to what the command line says of them: a text, or a truth value.
    `extra` are the command's other parameters.
    """
    declared = [field for config in configs for field in fields(config)]
    hints = {k: v for config in configs for k, v in get_type_hints(config).items()}

    def wrapper(**values: Any) -> None:  # noqa: ANN401
        values.pop("version")
        warn_of_unknown_variables()
        given = {field.name: values.pop(field.name) for field in declared}
        run({key: value for key, value in given.items() if value is not None}, **values)

    parameters = [*extra, *(_parameter(field, hints[field.name]) for field in declared), version()]
    wrapper.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    wrapper.__annotations__ = {p.name: p.annotation for p in parameters}
    app.command(name, cls=Command, help=_paragraphs(run.__doc__ or ""))(wrapper)


def parameter(
    name: str,
    kind: Any,  # noqa: ANN401
    info: Any,  # noqa: ANN401
    default: object = None,
) -> inspect.Parameter:
    """Return a keyword parameter that Typer reads as an option or argument."""
    if name == "checkpoint":
        info.autocompletion = checkpoints
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[kind, info]
    )


def _parameter(field: "Field[Any]", hint: Any) -> inspect.Parameter:  # noqa: ANN401
    """Return the parameter of a config's field: a flag for a truth value, or else a text."""
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
    """Return the help of an option: what it does, what it takes, and its default."""
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
    """Return a docstring with the lines of each paragraph joined, to be wrapped anew.

    Examples keep theirs: paragraphs that are indented.
    """
    parts = inspect.cleandoc(docstring).split("\n\n")
    return "\n\n".join(p if p.startswith("  ") else " ".join(p.split()) for p in parts)


def version() -> inspect.Parameter:
    """Return the parameter that shows the version and ends the program."""

    def show(value: bool) -> None:
        if value:
            write_standard_output(f"mnist_cli {__version__}\n")
            raise typer.Exit

    info = typer.Option(
        "--version", callback=show, is_eager=True, metavar="", help="Show the version."
    )
    return parameter("version", bool, info, default=False)


class Command(TyperCommand):
    """A command whose help names no Python types."""

    def get_params(self, ctx: Any) -> list[Any]:  # noqa: ANN401
        """Return the parameters; a flag takes no value, and a text is what its metavar says."""
        return _plain(super().get_params(ctx))

    def collect_usage_pieces(self, ctx: Any) -> list[str]:  # noqa: ANN401
        """Return what stands behind the name of the program in the line of usage."""
        pieces = [self.options_metavar or ""]
        for param in self.get_params(ctx):
            if param.param_type_name == "argument":
                pieces.append(f"{param.metavar}{'...' if param.nargs != 1 else ''}")
        return pieces


class Group(TyperGroup):
    """A program of several commands, with the same help."""

    def get_params(self, ctx: Any) -> list[Any]:  # noqa: ANN401
        """Return the parameters; a flag takes no value."""
        return _plain(super().get_params(ctx))


def _plain(params: list[Any]) -> list[Any]:
    for param in params:
        if param.param_type_name == "argument":
            vars(param)["display_type_rich"] = _nothing
        elif param.metavar is None and param.is_flag:
            param.metavar = ""
    return params


def _nothing(ctx: Any = None) -> str:  # noqa: ANN401
    return ""
