"""The page of the records, their figure, and the first table of the README, from the logs."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.measure import ROOT
from benchmarks.records import DEFAULT, Log, Run
from mnist_cli.cli.listings import Measurement

PAGE = ROOT / "docs" / "records.md"
README = ROOT / "README.md"
FIGURE = ROOT / "docs" / "figures" / "records.svg"
FULL = Path(__file__).parent / "results" / "full.json"

_BEGIN, _END = "<!-- made by: python -m benchmarks records --page -->", "<!-- end -->"
_README_TABLE = re.compile(r"^\| on two cores, no GPU \|.*?(?=\n\n)", re.M | re.S)
_EXAMPLE_PARAMETERS = 1_199_882  # of the network of PyTorch's MNIST example
_LINKS = "../benchmarks/results/records"  # from the page


def write_page(logs: Mapping[str, Log]) -> None:
    """Write the page, the figure and the README's table; without any log, only the page."""
    PAGE.write_text(page(PAGE.read_text(), logs))
    if logs:
        README.write_text(readme(README.read_text(), logs))
        FIGURE.write_bytes(figure(logs))


def page(text: str, logs: Mapping[str, Log]) -> str:
    """Return the text of the page with the tables of the logs between its marks."""
    made = "\n\n".join(_sections(logs)) if logs else "Nothing has been measured yet."
    before, _, rest = text.partition(_BEGIN)
    _, _, after = rest.partition(_END)
    return f"{before}{_BEGIN}\n\n{made}\n\n{_END}{after}"


def readme(text: str, logs: Mapping[str, Log]) -> str:
    """Return the text of the README with the table of the logs; the same text without any."""
    if not logs:
        return text
    rows = [
        ["on two cores, no GPU", "parameters", "test accuracy", "whole program"],
        *(
            [f"`{_command(name)}`", f"{m.parameters:,}", accuracy(m), duration(m.median_seconds)]
            for name, log in logs.items()
            for m in [log.measurement]
        ),
        _example(),
    ]
    return _README_TABLE.sub(lambda _: _table(rows), text, count=1)


def _sections(logs: Mapping[str, Log]) -> list[str]:
    """Return the table, the machines, and the figure."""
    heading = ["preset", "network", "epochs", "parameters", "training, TFLOP", "whole process"]
    rows = [[*heading, "test accuracy", "log"]]
    for name, log in logs.items():
        measured, first = log.measurement, log.runs[0]
        rows.append(
            [
                f"`{name}`",
                _network(first),
                f"{first.options['epochs']}",
                f"{first.parameters:,}",
                _rounded(first.training_tflop),
                duration(measured.median_seconds),
                accuracy(measured),
                f"[every run]({_LINKS}/{name}.jsonl)",
            ]
        )
    busy = [f"`{name}`" for name, log in logs.items() if log.measurement.busy]
    note = f" Whenever {', '.join(busy)} trained, other programs were computing." if busy else ""
    shown = (
        "![Error against seconds of the whole process, and against parameters, both logarithmic]"
    )
    return [_table(rows), _machines(logs) + note, f"{shown}(figures/{FIGURE.name})"]


def _table(rows: list[list[str]]) -> str:
    heading, *others = (f"| {' | '.join(cells)} |" for cells in rows)
    return "\n".join([heading, "|" + "---|" * len(rows[0]), *others])


def _command(name: str) -> str:
    return "mnist-train" if name == DEFAULT else f"mnist-train --config {name}"


def _network(run: Run) -> str:
    members = run.options["members"]
    return f"{members} of `{run.network}`" if members > 1 else f"`{run.network}`"


def _machines(logs: Mapping[str, Log]) -> str:
    """Return a sentence on when and where the runs were made."""
    places: dict[str, set[str]] = {}
    for run in (run for log in logs.values() for run in log.runs):
        on = run.machine
        cores = f"{on['cores']} core{'s' if on['cores'] > 1 else ''}"
        place = f"{cores} of {on['processor']}, PyTorch {on['torch']}"
        places.setdefault(place, set()).add(on["date"])
    parts = [f"{place} ({_dates(dates)})" for place, dates in places.items()]
    return f"Measured on {'; '.join(parts)}."


def _dates(dates: set[str]) -> str:
    return min(dates) if len(dates) == 1 else f"{min(dates)} to {max(dates)}"


def accuracy(measured: Measurement) -> str:
    """Return the mean and the standard deviation of the accuracy, with the number of seeds."""
    spread = "" if measured.std is None else f" ± {100 * measured.std:.2f}"
    count = len(measured.accuracies)
    seeds = f"{count} seed{'s' if count > 1 else ''}"
    return f"{100 * measured.accuracy:.2f}{spread} % ({seeds})"


def duration(seconds: float) -> str:
    """Return seconds, short ones with a decimal."""
    return f"{seconds:,.0f} s" if seconds > 10 else f"{seconds:.1f} s"


def _rounded(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _example() -> list[str]:
    """Return the README's row of PyTorch's example program, as `python -m benchmarks` timed it."""
    full = json.loads(FULL.read_text())
    (row,) = [row for row in full["rows"] if row["reference_name"] == "tutorial program"]
    found = re.search(r"reference ([\d.]+)% after (\d+) epochs, one run", row["note"])
    assert found, row["note"]
    percent, epochs = found.groups()
    return [
        f"PyTorch's MNIST example, {epochs} epochs, on {full['machine']['processor']}",
        f"{_EXAMPLE_PARAMETERS:,}",
        f"{percent} % (1 run)",
        duration(row["reference_median"]),
    ]


def figure(logs: Mapping[str, Log]) -> bytes:
    """Return an SVG: the error against the seconds of the process and against the parameters."""
    from mnist_cli.output.figures import colour  # noqa: PLC0415 (matplotlib is an extra)
    from mnist_cli.output.figures.style import Figure, LogLocator, NullFormatter, drawn  # noqa: PLC0415

    def fill(figure: Figure) -> None:
        figure.set_size_inches(8, 3.2)
        panels: Any = figure.subplots(1, 2, sharey=True)
        for index, (name, log) in enumerate(logs.items()):
            measured = log.measurement
            error = 100 * (1 - measured.accuracy)
            spread = 100 * (measured.std or 0)
            for axes, at in zip(
                panels, (measured.median_seconds, measured.parameters), strict=True
            ):
                axes.errorbar(at, error, spread, fmt="o", ms=4, capsize=3, color=colour(index))
                axes.annotate(name, (at, error), (6, 4), textcoords="offset points", fontsize=8)
        for axes, label in zip(panels, ("seconds of the whole process", "parameters"), strict=True):
            axes.set(xscale="log", yscale="log", xlabel=label)
            axes.margins(0.15)
            axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 3, 5)))
            axes.yaxis.set_major_formatter("{x:g}")
            axes.xaxis.set_major_formatter("{x:,.0f}")
            for axis in (axes.xaxis, axes.yaxis):
                axis.set_minor_formatter(NullFormatter())
        panels[0].set_ylabel("test error (%), mean ± std")

    return drawn(fill, FIGURE.name)
