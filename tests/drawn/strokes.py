"""Digits as a pen writes them: polylines and Bézier curves, no two alike."""

# ruff: noqa: RUF005 (a plus says where one curve ends and the next begins)

import math
from itertools import pairwise
from random import Random

from PIL import Image, ImageDraw

Point = tuple[float, float]
# Each digit has several ways to be written; each way is a list of strokes; each stroke is a list of
# cubic Bézier curves that follow one another: a start, then three points a curve. Three points on
# one line make a straight piece. In a box of 0 to 1, y downwards.
Stroke = list[Point]
_C = 0.5523  # of a quarter of a circle
_SHAKE = 0.025  # how far points stray


def _line(*points: Point) -> Stroke:
    """Return straight pieces through points."""
    stroke = [points[0]]
    for (x0, y0), (x1, y1) in pairwise(points):
        thirds = [(x0 + (x1 - x0) * t, y0 + (y1 - y0) * t) for t in (1 / 3, 2 / 3)]
        stroke += [*thirds, (x1, y1)]
    return stroke


def _oval(x: float, y: float, rx: float, ry: float, start: float = 0.0) -> Stroke:
    """Return an ellipse, against the clock, from `start` of a turn past its top."""
    stroke: Stroke = []
    for quarter in range(4):
        angles = [math.tau * (start + (quarter + end) / 4) for end in (0, 1)]
        (s0, c0), (s1, c1) = ((math.sin(a), math.cos(a)) for a in angles)
        if not stroke:
            stroke.append((x - rx * s0, y - ry * c0))
        stroke.append((x - rx * (s0 + _C * c0), y - ry * (c0 - _C * s0)))
        stroke.append((x - rx * (s1 - _C * c1), y - ry * (c1 + _C * s1)))
        stroke.append((x - rx * s1, y - ry * c1))
    return stroke


WAYS: dict[int, list[list[Stroke]]] = {
    0: [[_oval(0.5, 0.5, 0.36, 0.5)], [_oval(0.5, 0.5, 0.45, 0.48, 0.1)]],
    1: [
        [_line((0.5, 0.0), (0.5, 1.0))],
        [_line((0.3, 0.22), (0.52, 0.0), (0.52, 1.0))],
        [_line((0.3, 0.22), (0.52, 0.0), (0.52, 1.0)), _line((0.28, 1.0), (0.76, 1.0))],
    ],
    2: [
        [
            [(0.12, 0.25), (0.15, -0.08), (0.85, -0.1), (0.84, 0.28)]
            + [(0.84, 0.55), (0.35, 0.8), (0.1, 1.0)]
            + _line((0.1, 1.0), (0.92, 1.0))[1:]
        ],
        [
            [(0.15, 0.2), (0.25, -0.08), (0.85, -0.08), (0.8, 0.3)]
            + [(0.76, 0.6), (0.45, 0.95), (0.22, 0.98)]
            + [(0.02, 1.0), (0.05, 0.76), (0.25, 0.8)]
            + [(0.5, 0.85), (0.65, 1.05), (0.95, 0.92)]
        ],
    ],
    3: [
        [
            [(0.15, 0.12), (0.4, -0.06), (0.85, -0.04), (0.8, 0.24)]
            + [(0.77, 0.42), (0.55, 0.46), (0.4, 0.47)]
            + [(0.65, 0.47), (0.9, 0.54), (0.86, 0.76)]
            + [(0.8, 1.06), (0.3, 1.05), (0.1, 0.9)]
        ],
        [
            _line((0.15, 0.02), (0.82, 0.02), (0.45, 0.42))
            + [(0.8, 0.4), (0.95, 0.6), (0.85, 0.8)]
            + [(0.72, 1.05), (0.3, 1.04), (0.12, 0.92)]
        ],
    ],
    4: [
        [_line((0.62, 1.0), (0.62, 0.0), (0.08, 0.68), (0.95, 0.68))],
        [_line((0.25, 0.0), (0.12, 0.55), (0.9, 0.55)), _line((0.74, 0.1), (0.68, 1.0))],
        [
            [(0.2, 0.02), (0.15, 0.2), (0.1, 0.4), (0.2, 0.5), (0.35, 0.6), (0.6, 0.52)]
            + [(0.72, 0.42)],
            _line((0.78, 0.0), (0.7, 1.0)),
        ],
    ],
    5: [
        [
            _line((0.85, 0.02), (0.25, 0.02), (0.2, 0.42))
            + [(0.5, 0.3), (0.9, 0.42), (0.86, 0.7)]
            + [(0.82, 1.05), (0.3, 1.05), (0.1, 0.9)]
        ],
        [
            _line((0.28, 0.04), (0.2, 0.45))
            + [(0.55, 0.33), (0.85, 0.5), (0.8, 0.74)]
            + [(0.74, 1.02), (0.3, 1.04), (0.12, 0.94)],
            _line((0.28, 0.04), (0.88, 0.0)),
        ],
    ],
    6: [
        [
            [(0.75, 0.0), (0.45, 0.1), (0.12, 0.45), (0.15, 0.74)]
            + [(0.18, 1.06), (0.8, 1.08), (0.82, 0.74)]
            + [(0.84, 0.46), (0.3, 0.45), (0.16, 0.72)]
        ],
        [
            [(0.5, 0.0), (0.25, 0.25), (0.08, 0.6), (0.2, 0.86)]
            + [(0.35, 1.08), (0.78, 1.04), (0.78, 0.78)]
            + [(0.78, 0.55), (0.35, 0.55), (0.2, 0.8)]
        ],
    ],
    7: [
        [_line((0.1, 0.02), (0.88, 0.02), (0.38, 1.0))],
        [_line((0.1, 0.02), (0.88, 0.02), (0.4, 1.0)), _line((0.25, 0.5), (0.84, 0.48))],
        [
            [(0.1, 0.12), (0.2, -0.02), (0.6, 0.1), (0.88, 0.0)]
            + [(0.75, 0.2), (0.5, 0.6), (0.45, 1.0)]
        ],
    ],
    8: [
        [
            [(0.8, 0.14), (0.65, -0.08), (0.2, -0.02), (0.2, 0.22)]
            + [(0.2, 0.48), (0.84, 0.5), (0.84, 0.76)]
            + [(0.84, 1.08), (0.14, 1.08), (0.14, 0.76)]
            + [(0.14, 0.5), (0.76, 0.42), (0.8, 0.14)]
        ],
        [_oval(0.5, 0.24, 0.29, 0.24), _oval(0.5, 0.74, 0.36, 0.26)],
    ],
    9: [
        [
            [(0.8, 0.2), (0.7, -0.08), (0.15, -0.06), (0.15, 0.28)]
            + [(0.15, 0.58), (0.7, 0.55), (0.8, 0.2)]
            + _line((0.8, 0.2), (0.72, 1.0))[1:]
        ],
        [
            [(0.8, 0.25), (0.75, -0.08), (0.16, -0.08), (0.16, 0.26)]
            + [(0.16, 0.55), (0.75, 0.55), (0.8, 0.25)]
            + [(0.84, 0.6), (0.8, 1.05), (0.25, 0.98)]
        ],
    ],
}


def written(digit: int, random: Random, *, side: int, pen: float) -> Image.Image:
    """Return a digit written by pen as a mask `L [side, side]`, its box about half of that.

    `pen` is the stroke's width as a part of the digit's height.
    """
    mask = Image.new("L", (side, side))
    draw = ImageDraw.Draw(mask)
    height = side * 0.5
    width = height * random.uniform(0.55, 0.85)
    left, top = (side - width) / 2, (side - height) / 2
    radius = max(pen * height / 2, 0.5)
    for stroke in random.choice(WAYS[digit]):
        moved = [(x + random.gauss(0, _SHAKE), y + random.gauss(0, _SHAKE)) for x, y in stroke]
        for x, y in _along(moved, steps=60):
            press = radius * random.uniform(0.92, 1.08)
            at = (left + x * width, top + y * height)
            draw.ellipse((at[0] - press, at[1] - press, at[0] + press, at[1] + press), fill=255)
    return mask


def _along(stroke: Stroke, steps: int) -> list[Point]:
    """Return points along the curves of a stroke, close together."""
    points = []
    for start in range(0, len(stroke) - 3, 3):
        (x0, y0), (x1, y1), (x2, y2), (x3, y3) = stroke[start : start + 4]
        for step in range(steps + 1):
            t = step / steps
            a, b, c, d = (1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t * t * (1 - t), t**3
            points.append((a * x0 + b * x1 + c * x2 + d * x3, a * y0 + b * y1 + c * y2 + d * y3))
    return points
