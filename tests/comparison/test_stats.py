"""The statistics of comparisons, against published values and by hand."""

import math

import pytest
from scipy.stats import linregress, ttest_rel

from mnist_cli.comparison.stats import (
    Difference,
    MeanAndDeviation,
    fit_critical_batch_size,
    fit_power,
    holm,
    interpolate,
    mean_and_deviation,
    paired_difference,
)


def test_a_sample_has_its_mean_and_the_deviation_of_count_less_one() -> None:
    assert mean_and_deviation([1.0, 2.0, 3.0, 6.0]) == MeanAndDeviation(3.0, math.sqrt(14 / 3), 4)
    assert mean_and_deviation([5.0]) == MeanAndDeviation(5.0, 0.0, 1)
    assert mean_and_deviation([0.8268] * 5) == MeanAndDeviation(0.8268, 0.0, 5)
    assert isinstance(mean_and_deviation([20, 20]).mean, float)  # in every table "20.0"


# Sleep gained with two drugs, hours, by ten patients (Student 1908).
FIRST = [0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0]
SECOND = [1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4]


def test_the_paired_test_is_students_and_scipys() -> None:
    found = paired_difference(SECOND, FIRST)
    expected = ttest_rel(SECOND, FIRST)
    interval = expected.confidence_interval()
    assert found.mean == pytest.approx(1.58)
    assert found.p == pytest.approx(expected.pvalue, rel=1e-12)
    assert found.p == pytest.approx(0.002833, abs=1e-6)
    assert [found.low, found.high] == pytest.approx([interval.low, interval.high], rel=1e-12)
    assert found.count == 10


def test_as_many_pairs_are_needed_as_in_the_tables_of_power() -> None:
    for effect, expected in ((0.5, 34), (0.8, 15), (1.0, 10)):  # Cohen 1988, at 0.05
        differences = [effect - math.sqrt(0.5), effect + math.sqrt(0.5)]  # std 1
        assert paired_difference(differences, [0.0, 0.0]).needed == expected
    assert paired_difference([0.9, -1.1], [0.0, 0.0]).needed is None  # an effect of 0.07
    assert paired_difference([1.0, 1.00001], [0.0, 0.0]).needed == 2  # an effect of 140,000


def test_a_single_pair_tells_nothing_and_equal_differences_tell_all() -> None:
    assert paired_difference([0.9], [0.8]) == Difference(
        pytest.approx(0.1), None, None, None, 1, None
    )
    found = paired_difference([0.9, 0.9, 0.9], [0.8, 0.8, 0.8])
    assert (found.p, found.needed) == (0.0, None)
    assert found.low == found.high == pytest.approx(0.1)
    assert paired_difference([0.3, 0.3], [0.3, 0.3 + 1e-16]).p == 1.0


def test_values_read_off_a_coarse_grid_differ_only_beyond_its_steps() -> None:
    assert (paired_difference([40] * 3, [42] * 3, resolution=2).p or 0) > 0.05
    assert (paired_difference([40] * 3, [60] * 3, resolution=2).p or 1) < 0.002


def test_holms_correction_multiplies_the_least_by_their_number_and_never_falls() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.9, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


def test_a_curve_is_read_between_its_points_and_not_outside() -> None:
    curve = [(0.0, 4.0), (2.0, 0.0), (4.0, 1.0)]
    assert interpolate(curve, 1.0) == pytest.approx(2.0)
    assert interpolate(curve, 3.0) == pytest.approx(0.5)
    assert interpolate(curve, 4.1) is None
    assert interpolate([(5.0, 1.0), (3.0, 2.0), (4.0, 9.0)], 3.5) == pytest.approx(1.75)


def test_the_critical_batch_size_of_a_curve_made_with_one_is_found() -> None:
    sizes = [16, 64, 256, 1024, 4096]
    found = fit_critical_batch_size(sizes, [50 * (1 + 300 / b) for b in sizes])
    assert found
    minimum, critical = found
    assert minimum == pytest.approx(50, rel=0.01)
    assert critical == pytest.approx(300, rel=0.01)


@pytest.mark.parametrize(
    "updates",
    [[1000, 250, 62.5], [80, 80, 80], [0, 5, 9], [900, 200]],
    ids=["halving throughout", "no fewer", "none", "two sizes"],
)
def test_there_is_no_fit_if_the_critical_batch_size_is_not_among_them(
    updates: list[float],
) -> None:
    assert fit_critical_batch_size([16, 64, 256][: len(updates)], updates) is None


def test_a_power_and_its_error_are_those_of_scipys_line_through_the_logarithms() -> None:
    sizes, rates = [16, 64, 256, 1024], [0.1, 0.15, 0.3, 0.3]
    expected = linregress([math.log(x) for x in sizes], [math.log(y) for y in rates])
    assert fit_power(sizes, rates) == pytest.approx((expected.slope, expected.stderr), rel=1e-12)
    assert fit_power([1, 4, 16, 64], [3, 6, 12, 24]) == pytest.approx((0.5, 0), abs=1e-8)
