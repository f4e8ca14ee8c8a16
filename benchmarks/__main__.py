"""`python -m benchmarks [--quick] [GROUP ...]`: a table, and JSON under `benchmarks/results/`.

`python -m benchmarks records [NAME ...]` trains presets with several seeds for docs/records.md.
"""

import argparse
import json
import statistics
import sys
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks import records, records_page
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


def measure_records(arguments: list[str]) -> None:
    """Train what the logs of the records do not have yet, or write the page of the records."""
    names = records.available()
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks records",
        description="Train presets with several seeds, and log every run.",
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(names))
    parser.add_argument("--seeds", type=int, metavar="K", help="seeds of each (default: its own)")
    parser.add_argument("--first-seed", type=int, default=0, metavar="S", help="default: 0")
    parser.add_argument("--again", action="store_true", help="also the seeds that the log has")
    parser.add_argument(
        "--page", action="store_true", help="write docs/records.md and the README's table instead"
    )
    options = parser.parse_args(arguments)
    if unknown := set(options.names) - set(names):
        parser.error(f"no such record: {', '.join(sorted(unknown))}; there are {', '.join(names)}")
    if options.page:
        records_page.write_page(records.read_logs(records.LOGS))
        return
    for name in options.names or names:
        first, count = options.first_seed, options.seeds or records.RECORDS[name]
        for run in records.measure(
            name, range(first, first + count), records.LOGS, again=options.again
        ):
            print(
                f"{name}, seed {run.seed}: {run.test_accuracy:.2%}, {run.seconds:.1f} s", flush=True
            )
        log = records.read_log(name, records.LOGS)
        if log is not None:
            measured = log.measurement
            seconds = records_page.duration(measured.median_seconds)
            print(f"{name}: {records_page.accuracy(measured)}, {seconds}", flush=True)


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
    if sys.argv[1:2] == ["records"]:
        measure_records(sys.argv[2:])
    else:
        main()
