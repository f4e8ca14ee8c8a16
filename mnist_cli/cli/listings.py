"""`--list-models` and `--list-presets`: what there is, and what was measured of it."""

import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from mnist_cli.cli.measured import Figures, Measured, load_figures
from mnist_cli.cli.options import Questions, TrainQuestions
from mnist_cli.cli.program import exit_unless_main
from mnist_cli.config import sources
from mnist_cli.config.presets import COMPARE, TRAIN, preset_names, purpose_of
from mnist_cli.config.program import Display
from mnist_cli.config.registry import NETWORKS
from mnist_cli.errors import UsageError
from mnist_cli.runtime.files import write_standard_output


@dataclass(frozen=True)
class Entry:
    """A line of a listing: accuracies are shares, `seconds` those of a whole process."""

    name: str
    about: str
    program: str = TRAIN
    parameters: int | None = None
    accuracy: float | None = None
    deviation: float | None = None
    seeds: int | None = None
    seconds: float | None = None


@dataclass(frozen=True)
class Listing:
    """Entries of a kind, and which of their fields are shown; a program gets them in this order."""

    kind: str
    entries: list[Entry]
    columns: tuple[str, ...]


_MEASURED = ("accuracy", "deviation", "seeds", "seconds")


def has_listed(questions: Questions, program: str, given: Mapping[str, Any]) -> bool:
    """Print the list that was asked for, and return True if there was one.

    Raises:
        UsageError: there were several.

    """
    models = isinstance(questions, TrainQuestions) and questions.list_models
    if not models and not questions.list_presets:
        return False
    asked = [name for name, value in asdict(questions).items() if value]
    if len(asked) > 1:
        raise UsageError(f"{' and '.join(map(sources.flag, asked))}: ask for one at a time")
    exit_unless_main()
    layers = [
        sources.Layer(given, sources.flag),
        sources.environment(os.environ, Display),
    ]
    figures = load_figures()
    listing = models_of(figures) if models else presets_of(figures, program)
    _show(listing, figures, sources.build(Display, layers))
    return True


def models_of(figures: Figures) -> Listing:
    """Return the models, with what was measured of each with its own defaults."""
    entries = [
        _entry(name, network.about, TRAIN, figures.models.get(name))
        for name, network in NETWORKS.items()
    ]
    return Listing("model", entries, ("name", "parameters", *_MEASURED, "about"))


def presets_of(figures: Figures, program: str) -> Listing:
    """Return the presets that a program can take, and for `mnist-train` the others behind them."""
    programs = (TRAIN, COMPARE) if program == TRAIN else (COMPARE,)
    entries = [
        _entry(name, purpose_of(name), of, figures.presets.get(name) if of == TRAIN else None)
        for of in programs
        for name in preset_names(of)
    ]
    measured = _MEASURED if program == TRAIN else ()
    return Listing("preset", entries, ("name", "program", *measured, "about"))


def _entry(name: str, about: str, program: str, measured: Measured | None) -> Entry:
    if measured is None:
        return Entry(name, about, program)
    return Entry(
        name,
        about,
        program,
        measured.parameters,
        round(measured.accuracy, 6),
        None if measured.deviation is None else round(measured.deviation, 6),
        len(measured.accuracies),
        round(measured.median_seconds, 2),
    )


def _show(listing: Listing, figures: Figures, display: Display) -> None:
    """Write a listing to standard output: objects, a table on a terminal, or lines with tabs."""
    if display.json:
        for entry in listing.entries:
            values = {name: getattr(entry, name) for name in listing.columns}
            write_standard_output(json.dumps({"event": listing.kind, **values}) + "\n")
        return
    if sys.stdout.isatty():
        _print_tables(listing)
        if not display.quiet and "seconds" in listing.columns:
            print(_measured_on(figures), file=sys.stderr)  # noqa: T201
        return
    rows: list[Sequence[object]] = [listing.columns]
    rows += [[getattr(entry, name) for name in listing.columns] for entry in listing.entries]
    for row in rows:
        cells = ("" if value is None else str(value) for value in row)
        write_standard_output("\t".join(cells) + "\n")


def _print_tables(listing: Listing) -> None:
    """Print a table for each program, since all columns of both do not fit a terminal."""
    from rich import box  # noqa: PLC0415 (--help is quick)
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    console = Console(highlight=False, markup=False, emoji=False)
    programs = dict.fromkeys(entry.program for entry in listing.entries)
    for program in programs:
        entries = [entry for entry in listing.entries if entry.program == program]
        measured = [entry.accuracy is not None for entry in entries]
        title = f"{program} --config PRESET" if len(programs) > 1 else None
        table = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left")
        shown = [name for name in _CELLS if name in listing.columns]
        if not any(measured):
            shown = ["name", "about"]
        for name in shown:
            right = name in ("parameters", "seconds")
            heading = _HEADINGS.get(name, listing.kind)
            table.add_column(heading, justify="right" if right else "left", no_wrap=name != "about")
        for entry in entries:
            table.add_row(*(_CELLS[name](entry) for name in shown))
        console.print(table)


def _accuracy(entry: Entry) -> str:
    if entry.accuracy is None:
        return ""
    spread = "" if entry.deviation is None else f" ± {100 * entry.deviation:.2f}"
    return f"{100 * entry.accuracy:.2f}{spread} % ({entry.seeds})"


_CELLS: dict[str, Callable[[Entry], str]] = {
    "name": lambda entry: entry.name,
    "parameters": lambda entry: "" if entry.parameters is None else f"{entry.parameters:,}",
    "accuracy": _accuracy,
    "seconds": lambda entry: "" if entry.seconds is None else f"{entry.seconds:.0f} s",
    "about": lambda entry: entry.about,
}
_HEADINGS = {
    "parameters": "parameters",
    "accuracy": "accuracy (seeds)",
    "seconds": "time",
    "about": "",
}


def _measured_on(figures: Figures) -> str:
    """Return where and when the figures were taken, and what they are."""
    at = figures.machine
    busy = any(m.busy for m in (*figures.models.values(), *figures.presets.values()))
    return (
        f"Test accuracy after the last update, mean ± deviation over seeds; median time of the "
        f"whole process.\nMeasured on {at['cores']} cores of {at['processor']}, PyTorch "
        f"{at['torch']}, {at['date']}"
        + ("; other programs were computing, so that some times are too long." if busy else ".")
    )
