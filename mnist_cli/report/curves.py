"""Curves of a comparison in characters, for a terminal."""

import math

from mnist_cli.lab.results import AXES, Results

# Of the terminal's own palette, so that they fit its background; readable on dark and on light.
_COLOURS = ("blue+", "red+", "green+", "magenta+", "cyan+", "yellow+", "white+")
_SIGNS = "ox+*#%@"  # instead of colours
_HEIGHT = 16  # or more, for the legend of many batch sizes


def draw(results: Results, width: int, *, axis: str = "samples", colour: bool) -> str:
    """Return the training loss of every arm against an axis, both logarithmic."""
    import plotext  # noqa: PLC0415 (only where there is a terminal)

    figure = plotext.figure
    figure.clear()
    figure.plot_size(min(width, 100), max(_HEIGHT, 2 * len(results.batch_sizes) + 7))
    figure.theme("colorless")
    seen: list[tuple[float, float]] = []
    for place, size in enumerate(results.batch_sizes):
        if colour:
            marker = plotext.marker("hd", _COLOURS[place % len(_COLOURS)])
        else:
            marker = _SIGNS[place % len(_SIGNS)]
        for number, arm in enumerate(results.of(size)):
            at = AXES[axis]
            points = [p for p in arm.points if at(p) > 0 and p.train_loss > 0]
            if not points:
                continue
            xs = [math.log10(at(p)) for p in points]
            ys = [math.log10(p.train_loss) for p in points]
            signal = figure.signal(xs, ys, marker=marker)
            signal.lines()
            if not number:
                signal.label(str(size))
            figure.draw(signal)
            seen += zip(xs, ys, strict=True)
    if not seen:
        return ""
    for name, values in (("x", [x for x, _ in seen]), ("y", [y for _, y in seen])):
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
