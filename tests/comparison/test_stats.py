"""The statistics of comparisons, against published values and by hand."""

import math

import pytest
from scipy.stats import ttest_ind

from mnist_cli.comparison.stats import (
    MeanAndDeviation,
    fit_critical_batch_size,
    holm,
    interpolate,
    mean_and_deviation,
    welch_test,
)


def test_a_sample_has_its_mean_and_the_deviation_of_count_less_one() -> None:
    assert mean_and_deviation([1.0, 2.0, 3.0, 6.0]) == MeanAndDeviation(3.0, math.sqrt(14 / 3), 4)
    assert mean_and_deviation([5.0]) == MeanAndDeviation(5.0, 0.0, 1)


def test_welchs_test_is_scipys() -> None:
    a = [27.5, 21.0, 19.0, 23.6, 17.0, 17.9, 16.9, 20.1]
    b = [27.1, 22.0, 20.8, 23.4, 23.4]
    expected = ttest_ind(a, b, equal_var=False).pvalue
    assert welch_test(mean_and_deviation(a), mean_and_deviation(b)) == pytest.approx(
        expected, rel=1e-9
    )
    assert welch_test(mean_and_deviation(b), mean_and_deviation(a)) == pytest.approx(
        0.103282, rel=1e-4
    )


def test_nothing_can_be_said_of_single_values_and_ones_that_do_not_vary() -> None:
    assert welch_test(MeanAndDeviation(1, 0, 1), MeanAndDeviation(2, 0, 1)) is None
    assert welch_test(MeanAndDeviation(1, 0.1, 1), MeanAndDeviation(2, 0.1, 3)) is None
    assert welch_test(MeanAndDeviation(1, 0, 3), MeanAndDeviation(2, 0, 3)) is None
    same = [MeanAndDeviation(mean, 1e-17, 3) for mean in (0.3, 0.3 + 1e-16)]
    assert welch_test(*same) is None


def test_values_read_off_a_coarse_grid_differ_only_beyond_its_steps() -> None:
    a = MeanAndDeviation(40, 0, 3)
    assert (welch_test(a, MeanAndDeviation(42, 0, 3), resolution=2) or 0) > 0.01
    assert (welch_test(a, MeanAndDeviation(60, 0, 3), resolution=2) or 1) < 0.001


def test_holms_correction_multiplies_the_least_by_their_number_and_never_falls() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.9, 0.9]) == [1.0, 1.0]
    assert holm([]) == []
    assert holm([0.01, 0.02], tests=3) == pytest.approx([0.03, 0.04])


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
