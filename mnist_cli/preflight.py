"""What is checked before a training begins."""

import json
import os
import sys
from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import nn

from mnist_cli import settings
from mnist_cli.claim import Claim
from mnist_cli.config import TrainConfig
from mnist_cli.errors import OutputError, UsageError
from mnist_cli.group import Group
from mnist_cli.loaders import EpochShape

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

# What a resumed training may change; the rest would make it another training. More or fewer
# epochs change the rest of the learning rate's schedule.
CHANGEABLE = frozenset(
    {
        "epochs",
        "max_updates",
        "max_seconds",
        "until_accuracy",
        "micro_batch_size",
        "data_dir",
        "device",
        "threads",
        "output",
        "save_every",
        "no_clobber",
        "log_interval",
        "probe",
        "probe_every",
        "probe_samples",
    }
)
MAX_TEXT = 100
# Of those, what was computed on is told instead of what was asked for.
_ASKED_FOR = {"device", "threads"}
# What may differ from rank to rank.
_OF_A_RANK = {"device", "threads", "data_dir", "output", "no_clobber", "report", "plot"}


def check_unchanged(config: TrainConfig, before: TrainConfig) -> None:
    """Raise UsageError if a resumed config differs in a field that may not change."""
    problems = []
    for field in fields(TrainConfig):
        now, then = getattr(config, field.name), getattr(before, field.name)
        if field.name not in CHANGEABLE and now != then:
            was = settings.typed(field.name, then)
            problems.append(
                f"{settings.typed(field.name, now)} differs from the checkpoint's {was}"
            )
    if problems:
        more = f" (and {len(problems) - 2} more)" if problems[2:] else ""
        raise UsageError(
            f"{', '.join(problems[:2])}{more}: a resumed training goes on as it began; "
            "leave such options out, or start anew"
        )


def changes_since(config: TrainConfig, before: TrainConfig) -> dict[str, list[object]]:
    """Return the options that differ, each with its value before and now."""
    then, now = asdict(before), asdict(config)
    return differences(
        {name: value for name, value in then.items() if name not in _ASKED_FOR},
        {name: value for name, value in now.items() if name not in _ASKED_FOR},
    )


def differences(then: Mapping[str, object], now: Mapping[str, object]) -> dict[str, list[object]]:
    """Return what differs, each with its value before and now; `None` where there is none."""
    names = [*now, *(name for name in then if name not in now)]
    pairs = {name: [_cut(then.get(name)), _cut(now.get(name))] for name in names}
    return {name: pair for name, pair in pairs.items() if then.get(name) != now.get(name)}


def _cut(value: object) -> object:
    """Return a value, and of a long text, such as a path, its start: it is kept in the history."""
    return f"{value[:MAX_TEXT]}…" if isinstance(value, str) and len(value) > MAX_TEXT else value


def check_spreadable(model: nn.Module, ranks: int) -> None:
    """Raise UsageError if the result of a network would depend on the number of ranks.

    Batch normalisation takes means over the samples that are computed together: with many ranks
    each has means of its own, of fewer samples. None of the networks has it; one that is added
    with it can be trained by one process.
    """
    norms = (nn.modules.batchnorm._BatchNorm,)
    if ranks > 1 and any(isinstance(layer, norms) for layer in model.modules()):
        raise UsageError(
            f"this network has batch normalisation, and would be another one with {ranks} ranks; "
            "train it with one process, or give it another normalisation"
        )


def check_alike(config: "DataclassInstance", device: torch.device, group: Group) -> None:
    """Raise UsageError in a rank whose options, but for its places, are not the first rank's.

    They would train something else each: a variable of the environment or a file is enough.
    """
    own = {"device type": device.type, **asdict(config)}
    own = {name: value for name, value in own.items() if name not in _OF_A_RANK}
    theirs = json.loads(group.hand_out(json.dumps(own).encode()) or b"{}")
    for name, (there, here) in differences(theirs, own).items():
        raise UsageError(
            f"{name} is {settings.shown(here)} here, and {settings.shown(there)} in the first "
            "rank; start all ranks with the same options, files and variables"
        )


def claim_output(config: TrainConfig) -> Claim | None:
    """Claim the file that the checkpoint will be written to; `None` stands for standard output.

    Raises:
        OutputError, UsageError: the checkpoint could not be written at the end.

    """
    if config.output == "-":
        if getattr(sys.stdout, "name", "") == os.devnull:  # what a closed stream was replaced by
            raise OutputError("cannot write -o - : standard output is closed")
        if sys.stdout.isatty():
            raise UsageError("-o - would write a binary file to the terminal; redirect stdout")
        return None
    if not config.output or config.output.endswith("/"):
        raise OutputError(f"--output '{config.output}' is not the name of a file")
    path = Path(config.output)
    claim = Claim(path)
    if config.no_clobber and path.exists():
        claim.close()
        raise OutputError(f"{path} exists, and --no-clobber keeps it; choose another --output")
    return claim


def epoch_shape(config: TrainConfig, samples: int) -> EpochShape:
    """Return how a training set is divided into updates: one of all samples in batch mode.

    Raises:
        UsageError: a batch is larger than the training set.

    """
    size = samples if config.batch_size is None else config.batch_size
    if size > samples:
        raise UsageError(
            f"--batch-size {size} is more than the {samples:,} training samples; "
            "use a smaller one, or --mode batch for one update from all of them"
        )
    return EpochShape(samples, size)
