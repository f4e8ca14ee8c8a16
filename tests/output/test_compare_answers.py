"""The answers to the experiments' questions: a sentence for each outcome."""

from typing import Any

import pytest

from mnist_cli.comparison.events import CompareStart, Tuned
from mnist_cli.comparison.findings import Conclusions, CriticalBatchSize, Finding, Ranked, Ranking
from mnist_cli.comparison.results import Results
from mnist_cli.comparison.stats import mean_and_deviation
from mnist_cli.output.compare_answers import answer


def answered(
    preset: str, *findings: Finding, tuned: tuple[Tuned, ...] = (), lr_range: bool = True
) -> str | None:
    found = Results()
    config: dict[str, Any] = {"lr_rule": "linear", "lr_range": lr_range}
    found.start = CompareStart(0.0, "1", 60000, 0, 10000, 1, 1, 1, "", "", config)
    found.tuned = [*tuned]
    found.conclusions = Conclusions(0.0, [*findings])
    text = answer(preset, found)
    return text and text.text


def ranked(size: int, accuracies: tuple[float, ...], p: float | None = None) -> Ranked:
    return Ranked(size, mean_and_deviation([*accuracies]), p)


@pytest.mark.parametrize(
    ("accuracies", "p", "begins"),
    [
        ((0.969, 0.971), 0.8, "Yes, in this range: 97.10 % with batches of 64 and 97.00 %"),
        ((0.60, 0.61), 0.001, "Only so far: 97.10 % with batches of 64 and 60.50 %"),
        ((0.20, 0.40), 0.2, "Not certain with 2 seeds: 97.10 % with batches of 64 and 30.00 %"),
        ((0.60,), None, "Not certain with 1 seed: 97.10 % with batches of 64 and 60.00 %"),
    ],
)
def test_the_rate_grows_with_the_batch_only_as_far_as_the_accuracy_lasts(
    accuracies: tuple[float, ...], p: float | None, begins: str
) -> None:
    best, other = ranked(64, (0.970, 0.972)), ranked(1024, accuracies, p)
    text = answered("linear-scaling", Ranking("test accuracy", best, [other]))
    assert text is not None
    assert text.startswith(begins)


@pytest.mark.parametrize(
    ("small", "large", "ends"),
    [
        (0.5, 0.5, "stable at rates of up to 0.5 with batches of 16."),
        (0.02, 0.5, "up to 0.02 with batches of 16 and up to 0.5 with batches of 1,024."),
        (0.5, None, "up to 0.5 with batches of 16, but at none with batches of 1,024."),
        (None, 0.5, "Yes, within this budget: no rate trained stably with batches of 16."),
    ],
)
def test_small_batches_are_unstable_if_no_rate_fits_the_smallest(
    small: float | None, large: float | None, ends: str
) -> None:
    sizes = {16: small, 1024: large}
    tuned = tuple(
        Tuned(0.0, size, 0, 0.1, [], 0.0, stable and 0.01, stable, False)
        for size, stable in sizes.items()
    )
    text = answered("claim-small-batch-unstable", tuned=tuned)
    assert text is not None
    assert text.endswith(ends)
    assert text.startswith("Yes" if small is None else "No, at a rate that fits")
    assert answered("claim-small-batch-unstable", tuned=tuned, lr_range=False) is None


def test_the_updates_to_the_target_are_a_sentence() -> None:
    ranking = Ranking("updates", ranked(1024, (20.0,)), [ranked(16, (905.0,))])
    text = answered("steps-to-target", ranking, CriticalBatchSize(10.0, 300.0))
    assert text == (
        "In proportion well below batches of 300, hardly any beyond: the target took 905 updates "
        "with batches of 16 and 20 updates with batches of 1,024."
    )
