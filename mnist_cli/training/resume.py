"""What is checked before a training begins."""

from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import TYPE_CHECKING

from mnist_cli.config import sources
from mnist_cli.config.train import TrainConfig
from mnist_cli.errors import UsageError

if TYPE_CHECKING:
    pass

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


def check_unchanged(config: TrainConfig, before: TrainConfig) -> None:
    """Raise UsageError if a resumed config differs in a field that may not change."""
    problems = []
    for field in fields(TrainConfig):
        now, then = getattr(config, field.name), getattr(before, field.name)
        if field.name not in CHANGEABLE and now != then:
            was = sources.typed(field.name, then)
            problems.append(f"{sources.typed(field.name, now)} differs from the checkpoint's {was}")
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
