"""What the network saw of an image, drawn on a terminal beside what it made of it."""

import io
from contextlib import suppress
from typing import TextIO

from rich.console import Console
from rich.text import Text
from torch import Tensor

from mnist_cli.events import Prediction
from mnist_cli.output.terminal_image import half_blocks

_PICTURE, _GAP = 28, 2
_LABEL = len("7 0.9987 ")
_BAR = 30  # cells of a probability of 1, where there is room
_LEAST = _PICTURE + _GAP + _LABEL + 1  # cells of a line; in fewer the picture stands by itself


class Shower:
    """Draws readings on a stream, never wider than the terminal."""

    def __init__(self, stream: TextIO) -> None:
        # Nothing here is markup: a path may contain brackets.
        self._stream = stream
        self._console = Console(file=stream, highlight=False, markup=False, emoji=False)

    def show(self, event: Prediction, seen: Tensor) -> None:
        """Draw what was `seen` of an image, `uint8 [28, 28]`, and what the network made of it.

        Where that cannot be written, nothing is: the data on standard output go on.
        """
        width = self._console.width
        beside = width >= _LEAST
        colour = self._console.color_system is not None and not self._console.no_color
        picture = half_blocks(seen, colour=colour)
        words = self._words(event, seen, width - (_PICTURE + _GAP if beside else 0))
        if not beside:
            lines = [*picture, *words]
        else:
            words += [Text()] * (len(picture) - len(words))
            lines = [
                Text.assemble(image, " " * _GAP, text)
                for image, text in zip(picture, words, strict=True)
            ]
        # Rich would end the program when it cannot write; even its own capture writes.
        self._console.file = drawn = io.StringIO()
        for line in lines:
            line.truncate(width)
            line.rstrip()
            self._console.print(line, no_wrap=True, overflow="crop")
        self._console.file = self._stream
        with suppress(OSError):
            self._stream.write(drawn.getvalue())
            self._stream.flush()

    def _words(self, event: Prediction, seen: Tensor, width: int) -> list[Text]:
        """Return 12 lines of text, at most `width` cells wide."""
        path = Text(_printable(event.path), "bold")
        path.truncate(max(width, 1), overflow="ellipsis")
        if not seen.any():
            verdict = Text("no digit", "yellow")
        else:
            verdict = Text(f"{event.digit}  {event.probability:.4f}", "bold")
            if event.uncertain:
                verdict.append("  uncertain", "yellow")
        bar = max(0, min(_BAR, width - _LABEL))
        rows = [
            Text(f"{digit} {probability:.4f} ").append(
                "█" * round(probability * bar), "green" if digit == event.digit else "dim"
            )
            for digit, probability in enumerate(event.probabilities)
        ]
        return [path, verdict, *rows]


def note(event: Prediction, seen: Tensor, threshold: float) -> str:
    """Return why a reading is uncertain, in a line."""
    name = "standard input" if event.path == "-" else repr(event.path)
    if not seen.any():
        return f"note: {name} is uncertain: no digit was found in it"
    shown = [f"{event.probability:.{places}f}" for places in range(2, 10)]
    limit = [f"{threshold:.{places}f}" for places in range(2, 10)]
    told = next((one for one, other in zip(shown, limit, strict=True) if one != other), shown[-1])
    return f"note: {name} is uncertain: probability {told} is below {threshold:g}"


def _printable(path: str) -> str:
    """Return a path in which nothing steers a terminal."""
    return "".join(c if c.isprintable() else "?" for c in path)
