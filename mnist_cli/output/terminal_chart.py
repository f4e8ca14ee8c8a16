"""Charts of curves, drawn with text characters."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

# Colours of the terminal's palette, which are readable on its background, and their codes.
_COLOURS = {
    **{"blue+": "94", "red+": "91", "green+": "92", "magenta+": "95"},
    **{"cyan+": "96", "yellow+": "93", "white+": "97"},
}
_MARKERS = "ox+*#%@"  # instead of colours
_MIN_TICK_GAP = 10  # cells from one tick of the x axis to the next


@dataclass(frozen=True)
class Curve:
    """Points `(x, y)` and their label; curves with the same label look the same."""

    label: str
    points: Sequence[tuple[float, float]]


def draw_chart(
    title: str,
    curves: Iterable[Curve],
    *,
    width: int,
    height: int,
    colour: bool,
    log_x: bool = False,
    log_y: bool = False,
) -> str:
    """Return a chart of at most `width` cells and about `height` lines; empty without points.

    The legend stands below the chart, where it covers no curve. On a logarithmic axis, points that
    are not positive are left out.
    """
    import plotext  # noqa: PLC0415 (only needed on a terminal)

    to_x, to_y = (math.log10 if log else float for log in (log_x, log_y))
    figure = plotext.figure
    figure.clear()
    figure.plot_size(width, height)
    figure.theme("colorless")
    drawn: list[tuple[float, float]] = []
    legend: list[tuple[str, str, str]] = []
    for index, (label, same) in enumerate(groupby(curves, lambda curve: curve.label)):
        name = [*_COLOURS][index % len(_COLOURS)]
        sign = _MARKERS[index % len(_MARKERS)]
        marker = plotext.marker("hd", name) if colour else sign
        for curve in same:
            points = [
                (to_x(x), to_y(y))
                for x, y in curve.points
                if (x > 0 or not log_x) and (y > 0 or not log_y)
            ]
            if points:
                signal = figure.signal(*map(list, zip(*points, strict=True)), marker=marker)
                signal.lines()
                figure.draw(signal)
                drawn += points
        legend.append(("━", _COLOURS[name], label) if colour else (sign, "", label))
    if not drawn:
        return ""
    for axis, values, log, count in (
        ("x", [x for x, _ in drawn], log_x, max(2, width // _MIN_TICK_GAP)),
        ("y", [y for _, y in drawn], log_y, max(2, height // 3)),
    ):
        low, high = min(values), max(values)
        ticks = _log_ticks(low, high) if log else _linear_ticks(low, high, count)
        places = [math.log10(tick) if log else tick for tick in ticks]
        figure.ruler(axis).ticks(places, [f"{tick:,.10g}" for tick in ticks])
    figure.title(title)
    text: str = figure.build().string(colorless=not colour)
    figure.clear()
    return text.rstrip("\n") + "\n" + _legend(legend, width)


def _legend(entries: Sequence[tuple[str, str, str]], width: int) -> str:
    """Return lines of at most `width` cells with entries of a sign, its colour and a label."""
    lines, used = "", 0
    for sign, code, label in entries:
        cells = len(f"  {sign} {label}")
        if used and used + cells > width:
            lines, used = lines + "\n", 0
        shown = f"\x1b[{code}m{sign}\x1b[0m" if code else sign
        lines, used = f"{lines}  {shown} {label}", used + cells
    return f"{lines}\n"


def _log_ticks(low: float, high: float) -> list[float]:
    """Return the round numbers between two powers of ten, given by their exponents."""
    steps = (1, 2, 5) if high - low < 2 else (1,)
    powers = range(math.floor(low), math.ceil(high) + 1)
    numbers = [float(f"{step}e{power}") for power in powers for step in steps]
    return [number for number in numbers if low <= math.log10(number) <= high]


def _linear_ticks(low: float, high: float, count: int) -> list[float]:
    """Return up to about `count` multiples of a round number from `low` to `high`.

    They are integers if the ends are at least 1 and integers.
    """
    if low == high:
        return [low]
    power = math.floor(math.log10((high - low) / count))
    steps = [float(f"{step}e{power + more}") for more in (0, 1) for step in (1, 2, 5)]
    least = 1 if low >= 1 and low == int(low) and high == int(high) else 0
    step = next(step for step in (*steps, 1.0) if step >= least and (high - low) / step <= count)
    multiples = range(math.ceil(low / step), math.floor(high / step) + 1)
    return [round(multiple * step, 12) for multiple in multiples]
