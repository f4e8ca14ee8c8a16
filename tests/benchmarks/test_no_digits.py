"""The pictures without a digit are the same each time, and not blank."""

import numpy as np
import pytest

from benchmarks.no_digits import DRAWINGS, Drawing


@pytest.mark.parametrize("draw", DRAWINGS, ids=lambda draw: draw.__name__)
@pytest.mark.parametrize("side", [28, 200])
def test_a_picture_is_drawn_the_same_each_time(draw: Drawing, side: int) -> None:
    first, second = (np.asarray(draw(np.random.default_rng(1), side, 2)) for _ in range(2))
    assert first.shape == (side, side, 3)
    assert (first == second).all()
    assert first.std() > 0
