"""The search for learning rates, and the rules that scale them."""

import math
from collections.abc import Callable
from dataclasses import replace

import pytest

from mnist_cli.comparison.events import CompareEnd, RunEnd, Tuned
from mnist_cli.comparison.lr_search import STABLE_LOSS, Search, nearest_index, rate_at
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
    assert all(t.stable and t.train_loss <= STABLE_LOSS for t in inside)
    tried = {trial.lr: trial for trial in tuned.tried}
    assert not tried[rate_at(nearest_index(tuned.stable_from) - 1)].stable
    assert not tried[rate_at(nearest_index(tuned.stable_to) + 1)].stable


def test_the_grid_has_three_rates_a_decade() -> None:
    assert [rate_at(place) for place in range(-4, 4)] == [0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10]
    assert all(nearest_index(rate_at(place)) == place for place in range(-18, 9))
    assert rate_at(nearest_index(0.03)) == 0.02
    assert rate_at(nearest_index(0.04)) == 0.05


def climb(loss: Callable[[float], float], start: float, asked: CompareConfig) -> tuple[float, int]:
    """Return the rate that a search finds on a made-up curve, and how many it tried."""
    search = Search(plan_run(resolve(asked), Variant(30), 0, start, samples=300, purpose="trial"))
    while (trial := search.next_trial()) is not None:
        value = loss(trial.config.lr)
        diverged = math.isinf(value)
        results = (None,) * 4 if diverged else (value, 0.5, value, 0.5)
        end = RunEnd(
            *(0.0, "x", 30, 0, trial.config.lr),
            *("diverged" if diverged else "completed", 1, 1, 1.0),
            *(*results, 0, 0, None, None, results[0], results[1]),
        )
        search.add(end)
    return search.result().lr, len(search.ends)


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
