"""`python -m benchmarks [--quick] [GROUP ...]`: a table, and JSON under `benchmarks/results/`."""

import argparse
import json
import statistics
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.measure import Row, machine
from benchmarks.rows import GROUPS, measure

RESULTS = Path(__file__).parent / "results"


def main() -> None:
    """Measure, print, and write what was measured."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("groups", nargs="*", metavar="GROUP", help=", ".join(GROUPS))
    parser.add_argument(
        "--quick", action="store_true", help="fewer runs, and only the article's loop"
    )
    options = parser.parse_args()
    if unknown := set(options.groups) - set(GROUPS):
        parser.error(f"no such group: {', '.join(unknown)}; there are {', '.join(GROUPS)}")

    console = Console(highlight=False, width=None if Console().is_terminal else 160)
    about = machine()
    console.print(", ".join(f"{key} {value}" for key, value in about.items()), soft_wrap=True)
    began = time.perf_counter()
    rows = []
    groups = options.groups or [name for name in GROUPS if not options.quick or name != "growth"]
    for group, row in measure(groups, quick=options.quick):
        rows.append({"group": group, "measured": time.strftime("%F %R"), **row.to_dict()})
        console.print(f"{time.perf_counter() - began:5.0f} s  {format_row(row)}", soft_wrap=True)
    console.print(table(rows))
    path = RESULTS / ("quick.json" if options.quick else "full.json")
    RESULTS.mkdir(exist_ok=True)
    if options.groups and path.exists():  # the others stay as they were measured
        kept = json.loads(path.read_text())["rows"]
        rows += [row for row in kept if row["group"] not in options.groups]
        rows.sort(key=lambda row: list(GROUPS).index(row["group"]))
    path.write_text(json.dumps({"machine": about, "rows": rows}, indent=1) + "\n")
    console.print(f"Wrote {path}")


def format_row(row: Row) -> str:
    """Return a row as a line of text."""
    text = f"{row.name}: {statistics.median(row.ours):,.4g} {row.unit}"
    if row.factors:
        reference = statistics.median(row.reference)
        text += f"; {row.reference_name}: {reference:,.4g}; factor {spread(row.factors)}"
    return text + (f"; {row.note}" if row.note else "")


def spread(values: list[float]) -> str:
    """Return the median with the minimum and the maximum."""
    middle = f"{statistics.median(values):.3g}"
    return f"{middle} ({min(values):.3g} to {max(values):.3g})" if len(values) > 1 else middle


def table(rows: list[dict]) -> Table:
    """Return the rows as a table of medians."""
    drawn = Table("what", "ours", "reference", "", "factor", "target", "met")
    for row in rows:
        target = next((f"{sign} {row[key]:.4g}" for sign, key in SIGNS if row[key] is not None), "")
        drawn.add_row(
            row["name"],
            f"{row['ours_median']:,.4g} {row['unit']}",
            "" if row["reference_median"] is None else f"{row['reference_median']:,.4g}",
            row["reference_name"],
            spread(row["factors"]) if row["factors"] else "",
            target,
            {True: "yes", False: "NO", None: ""}[row["met"]],
        )
    return drawn


SIGNS = (("≥", "at_least"), ("≤", "at_most"))

if __name__ == "__main__":
    main()
