"""Messages of usage errors, and warnings about environment variables that set no option."""

import contextlib
import os
import re
import sys
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from mnist_cli.config.compare import CompareConfig
from mnist_cli.config.programs import (
    Display,
    EvalConfig,
    ExportConfig,
    LessonConfig,
    PredictConfig,
    Recording,
    Resume,
    Serving,
)
from mnist_cli.config.quoting import escape_controls, printable
from mnist_cli.config.registry import NETWORKS
from mnist_cli.config.sources import COMPARE, TRAIN, preset_names
from mnist_cli.config.suggestions import nearest, nearest_option
from mnist_cli.config.train import TrainConfig
from mnist_cli.errors import MnistError
from mnist_cli.runtime.distributed.ranks import RankInfo

PREFIX = "MNIST_"
_CONFIG_TYPES = (
    *(TrainConfig, EvalConfig, PredictConfig, CompareConfig, ExportConfig),
    *(LessonConfig, Serving, Resume, Recording, Display),
)
_MAX_WARNINGS = 3


def format_usage_error(error: Exception) -> str:
    """Return the message of a usage error of Typer on one line; it may be empty.

    It ends with a suggestion or a reference to `--help`.
    """
    message = " ".join(error.format_message().split())  # type: ignore[attr-defined]
    context = getattr(error, "ctx", None)
    if match := re.fullmatch(r"Option '(.*)' requires an argument\.", message):
        return f"{match[1]} requires a value"
    if not message or context is None:
        return message
    path, command = context.command_path, context.command
    kind = type(error).__name__
    if kind == "NoSuchOption":
        message = _no_such_option(error.option_name, path, command)  # type: ignore[attr-defined]
    elif kind == "MissingParameter" and error.param is not None:  # type: ignore[attr-defined]
        expected = " ".join(_arguments(command))
        name = error.param.metavar or error.param.name  # type: ignore[attr-defined]
        message = f"{name} is missing: {path} {expected}"
    elif match := re.fullmatch(r"Got unexpected extra arguments?(?:\(s\))? \((.*)\)\.?", message):
        message = _unexpected_arguments(match[1], path, command)
    elif match := re.match(r"No such command '(.*?)'", message):
        message = _no_such_command(match[1], command)
    text = f"{message} (see {path} --help)"
    return escape_controls(text)


def option_names(command: Any) -> list[str]:  # noqa: ANN401
    """Return the long options of a command, without the `--no-…` ones."""
    names = [name for param in command.params for name in param.opts]
    return [name for name in names if name.startswith("--")]


def _arguments(command: Any) -> list[str]:  # noqa: ANN401
    params = [param for param in command.params if param.param_type_name == "argument"]
    return [f"{p.metavar or p.name.upper()}{'…' if p.nargs != 1 else ''}" for p in params]


def _no_such_option(wrong: str, path: str, command: Any) -> str:  # noqa: ANN401
    """Return the message for an unknown option."""
    if not wrong.startswith("--"):  # Typer names only the first letter of `-abc`
        long = (word for word in sys.argv[1:] if word.startswith(wrong) and word[2:])
        wrong = next(long, wrong)
    names = (name for param in command.params for name in (*param.opts, *param.secondary_opts))
    known = [name for name in names if name.startswith("-")]  # without those of arguments
    near = nearest_option(wrong, known) if len(wrong) > 2 else None
    if near is not None:
        return f"No such option: {wrong}; did you mean {near}?"
    for name, subcommand in getattr(command, "commands", {}).items():
        if wrong in option_names(subcommand):
            return f"No such option: {wrong}; it comes after a command: {path} {name} {wrong} …"
    return f"No such option: {wrong}"


def _no_such_command(word: str, group: Any) -> str:  # noqa: ANN401
    names = list(group.commands)
    near = nearest(word.removeprefix("mnist-"), names)
    hint = f"Did you mean '{near}'?" if near else f"There are {', '.join(names)}"
    return f"No such command: '{word}'. {hint}"


def _unexpected_arguments(arguments: str, path: str, command: Any) -> str:  # noqa: ANN401
    """Return the message for arguments that no option takes, with a suggestion."""
    if expected := _arguments(command):
        return f"unexpected argument '{arguments}': {path} {' '.join(expected)}"
    word, _, value = (arguments.split(maxsplit=1) or [""])[0].partition("=")
    known = option_names(command)
    hint = ""
    if "--batch-sizes" in known and (word.isdigit() or word == "full"):
        hint = "; sizes have commas between: --batch-sizes 64,256,full"
    elif word.endswith(".pt") and "--resume" in known:
        hint = f"; did you mean --resume {word}, or mnist-eval {word}?"
    elif word.endswith(".toml") and "--config" in known:
        hint = f"; did you mean --config {word}?"
    elif f"--{word.replace('_', '-')}" in known:
        hint = f"; did you mean --{word.replace('_', '-')}{value and f' {value}'}?"
    elif word in NETWORKS and "--model" in known:
        hint = f"; did you mean --model {word}?"
    elif "--config" in known:
        presets = preset_names(COMPARE if path.endswith("compare") else TRAIN)
        if near := nearest(word, presets):
            hint = f"; did you mean --config {near}?"
    return f"unexpected argument '{arguments}'{hint}"


def known_variables() -> list[str]:
    """Return the names of all variables that one of the programs reads."""
    names = ["config", *(field.name for kind in _CONFIG_TYPES for field in fields(kind))]
    return [PREFIX + name.upper() for name in dict.fromkeys(names)]


def unknown_variables(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that begin with MNIST_ and set no option, each with a hint."""
    known = known_variables()
    options = {f"--{name.removeprefix(PREFIX).lower().replace('_', '-')}": name for name in known}
    hints = {}
    for name in sorted(environ):
        if name.startswith(PREFIX) and name not in known:
            near = nearest_option(f"--{name.removeprefix(PREFIX)}", options) or ""
            option, _, value = near.partition(" ")
            meant = options.get(option, "") + (f"={value}" if value else "")
            hints[name] = f"did you mean {meant}?" if meant else "no option has that name"
    return hints


def warn_about_unknown_variables() -> None:
    """Print a warning for each variable without effect, as its name may be misspelled."""
    with contextlib.suppress(MnistError, OSError):
        if not RankInfo.from_env().is_main:
            return
        hints = unknown_variables(os.environ)
        for name, hint in [*hints.items()][:_MAX_WARNINGS]:
            sys.stderr.write(f"warning: the variable {printable(name)} has no effect; {hint}\n")
