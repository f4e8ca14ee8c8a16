"""Who is best of several batch sizes, and from whom that differs clearly, in words."""

import math
from collections.abc import Callable

from mnist_cli.lab.events import Finding
from mnist_cli.lab.options import FULL
from mnist_cli.lab.results import Values
from mnist_cli.lab.statistics import LEVEL, Sample, difference, holm, sample


def ranking(
    about: str,
    values: Values,
    where: str,
    form: Callable[[Sample], str],
    *,
    higher: bool,
    steps: float = 0.0,
) -> Finding:
    """Return who is best, and from whom that differs clearly.

    Accuracies, of which the higher is better, are compared as they are. Costs and losses differ by
    factors, and so do their deviations: their logarithms are compared. Those that were read off a
    grid have steps of such a share of them. The correction is for the tests of all pairs, since any
    batch size could have come out best.
    """
    found = {size: sample(numbers) for size, numbers in values.items()}
    order = sorted(found, key=lambda size: -found[size].mean if higher else found[size].mean)
    best, others = order[0], order[1:]
    scaled = found if higher else {s: sample([math.log(v) for v in values[s]]) for s in order}
    tests = [difference(scaled[best], scaled[size], steps) for size in others]
    corrected = holm([test.p for test in tests], len(order) * len(others) // 2)
    clear = [named(s) for s, p in zip(others, corrected, strict=True) if p < LEVEL]
    unclear = [
        f"{named(s)} (p = {p:.2g})" if test.degrees else named(s)
        for s, p, test in zip(others, corrected, tests, strict=True)
        if p >= LEVEL
    ]
    if all(found[size].count < 2 for size in order):
        spread = ", ".join(f"{named(s)} {form(found[s])}" for s in order)
        return Finding(about, f"{where} (one seed, no test): {spread}.")
    if not clear:
        spread = ", ".join(f"{named(s)} {form(found[s])}" for s in order)
        text = f"{where}: no clear difference ({spread})."
    else:
        text = f"{where}: {named(best)}, {form(found[best])}; clearly ahead of {_and(clear)}"
        text += f", no clear difference from {_and(unclear)}." if unclear else "."
    return Finding(about, text, p=min(corrected) if corrected else None)


def named(size: int | str) -> str:
    """Return a batch size in words."""
    return "batch mode" if size == FULL else f"batches of {size:,}"


def percent(accuracy: Sample) -> str:
    """Return an accuracy with its deviation."""
    deviation = f" ± {100 * accuracy.deviation:.2f}" if accuracy.count > 1 else ""
    return f"{100 * accuracy.mean:.2f}{deviation} %"


def _and(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def whole(s: Sample) -> str:
    """Return a count with its deviation."""
    return f"{s.mean:,.0f}" + (f" ± {s.deviation:,.0f}" if s.count > 1 else "")


def seconds_taken(s: Sample) -> str:
    """Return a time with its deviation."""
    return f"{s.mean:.2f}" + (f" ± {s.deviation:.2f}" if s.count > 1 else "") + " s"


def losses(s: Sample) -> str:
    """Return a loss with its deviation."""
    return f"{s.mean:.4f}" + (f" ± {s.deviation:.4f}" if s.count > 1 else "")
