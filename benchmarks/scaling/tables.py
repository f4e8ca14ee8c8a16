"""The tables of `docs/scaling.md`, as Markdown, from a measurement alone."""

import re

from benchmarks.scaling import outlook
from benchmarks.scaling.fit import Model, largest_error, median_error
from benchmarks.scaling.markdown import ALPHA, NONE, errors, ms, pair, percent, size, table


def tables(model: Model) -> dict[str, str]:
    """Return each table by the name that it has in the document."""
    return {
        "machine": _machine(model),
        "shares": _shares(model),
        "lines": _lines(model),
        "sums": _sums(model),
        "links": _links(model),
        "updates": _updates(model),
        "wires": outlook.wires(),
        "predicted": outlook.predicted(model),
        "optimum": outlook.optimum(model),
        "latency": outlook.latency(model),
        "target": outlook.target(model),
        "verdicts": outlook.verdicts(model),
    }


def filled(document: str, made: dict[str, str]) -> str:
    """Return the document, its parts between `<!-- made: NAME -->` and `<!-- end -->` made anew.

    Raises:
        ValueError: a table has no place in it, or a place no table.

    """
    pattern = re.compile(r"(<!-- made: (\S+) -->\n).*?(<!-- end -->)", re.DOTALL)
    names = [match[2] for match in pattern.finditer(document)]
    if sorted(names) != sorted(made):
        raise ValueError(f"the document has {sorted(names)}, and there are {sorted(made)}")
    return pattern.sub(lambda match: f"{match[1]}\n{made[match[2]]}\n\n{match[3]}", document)


def _machine(model: Model) -> str:
    about = model.measured.machine
    return (
        f"Measured on {about['cores']} cores ({about['processor']}), PyTorch {about['torch']}, "
        f"Python {about['python']}, mnist_cli {about['mnist_cli']}, {about['date']}."
    )


def _shares(model: Model) -> str:
    rows = []
    for network in model.networks:
        for alone, busy in zip(
            model.of_shares(network, 1), model.of_shares(network, 2), strict=True
        ):
            cells = [network, f"{alone.point.what.size:,}"]
            for residual in (alone, busy):
                cells += [*pair(residual), percent(residual.error)]
            rows.append(cells)
    heading = ["network", "samples", "alone, ms", "fit", "error", "beside another, ms", "fit"]
    return table([*heading, "error"], rows, left=1)


def _lines(model: Model) -> str:
    rows = []
    for network in model.networks:
        for where, lines, ranks in (("alone", model.alone, 1), ("beside another", model.busy, 2)):
            line, residuals = lines[network], model.of_shares(network, ranks)
            rows.append(
                [
                    f"{network} ({model.measured.parameters[network]:,} parameters)",
                    where,
                    f"{line.fixed * 1e6:,.0f} µs",
                    f"{line.each * 1e6:.3g} µs",
                    *errors(residuals),
                ]
            )
    heading = ["network", "process", "c0, an update", "c1, a sample"]
    return table([*heading, "median error", "largest"], rows, left=2)


def _sums(model: Model) -> str:
    rows = [
        [
            str(residual.point.what.ranks),
            f"{residual.point.what.size:,}",
            *pair(residual),
            percent(residual.error),
        ]
        for residual in model.of_sums()
    ]
    return table(["ranks", "floats", "measured, ms", "fit", "error"], rows)


def _links(model: Model) -> str:
    sums = model.of_sums()
    rows = [
        [
            name,
            f"{link.latency * 1e6:,.0f} µs",
            f"{link.per_byte * 1e9:.3g} ns",
            f"{8e-9 / link.per_byte:.3g} Gbit/s" if link.per_byte else NONE,
            *errors([r for r in sums if (r.point.what.ranks == 2) == is_pair]),
        ]
        for name, link, is_pair in (
            ("2, a core each", model.pair, True),
            ("3 and 4, on two cores", model.crowd, False),
        )
    ]
    heading = ["ranks", f"{ALPHA}, a message", "β, a byte", "which is", "median error", "largest"]
    return table(heading, rows, left=1)


def _updates(model: Model) -> str:
    rows = []
    residuals = model.of_updates()
    for residual in residuals:
        what = residual.point.what
        (threads,) = model.measured.of("update", network=what.network, size=what.size, threads=2)
        one = model.training(what.network).share.at(what.size)
        # Where a share of that size was measured, that is better than the line.
        for point in model.measured.of("share", network=what.network, size=what.size, ranks=1):
            one = point.seconds
        rows.append(
            [
                what.network,
                size(what.size),
                ms(one),
                ms(threads.seconds),
                *pair(residual),
                percent(residual.error),
                f"{one / residual.point.seconds:.2f}",
            ]
        )
    heading = ["network", "update of", "one process, ms", "with two threads", "two ranks"]
    made = table([*heading, "predicted", "error", "ranks' speed-up"], rows, left=2)
    return (
        f"{made}\n\nThe prediction is off by {100 * median_error(residuals):.0f} % in the median "
        f"and by {100 * largest_error(residuals):.0f} % at most."
    )
