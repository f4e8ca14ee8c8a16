"""Draw small grayscale images as text: each character is two pixels, one above the other."""

import numpy as np
from numpy.typing import NDArray
from rich.style import Style
from rich.text import Text

_UPPER = "▀"
_SHADES = " ░▒▓█"  # from dark to light, as on a dark terminal


def half_blocks(image: NDArray[np.uint8], *, colour: bool = True) -> list[Text]:
    """Return an image `[height, width]`, light on dark, as lines of text: 14 of 28 cells for MNIST.

    In colour each cell is an upper half-block: its foreground is the upper pixel, its background
    the lower one, in 24-bit grays, for which a console of fewer colours takes its nearest. Without
    colour each cell is one of five shades, by the mean of its two pixels. An odd number of rows is
    completed by a black one.
    """
    rows = [[int(value) for value in row] for row in image.tolist()]
    if len(rows) % 2:
        rows.append([0] * len(rows[0]))
    draw = _coloured if colour else _shaded
    return [draw(upper, lower) for upper, lower in zip(rows[::2], rows[1::2], strict=True)]


def _coloured(upper: list[int], lower: list[int]) -> Text:
    line = Text(no_wrap=True)
    for above, below in zip(upper, lower, strict=True):
        line.append(_UPPER, Style(color=_grey(above), bgcolor=_grey(below)))
    return line


def _grey(value: int) -> str:
    return f"#{value:02x}{value:02x}{value:02x}"


def _shaded(upper: list[int], lower: list[int]) -> Text:
    top = len(_SHADES) - 1
    pairs = zip(upper, lower, strict=True)
    return Text("".join(_SHADES[round(sum(pair) / 510 * top)] for pair in pairs), no_wrap=True)
