"""Warnings about environment variables that begin with MNIST_ and set no option."""

import contextlib
import os
import sys
from collections.abc import Mapping
from dataclasses import fields

from mnist_cli.config.compare import CompareConfig
from mnist_cli.config.programs import (
    Display,
    EvalConfig,
    ExportConfig,
    PredictConfig,
    Recording,
    Resume,
)
from mnist_cli.config.suggestions import nearest_option
from mnist_cli.config.train import TrainConfig
from mnist_cli.errors import MnistError
from mnist_cli.runtime.distributed.ranks import RankInfo

PREFIX = "MNIST_"
_CONFIG_TYPES = (
    *(TrainConfig, EvalConfig, PredictConfig, CompareConfig, ExportConfig),
    *(Resume, Recording, Display),
)
_MAX_WARNINGS = 3


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
            printable = name if name.isprintable() else repr(name)
            sys.stderr.write(f"warning: the variable {printable} has no effect; {hint}\n")
