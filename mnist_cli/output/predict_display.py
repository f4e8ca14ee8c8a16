"""Draw small grayscale images as text, and the network's input beside its prediction."""

import io
from collections.abc import Sequence
from contextlib import suppress
from typing import TextIO

import numpy as np
from numpy.typing import NDArray
from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.style import Style
from rich.text import Text

from mnist_cli.config.quoting import escape_controls, printable
from mnist_cli.data.catalogue import DIGITS
from mnist_cli.events import Prediction

_PICTURE, _GAP = 28, 2
_LABEL = len("7 0.9987 ")
_ROWS = 10  # classes that are shown, the most probable if there are more
_BAR = 30  # cells for a probability of 1, if they fit
_MIN_WIDTH = _PICTURE + _GAP + _LABEL + 1  # cells; on a narrower terminal the text is below
_UPPER = "▀"
_SHADES = " ░▒▓█"  # from dark to light, as on a dark terminal


class PredictionDisplay:
    """Draws predictions on a stream, never wider than the terminal."""

    def __init__(self, stream: TextIO) -> None:
        # Nothing here is markup: a path may contain brackets.
        self._stream = stream
        self._console = Console(file=stream, highlight=False, markup=False, emoji=False)

    def show(
        self, event: Prediction, image: NDArray[np.uint8], classes: Sequence[str] = DIGITS
    ) -> None:
        """Draw the network's input, `[28, 28]`, and the prediction with the names of the classes.

        Errors of writing are ignored, so that the data on standard output continue.
        """
        width = self._console.width
        beside = width >= _MIN_WIDTH
        console = self._console
        has_blocks = not console.options.ascii_only
        colour = has_blocks and console.color_system is not None and not console.no_color
        picture = half_blocks(image, colour=colour)
        text = _describe(event, width - (_PICTURE + _GAP if beside else 0), classes)
        if not beside:
            lines = [*picture, *text]
        else:
            text += [Text()] * (len(picture) - len(text))
            lines = [
                Text.assemble(left, " " * _GAP, right)
                for left, right in zip(picture, text, strict=True)
            ]
        # Rich exits if it cannot write, and its own capture writes, too.
        self._console.file = drawn = io.StringIO()
        for line in lines:
            line.truncate(width)
            line.rstrip()
            self._console.print(line, no_wrap=True, overflow="crop")
        self._console.file = self._stream
        with suppress(OSError):
            self._stream.write(drawn.getvalue())
            self._stream.flush()


def _describe(event: Prediction, width: int, classes: Sequence[str]) -> list[Text]:
    """Return up to 12 lines of text, at most `width` cells wide."""
    path = Text(printable(event.path), "bold")
    path.truncate(max(width, 1), overflow="ellipsis")
    if event.digit is None:
        result = Text("no digit", "yellow")
    else:
        result = Text(f"{_label(event)}  {event.probability:.4f}", "bold")
        if event.uncertain:
            result.append("  uncertain", "yellow")
    probabilities = event.probabilities or []
    longest = max(cell_len(name) for name in classes)
    bar = max(0, min(_BAR, width - _LABEL - longest + 1))
    shown = list(range(len(probabilities)))
    if len(shown) > _ROWS:
        shown = sorted(shown, key=lambda number: -probabilities[number])[:_ROWS]
    rows = [
        Text(f"{set_cell_size(classes[number], longest)} {probabilities[number]:.4f} ").append(
            "█" * round(probabilities[number] * bar), "green" if number == event.digit else "dim"
        )
        for number in shown
    ]
    return [path, result, *rows]


def _label(event: Prediction) -> str:
    return str(event.digit) if event.label is None else event.label


def prediction_line(event: Prediction, *, with_box: bool) -> str:
    """Return the line of a prediction on standard output: path, class, probability, and its box."""
    digit = "-" if event.digit is None else escape_controls(_label(event))
    fields = [escape_controls(event.path), digit, f"{event.probability:.4f}"]
    if with_box and event.box:
        fields.append(",".join(map(str, event.box)))
    return "\t".join(fields) + "\n"


def explain_several(event: Prediction, count: int) -> str:
    """Return a line that says that an image shows several digits."""
    return f"warning: {_name(event)} shows {count} digits; --all predicts each of them"


def explain_uncertain(event: Prediction, threshold: float) -> str:
    """Return a line that says why a prediction is uncertain."""
    name = _name(event)
    if event.digit is None:
        return f"note: {name} is uncertain: no digit was found in it"
    # As many decimals as distinguish the two.
    for decimals in range(2, 10):
        probability = f"{event.probability:.{decimals}f}"
        if probability != f"{threshold:.{decimals}f}":
            break
    return f"note: {name} is uncertain: probability {probability} is below {threshold:g}"


def _name(event: Prediction) -> str:
    return "standard input" if event.path == "-" else repr(event.path)


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
