"""The conclusions of a comparison in sentences: what is clear, what is not, and what would tell."""

import pytest

from mnist_cli.comparison.findings import Ranking, rank
from mnist_cli.comparison.variants import Variant
from mnist_cli.output.compare_findings import sentence

SMALL, FULL = Variant(64), Variant("full")


def accuracies(small: list[float], full: list[float]) -> Ranking:
    return rank("test accuracy", {SMALL: small, FULL: full}, higher=True, resolution=1e-4)


def test_what_chance_could_have_made_is_not_called_equal() -> None:
    found = accuracies([0.935, 0.936, 0.934], [0.884, 0.910, 0.858])
    text = sentence(found).text
    assert "3 seeds cannot tell (batches of 64 93.50 ± 0.10 %, batch mode 88.40 ± 2.60 %)" in text
    # Differences of 5.1, 2.6 and 7.6 points: t = 3.533 with 2 degrees of freedom.
    assert (
        "They differ by 5.10 points; 95 %: -1.11 to 11.31, p = 0.072, if it is real, about 5 seeds"
        in text
    )


def test_accuracies_that_do_not_vary_differ() -> None:
    text = sentence(accuracies([0.9] * 3, [0.8] * 3)).text
    assert "Clearly ahead of batch mode (10.00 points; 95 %: 9.99 to 10.01, p < 0.001)." in text
    assert "cannot tell" in sentence(accuracies([0.9] * 3, [0.9] * 3)).text


def test_what_all_seeds_share_is_not_in_the_way_of_the_difference() -> None:
    luck = [0.0, 0.03, -0.03, 0.02]
    found = accuracies([0.90 + x for x in luck], [0.89 + 0.9 * x for x in luck])
    assert "Clearly ahead" in sentence(found).text


def test_costs_are_ordered_and_compared_by_their_logarithms() -> None:
    found = rank("updates", {SMALL: [100, 400], FULL: [240, 240]}, higher=False)
    assert [each.variant for each in found.ranked] == [SMALL, FULL]  # 200, 240; means 250, 240
    assert "They differ by a factor of 1.20; 95 %: " in sentence(found).text
    assert "in the order of their geometric means)." in sentence(found).text
    clear = rank("updates", {SMALL: [100, 104, 96], FULL: [200, 210, 190]}, higher=False)
    expected = "Clearly ahead of batch mode (a factor of 2.00; 95 %: 1.95 to 2.05"
    assert expected in sentence(clear).text


def test_one_seed_is_not_tested() -> None:
    text = sentence(accuracies([0.9], [0.8])).text
    assert text.endswith("(one seed, no test): batches of 64 90.00 %, batch mode 80.00 %.")


@pytest.mark.parametrize(
    ("variant", "label", "phrase"),
    [
        (Variant(1024), "1024", "batches of 1,024"),
        (Variant("full"), "full", "batch mode"),
        (Variant(64, "momentum 0.9"), "64, momentum 0.9", "batches of 64, momentum 0.9"),
        (Variant("full", "no shuffle", names_size=False), "no shuffle", "no shuffle"),
    ],
)
def test_a_variant_is_named_by_what_it_differs_in(
    variant: Variant, label: str, phrase: str
) -> None:
    assert (variant.label, variant.phrase) == (label, phrase)
