"""`--list-models` and `--list-presets`: the models and presets with their measured results.

`python -m benchmarks.listings` writes `measured.json`. A test fails if an entry was measured with
other options than those of today.
"""

import hashlib
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import mean, median, stdev
from typing import Any

from mnist_cli.cli.parameters import InfoFlags, TrainInfoFlags, command_sources
from mnist_cli.cli.program import exit_unless_main
from mnist_cli.config.options import Effect, names_where
from mnist_cli.config.programs import Display
from mnist_cli.config.registry import NETWORKS
from mnist_cli.config.sources import COMPARE, TRAIN, build_config, flag, preset_names, purpose_of
from mnist_cli.config.train import TrainConfig
from mnist_cli.data.catalogue import CATALOGUE
from mnist_cli.errors import UsageError
from mnist_cli.runtime.files import write_standard_output

FILE = Path(__file__).with_name("measured.json")


@dataclass(frozen=True)
class Measurement:
    """The results of trainings with the same options and the seeds 0, 1, 2 and so on.

    `accuracies` are on the test set, in the order of seeds. `seconds` are of whole processes; if
    `busy`, other programs were computing at the same time, and the seconds are too many.
    """

    options: str
    accuracies: tuple[float, ...]
    seconds: tuple[float, ...]
    busy: bool
    parameters: int

    @property
    def accuracy(self) -> float:
        """The mean test accuracy."""
        return mean(self.accuracies)

    @property
    def std(self) -> float | None:
        """The standard deviation of the accuracies, if there are several seeds."""
        return stdev(self.accuracies) if len(self.accuracies) > 1 else None

    @property
    def median_seconds(self) -> float:
        """The median of the seconds."""
        return median(self.seconds)


@dataclass(frozen=True)
class MeasuredResults:
    """The contents of the file: the measurements by model and by preset, and the machine."""

    machine: dict[str, Any]
    models: dict[str, Measurement]
    presets: dict[str, Measurement]

    def to_json(self) -> str:
        """Return the file's contents."""
        head = {"generated": "by python -m benchmarks.listings; do not edit"}
        return json.dumps({**head, **asdict(self)}, indent=1) + "\n"


def load_measured_results(path: Path = FILE) -> MeasuredResults:
    """Return the measured results, from a file that is part of the package."""
    content = json.loads(path.read_text())
    models, presets = (
        {name: _measurement(entry) for name, entry in content[kind].items()}
        for kind in ("models", "presets")
    )
    return MeasuredResults(content["machine"], models, presets)


def _measurement(entry: dict[str, Any]) -> Measurement:
    lists = {name: tuple(entry[name]) for name in ("accuracies", "seconds")}
    return Measurement(**{**entry, **lists})


def options_digest(config: TrainConfig) -> str:
    """Return a digest of the options that affect the result, random numbers and rounding aside.

    Options that are not set, and later ones at their default, are left out, so adding an option
    does not change the digest.
    """
    decisive = names_where(TrainConfig, lambda about: about.effect is Effect.RESULT)
    decisive -= {"precision"}  # which is a kind of rounding, and by auto that of the machine
    added = names_where(TrainConfig, lambda about: about.named_if_set)
    values = asdict(config.resolve(CATALOGUE["mnist"].training_samples))
    used = {
        name: value
        for name, value in sorted(values.items())
        if name in decisive and value not in (None, False, 0)
        if name not in added or value != getattr(TrainConfig, name)
    }
    return hashlib.sha256(json.dumps(used).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Entry:
    """A line of a listing. Accuracies are fractions; `seconds` is the time of a whole process."""

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
    """Entries of one kind, and the names of the fields that are written, in this order."""

    kind: str
    entries: list[Entry]
    columns: tuple[str, ...]


_MEASURED = ("accuracy", "deviation", "seeds", "seconds")


def print_requested_list(info: InfoFlags, program: str, given: Mapping[str, Any]) -> bool:
    """Print the requested list, and return True if one was requested.

    Raises:
        UsageError: several were requested.

    """
    models = isinstance(info, TrainInfoFlags) and info.list_models
    if not models and not info.list_presets:
        return False
    requested = [name for name, value in asdict(info).items() if value]
    if len(requested) > 1:
        raise UsageError(f"{' and '.join(map(flag, requested))}: ask for one at a time")
    exit_unless_main()
    results = load_measured_results()
    listing = models_of(results) if models else presets_of(results, program)
    _show(listing, results, build_config(Display, command_sources(given, Display)))
    return True


def models_of(results: MeasuredResults) -> Listing:
    """Return the models with their results, each measured with its own defaults."""
    entries = [
        _entry(name, network.about, TRAIN, results.models.get(name))
        for name, network in NETWORKS.items()
    ]
    return Listing("model", entries, ("name", "parameters", *_MEASURED, "about"))


def presets_of(results: MeasuredResults, program: str) -> Listing:
    """Return the presets of a program; `mnist-train` also lists those of `mnist-compare`."""
    programs = (TRAIN, COMPARE) if program == TRAIN else (COMPARE,)
    entries = [
        _entry(name, purpose_of(name), of, results.presets.get(name) if of == TRAIN else None)
        for of in programs
        for name in preset_names(of)
    ]
    measured = _MEASURED if program == TRAIN else ()
    return Listing("preset", entries, ("name", "program", *measured, "about"))


def _entry(name: str, about: str, program: str, measured: Measurement | None) -> Entry:
    if measured is None:
        return Entry(name, about, program)
    return Entry(
        name,
        about,
        program,
        measured.parameters,
        round(measured.accuracy, 6),
        None if measured.std is None else round(measured.std, 6),
        len(measured.accuracies),
        round(measured.median_seconds, 2),
    )


def _show(listing: Listing, results: MeasuredResults, display: Display) -> None:
    """Write a listing to standard output: JSON, tables on a terminal, or tab-separated lines."""
    if display.json:
        for entry in listing.entries:
            values = {name: getattr(entry, name) for name in listing.columns}
            write_standard_output(json.dumps({"event": listing.kind, **values}) + "\n")
        return
    if sys.stdout.isatty():
        _print_tables(listing)
        if not display.quiet and "seconds" in listing.columns:
            sys.stderr.write(_measured_on(results) + "\n")
        return
    rows: list[Sequence[object]] = [listing.columns]
    rows += [[getattr(entry, name) for name in listing.columns] for entry in listing.entries]
    for row in rows:
        cells = ("" if value is None else str(value) for value in row)
        write_standard_output("\t".join(cells) + "\n")


def _print_tables(listing: Listing) -> None:
    """Print a table for each program: the columns of both together do not fit a terminal."""
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


def _measured_on(results: MeasuredResults) -> str:
    """Return a description of the columns, and of the machine and the date of measurement."""
    on = results.machine
    busy = any(m.busy for m in (*results.models.values(), *results.presets.values()))
    return (
        f"Test accuracy after the last update, mean ± standard deviation over seeds; median time "
        f"of the whole process.\nMeasured on {on['cores']} cores of {on['processor']}, PyTorch "
        f"{on['torch']}, {on['date']}"
        + ("; other programs were computing, so that some times are too long." if busy else ".")
    )
