"""Draw the network's input on a terminal, beside its prediction."""

import io
from contextlib import suppress
from typing import TextIO

from rich.console import Console
from rich.text import Text

from mnist_cli.events import Prediction
from mnist_cli.output.terminal_image import half_blocks
from mnist_cli.prediction.preprocess import Pixels

_PICTURE, _GAP = 28, 2
_LABEL = len("7 0.9987 ")
_BAR = 30  # cells for a probability of 1, if they fit
_MIN_WIDTH = _PICTURE + _GAP + _LABEL + 1  # cells; on a narrower terminal the text is below


class PredictionDisplay:
    """Draws predictions on a stream, never wider than the terminal."""

    def __init__(self, stream: TextIO) -> None:
        # Nothing here is markup: a path may contain brackets.
        self._stream = stream
        self._console = Console(file=stream, highlight=False, markup=False, emoji=False)

    def show(self, event: Prediction, image: Pixels) -> None:
        """Draw the network's input, `[28, 28]`, and the prediction.

        Errors of writing are ignored, so that the data on standard output continue.
        """
        width = self._console.width
        beside = width >= _MIN_WIDTH
        colour = self._console.color_system is not None and not self._console.no_color
        picture = half_blocks(image, colour=colour)
        text = _describe(event, image, width - (_PICTURE + _GAP if beside else 0))
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


def _describe(event: Prediction, image: Pixels, width: int) -> list[Text]:
    """Return 12 lines of text, at most `width` cells wide."""
    path = Text(_printable(event.path), "bold")
    path.truncate(max(width, 1), overflow="ellipsis")
    if not image.any():
        result = Text("no digit", "yellow")
    else:
        result = Text(f"{event.digit}  {event.probability:.4f}", "bold")
        if event.uncertain:
            result.append("  uncertain", "yellow")
    bar = max(0, min(_BAR, width - _LABEL))
    rows = [
        Text(f"{digit} {probability:.4f} ").append(
            "█" * round(probability * bar), "green" if digit == event.digit else "dim"
        )
        for digit, probability in enumerate(event.probabilities)
    ]
    return [path, result, *rows]


def explain_uncertain(event: Prediction, image: Pixels, threshold: float) -> str:
    """Return a line that says why a prediction is uncertain."""
    name = "standard input" if event.path == "-" else repr(event.path)
    if not image.any():
        return f"note: {name} is uncertain: no digit was found in it"
    # As many decimals as distinguish the two.
    for decimals in range(2, 10):
        probability = f"{event.probability:.{decimals}f}"
        if probability != f"{threshold:.{decimals}f}":
            break
    return f"note: {name} is uncertain: probability {probability} is below {threshold:g}"


def _printable(path: str) -> str:
    """Return a path without control characters."""
    return "".join(c if c.isprintable() else "?" for c in path)
