"""Connected components: which of them are no writing, one digit, or several."""

import numpy as np
from PIL import Image, ImageDraw

from mnist_cli.data.pictures.components import Components


def components_of(*boxes: tuple[int, int, int, int]) -> Components:
    """Return the components of a page of 300 by 200 pixels with rectangles of ink."""
    page = Image.new("1", (300, 200))
    for box in boxes:
        ImageDraw.Draw(page).rectangle(box, 1)
    return Components(np.asarray(page))


def test_components_touch_at_corners_and_lines_across_are_no_writing() -> None:
    mask = np.zeros((100, 100), dtype=bool)
    mask[40:50, 40:50] = mask[50:60, 50:60] = True  # connected by a corner
    mask[5:8] = True  # a ruled line
    mask[80, 80] = True  # a speck of dirt
    components = Components(mask)
    assert (components.count, components.areas.tolist()) == (3, [0, 300, 200, 1])
    assert components.surroundings().tolist() == [False, True, False, False]
    mask[5:8] = False
    assert Components(mask).digit().tolist() == [False, True, False]
    assert not Components(np.zeros((9, 9), dtype=bool)).digit().any()


def test_digits_are_numbered_line_by_line_with_their_pieces() -> None:
    # Components are numbered from the top, so the digits of rising lines are not in order.
    one, other = (20, 60, 30, 100), (60, 50, 70, 90)
    below = (20, 140, 30, 180)
    bar_of_one = (28, 52, 48, 57)
    dash, dust = (100, 68, 118, 72), (200, 20, 202, 22)
    components = components_of(one, other, below, bar_of_one, dash, dust)
    numbers = components.digits()
    labels = numbers[components.labels]
    for box, digit in {
        one: 1,
        bar_of_one: 1,
        other: 2,
        below: 3,
        dash: 0,
        dust: 0,
    }.items():
        assert labels[box[1], box[0]] == digit, box
    assert numbers.max() == 3


def test_squares_and_what_leaves_the_page_on_all_sides_are_no_digits() -> None:
    squares = [(left, 50, left + 30, 80) for left in (20, 80, 140)]
    assert components_of(*squares).digits().max() == 0
    stripes = [(left, 0, left + 8, 199) for left in (20, 80, 140, 200)]
    assert components_of(*stripes).digits().max() == 0
    assert Components(np.zeros((9, 9), dtype=bool)).digits().tolist() == [0]
