"""Check that a resumed training, and all ranks, have the options that they need to agree on."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING

import torch

from mnist_cli.config import sources
from mnist_cli.config.options import OFF, names_where, options_of
from mnist_cli.config.quoting import quote
from mnist_cli.config.train import ResolvedConfig, TrainConfig
from mnist_cli.errors import UsageError
from mnist_cli.runtime.distributed.group import ProcessGroup

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

_MAX_LENGTH = 100  # of a text, such as a path, in the history


def check_unchanged(config: TrainConfig, before: TrainConfig) -> None:
    """Raise UsageError if a resumed config differs in an option that may not change.

    Options that a config leaves open until it is resolved are not compared before.
    """
    problems = []
    for name, about in options_of(TrainConfig).items():
        now, then = getattr(config, name), getattr(before, name)
        is_open = about.resolved_by and now is None and not isinstance(config, ResolvedConfig)
        if not about.changeable and now != then and not is_open:
            was = sources.flag_with_value(name, then)
            problems.append(
                f"{sources.flag_with_value(name, now)} differs from the checkpoint's {was}"
            )
    if before.batch_schedule != OFF and config.epochs != before.epochs:
        problems.append(
            f"--epochs {config.epochs} differs from the checkpoint's {before.epochs}, by which its "
            f"--batch-schedule {before.batch_schedule} grows"
        )
    if problems:
        more = f" (and {len(problems) - 2} more)" if problems[2:] else ""
        raise UsageError(
            f"{', '.join(problems[:2])}{more}: a resumed training goes on as it began; "
            "leave such options out, or train without --resume"
        )


def changed_options(config: TrainConfig, before: TrainConfig) -> dict[str, list[object]]:
    """Return the options that differ, each with its old and its new value.

    Options whose effect depends on the machine are left out: the versions have what was used.
    """
    names = names_where(TrainConfig, lambda about: not about.by_machine)
    then, now = asdict(before), asdict(config)
    return differences(
        {name: value for name, value in then.items() if name in names},
        {name: value for name, value in now.items() if name in names},
    )


def differences(then: Mapping[str, object], now: Mapping[str, object]) -> dict[str, list[object]]:
    """Return the keys whose values differ, each with its old and new value, `None` if missing."""
    names = [*now, *(name for name in then if name not in now)]
    pairs = {name: [_shorten(then.get(name)), _shorten(now.get(name))] for name in names}
    return {name: pair for name, pair in pairs.items() if then.get(name) != now.get(name)}


def _shorten(value: object) -> object:
    """Return a value; a long text is cut."""
    is_long = isinstance(value, str) and len(value) > _MAX_LENGTH
    return f"{str(value)[:_MAX_LENGTH]}…" if is_long else value


def check_same_options(
    config: "DataclassInstance", device: torch.device, group: ProcessGroup
) -> None:
    """Raise UsageError in a rank whose options differ from those of rank 0.

    An environment variable or a file on one machine is enough for that. Options that may differ,
    such as folders, are not compared.
    """
    own = {"device type": device.type, **asdict(config)}
    may_differ = names_where(type(config), lambda about: about.per_rank)
    own = {name: value for name, value in own.items() if name not in may_differ}
    data = group.broadcast(json.dumps(own).encode()) or b""
    try:
        theirs = json.loads(data)
        if not isinstance(theirs, dict):
            raise ValueError
    except (RecursionError, ValueError):
        raise UsageError(
            f"the first rank sent {quote(data)} instead of its options; start all ranks with the "
            "same version of mnist_cli"
        ) from None
    for name, (there, here) in differences(theirs, own).items():
        raise UsageError(
            f"{name if name in own else quote(name)} is {quote(here)} here, and {quote(there)} in "
            "the first rank; start all ranks with the same options, files and variables"
        )
