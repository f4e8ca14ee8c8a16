"""The screens of a terminal, one after another, as an animated SVG without script, font or link.

A row of the screen that stays the same over several frames is one element, shown between two times
of an endless animation. Where motion is not wanted or not possible, the last frame is shown.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby, pairwise
from xml.sax.saxutils import escape

WIDTH, HEIGHT, MARGIN = 8.4, 18, 14  # pixels: of a cell, and around all
SIZE = 14  # pixels of the font
LONGEST = 14  # seconds; what took longer is shown faster
MOST = 50  # frames
SHORTEST = 0.12  # seconds from one frame to the next
REST = 10.0  # seconds that the last frame stays: it has most to read
COLOURS = {
    "default": "#d8dee9",
    "brightblack": "#7d8796",
    "red": "#f47067",
    "green": "#57ab5a",
    "brown": "#c69026",  # pyte's name of yellow
    "blue": "#539bf5",
    "magenta": "#b083f0",
    "cyan": "#39c5cf",
    "white": "#d8dee9",
    "brightred": "#ff7b72",
    "brightgreen": "#6bc46d",
    "brightbrown": "#daaa3f",
    "brightblue": "#6cb6ff",
    "brightmagenta": "#dcbdfb",
    "brightcyan": "#56d4dd",
    "brightwhite": "#ffffff",
}
_FONT = "ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono','Liberation Mono',monospace"


@dataclass(frozen=True)
class Cell:
    """A character, its colour by name, or as six hexadecimal digits, and whether it is bold."""

    text: str
    colour: str
    bold: bool


Row = tuple[Cell, ...]


@dataclass(frozen=True)
class Frame:
    """What the rows of a screen show from so many seconds on."""

    seconds: float
    rows: tuple[Row, ...]


def draw(frames: list[Frame], title: str) -> str:
    """Return an SVG that shows the frames at their times, over and over again.

    Where that would last too long, the title says how many times as fast it is.
    """
    pace = max(1.0, frames[-1].seconds / LONGEST)
    shots = _thinned([Frame(frame.seconds / pace, frame.rows) for frame in frames])
    title += f", {pace:.1f} times as fast" if pace > 1 else ""
    whole = shots[-1].seconds + REST
    used = max(n for shot in shots for n, row in enumerate(shot.rows, start=1) if _is_used(row))
    columns = len(shots[0].rows[0])
    times = [shot.seconds for shot in shots]
    spans: dict[tuple[int, int], str] = {}
    elements = []
    for y in range(used):
        first = 0
        for row, group in groupby(shot.rows[y] for shot in shots):
            last = first + len(list(group))
            if _is_used(row):
                name = spans.setdefault((first, last), f"s{len(spans)}")
                kind = f"{name} end" if last == len(shots) else name
                elements.append(f'<g class="{kind}">{"".join(_texts(row, y))}</g>')
            first = last
    rules = [
        _rule(name, times[first], times[last] if last < len(times) else None, whole)
        for (first, last), name in spans.items()
    ]
    width, height = columns * WIDTH + 2 * MARGIN, used * HEIGHT + 2 * MARGIN
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" '
            f'width="{width:.0f}" height="{height:.0f}" role="img">',
            f"<title>{escape(title)}</title>",
            "<style>",
            f"text{{font:{SIZE}px {_FONT};white-space:pre}}",
            "g{visibility:hidden}g.end{visibility:visible}",
            *(f".{_class(name)}{{fill:{colour}}}" for name, colour in COLOURS.items()),
            ".bold{font-weight:bold}",
            "@media (prefers-reduced-motion:no-preference){",
            f"g{{animation:{whole:.2f}s step-end infinite}}",
            *rules,
            "}",
            "</style>",
            f'<rect width="{width:.0f}" height="{height:.0f}" rx="8" fill="#1c2128"/>',
            *elements,
            "</svg>\n",
        ]
    )


def _thinned(frames: list[Frame]) -> list[Frame]:
    """Return the frames that differ, the last of each short span of time."""
    span = max(SHORTEST, frames[-1].seconds / MOST)
    kept = [now for now, after in pairwise(frames) if now.seconds // span < after.seconds // span]
    shots = [*kept, frames[-1]]
    return [shots[0], *(b for a, b in pairwise(shots) if a.rows != b.rows)]


def _is_used(row: Row) -> bool:
    return any(not cell.text.isspace() for cell in row)


def _class(colour: str) -> str:
    return f"c-{colour}"


def _texts(row: Row, y: int) -> Iterator[str]:
    """Yield an element for every run of cells that look alike, each exactly as wide as they."""
    x = 0
    for (colour, bold), group in groupby(row, key=lambda cell: (cell.colour, cell.bold)):
        cells = list(group)
        text = "".join(cell.text for cell in cells)
        stripped = text.strip()
        if stripped:
            first = x + len(text) - len(text.lstrip())
            known = colour in COLOURS
            names = ([_class(colour)] if known else []) + (["bold"] if bold else [])
            fill = "" if known else f' fill="#{colour}"'
            yield (
                f'<text x="{MARGIN + first * WIDTH:.1f}" y="{MARGIN + y * HEIGHT + SIZE}" '
                f'textLength="{len(stripped) * WIDTH:.1f}" lengthAdjust="spacingAndGlyphs" '
                f'class="{" ".join(names)}"{fill}>{escape(stripped)}</text>'
            )
        x += len(cells)


def _rule(name: str, begin: float, end: float | None, whole: float) -> str:
    """Return the animation of what is shown from one time to another, or else to the end."""
    first = f"{100 * begin / whole:.3f}%{{visibility:visible}}"
    last = "" if end is None else f"{100 * end / whole:.3f}%{{visibility:hidden}}"
    to_end = "100%{visibility:visible}" if end is None else ""
    before = "0%{visibility:hidden}" if begin > 0 else ""
    return f"@keyframes {name}{{{before}{first}{last}{to_end}}}.{name}{{animation-name:{name}}}"
