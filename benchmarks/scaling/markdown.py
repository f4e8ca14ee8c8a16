"""Cells and tables in Markdown."""

import math
from collections.abc import Iterable, Sequence

from benchmarks.scaling.fit import Residual, largest_error, median_error
from benchmarks.scaling.points import ALL

# Characters that are easily taken for others.
TIMES, MINUS, NONE = "\N{MULTIPLICATION SIGN}", "\N{MINUS SIGN}", "\N{EN DASH}"
ALPHA = "\N{GREEK SMALL LETTER ALPHA}"


def size(batch: int) -> str:
    """Return an update's size."""
    return f"{batch:,}" + (" (batch)" if batch == ALL else "")


def pair(residual: Residual) -> tuple[str, str]:
    """Return what was measured, and what is fitted."""
    return ms(residual.point.seconds), ms(residual.fitted)


def errors(residuals: Sequence[Residual]) -> tuple[str, str]:
    """Return the median and the largest error."""
    return f"{100 * median_error(residuals):.0f} %", f"{100 * largest_error(residuals):.0f} %"


def percent(error: float) -> str:
    """Return an error in percent."""
    return f"{100 * error:+.0f} %".replace("-", MINUS)


def ms(seconds: float) -> str:
    """Return milliseconds with three digits."""
    value = seconds * 1e3
    digits = max(0, 2 - math.floor(math.log10(value))) if value else 0
    return f"{value:,.{digits}f}"


def table(heading: Sequence[str], rows: Iterable[Sequence[str]], left: int = 0) -> str:
    """Return a table of which the first `left` columns are words."""
    line = ["---"] * left + ["---:"] * (len(heading) - left)
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (heading, line, *rows))
