"""Figures, drawn by matplotlib, and the colours that web pages share with them."""

from collections.abc import Sequence

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#6b6b6b", "#8a5a44")
# The colours of matplotlib's scale "plasma" at 0, 0.1, ..., 1: their lightness grows evenly, so
# that the colour-blind see the order, and so does who prints in black and white.
_PLASMA = (
    *("#0d0887", "#41049d", "#6a00a8", "#8f0da4", "#b12a90", "#cc4778"),
    *("#e16462", "#f2844b", "#fca636", "#fcce25", "#f0f921"),
)
# From the smallest value to the largest: what stands out from a white and from a black background.
_ON_LIGHT, _ON_DARK = (0.63, 0.0), (0.96, 0.42)


def colour(index: int) -> str:
    """Return the colour of the series with an index."""
    return COLOURS[index % len(COLOURS)]


def ordered_colours(values: Sequence[float], *, dark: bool = False) -> list[str]:
    """Return a colour for each value by its rank, on a scale for a light or a dark background."""
    first, last = _ON_DARK if dark else _ON_LIGHT
    ranks = {value: rank for rank, value in enumerate(sorted(set(values)))}
    steps = max(len(ranks) - 1, 1)
    return [_plasma(first + (last - first) * ranks[value] / steps) for value in values]


def variant_colours(places: Sequence[float] | None, count: int, *, dark: bool = False) -> list[str]:
    """Return a colour for each of `count` variants: by their places, if they have an order."""
    if places is None:
        return [colour(index) for index in range(count)]
    return ordered_colours(places, dark=dark)


def _plasma(at: float) -> str:
    """Return the colour of the scale at a place from 0 to 1, between its two neighbours."""
    index = min(int(at * (len(_PLASMA) - 1)), len(_PLASMA) - 2)
    share = at * (len(_PLASMA) - 1) - index
    pairs = zip(_channels(_PLASMA[index]), _channels(_PLASMA[index + 1]), strict=True)
    return "#" + "".join(f"{round(a + share * (b - a)):02x}" for a, b in pairs)


def _channels(text: str) -> list[int]:
    return [int(text[at : at + 2], 16) for at in (1, 3, 5)]
