"""Messages of usage errors: what is wrong, and what was probably meant."""

import re
import sys
from typing import Any

from mnist_cli.config.registry import NETWORKS
from mnist_cli.config.suggestions import nearest, nearest_option


def usage_in_words(error: Exception) -> str:
    """Return the message of one of Typer's usage errors on one line; it may be empty.

    It ends with what was probably meant, or with where to read what there is.
    """
    message = " ".join(error.format_message().split())  # type: ignore[attr-defined]
    context = getattr(error, "ctx", None)
    if needy := re.fullmatch(r"Option '(.*)' requires an argument\.", message):
        return f"{needy[1]} requires a value"
    if not message or context is None:
        return message
    path, command = context.command_path, context.command
    kind = type(error).__name__
    if kind == "NoSuchOption":
        message = _no_such_option(error.option_name, path, command)  # type: ignore[attr-defined]
    elif kind == "MissingParameter" and error.param is not None:  # type: ignore[attr-defined]
        wanted = " ".join(_arguments(command))
        name = error.param.metavar or error.param.name  # type: ignore[attr-defined]
        message = f"{name} is missing: {path} {wanted}"
    elif extra := re.fullmatch(r"Got unexpected extra arguments?(?:\(s\))? \((.*)\)\.?", message):
        message = _stray(extra[1], path, command)
    elif stranger := re.match(r"No such command '(.*?)'", message):
        message = _no_such_command(stranger[1], command)
    text = f"{message} (see {path} --help)"
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def option_names(command: Any) -> list[str]:  # noqa: ANN401
    """Return the long options of a command, without those that switch off."""
    names = [name for param in command.params for name in param.opts]
    return [name for name in names if name.startswith("--")]


def _arguments(command: Any) -> list[str]:  # noqa: ANN401
    params = [param for param in command.params if param.param_type_name == "argument"]
    return [f"{p.metavar or p.name.upper()}{'…' if p.nargs != 1 else ''}" for p in params]


def _no_such_option(wrong: str, path: str, command: Any) -> str:  # noqa: ANN401
    """Return what is wrong with an option; one with a single hyphen is taken as it was typed."""
    if not wrong.startswith("--"):
        long = (word for word in sys.argv[1:] if word.startswith(wrong) and word[2:])
        wrong = next(long, wrong)
    every = (name for param in command.params for name in (*param.opts, *param.secondary_opts))
    known = [name for name in every if name.startswith("-")]  # and not the name of an argument
    near = nearest_option(wrong, known) if len(wrong) > 2 else None
    if near is not None:
        return f"No such option: {wrong}; did you mean {near}?"
    for name, below in getattr(command, "commands", {}).items():
        if wrong in option_names(below):
            return f"No such option: {wrong}; it comes after a command: {path} {name} {wrong} …"
    return f"No such option: {wrong}"


def _no_such_command(word: str, group: Any) -> str:  # noqa: ANN401
    names = list(group.commands)
    near = nearest(word.removeprefix("mnist-"), names)
    hint = f"Did you mean '{near}'?" if near else f"There are {', '.join(names)}"
    return f"No such command: '{word}'. {hint}"


def _stray(words: str, path: str, command: Any) -> str:  # noqa: ANN401
    """Return the message for arguments that no option takes, with the option that may be meant."""
    wanted = _arguments(command)
    if wanted:
        return f"unexpected argument '{words}': {path} {' '.join(wanted)}"
    word, _, value = (words.split(maxsplit=1) or [""])[0].partition("=")
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
    elif "--config" in known and (near := nearest(word, _presets(path))):
        hint = f"; did you mean --config {near}?"
    return f"unexpected argument '{words}'{hint}"


def _presets(path: str) -> list[str]:
    from mnist_cli.config.presets import COMPARE, TRAIN, preset_names  # noqa: PLC0415 (reads files)

    return preset_names(COMPARE if path.endswith("compare") else TRAIN)
