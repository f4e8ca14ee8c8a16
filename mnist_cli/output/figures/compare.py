"""Figures of a comparison, for papers."""

import math
from collections.abc import Callable
from statistics import median
from typing import Any

from mnist_cli.comparison.events import Point
from mnist_cli.comparison.findings import fit_of_updates
from mnist_cli.comparison.lr_search import stable_loss
from mnist_cli.comparison.results import AXES, Results
from mnist_cli.comparison.stats import MeanAndDeviation, mean_and_deviation
from mnist_cli.comparison.variants import Variant
from mnist_cli.errors import UsageError
from mnist_cli.output.figures import colour, variant_colours
from mnist_cli.output.figures.style import Figure, LogLocator, NullFormatter, drawn

_LEGEND_LETTERS = 14  # of its size that fit on an inch
_LEGEND_HANDLE = 7  # letters that the line before a label is as wide as
_UNITS = {"updates": "updates", "samples": "samples seen", "seconds": "seconds of training"}


def draw(results: Results, path: str, panel: str) -> bytes:
    """Return the file of a figure, in the format of the path's ending.

    Raises:
        UsageError: the comparison did not measure what the panel shows.

    """
    name = _default_panel(results) if panel == "auto" else panel

    def fill(figure: Figure) -> None:
        if not _PANELS[name](results, figure):
            raise UsageError(f"--panel {name}: nothing that it shows was measured; leave it out")

    return drawn(fill, path)


def _default_panel(results: Results) -> str:
    if results.start.config["lr_range"]:
        return "rates"
    if results.target_costs("update"):
        return "target"
    if any(len(run.sharpness) > 2 for run in results.runs):
        return "sharpness"
    if any(run.alignment for run in results.runs):
        return "noise"
    return "curves"


def _curves(results: Results, figure: Figure) -> bool:
    """Draw loss and accuracy against updates, samples and seconds."""
    figure.set_size_inches(9, 5)
    rows: list[tuple[str, Callable[[Point], float]]] = [
        ("training loss (nats)", lambda p: p.train_loss),
        ("test error (%)", lambda p: 100 * (1 - p.test_accuracy)),
    ]
    grid: Any = figure.subplots(2, 3, sharey="row", sharex="col")
    for row, (label, value) in zip(grid, rows, strict=True):
        for axes, (axis, at) in zip(row, AXES.items(), strict=True):
            for variant, shade in _shades(results).items():
                for number, run in enumerate(results.runs_of(variant)):
                    points = [p for p in run.points if at(p) > 0 and value(p) > 0]
                    axes.plot(
                        [at(p) for p in points],
                        [value(p) for p in points],
                        color=shade,
                        linewidth=1.2,
                        alpha=0.8,
                        label=None if number else variant.label,
                    )
            axes.set(xscale="log", yscale="log")
            _plain_ticks(axes.yaxis)
            if value is rows[-1][1]:
                axes.set_xlabel(_UNITS[axis])
        row[0].set_ylabel(label)
    grid[0][0].set_ylim(top=results.highest_loss())
    _legend(figure, grid[0][0], _legend_title(results))
    return True


def _target(results: Results, figure: Figure) -> bool:
    """Draw the updates to the target with their fit, and the seconds, against the batch size."""
    figure.set_size_inches(8, 3.4)
    left, right = figure.subplots(1, 2)
    reached = results.target_costs("update")
    if not reached:
        return False
    seconds = results.target_costs("train_seconds")
    for index, setting in enumerate(dict.fromkeys(variant.setting for variant in reached)):
        own = [variant for variant in reached if variant.setting == setting]
        sizes = [results.update_size(variant) for variant in own]
        _bars(left, sizes, [mean_and_deviation(reached[v]) for v in own], index, setting)
        _bars(right, sizes, [mean_and_deviation(seconds[v]) for v in own], index)
        if fit := fit_of_updates(results, own):
            _draw_fit(left, fit, sizes, colour(index))
    if scales := results.noise_scales():
        first = median(first for first, _ in scales.values())
        label = f"noise scale at the start {first:,.0f}"
        left.axvline(first, color="0.4", linestyle="-.", label=label)
    names = {results.update_size(variant): str(variant.batch_size) for variant in reached}
    for axes, what in ((left, "updates"), (right, "seconds")):
        axes.set(xscale="log", yscale="log", xlabel="batch size", ylabel=f"{what} to the target")
        axes.set_xticks([*names], [*names.values()])
        axes.xaxis.set_minor_formatter(NullFormatter())
        _plain_ticks(axes.yaxis)
    _legend(figure, left)
    return True


def _draw_fit(axes: Any, fit: tuple[float, float], sizes: list[int], shade: str) -> None:  # noqa: ANN401
    """Draw the curve of the updates to a target, and its critical batch size."""
    minimum, critical = fit
    dense = [min(sizes) * (max(sizes) / min(sizes)) ** (k / 100) for k in range(101)]
    label = f"{minimum:,.0f} · (1 + {critical:,.0f} / B)"
    axes.plot(dense, [minimum * (1 + critical / b) for b in dense], color=shade, label=label)
    axes.axvline(critical, color=shade, ls=":", label=f"critical batch size {critical:,.0f}")


def _noise(results: Results, figure: Figure) -> bool:
    """Draw the deviation of batch gradients from the full one against the batch size."""
    figure.set_size_inches(8, 3.4)
    left, right = figure.subplots(1, 2)
    groups: dict[str, list[Any]] = {}
    for run in results.runs:
        for probe in run.alignment:
            after = f"after {probe.update:,} updates of {run.variant.label}"
            if probe.gradient_norm:
                groups.setdefault(after if probe.update else "at the start", []).append(probe)
    for index, (label, probes) in enumerate(groups.items()):
        by_size: dict[int, list[Any]] = {}
        for probe in probes:
            by_size.setdefault(probe.batch_size, []).append(probe)
        sizes = sorted(by_size)
        deviations = [
            mean_and_deviation([p.as_if_independent / p.gradient_norm for p in by_size[b]])
            for b in sizes
        ]
        cosines = [mean_and_deviation([p.cosine_mean for p in by_size[b]]) for b in sizes]
        first = deviations[0].mean
        left.plot(sizes, [first * (sizes[0] / b) ** 0.5 for b in sizes], color="0.6", lw=0.8)
        _bars(left, sizes, deviations, index, label)
        _bars(right, sizes, cosines, index)
    left.set(xscale="log", yscale="log", xlabel="batch size B")
    left.set_ylabel("deviation from the full gradient\nrelative to it; grey: B to the power -1/2")
    right.set(xscale="log", xlabel="batch size B", ylabel="cosine with the full gradient")
    _legend(figure, left)
    return bool(groups)


def _path(results: Results, figure: Figure) -> bool:
    """Draw the paths of the weights over contours of the loss."""
    plane = results.plane
    if plane is None:
        return False
    figure.set_size_inches(6, 5)
    axes = figure.subplots()
    losses = [[max(loss, 1e-9) for loss in row] for row in plane.losses]
    ordered = sorted(loss for row in losses for loss in row)
    low, high = ordered[0], ordered[97 * len(ordered) // 100]
    levels = [low * (high / low) ** (k / 15) for k in range(1, 15)] if high > low else None
    lines = axes.contour(
        plane.grid_across, plane.grid_up, losses, levels, colors="0.6", linewidths=0.6
    )
    axes.clabel(lines, levels=list(lines.levels)[::3], fontsize=6, fmt="%.2g")
    shades = _shades(results)
    for key, xs, ys in zip(plane.runs, plane.across, plane.up, strict=True):
        variant = results.variant(*key)
        axes.plot(xs, ys, ".-", ms=4, lw=1.2, color=shades[variant], label=variant.label)
    axes.plot(plane.across[0][0], plane.up[0][0], "o", color="0.2", mfc="white", label="start")
    axes.set(aspect="equal", xlabel=f"the plane holds {100 * plane.share:.0f} % of the way")
    _legend(figure, axes, _legend_title(results))
    return True


def _sharpness(results: Results, figure: Figure) -> bool:
    """Draw the sharpness with 2 / learning rate, and the loss, against updates."""
    figure.set_size_inches(8, 3.4)
    left, right = figure.subplots(1, 2)
    drawn = labelled = False
    for variant, shade in _shades(results).items():
        for number, run in enumerate(results.runs_of(variant)):
            probes = run.sharpness
            if not probes:
                continue
            drawn = True
            text = None if number else variant.phrase
            xs = [p.update for p in probes]
            left.plot(xs, [p.sharpness for p in probes], color=shade, lw=1, label=text)
            edges = [(p.update, p.stable_up_to) for p in probes if p.stable_up_to is not None]
            if edges:
                label = None if labelled else "edge of stability"
                left.plot(*zip(*edges, strict=True), color="0.3", lw=1, ls="--", label=label)
                labelled = True
            right.plot(
                [p.update for p in run.points],
                [p.train_loss for p in run.points],
                color=shade,
                lw=1,
            )
    left.set(xlabel="updates", ylabel="sharpness", ylim=(0, None))
    right.set(xlabel="updates", ylabel="training loss (nats)", yscale="log")
    _legend(figure, left)
    return drawn


def _rates(results: Results, figure: Figure) -> bool:
    """Draw the training loss at the end of every trial against its rate, by batch size."""
    figure.set_size_inches(8, 3.4)
    left, right = figure.subplots(1, 2)
    shades = _shades(results)
    is_range = results.start.config["lr_range"]
    for tuned in results.tuned:
        variant = results.variant(tuned.batch_size, tuned.setting)
        shade, size = shades[variant], results.update_size(variant)
        first = [t for t in tuned.tried if t.seed in (None, tuned.seed)]
        trials = [(t.lr, t.train_loss) for t in first if t.train_loss is not None]
        if not trials:
            continue
        left.plot(*zip(*trials, strict=True), "o-", ms=3, lw=1, color=shade, label=variant.label)
        flat, stable = (tuned.flat_from, tuned.flat_to), (tuned.stable_from, tuned.stable_to)
        ends = stable if is_range else flat
        if None not in ends:
            right.plot([size, size], ends, "o-", ms=4, lw=3, color=shade)
    left.set(
        xscale="log", yscale="log", xlabel="learning rate", ylabel="training loss at the end (nats)"
    )
    left.set_ylim(top=2 * math.log(results.start.classes))
    half = stable_loss(results.start.classes)
    left.axhline(half, color="0.5", lw=0.8, ls=":", label="half of guessing")
    right.set(
        xscale="log",
        yscale="log",
        xlabel="batch size",
        ylabel="rates that train stably" if is_range else "rates within 10 % of the best",
    )
    for axis in (left.xaxis, left.yaxis, right.yaxis):
        _plain_ticks(axis)
    _legend(figure, left, _legend_title(results))
    return bool(results.tuned)


def _legend_title(results: Results) -> str | None:
    return "batch size" if all(each.setting is None for each in results.variants) else None


def _shades(results: Results) -> dict[Variant, str]:
    """Return the colour of each variant."""
    colours = variant_colours(results.places(), len(results.variants))
    return dict(zip(results.variants, colours, strict=True))


def _legend(figure: Figure, axes: Any, title: str | None = None) -> None:  # noqa: ANN401
    """Draw the legend of some axes below the figure, which becomes higher by as much."""
    handles, labels = axes.get_legend_handles_labels()
    if not handles:
        return
    width = figure.get_figwidth()
    columns = int(_LEGEND_LETTERS * width) // (max(map(len, labels)) + _LEGEND_HANDLE)
    columns = min(max(columns, 1), len(labels))
    rows = math.ceil(len(labels) / columns) + (title is not None)
    figure.set_figheight(figure.get_figheight() + 0.17 * rows)
    figure.legend(
        handles,
        labels,
        title=title,
        fontsize=8,
        loc="outside lower center",
        ncols=columns,
    )


def _plain_ticks(axis: Any) -> None:  # noqa: ANN401
    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter("{x:g}")
    axis.set_minor_formatter(NullFormatter())


def _bars(
    axes: Any,  # noqa: ANN401
    xs: list[int],
    ys: list[MeanAndDeviation],
    index: int = 0,
    label: str | None = None,
) -> None:
    axes.errorbar(
        xs,
        [y.mean for y in ys],
        yerr=[y.deviation for y in ys],
        fmt="o",
        ms=4,
        capsize=2,
        color=colour(index),
        label=label,
    )


_PANELS: dict[str, Callable[[Results, Figure], bool]] = {
    "curves": _curves,
    "target": _target,
    "noise": _noise,
    "path": _path,
    "sharpness": _sharpness,
    "rates": _rates,
}
