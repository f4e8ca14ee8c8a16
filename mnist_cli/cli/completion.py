"""Shell completion of option values: choices, checkpoints, presets and files."""

import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import Field
from pathlib import Path
from typing import Any

from mnist_cli.config.options import Option
from mnist_cli.config.sources import COMPARE, TRAIN, preset_names

Completer = Callable[[str], list[str]]
_MAX_FILES = 200


def completer_of(field: "Field[Any]") -> Completer | None:
    """Return the completer of an option's value, or None to let the shell complete files."""
    about: Option = field.metadata["option"]
    if about.choices:
        return list_of(about.choices) if about.listed else one_of(about.choices)
    return _resume if field.name == "resume" else None


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


COMPLETERS = {TRAIN: configs(TRAIN), COMPARE: configs(COMPARE)}


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
