"""Generate `docs/reference.md` from the code: `python docs/make_reference.py`.

A test fails if the file differs from what this script writes.
"""

import inspect
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, get_args, get_origin, get_type_hints

import typer

from mnist_cli import events
from mnist_cli.cli.doctor import Check
from mnist_cli.cli.listings import Entry, Measurement, load_measured_results, models_of, presets_of
from mnist_cli.comparison import events as comparison_events
from mnist_cli.config.registry import NETWORKS, PROBES
from mnist_cli.config.sources import COMPARE, PRESETS, TRAIN
from mnist_cli.errors import MEANINGS
from mnist_cli.events import Event, ProbeEvent
from mnist_cli.training.probes.probes import probe_class

PAGE = Path(__file__).with_name("reference.md")
PROGRAMS = ("train", "evaluate", "predict", "compare", "export", "lesson")
EVENT_PROGRAMS = {
    events.Evaluated: "eval",
    events.Prediction: "predict",
    events.Exported: "export",
    events.LessonWritten: "lesson",
    events.ServingStarted: "export and mnist-lesson",
}

_HEAD = """\
# Reference

Generated from the code by `python docs/make_reference.py`; a test keeps it up to date. `--help`
prints the same descriptions.

An option can also be set by an environment variable (`MNIST_BATCH_SIZE=128` for `--batch-size`),
and those of `mnist-train` and `mnist-compare` in a TOML file (`batch_size = 128`, `--config
my.toml`). Flags take precedence over the environment, that over the file, and that over the
defaults. `--no-x` switches `--x` off.
"""

_EVENTS = """
## Events

With `--json`, standard output is one JSON object per line, each flushed as it is written;
`mnist-train --log-file` writes the same lines to a file. Every object has `event`, its name, and
`seconds` since the start of the run. Keys that may be missing are in *italics*.
"""

_INFO = """
## Information

With `--json`, the options that print information also write objects. These have `event`, but no
time since the start: the `seconds` of a model or preset are those of a whole training.
"""

_MEASURED = """
## Models and presets

Test accuracy after the last update, mean ± standard deviation over seeds, and seconds of the whole
program (median), measured with `python -m benchmarks.listings` on {machine}.
`--model NAME` takes a network, `--config NAME` a preset of `configs/`.
"""

_CODES = """
## Exit codes

| code | meaning |
|---|---|
"""


def reference() -> str:
    """Return the page."""
    parts = [_HEAD]
    for name in PROGRAMS:
        parts.append("\n".join(_program(name)))
    parts.append(_EVENTS)
    for module in (events, comparison_events):
        parts += ["\n".join(_event(kind)) for kind in _event_types(module)]
    parts += [_INFO, "\n".join(_info())]
    parts.append("\n".join(_tables()))
    rows = "\n".join(f"| {int(code)} | {MEANINGS[code]} |" for code in sorted(MEANINGS))
    return "\n".join([*parts, _CODES + rows]) + "\n"


def _program(name: str) -> Iterator[str]:
    """Yield the lines of a program's section: its usage, and a table of options per panel."""
    module = import_module(f"mnist_cli.cli.{name}")
    command: Any = typer.main.get_command(module.app)
    options = [p for p in command.params if p.param_type_name == "option"]
    yield f"\n## mnist-{command.name}\n"
    arguments = command.collect_usage_pieces(typer.Context(command))
    usage = " ".join([f"mnist-{command.name}", *arguments])
    yield f"`{usage}`, or `mnist {command.name} …`\n"
    panels: dict[str, list[Any]] = {}
    for option in options:
        if option.name != "help":
            panels.setdefault(option.rich_help_panel or "", []).append(option)
    rest = {"Everything else": panels.pop("", [])}
    for panel, listed in (panels | rest).items():
        yield f"| {panel} | meaning |"
        yield "|---|---|"
        for option in listed:
            names = "/".join(option.opts[:1] + option.secondary_opts)
            shown = f"`{names} {option.metavar or ''}".rstrip().replace("|", " or ") + "`"
            short = "".join(f", `{other}`" for other in option.opts[1:])
            yield f"| {shown}{short} | {option.help.replace('|', chr(92) + '|')} |"
        yield ""


def _event_types(module: ModuleType) -> list[type[Event]]:
    """Return the events of a module that are written as JSON, in the order of the source."""
    probes = [probe_class(name) for name in PROBES]
    return [
        each
        for kind in vars(module).values()
        if isinstance(kind, type)
        and issubclass(kind, Event)
        and kind is not Event
        and kind.lasting
        and kind.__module__ == module.__name__
        for each in (probes if kind is ProbeEvent else [kind])
    ]


def _event(kind: type[Event]) -> Iterator[str]:
    """Yield the lines of an event's section."""
    default = "compare" if kind.__module__ == comparison_events.__name__ else "train"
    program = EVENT_PROGRAMS.get(kind, default)
    yield f"\n### `{kind.name}` of mnist-{program}: {kind.__name__}\n"
    yield inspect.cleandoc(kind.__doc__ or "") + "\n"
    hints = get_type_hints(kind)
    for field in events.fields_of(kind):
        if field.name == "seconds":
            continue
        key = f"*`{field.name}`*" if events.is_optional(field.name) else f"`{field.name}`"
        yield f"- {key}: {_in_words(hints[field.name])}"


def _info() -> Iterator[str]:
    """Yield the lines on the objects of the informational options: where written, and keys."""
    results = load_measured_results()
    entry, check = get_type_hints(Entry), get_type_hints(Check)
    presets, fewer = (presets_of(results, program).columns for program in (TRAIN, COMPARE))
    listed = {
        "`model` of mnist-train --list-models": {
            f"`{name}`": entry[name] for name in models_of(results).columns
        },
        "`preset` of mnist-train and mnist-compare --list-presets": {
            f"`{name}`" if name in fewer else f"*`{name}`*": entry[name] for name in presets
        },
        "`config` of mnist-train and mnist-compare --show-config": {
            "`options`": dict[str, Any],
            "`origins`": dict[str, str],
        },
        "`check` of python -m mnist_cli doctor": {
            f"`{field.name}`": check[field.name] for field in fields(Check)
        },
    }
    for heading, keys in listed.items():
        yield f"\n### {heading}\n"
        yield from (f"- {key}: {_in_words(hint)}" for key, hint in keys.items())
    yield ""


def _tables() -> Iterator[str]:
    """Yield the lines of the tables of models and presets."""
    results = load_measured_results()
    on = results.machine
    machine = f"{on['cores']} cores of {on['processor']}, PyTorch {on['torch']}"
    yield _MEASURED.format(machine=machine)
    yield "| model | parameters | what it is | test accuracy | seconds |\n|---|---|---|---|---|"
    for name, network in NETWORKS.items():
        one = results.models[name]
        about = network.about.rstrip(".")
        yield f"| `{name}` | {one.parameters:,} | {about} | {_accuracy(one)} | {_seconds(one)} |"
    yield "\n| preset | for | test accuracy | seconds |\n|---|---|---|---|"
    comparisons = []
    for path in sorted(PRESETS.glob("*.toml")):
        about = path.read_text().splitlines()[0].removeprefix("# ").rstrip(".")
        if path.stem in results.presets:
            one = results.presets[path.stem]
            yield f"| `{path.stem}` | {about} | {_accuracy(one)} | {_seconds(one)} |"
        else:
            comparisons.append(f"| `{path.stem}` | {about} |")
    yield "\n| preset of mnist-compare | |\n|---|---|"
    yield from comparisons
    yield ""


def _accuracy(one: Measurement) -> str:
    spread = "" if one.std is None else f" ± {100 * one.std:.2f}"
    seeds = len(one.accuracies)
    return f"{100 * one.accuracy:.2f}{spread} % ({seeds} seed{'' if seeds == 1 else 's'})"


def _seconds(one: Measurement) -> str:
    return f"{one.median_seconds:.1f}" + (" (busy machine)" if one.busy else "")


def _in_words(hint: object) -> str:
    """Return a type as JSON has it."""
    names: dict[object, str] = {
        int: "integer",
        float: "number",
        str: "text",
        bool: "true or false",
        type(None): "null",
        Any: "anything",
    }
    if hint in names:
        return names[hint]
    if isinstance(hint, type) and is_dataclass(hint):
        return "object of " + ", ".join(f"`{field.name}`" for field in fields(hint))
    arguments = get_args(hint)
    if get_origin(hint) is list:
        return f"list of: {_in_words(arguments[0])}"
    if get_origin(hint) is tuple:
        return f"list of {len(arguments)}: {_in_words(arguments[0])}"
    if get_origin(hint) is dict:
        return "object"
    return " or ".join(_in_words(argument) for argument in arguments)


if __name__ == "__main__":
    PAGE.write_text(reference(), encoding="utf-8")
