"""The answers to the experiments' questions: a sentence for each outcome."""

from dataclasses import replace
from typing import Any

import pytest

from mnist_cli.comparison.events import CompareStart, RunEnd, Tuned
from mnist_cli.comparison.findings import (
    Conclusions,
    CriticalBatchSize,
    Finding,
    LearningRates,
    Ranking,
    Sharpness,
    rank,
)
from mnist_cli.comparison.results import Results, RunMeasurements
from mnist_cli.comparison.stats import MeanAndDeviation
from mnist_cli.comparison.variants import Variant
from mnist_cli.output.compare_answers import answer

VARY = {
    "shuffling": "shuffle=on,off sort-by-class=off,on",
    "last-batch": "last-batch=keep,drop",
    "warm-up": "warm-up=0,9",
    "accumulation": "micro-batch-size=64,512",
    "growing-batch": "schedule=constant,step batch-schedule=off,64:1024",
    "momentum": "momentum=0,0.9",
    "generalisation": "weight-decay=0,0.01",
}


def measured(variant: Variant) -> RunMeasurements:
    """Return a run of which nothing but the variant matters."""
    values = (0.0, "a", variant.batch_size, 0, 0.1, "completed", 2, 100, 1.0)
    end = RunEnd(*values, 0.5, 0.9, 0.5, 0.9, 0, 0, None, None)
    return RunMeasurements(variant, [], [], [], [], [], end)


def answered(preset: str, *findings: Finding, results: Results | None = None) -> str | None:
    found = results or Results()
    config: dict[str, Any] = {"lr_rule": "linear", "vary": VARY.get(preset)}
    found.start = CompareStart(0.0, "1", 60000, 0, 10000, 1, 1, 1, "", "", config)
    found.conclusions = Conclusions(0.0, [*findings])
    text = answer(preset, found)
    return text and text.text


def accuracies(small: tuple[float, ...], large: tuple[float, ...]) -> Ranking:
    values = {Variant(64): [*small], Variant(1024): [*large]}
    return rank("test accuracy", values, higher=True, resolution=1e-4)


@pytest.mark.parametrize(
    ("large", "begins"),
    [
        ((0.969, 0.971), "Yes, in this range: 97.10 % with batches of 64 and 97.00 %"),
        ((0.975, 0.955), "2 seeds cannot tell: 97.10 % with batches of 64 and 96.50 %"),
        ((0.60, 0.603), "Only so far: 97.10 % with batches of 64 and 60.15 %"),
        ((0.20, 0.40), "2 seeds cannot tell: 97.10 % with batches of 64 and 30.00 %"),
        ((0.60,), "1 seed cannot tell: 97.00 % with batches of 64 and 60.00 %"),
    ],
)
def test_the_rate_grows_with_the_batch_only_as_far_as_the_accuracy_lasts(
    large: tuple[float, ...], begins: str
) -> None:
    text = answered("linear-scaling", accuracies((0.970, 0.972)[: len(large)], large))
    assert text is not None
    assert text.startswith(begins)


@pytest.mark.parametrize(
    ("gap", "begins"),
    [
        ((0.006, 0.007, 0.005), "Yes: 89.00 % in batch mode and 89.60 ± 0.10 % with batches of 64"),
        ((-0.006, -0.007, -0.005), "No: 89.00 % in batch mode and 88.40"),
        ((0.006, -0.007, 0.005), "3 seeds cannot tell: 89.00 % in batch mode and 89.13"),
    ],
)
def test_noise_finds_better_optima_if_mini_batches_are_ahead(
    gap: tuple[float, ...], begins: str
) -> None:
    values = {Variant(64): [0.89 + each for each in gap], Variant("full"): [0.89] * 3}
    text = answered("claim-local-optimum", rank("equal training loss", values, higher=True))
    assert text is not None
    assert text.startswith(begins)
    assert " points; 95 %: " in text


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
    found = [
        LearningRates(
            Variant(size),
            Tuned(0.0, size, 0, 0.1, [], 0.0, stable and 0.01, stable, False),
            is_used=True,
            has_range=True,
        )
        for size, stable in ((16, small), (1024, large))
    ]
    text = answered("claim-small-batch-unstable", *found)
    assert text is not None
    assert text.endswith(ends)
    assert text.startswith("Yes" if small is None else "No, at a rate that fits")
    found = [replace(each, has_range=False) for each in found]
    assert answered("claim-small-batch-unstable", *found) is None


@pytest.mark.parametrize(
    ("end", "near", "begins"),
    [
        (
            97.0,
            3,
            "Yes: in batch mode 3 of 33 probes are within 15 % of the edge of stability, 100;",
        ),
        (70.0, 15, "For a while: in batch mode 15 of 33 probes are within 15 % of the edge"),
        (70.0, 2, "No, not within this budget: in batch mode 2 of 33 probes are within 15 %"),
    ],
)
def test_the_edge_of_stability_is_reached_at_the_end_for_a_while_or_not(
    end: float, near: int, begins: str
) -> None:
    last = MeanAndDeviation(end, 1.0, 3)
    text = answered(
        "edge-of-stability", Sharpness(Variant("full"), last, 1000, 100.0, near, 33, 0.0)
    )
    assert text is not None
    assert text.startswith(begins)
    assert text.endswith(f"at the end the sharpness is {end:.0f}.")


def test_the_updates_to_the_target_are_a_sentence() -> None:
    values = {Variant(16): [905.0], Variant(1024): [20.0]}
    ranking = rank("updates", values, higher=False)
    text = answered("steps-to-target", ranking, CriticalBatchSize(10.0, 300.0))
    assert text == (
        "In proportion well below batches of 300, hardly any beyond: the target took 905 updates "
        "with batches of 16 and 20 updates with batches of 1,024."
    )


def test_the_cost_of_single_samples_is_told_in_samples_and_seconds() -> None:
    values = {Variant(1): [9000.0, 9900.0], Variant(64): [9000.0, 9900.0]}
    seconds = {Variant(1): [10.0, 12.0], Variant(64): [1.0, 1.2]}
    samples = rank("samples", values, higher=False)
    assert answered("stochastic", samples, rank("seconds", seconds, higher=False)) == (
        "The target took 9,450 samples with batches of 1 and 9,450 samples with batches of 64 (a "
        "factor of 1.00; 95 %: 1.00 to 1.00, p = 1, if it is real, 100 seeds would hardly tell); "
        "11.00 s with batches of 1 and 1.10 s with batches of 64 (a factor of 10.00; 95 %: 10.00 "
        "to 10.00, p < 0.001)."
    )


@pytest.mark.parametrize(
    ("by_seed", "text"),
    [
        (
            [220.0, 400.0, 300.0],
            "Yes: the critical batch size is 100 with momentum 0 and 300 with momentum 0.9; by "
            "seed a factor of 2.99 (95 %: 2.58 to 3.47).",
        ),
        ([50.0, 60.0, 40.0], "No: the critical batch size is 100 with momentum 0 and 300"),
        ([20.0, 400.0, 300.0], "3 seeds cannot tell: the critical batch size is 100 with"),
        ([220.0, 400.0], "3 seeds cannot tell: the critical batch size is 100 with momentum 0"),
    ],
)
def test_the_critical_batch_sizes_of_two_settings_are_compared_by_seed(
    by_seed: list[float], text: str
) -> None:
    first = CriticalBatchSize(60.0, 100.0, [75.0, 125.0, 105.0], 3, setting="momentum 0")
    second = CriticalBatchSize(30.0, 300.0, by_seed, 3, setting="momentum 0.9")
    found = answered("momentum", first, second)
    assert found is not None
    assert found.startswith(text)


@pytest.mark.parametrize(
    ("gap", "begins"),
    [
        ((0.0, 0.001, -0.001), "Not that it could be seen: batches of 16 and batch mode end at "),
        (
            (0.010, 0.011, 0.009),
            "Yes: batches of 16 and batch mode end at 89.10 ± 0.10 % and 88.10",
        ),
        ((-0.010, -0.011, -0.009), "No: batches of 16 and batch mode end at 89.10 ± 0.10 % and"),
    ],
)
def test_the_gap_of_batch_mode_is_that_of_the_last_setting(
    gap: tuple[float, ...], begins: str
) -> None:
    none, some = "weight decay 0", "weight decay 0.01"
    values = {
        Variant(16, none): [0.891, 0.892, 0.890],
        Variant("full", none): [0.881] * 3,
        Variant(16, some): [0.90 + each for each in gap],
        Variant("full", some): [0.90] * 3,
    }
    found = Results()
    found.runs = [measured(variant) for variant in values]
    ranking = rank("test accuracy", values, higher=True, resolution=1e-4)
    text = answered("generalisation", ranking, results=found)
    assert text is not None
    assert text.startswith(begins)
    assert "with weight decay 0 (1.00 points; 95 %: " in text


def test_the_settings_that_clearly_differ_from_the_first_are_named() -> None:
    names = ("shuffle", "no shuffle", "sorted")
    on, off, by_class = (Variant(64, name, names_size=False) for name in names)
    values = {on: [0.93, 0.94, 0.935], off: [0.94, 0.93, 0.93], by_class: [0.11, 0.12, 0.11]}
    found = Results()
    found.runs = [measured(on), measured(off), measured(by_class)]
    text = answered("shuffling", rank("test accuracy", values, higher=True), results=found)
    assert text is not None
    assert text.startswith("Yes: shuffle 93.50 ± 0.50 %; clearly different from sorted 11.33")
    assert "3 seeds cannot tell it from no shuffle 93.33 ± 0.58 % (0.17 points; 95 %: " in text
    del values[by_class]
    lost = [replace(run, end=replace(run.end, reason="diverged")) for run in found.runs[2:]]
    found.runs[2:] = lost
    text = answered("shuffling", rank("test accuracy", values, higher=True), results=found)
    assert text is not None
    assert text.startswith("Yes: ")
    assert text.endswith("; sorted diverged with 1 of 1 seed.")
    found.runs[2:] = [measured(by_class)]
    values[by_class] = [0.94, 0.92, 0.95]
    text = answered("shuffling", rank("test accuracy", values, higher=True), results=found)
    assert text is not None
    assert text.startswith("Not that it could be seen: shuffle 93.50")


def test_accumulated_runs_are_the_same_up_to_rounding() -> None:
    whole, pieces = Variant(512, "at once", names_size=False), Variant(512, "8", names_size=False)
    found = Results()
    runs = [measured(whole), measured(pieces)]
    ends = [
        replace(run.end, train_loss=loss, weights_sha256=digest)
        for run, loss, digest in zip(runs, (0.25, 0.25 + 5e-9), ("ab" * 32, "cd" * 32), strict=True)
    ]
    found.runs = [replace(run, end=end) for run, end in zip(runs, ends, strict=True)]
    text = answered("accumulation", results=found)
    assert text is not None
    assert text.startswith("Yes, up to rounding: at the end the training losses of a seed differ")
    assert "by 2e-08 of their value" in text
    assert "abababab (at once) and cdcdcdcd (8), seed 0" in text
    wrong = replace(ends[1], train_loss=0.3)
    found.runs[1] = replace(runs[1], end=wrong)
    text = answered("accumulation", results=found)
    assert text == "No: the training losses at the end differ by 20 %."


def test_a_setting_helps_where_it_is_ahead_or_does_not_diverge() -> None:
    variants = [
        Variant(size, name) for size in (64, 1024, 4096) for name in ("warm up 0", "warm up 9")
    ]
    found = Results()
    found.runs = [measured(variant) for variant in variants]
    for n in (4, 5):
        end = replace(found.runs[n].end, reason="diverged")
        found.runs[n] = replace(found.runs[n], end=end)
    values = {
        variants[0]: [0.963, 0.962, 0.964],
        variants[1]: [0.962, 0.963, 0.964],
        variants[2]: [0.958, 0.957, 0.959],
        variants[3]: [0.960, 0.959, 0.961],
        variants[5]: [0.94, 0.95, 0.93],
    }
    text = answered("warm-up", rank("test accuracy", values, higher=True), results=found)
    assert text is not None
    assert text.startswith(
        "Yes: 64: 96.30 ± 0.10 % with warm up 0 and 96.30 ± 0.10 % with warm up 9"
    )
    assert "; 1024: 95.80 ± 0.10 % with warm up 0 and 96.00 ± 0.10 % with warm up 9 (0.20" in text
    assert text.endswith(
        "; 4096: 94.00 ± 1.00 % with warm up 9 and warm up 0 diverged with 1 of 1 seed."
    )
    del values[variants[5]]
    values[variants[3]] = values[variants[2]]
    text = answered("warm-up", rank("test accuracy", values, higher=True), results=found)
    assert text is not None
    assert text.startswith("Not that it could be seen")
    assert text.endswith(
        "; 4096: warm up 0 diverged with 1 of 1 seed and warm up 9 diverged with 1 of 1 seed."
    )


@pytest.mark.parametrize(
    ("growing", "begins"),
    [
        (
            (0.9705, 0.9702, 0.9713),
            "Yes, to within 0.2 points: 97.07 ± 0.06 % with a growing batch and 97.00 ± 0.10 %",
        ),
        ((0.9900, 0.9890, 0.9912), "Yes: 99.01 ± 0.11 % with a growing batch and 97.00 ± 0.10 %"),
        ((0.9600, 0.9590, 0.9612), "No: 96.01 ± 0.11 % with a growing batch and 97.00 ± 0.10 %"),
        ((0.9600, 0.9800, 0.9700), "3 seeds cannot tell: 97.00 ± 1.00 % with a growing batch"),
    ],
)
def test_a_growing_batch_replaces_a_falling_rate_if_no_difference_that_counts_is_possible(
    growing: tuple[float, ...], begins: str
) -> None:
    names = [
        f"schedule {schedule}, batch schedule {batch}"
        for schedule in ("constant", "step")
        for batch in ("off", "64:1024")
    ]
    constant, grown, falling, both = (Variant(64, name, names_size=False) for name in names)
    found = Results()
    found.runs = [measured(variant) for variant in (constant, grown, falling, both)]
    found.runs[2] = replace(found.runs[2], end=replace(found.runs[2].end, update=5))
    values = {
        constant: [0.960, 0.9591, 0.9612],
        grown: [*growing],
        falling: [0.970, 0.969, 0.971],
        both: [0.95, 0.951, 0.949],
    }
    text = answered("growing-batch", rank("test accuracy", values, higher=True), results=found)
    assert text is not None
    assert text.startswith(begins)
    assert ", in 2 instead of 5 updates; with neither 96.01 ± 0.11 %, " in text
    if growing[0] == 0.96:
        assert "%, not to be told from the growing batch (" in text
    assert text.rpartition(" and ")[2].startswith("clearly behind the falling rate (0.99 points;")
    lost = [replace(run, end=replace(run.end, reason="diverged")) for run in found.runs[:1]]
    found.runs[:1] = lost
    del values[constant]
    text = answered("growing-batch", rank("test accuracy", values, higher=True), results=found)
    assert text == f"1 seed cannot tell: {names[0]} diverged with 1 of 1 seed."
    found.runs = found.runs[1:]
    ranking = rank("test accuracy", values, higher=True)
    assert answered("growing-batch", ranking, results=found) is None


def test_the_last_batch_matters_if_the_losses_differ() -> None:
    keep, drop = (Variant(333, name, names_size=False) for name in ("last batch keep", "drop"))
    found = Results()
    found.runs = [measured(keep), measured(drop)]
    values = {keep: [0.3, 0.9, 0.4], drop: [0.04, 0.041, 0.039]}
    text = answered("last-batch", rank("equal samples", values, higher=False), results=found)
    assert text is not None
    assert text.startswith("Yes: last batch keep a training loss of 0.5333 ± 0.3215; clearly")
    assert "drop a training loss of 0.0400 ± 0.0010 (a factor of " in text


def test_other_varied_options_or_sizes_than_those_of_the_preset_are_no_answer() -> None:
    variants = [Variant(size, "shuffle") for size in (64, 1024)]
    found = Results()
    found.runs = [measured(variant) for variant in variants]
    values = {variants[0]: [0.93, 0.94], variants[1]: [0.5, 0.51]}
    ranking = rank("test accuracy", values, higher=True)
    assert answered("shuffling", ranking, results=found) is None
    assert answered("replacement", ranking, results=found) is None  # nothing is varied
