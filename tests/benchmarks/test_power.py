"""The simulation of level and power."""

import pytest

from benchmarks.power import Case, shares


@pytest.mark.parametrize("variants", [2, 4])
def test_equal_variants_are_rarely_called_different(variants: int) -> None:
    # 5 % of 500 would be 25 ± 5; at such a correlation Welch's test finds next to nothing.
    welch, paired = shares(Case(variants, 5, 0.0, 0.9), 500)
    assert 0.015 < paired <= 0.08
    assert welch < 0.01


def test_seeds_that_correlate_tell_more_in_pairs() -> None:
    # 2 variants, 3 seeds, two standard deviations: about 76 % instead of 43 %.
    welch, paired = shares(Case(2, 3, 2.0, 0.8), 500)
    assert 0.35 < welch < 0.51
    assert 0.68 < paired < 0.84
