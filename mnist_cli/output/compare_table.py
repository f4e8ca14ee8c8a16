"""A comparison as text: a table, curves and the conclusions."""

import math
from collections.abc import Callable
from typing import TextIO

from rich import box
from rich.console import Console
from rich.table import Table

from mnist_cli.comparison.events import Summary
from mnist_cli.comparison.results import AXES, Results
from mnist_cli.comparison.stats import Sample
from mnist_cli.output.compare_findings import sentence

_QUANTITIES = (
    "updates",
    "samples_seen",
    "train_seconds",
    "train_loss",
    "train_accuracy",
    "test_loss",
    "test_accuracy",
    "rise_share",
    "change_deviation",
    "noise_scale",
    "sharpness",
)
_FORMS: dict[str, Callable[[float], str]] = {
    "updates": lambda value: f"{value:,.0f}",
    "samples_seen": lambda value: f"{value:,.0f}",
    "train_seconds": lambda value: f"{value:.2f}",
    "test_accuracy": lambda value: f"{100 * value:.2f} %",
    "rise_share": lambda value: f"{100 * value:.0f} %",
    "noise_scale": lambda value: f"{value:,.0f}",
    "sharpness": lambda value: f"{value:.1f}",
}
_HEADINGS = {
    "updates": "updates",
    "samples_seen": "samples",
    "train_seconds": "seconds",
    "train_loss": "train loss",
    "test_loss": "test loss",
    "test_accuracy": "test accuracy",
    "rise_share": "loss rose",
    "change_deviation": "step deviation",
    "noise_scale": "noise scale",
    "sharpness": "sharpness",
}


# Columns of the first of two tables on a terminal, since one table would not fit.
_COSTS = (
    "batch size",
    "learning rate",
    "reached",
    "diverged",
    "updates",
    "samples",
    "seconds",
    "test accuracy",
)


def table(results: Results) -> str:
    """Return a tab-separated table with a heading and a row for each batch size."""
    names = ["batch_size", "lr", "seeds", "diverged", "reached"]
    columns = [f"{name}{suffix}" for name in _QUANTITIES for suffix in ("", "_deviation")]
    lines = ["\t".join([*names, *columns, "stable_from", "stable_to", "tuning_seconds"])]
    for summary in results.summaries(0.0):
        row = [_plain(getattr(summary, name)) for name in names]
        for name in _QUANTITIES:
            value: Sample | None = getattr(summary, name)
            row += [_plain(value.mean), _plain(value.deviation)] if value else ["", ""]
        row += [_plain(summary.stable_from), _plain(summary.stable_to)]
        lines.append("\t".join([*row, _plain(summary.tuning_seconds)]))
    return "\n".join(lines) + "\n"


def cells(summary: Summary) -> dict[str, str]:
    """Return the cells of a summary by their headings: mean ± standard deviation."""
    rate = f"{summary.lr:g}"
    row = {"batch size": str(summary.batch_size), "learning rate": rate}
    if summary.reached is not None:
        row["reached"] = f"{summary.reached} of {summary.seeds}"
    if summary.diverged:
        row["diverged"] = f"{summary.diverged} of {summary.seeds}"
    for name, heading in _HEADINGS.items():
        value: Sample | None = getattr(summary, name)
        if value is not None:
            row[heading] = _with_std(value, _FORMS.get(name, lambda v: f"{v:.4f}"))
    if summary.stable_from is not None:
        row["stable rates"] = f"{summary.stable_from:g} to {summary.stable_to:g}"
    return row


def format_seeds(seeds: int) -> str:
    """Return a number of seeds with its noun."""
    return f"{seeds} seed" + ("" if seeds == 1 else "s")


def print_results(results: Results, stream: TextIO) -> None:
    """Print table, curves and conclusions on a terminal."""
    console = Console(file=stream, highlight=False, markup=False, emoji=False)
    rows = [cells(summary) for summary in results.summaries(0.0)]
    headings = list(dict.fromkeys(heading for row in rows for heading in row))
    for columns in (_COSTS, [h for h in headings if h == headings[0] or h not in _COSTS]):
        present = [heading for heading in headings if heading in columns]
        grid = Table(box=box.SIMPLE_HEAD)
        for heading in present:
            grid.add_column(heading, justify="right")
        for row in rows:
            grid.add_row(*(row.get(heading, "-") for heading in present))
        console.print(grid)
    colour = console.color_system is not None and not console.no_color
    stream.write(draw(results, console.width, colour=colour))
    print_conclusions(results, stream)


def print_conclusions(results: Results, stream: TextIO) -> None:
    """Print each conclusion as a paragraph."""
    console = Console(file=stream, highlight=False, markup=False, emoji=False)
    for finding in results.conclusions.findings if results.conclusions else ():
        console.print(f"- {sentence(finding).text}", soft_wrap=not stream.isatty())


def _with_std(value: Sample, form: Callable[[float], str]) -> str:
    if value.count == 1 or not value.deviation:
        return form(value.mean)
    mean, std = form(value.mean), form(value.deviation)
    unit = " %" if mean.endswith(" %") else ""
    return f"{mean.removesuffix(unit)} ± {std}"


def _plain(value: object) -> str:
    return "" if value is None else str(value)


# Colours of the terminal's palette, which are readable on its background.
_COLOURS = ("blue+", "red+", "green+", "magenta+", "cyan+", "yellow+", "white+")
_MARKERS = "ox+*#%@"  # instead of colours
_MIN_HEIGHT = 16  # lines; the legend of many batch sizes needs more


def draw(results: Results, width: int, *, axis: str = "samples", colour: bool) -> str:
    """Return the training loss of every run against an axis, both logarithmic."""
    import plotext  # noqa: PLC0415 (only needed on a terminal)

    figure = plotext.figure
    figure.clear()
    figure.plot_size(min(width, 100), max(_MIN_HEIGHT, 2 * len(results.batch_sizes) + 7))
    figure.theme("colorless")
    drawn: list[tuple[float, float]] = []
    for index, size in enumerate(results.batch_sizes):
        if colour:
            marker = plotext.marker("hd", _COLOURS[index % len(_COLOURS)])
        else:
            marker = _MARKERS[index % len(_MARKERS)]
        for number, run in enumerate(results.runs_of(size)):
            position = AXES[axis]
            points = [p for p in run.points if position(p) > 0 and p.train_loss > 0]
            if not points:
                continue
            xs = [math.log10(position(p)) for p in points]
            ys = [math.log10(p.train_loss) for p in points]
            signal = figure.signal(xs, ys, marker=marker)
            signal.lines()
            if not number:
                signal.label(str(size))
            figure.draw(signal)
            drawn += zip(xs, ys, strict=True)
    if not drawn:
        return ""
    for name, values in (("x", [x for x, _ in drawn]), ("y", [y for _, y in drawn])):
        ticks = _ticks(min(values), max(values))
        figure.ruler(name).ticks([math.log10(tick) for tick in ticks], [f"{t:,g}" for t in ticks])
    figure.title(f"training loss against {axis}")
    text: str = figure.build().string(colorless=not colour)
    figure.clear()
    return text.rstrip("\n") + "\n"


def _ticks(low: float, high: float) -> list[float]:
    """Return the round numbers between two powers of ten, given by their exponents."""
    steps = (1, 2, 5) if high - low < 2 else (1,)
    powers = range(math.floor(low), math.ceil(high) + 1)
    numbers = [float(f"{step}e{power}") for power in powers for step in steps]
    return [number for number in numbers if low <= math.log10(number) <= high]
