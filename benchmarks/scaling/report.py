"""`python -m benchmarks.scaling.report`: the tables and figures of `docs/scaling.md`.

Both come from `results/scaling.json`, which `python -m benchmarks.scaling.measure` writes.
"""

import argparse
import io
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.scaling.model import (
    ALGORITHMS,
    ALL,
    NETWORKS,
    WIRES,
    Fitted,
    Model,
    powers,
    read,
)

FIGURES = Path(__file__).parents[2] / "docs" / "figures"
BATCHES = (64, 1024, ALL)


def tables(model: Model) -> list[str]:
    """Return the tables in Markdown: computing, updates of two ranks, and predictions."""
    computing = [
        [
            f"{name} ({model.parameters[name]:,} parameters)",
            f"{1e6 * line.fixed:,.0f} µs",
            f"{1e6 * line.each:.3g} µs",
            _median_error(model.shares(name, 1)),
        ]
        for name in NETWORKS
        for line in [model.lines[name, 1]]
    ]
    updates = []
    for what, measured, predicted in model.updates():
        (threads,) = model.of("update", network=what.network, size=what.size, threads=2)
        (alone,) = model.of("share", network=what.network, size=what.size, ranks=1)
        times = (model.times[alone], model.times[threads], measured, predicted)
        speedup = f"{model.times[alone] / measured:.2f}"
        updates.append([what.network, _size(what.size), *map(_milliseconds, times), speedup])
    predicted_rows = []
    for name in NETWORKS:
        training = model.training(name)
        for batch in BATCHES:
            cells = [name, _size(batch)]
            for link in WIRES.values():
                best = training.best(batch, link)
                eight = training.speedup(batch, 8, link)
                cells += [f"{eight:.2g}", f"{training.speedup(batch, best, link):.3g} with {best}"]
            predicted_rows.append(cells)
    heading = [f"{wire}, {what}" for wire in WIRES for what in ("8 ranks", "best")]
    return [
        _table(["network", "c0, an update", "c1, a sample", "median error"], computing),
        _table(["network", "update of", *UPDATE_COLUMNS], updates),
        _table(["network", "update of", *heading], predicted_rows),
    ]


UPDATE_COLUMNS = ("one process, ms", "two threads", "two ranks", "predicted", "ranks' speed-up")


def _table(heading: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heading, ["---", *["---:"] * (len(heading) - 1)], *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _size(batch: int) -> str:
    return f"{batch:,}" + (" (batch)" if batch == ALL else "")


def _milliseconds(seconds: float) -> str:
    return f"{1e3 * seconds:,.0f}" if seconds >= 0.1 else f"{1e3 * seconds:.3g}"


def _median_error(fitted: Sequence[Fitted]) -> str:
    return f"{100 * statistics.median(abs(one.error) for one in fitted):.0f} %"


def measured_figure(model: Model) -> bytes:
    """Return an SVG of the measured times with their fits, and the relative errors below."""
    from matplotlib.figure import Figure  # noqa: PLC0415

    figure = Figure(figsize=(9, 5.2), layout="constrained")
    grid: Any = figure.subplots(2, 3, sharex="col", height_ratios=(2, 1))
    titles = ("computing, one process", "an all-reduce of two ranks", "whole updates of two ranks")
    for axes, title in zip(grid[0], titles, strict=True):
        axes.set_title(title, fontsize=9)
        axes.set(xscale="log", yscale="log", ylabel="milliseconds")
    for axes, label in zip(grid[1], ("samples", "floats", "samples"), strict=True):
        axes.axhline(0, color="0.4", lw=0.8)
        axes.set(xlabel=label, ylabel="error (%)")
    panels = [(0, name, model.shares(name, 1)) for name in NETWORKS]
    panels += [(1, "2 ranks", model.sums())]
    updates = model.updates()
    panels += [(2, n, [one for one in updates if one.what.network == n]) for n in NETWORKS]
    for column, label, fitted in panels:
        sizes = [one.what.size for one in fitted]
        (dots,) = grid[0][column].plot(sizes, [1e3 * f.measured for f in fitted], "o", label=label)
        colour = dots.get_color()
        grid[0][column].plot(sizes, [1e3 * f.fitted for f in fitted], color=colour, lw=1)
        grid[1][column].plot(sizes, [100 * f.error for f in fitted], "o", color=colour)
    for axes in grid[0]:
        axes.legend(fontsize=7)
    return _svg(figure)


def predicted_figure(model: Model) -> bytes:
    """Return an SVG of the predicted speed-up against the ranks, by network and wire."""
    from matplotlib.figure import Figure  # noqa: PLC0415

    figure = Figure(figsize=(9, 6), layout="constrained")
    grid: Any = figure.subplots(2, len(NETWORKS), sharex=True, sharey=True)
    for row, (wire, link) in zip(grid, WIRES.items(), strict=True):
        for axes, network in zip(row, NETWORKS, strict=True):
            training = model.training(network)
            for number, batch in enumerate((*BATCHES[:2], 4096, ALL)):
                for (name, all_reduce), style in zip(ALGORITHMS.items(), ("-", "--"), strict=True):
                    xs = powers(batch)
                    ys = [training.speedup(batch, ranks, link, all_reduce) for ranks in xs]
                    label = _size(batch) if name == "ring" else None
                    axes.plot(xs, ys, style, lw=1.2, color=f"C{number}", label=label)
                    axes.plot(xs[ys.index(max(ys))], max(ys), "o", ms=5, color=f"C{number}")
            axes.plot(powers(ALL), powers(ALL), color="0.4", lw=0.8, ls=":", label="linear")
            axes.set(xscale="log", yscale="log", ylim=(0.02, 2000))
            axes.set_title(f"{network}, {wire}", fontsize=9)
        row[0].set_ylabel("times as fast as one process")
    for axes in grid[-1]:
        axes.set_xlabel("ranks, a machine each")
    handles, labels = grid[0][0].get_legend_handles_labels()
    title = "update of (solid: ring; dashed: logarithmic; dot: best number of ranks)"
    figure.legend(handles, labels, title=title, loc="outside lower center", ncols=5, fontsize=8)
    return _svg(figure)


def _svg(figure: Any) -> bytes:  # noqa: ANN401
    import matplotlib as mpl  # noqa: PLC0415

    buffer = io.BytesIO()
    with mpl.rc_context({"svg.hashsalt": "mnist_cli"}):  # the same file every time
        figure.savefig(buffer, format="svg", facecolor="white", metadata={"Date": None})
    return buffer.getvalue()


def main() -> None:
    """Print the tables, or draw the figures."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scaling.report")
    parser.add_argument("--figures", action="store_true", help="draw the figures of the document")
    model, machine = read()
    if parser.parse_args().figures:
        (FIGURES / "scaling-measured.svg").write_bytes(measured_figure(model))
        (FIGURES / "scaling-predicted.svg").write_bytes(predicted_figure(model))
        return
    print(", ".join(f"{key} {value}" for key, value in machine.items()), end="\n\n")
    print("\n\n".join(tables(model)))
    link = model.link
    print(
        f"\nall-reduce: {1e6 * link.latency:.0f} µs a message, {1e9 * link.per_byte:.2g} ns a byte"
    )
    print(f"prediction off by {_median_error(model.updates())} in the median")


if __name__ == "__main__":
    main()
