"""Variables of the environment that look like options of these programs, but are not."""

import contextlib
import os
import sys
from collections.abc import Mapping
from dataclasses import fields

from mnist_cli.config.compare import CompareConfig
from mnist_cli.config.inference import EvalConfig, ExportConfig, PredictConfig
from mnist_cli.config.program import Display, Recording, Resume
from mnist_cli.config.suggestions import nearest_option
from mnist_cli.config.train import TrainConfig
from mnist_cli.errors import MnistError
from mnist_cli.runtime.distributed.ranks import RankInfo

PREFIX = "MNIST_"
KINDS: dict[str, type] = {
    "mnist-train": TrainConfig,
    "mnist-eval": EvalConfig,
    "mnist-predict": PredictConfig,
    "mnist-compare": CompareConfig,
    "mnist-export": ExportConfig,
}
_MOST = 3  # that are told


def known_variables() -> list[str]:
    """Return the names of all variables that one of the programs reads."""
    kinds = (*KINDS.values(), Resume, Recording, Display)
    names = ["config", *(field.name for kind in kinds for field in fields(kind))]
    return [PREFIX + name.upper() for name in dict.fromkeys(names)]


def unknown_variables(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that begin with MNIST_ and stand for no option, each with a hint."""
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


def warn_of_unknown_variables() -> None:
    """Say on stderr which variables have no effect: a slip of the pen would go unnoticed."""
    with contextlib.suppress(MnistError, OSError):
        if not RankInfo.from_env().is_main:
            return
        hints = unknown_variables(os.environ)
        for name, hint in [*hints.items()][:_MOST]:
            shown = name if name.isprintable() else repr(name)
            print(f"warning: the variable {shown} has no effect; {hint}", file=sys.stderr)  # noqa: T201
