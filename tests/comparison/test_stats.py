"""The lab's statistics, against published values and by hand."""

import math

import pytest

from mnist_cli.comparison.stats import (
    Sample,
    difference,
    holm,
    knee,
    median,
    reading,
    sample,
    slope,
    two_sided,
)


@pytest.mark.parametrize(
    ("t", "degrees", "p"),  # from any table of Student's t
    [(12.706, 1, 0.05), (4.303, 2, 0.05), (2.776, 4, 0.05), (2.228, 10, 0.05), (3.169, 10, 0.01)],
)
def test_students_t_is_that_of_the_tables(t: float, degrees: float, p: float) -> None:
    assert two_sided(t, degrees) == pytest.approx(p, rel=1e-3)
    assert two_sided(-t, degrees) == two_sided(t, degrees)


def test_no_distance_is_certain_and_a_huge_one_impossible() -> None:
    assert two_sided(0, 3) == pytest.approx(1)
    assert two_sided(1e9, 3) == pytest.approx(0, abs=1e-6)


def test_a_sample_has_its_mean_and_the_deviation_of_count_less_one() -> None:
    assert sample([1.0, 2.0, 3.0, 6.0]) == Sample(3.0, math.sqrt(14 / 3), 4)
    assert sample([5.0]) == Sample(5.0, 0.0, 1)


def test_welchs_test_is_scipys() -> None:
    """The figures are of scipy.stats.ttest_ind(a, b, equal_var=False)."""
    a = [27.5, 21.0, 19.0, 23.6, 17.0, 17.9, 16.9, 20.1]
    b = [27.1, 22.0, 20.8, 23.4, 23.4]
    found = difference(sample(a), sample(b))
    assert found.t == pytest.approx(-1.777532, rel=1e-5)
    assert found.degrees == pytest.approx(10.929065, rel=1e-5)
    assert found.p == pytest.approx(0.103282, rel=1e-4)


def test_single_values_and_ones_that_do_not_deviate_prove_nothing() -> None:
    assert difference(Sample(1, 0, 1), Sample(2, 0, 1)).p == 1
    assert difference(Sample(1, 0.1, 1), Sample(2, 0.1, 3)).p == 1
    assert difference(Sample(1, 0, 3), Sample(2, 0, 3)).p == 1
    rounded = difference(Sample(0.3, 1e-17, 3), Sample(0.3 + 1e-16, 1e-17, 3))
    assert rounded.p == 1


def test_values_read_off_a_coarse_grid_differ_only_beyond_its_steps() -> None:
    a, b = Sample(40, 0, 3), Sample(42, 0, 3)
    assert difference(a, b, resolution=2).p > 0.01
    assert difference(a, Sample(60, 0, 3), resolution=2).p < 0.001


def test_holms_correction_multiplies_the_least_by_their_number_and_never_falls() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.9, 0.9]) == [1.0, 1.0]
    assert holm([]) == []
    assert holm([0.01, 0.02], tests=3) == pytest.approx([0.03, 0.04])


def test_the_slope_of_a_line_is_found() -> None:
    assert slope([0, 1, 5], [2, 1.5, -0.5]) == pytest.approx(-0.5)


def test_a_curve_is_read_between_its_points_and_not_outside() -> None:
    curve = [(0.0, 4.0), (2.0, 0.0), (4.0, 1.0)]
    assert reading(curve, 1.0) == pytest.approx(2.0)
    assert reading(curve, 3.0) == pytest.approx(0.5)
    assert reading(curve, 4.1) is None
    assert reading([(5.0, 1.0), (3.0, 2.0), (4.0, 9.0)], 3.5) == pytest.approx(1.75)


def test_the_knee_of_a_curve_made_with_one_is_found() -> None:
    sizes = [16, 64, 256, 1024, 4096]
    found = knee(sizes, [50 * (1 + 300 / b) for b in sizes])
    assert found
    floor, bend = found
    assert floor == pytest.approx(50, rel=0.01)
    assert bend == pytest.approx(300, rel=0.01)


@pytest.mark.parametrize(
    "updates",
    [[1000, 250, 62.5], [80, 80, 80], [0, 5, 9], [900, 200]],
    ids=["halving throughout", "no fewer", "none", "two sizes"],
)
def test_there_is_no_knee_where_none_lies_among_the_sizes(updates: list[float]) -> None:
    assert knee([16, 64, 256][: len(updates)], updates) is None


def test_the_median_is_the_middle() -> None:
    assert median([3, 1, 2]) == 2
    assert median([4, 1, 2, 3]) == 2.5
