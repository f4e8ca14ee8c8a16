"""A profile of batch sizes: its table for programs and for people, and its sentence."""

from collections.abc import Sequence
from dataclasses import fields
from typing import TextIO

from rich import box
from rich.console import Console
from rich.table import Table

from mnist_cli.comparison.events import ProfileEnd, Throughput
from mnist_cli.comparison.findings import BUSY_SHARE
from mnist_cli.config.compare import FULL

COLUMNS = tuple(field.name for field in fields(Throughput) if field.name != "seconds")


def table(found: Sequence[Throughput]) -> str:
    """Return a tab-separated table with a heading and a row for each measurement."""
    rows = [[getattr(each, name) for name in COLUMNS] for each in found]
    lines = [COLUMNS, *(["" if value is None else str(value) for value in row] for row in rows)]
    return "".join("\t".join(line) + "\n" for line in lines)


def print_profile(found: Sequence[Throughput], end: ProfileEnd, stream: TextIO) -> None:
    """Print the table and the sentences on a terminal."""
    console = Console(file=stream, highlight=False, markup=False, emoji=False)
    grid = Table(box=box.SIMPLE_HEAD)
    for heading in ("batch size", "passes", "samples per second", "lowest", "highest", "peak"):
        grid.add_column(heading, justify="right", no_wrap=True)
    for each in found:
        rates = (each.samples_per_second, each.lowest, each.highest)
        cells = ["-" if rate is None else f"{rate:,.0f}" for rate in rates]
        peak = "-" if each.peak_bytes is None else f"{each.peak_bytes / 1e6:,.0f} MB"
        grid.add_row(str(each.batch_size), f"{each.passes:,}", *cells, peak)
    console.print(grid)
    print_sentences(end, stream)


def print_sentences(end: ProfileEnd, stream: TextIO) -> None:
    """Print what the measurements say."""
    console = Console(file=stream, highlight=False, markup=False, emoji=False)
    for text in sentences(end):
        console.print(f"- {text}", soft_wrap=not stream.isatty())


def sentences(end: ProfileEnd) -> list[str]:
    """Return what the measurements say, and what makes them doubtful."""
    found = []
    if end.update_seconds is not None and end.sample_seconds is not None:  # of several sizes
        found = [
            _gain(end.enough),
            "With micro-batches, an update of B samples takes about "
            f"{1e3 * max(end.update_seconds, 0.0):.2g} ms + {1e6 * end.sample_seconds:.2g} µs · B.",
        ]
    if end.busy_share is not None and end.busy_share > BUSY_SHARE:
        found.append(
            f"Other programs took {100 * end.busy_share:.0f} % of the time of the cores: measure "
            "again on an idle machine."
        )
    return found


def _gain(enough: int | str | None) -> str:
    if enough is None:
        return "The largest size is the fastest by more than 5 %: larger ones may be faster still."
    if enough == FULL:
        return "Batch mode is the fastest by more than 5 %."
    return f"Beyond batches of {enough:,} nothing is gained: they are within 5 % of the fastest."
