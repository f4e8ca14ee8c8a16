"""Small grey pictures as lines of text: two pixels a character, one above the other."""

from rich.style import Style
from rich.text import Text
from torch import Tensor

_UPPER = "▀"
_SHADES = " ░▒▓█"  # from dark to light, as on a dark terminal


def half_blocks(image: Tensor, *, colour: bool = True) -> list[Text]:
    """Return a picture `uint8 [28, 28]`, light on dark, as 14 lines of 28 cells.

    In colour each cell is an upper half-block, whose foreground is the upper pixel and whose
    background is the lower one, as 24-bit greys, which a console of fewer colours makes into its
    nearest. Without colour each cell is one of five shades: the mean of its two pixels. Other
    sizes work alike; the last row of an odd number stands above a black one.
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
