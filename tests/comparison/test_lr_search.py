"""The search for learning rates, and the rules that scale them."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from mnist_cli.comparison.events import CompareEnd, RunEnd, Tuned
from mnist_cli.comparison.lr_search import Search, nearest_index, rate_at, stable_loss
from mnist_cli.comparison.run import learning_rate_of, plan_run
from mnist_cli.comparison.variants import Variant
from mnist_cli.config.compare import CompareConfig, resolve
from tests.helpers.comparisons import of, run


def test_the_tuned_rate_is_better_on_held_out_samples_than_its_neighbours_which_were_tried(
    asked: CompareConfig,
) -> None:
    events = run(replace(asked, lr_rule="tuned", val_size=300, seeds=1, batch_sizes="30,full"))
    for tuned in of(Tuned, events):
        tried = {trial.lr: trial for trial in tuned.tried}
        place = nearest_index(tuned.lr)
        best = tried[tuned.lr].val_loss
        for neighbour in (rate_at(place - 1), rate_at(place + 1)):
            assert best <= tried[neighbour].val_loss
        assert tuned.train_seconds == pytest.approx(sum(t.train_seconds for t in tuned.tried))
        (end,) = [e for e in of(RunEnd, events) if e.batch_size == tuned.batch_size][-1:]
        assert end.lr == tuned.lr
    assert of(CompareEnd, events)[0].tuning_seconds > 0


def test_the_stable_range_ends_where_the_next_rate_does_not_train(
    asked: CompareConfig,
) -> None:
    (tuned,) = of(
        Tuned, run(replace(asked, lr_range=True, val_size=300, seeds=1, batch_sizes="30"))
    )
    inside = [t for t in tuned.tried if tuned.stable_from <= t.lr <= tuned.stable_to]
    assert len(inside) >= 2
    assert all(t.stable and t.train_loss <= stable_loss(10) for t in inside)
    tried = {trial.lr: trial for trial in tuned.tried}
    assert not tried[rate_at(nearest_index(tuned.stable_from) - 2)].stable
    assert not tried[rate_at(nearest_index(tuned.stable_to) + 2)].stable


def test_the_grid_has_six_rates_a_decade_of_which_every_other_is_coarse() -> None:
    assert [rate_at(place) for place in range(-8, 2)] == [
        *(0.05, 0.07, 0.1, 0.15, 0.2, 0.3, 0.5, 0.7, 1, 1.5)
    ]
    assert all(nearest_index(rate_at(place)) == place for place in range(-36, 19))
    assert rate_at(nearest_index(0.03, 2)) == 0.02
    assert rate_at(nearest_index(0.04, 2)) == 0.05


def climb(loss: Callable[[float], float], start: float, asked: CompareConfig) -> tuple[float, int]:
    """Return the rate that a search finds on a made-up curve, and how many it tried."""
    tuned = search(lambda lr, _: loss(lr), start, asked)
    return tuned.lr, len(tuned.tried)


def search(
    loss: Callable[[float, int], float],
    start: float,
    asked: CompareConfig,
    seeds: range = range(1),
    **options: Any,
) -> Tuned:
    """Return what a search finds on a made-up curve for each seed."""
    trial = plan_run(resolve(asked), Variant(30), 0, start, samples=300, purpose="trial")
    search = Search(trial, seeds, **options)
    while (trial := search.next_trial()) is not None:
        value = loss(trial.config.lr, trial.config.seed)
        diverged = math.isinf(value)
        results = (None,) * 4 if diverged else (value, 0.5, value, 0.5)
        end = RunEnd(
            *(0.0, "x", 30, trial.config.seed, trial.config.lr),
            *("diverged" if diverged else "completed", 1, 1, 1.0),
            *(*results, 0, 0, None, None, results[0], results[1]),
        )
        search.add(end)
    return search.result()


def test_the_best_is_looked_for_between_the_coarse_rates_too(asked: CompareConfig) -> None:
    tuned = search(lambda lr, _: 1 + abs(math.log(lr / 0.14)), 0.5, asked, refine=True)
    assert tuned.lr == 0.15
    assert (tuned.flat_from, tuned.flat_to) == (0.15, 0.15)
    flat = search(lambda lr, _: 1 + 0.1 * math.log(lr / 0.14) ** 2, 0.5, asked, refine=True)
    assert (flat.flat_from, flat.flat_to) == (0.07, 0.2)  # 1.05 and 1.01; 0.05 costs 1.11


def test_what_is_best_on_average_over_the_seeds_wins(asked: CompareConfig) -> None:
    # Seed 0 alone would choose 0.2; with 1 and 2, for which it diverges, 0.15 is the best.
    def loss(lr: float, seed: int) -> float:
        return math.inf if seed and lr > 0.16 else 1 + abs(math.log(lr / 0.2))

    assert search(loss, 0.2, asked, refine=True).lr == 0.2
    tuned = search(loss, 0.2, asked, range(3), refine=True)
    assert (tuned.lr, tuned.seeds) == (0.15, 3)
    assert len(tuned.tried) == 3 + 2 + 2 * 3  # the climb, the rates between, and the other seeds
    assert {trial.lr for trial in tuned.tried if trial.seed} == {0.15, 0.2, 0.3}


@pytest.mark.parametrize("start", [1e-5, 0.01, 0.2, 50])
def test_the_search_climbs_to_the_best_from_anywhere(start: float, asked: CompareConfig) -> None:
    found, tried = climb(lambda lr: abs(math.log(lr / 0.2)), start, asked)
    assert found == 0.2
    assert tried <= abs(nearest_index(start) - nearest_index(0.2)) + 3


@pytest.mark.parametrize("start", [0.05, 50])
def test_the_search_comes_away_from_where_everything_diverges(
    start: float, asked: CompareConfig
) -> None:
    found, _ = climb(lambda lr: math.inf if lr > 0.1 else 1 - lr, start, asked)
    assert found == 0.1


@pytest.mark.parametrize(
    ("rule", "ratio"), [("fixed", 1), ("sqrt", 4), ("linear", 16), ("tuned", 4)]
)
def test_the_rules_scale_the_rate_by_batch_size(rule: str, ratio: float) -> None:
    config = CompareConfig(lr_rule=rule, lr=0.1)
    assert learning_rate_of(config, Variant(64), 60000) == pytest.approx(0.1)
    assert learning_rate_of(config, Variant(1024), 60000) == pytest.approx(0.1 * ratio)


def test_momentum_shortens_the_default_rate_of_sgd_and_no_rate_that_is_given() -> None:
    plain, other = (CompareConfig(momentum=momentum) for momentum in (0.0, 0.9))
    rates = [learning_rate_of(each, Variant(64), 60000) for each in (plain, other)]
    assert rates == [0.1, 0.01]  # exactly, as they are printed
    given = replace(other, lr=0.1)
    assert learning_rate_of(given, Variant(64), 60000) == pytest.approx(0.1)


def test_a_slower_rate_of_the_first_seed_may_win_over_all_seeds(asked: CompareConfig) -> None:
    config = resolve(replace(asked, epochs=None, until_accuracy=0.9, val_size=100))
    trial = plan_run(config, Variant(30), 0, 0.1, samples=300, purpose="trial")
    needed = {(0.1, 0): 100, (0.15, 0): 104, (0.1, 1): 400, (0.15, 1): 105}
    search = Search(trial, range(2), refine=True)
    while (trial := search.next_trial()) is not None:
        lr, seed = trial.config.lr, trial.config.seed
        updates, most = needed.get((lr, seed), 500), trial.end_updates
        is_reached = most is None or updates <= most
        end = RunEnd(
            *(0.0, "x", 30, seed, lr, "until-accuracy" if is_reached else "gave-up"),
            *(updates if is_reached else most, 1, 1.0, 0.5, 0.9, 0.5, 0.9, 0, 0, None, None),
            val_accuracy=0.9 if is_reached else 0.8,
        )
        search.add(end)
    tuned = search.result()
    assert (tuned.lr, tuned.flat_from, tuned.flat_to) == (0.15, 0.1, 0.15)
