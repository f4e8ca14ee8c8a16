"""What is checked before a training begins."""

from collections.abc import Mapping
from dataclasses import asdict

from mnist_cli.config import sources
from mnist_cli.config.options import names_where, options_of
from mnist_cli.config.train import ResolvedConfig, TrainConfig
from mnist_cli.errors import UsageError

MAX_TEXT = 100


def check_unchanged(config: TrainConfig, before: TrainConfig) -> None:
    """Raise UsageError if a resumed config differs in an option that may not change.

    A config that is not resolved is compared only in the options that it does not leave open.
    """
    problems = []
    for name, about in options_of(TrainConfig).items():
        now, then = getattr(config, name), getattr(before, name)
        is_open = about.resolved_by and now is None and not isinstance(config, ResolvedConfig)
        if not about.changeable and now != then and not is_open:
            was = sources.typed(name, then)
            problems.append(f"{sources.typed(name, now)} differs from the checkpoint's {was}")
    if problems:
        more = f" (and {len(problems) - 2} more)" if problems[2:] else ""
        raise UsageError(
            f"{', '.join(problems[:2])}{more}: a resumed training goes on as it began; "
            "leave such options out, or start anew"
        )


def changes_since(config: TrainConfig, before: TrainConfig) -> dict[str, list[object]]:
    """Return the options that differ, each with its value before and now.

    What depends on the machine is left out; the versions tell what was used.
    """
    names = names_where(TrainConfig, lambda about: not about.by_machine)
    then, now = asdict(before), asdict(config)
    return differences(
        {name: value for name, value in then.items() if name in names},
        {name: value for name, value in now.items() if name in names},
    )


def differences(then: Mapping[str, object], now: Mapping[str, object]) -> dict[str, list[object]]:
    """Return what differs, each with its value before and now; `None` where there is none."""
    names = [*now, *(name for name in then if name not in now)]
    pairs = {name: [_cut(then.get(name)), _cut(now.get(name))] for name in names}
    return {name: pair for name, pair in pairs.items() if then.get(name) != now.get(name)}


def _cut(value: object) -> object:
    """Return a value, and of a long text, such as a path, its start: it is kept in the history."""
    return f"{value[:MAX_TEXT]}…" if isinstance(value, str) and len(value) > MAX_TEXT else value
