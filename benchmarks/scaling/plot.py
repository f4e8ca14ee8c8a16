"""The figures of `docs/scaling.md`, drawn by matplotlib."""

import io
from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator, ScalarFormatter

from benchmarks.scaling.fit import Model, Residual
from benchmarks.scaling.points import ALL
from benchmarks.scaling.predict import ALGORITHMS, BYTES, WIRES, numbers, ring
from mnist_cli.output.figures.compare import STYLE
from mnist_cli.output.figures.style import colour

BATCHES = (64, 1024, 4096, ALL)


def measured_figure(model: Model) -> bytes:
    """Return an SVG: shares, sums and whole updates with what is fitted, and the residuals."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(9, 5.2), layout="constrained")
        upper, lower = figure.subplots(2, 3, sharex="col", height_ratios=(2, 1))
        _draw_shares(model, upper[0], lower[0])
        _draw_sums(model, upper[1], lower[1])
        _draw_updates(model, upper[2], lower[2])
        for axes in upper:
            axes.set(xscale="log", yscale="log", ylabel="milliseconds")
            axes.xaxis.set_minor_locator(NullLocator())
            axes.yaxis.set_minor_locator(NullLocator())
            axes.legend(fontsize=7)
        upper[1].yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))  # it spans hardly a decade
        upper[1].yaxis.set_major_formatter(ScalarFormatter())
        for axes in lower:
            axes.axhline(0, color="0.4", lw=0.8)
            axes.set_ylabel("error (%)")
        return _svg(figure)


def _draw_shares(model: Model, axes: Any, rest: Any) -> None:  # noqa: ANN401
    axes.set_title("a share of an update", fontsize=9)
    rest.set_xlabel("samples in the share")
    for place, network in enumerate(model.networks):
        for ranks, marker in ((1, "o"), (2, "x")):
            residuals = model.of_shares(network, ranks)
            label = network if ranks == 1 else f"{network}, beside another"
            _draw(axes, rest, residuals, (colour(place), marker, label))
        line, sizes = model.alone[network], [r.point.what.size for r in residuals]
        xs = _between(min(sizes), max(sizes))
        axes.plot(xs, [1e3 * line.at(x) for x in xs], color=colour(place), lw=1)


def _draw_sums(model: Model, axes: Any, rest: Any) -> None:  # noqa: ANN401
    axes.set_title("an all-reduce", fontsize=9)
    rest.set_xlabel("floats")
    residuals = model.of_sums()
    for place, ranks in enumerate(sorted({r.point.what.ranks for r in residuals})):
        own = [r for r in residuals if r.point.what.ranks == ranks]
        _draw(axes, rest, own, (colour(place), "o", f"{ranks} ranks"))
        xs = _between(own[0].point.what.size, own[-1].point.what.size)
        link = model.pair if ranks == 2 else model.crowd
        axes.plot(xs, [1e3 * ring(ranks, BYTES * x, link) for x in xs], color=colour(place), lw=1)


def _draw_updates(model: Model, axes: Any, rest: Any) -> None:  # noqa: ANN401
    axes.set_title("whole updates of two ranks", fontsize=9)
    rest.set_xlabel("samples in the update")
    residuals = model.of_updates()
    for place, network in enumerate(model.networks):
        own = [r for r in residuals if r.point.what.network == network]
        _draw(axes, rest, own, (colour(place), "o", network))
        sizes = [r.point.what.size for r in own]
        axes.plot(sizes, [1e3 * r.fitted for r in own], color=colour(place), lw=1)
    axes.plot([], [], color="0.4", lw=1, label="predicted")


def _draw(
    axes: Any,  # noqa: ANN401
    rest: Any,  # noqa: ANN401
    residuals: Sequence[Residual],
    how: tuple[str, str, str],
) -> None:
    """Draw what was measured above, and what the fit is off by below."""
    shade, marker, label = how
    sizes = [r.point.what.size for r in residuals]
    seconds = [1e3 * r.point.seconds for r in residuals]
    axes.plot(sizes, seconds, marker, ms=4, color=shade, label=label)
    rest.plot(sizes, [100 * r.error for r in residuals], marker, ms=4, color=shade)


def predicted_figure(model: Model) -> bytes:
    """Return an SVG: the speed-up of an update against the ranks, for each network and wire."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(9, 6), layout="constrained")
        grid: Any = figure.subplots(2, len(model.networks), sharex=True, sharey=True)
        for row, wire in zip(grid, WIRES, strict=True):
            for axes, network in zip(row, model.networks, strict=True):
                training = model.training(network)
                for place, batch in enumerate(BATCHES):
                    for name, style in zip(ALGORITHMS, ("-", "--"), strict=True):
                        sum_up, xs = ALGORITHMS[name], numbers(batch)
                        ys = [training.speedup(batch, p, wire.link, sum_up) for p in xs]
                        label = _label(batch) if name == "ring" else None
                        axes.plot(xs, ys, style, lw=1.2, color=colour(place), label=label)
                        best = training.best(batch, wire.link, sum_up)
                        axes.plot(best, max(ys), "o", ms=5, color=colour(place))
                xs = numbers(ALL)
                axes.plot(xs, xs, color="0.4", lw=0.8, ls=":", label="one a rank")
                axes.plot(xs, [x / 2 for x in xs], color="0.7", lw=0.8, ls=":", label="half of it")
                axes.set(xscale="log", yscale="log", ylim=(0.02, 2000))
                axes.set_xticks([1, 8, 64, 1024], ["1", "8", "64", "1,024"])
                axes.xaxis.set_minor_locator(NullLocator())
                axes.yaxis.set_minor_locator(NullLocator())
                axes.yaxis.set_major_formatter("{x:g}")
                axes.set_title(f"{network}, {wire.name}", fontsize=9)
            row[0].set_ylabel("times as fast as one process")
        for axes in grid[-1]:
            axes.set_xlabel("ranks, a machine each")
        handles, labels = grid[0][0].get_legend_handles_labels()
        figure.legend(
            handles,
            labels,
            title="updates of (solid: ring; dashed: logarithmic; dot: the best number of ranks)",
            loc="outside lower center",
            ncols=len(labels),
            fontsize=8,
            title_fontsize=8,
        )
        return _svg(figure)


def _label(batch: int) -> str:
    return f"{batch:,}" + (" (batch)" if batch == ALL else "")


def _between(low: float, high: float) -> list[float]:
    """Return sizes that are evenly spread on a logarithmic axis."""
    return [low * (high / low) ** (step / 40) for step in range(41)]


def _svg(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", facecolor="white", metadata={"Date": None})
    return buffer.getvalue()
