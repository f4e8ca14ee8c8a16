"""`mnist-compare --vary`: the values of any option beside the batch sizes."""

from dataclasses import replace

import pytest

from mnist_cli.comparison.compare import compare
from mnist_cli.comparison.events import RunEnd, RunStart, Summary
from mnist_cli.comparison.findings import Sharpness
from mnist_cli.comparison.results import Results
from mnist_cli.config.compare import CompareConfig, resolve, settings_of
from mnist_cli.errors import UsageError
from mnist_cli.output.compare_table import table
from mnist_cli.output.html.compare import render
from tests.helpers.comparisons import of, run


def test_each_value_is_trained_with_each_size_as_by_itself(asked: CompareConfig) -> None:
    sizes = replace(asked, batch_sizes="30,full", seeds=1)
    events = run(replace(sizes, vary="momentum=0,0.9", output=f"{asked.output}-varied"))
    settings = {start.arm: start.setting for start in of(RunStart, events)}
    ends = of(RunEnd, events)
    assert [(end.batch_size, settings[end.arm]) for end in ends] == [
        (size, setting) for size in (30, "full") for setting in ("momentum 0", "momentum 0.9")
    ]
    for momentum in (0.0, 0.9):
        alone = of(RunEnd, run(replace(sizes, momentum=momentum)))
        own = [end for end in ends if settings[end.arm] == f"momentum {momentum:g}"]
        assert [end.weights_sha256 for end in own] == [end.weights_sha256 for end in alone]
        assert [end.arm for end in own] == [end.arm for end in alone]  # the record serves both


def test_the_settings_are_told_everywhere(asked: CompareConfig) -> None:
    results = Results()
    config = replace(asked, batch_sizes="30", vary="shuffle=on,off", seeds=2)
    events = list(compare(config, results))
    assert [each.setting for each in of(Summary, events)] == ["shuffle", "no shuffle"]
    assert [line.split("\t")[-1] for line in table(results).splitlines()] == [
        *("setting", "shuffle", "no shuffle")
    ]
    page = render(results)
    assert "no shuffle" in page
    assert "batches of 30" not in page  # there is one size: it does not tell them apart


def test_samples_are_drawn_with_replacement(asked: CompareConfig) -> None:
    config = replace(asked, batch_sizes="30", seeds=1, vary="replacement=on,off")
    ends = of(RunEnd, run(config))
    assert [end.update for end in ends] == [20, 20]
    assert ends[0].weights_sha256 != ends[1].weights_sha256


def test_the_last_batch_is_kept_dropped_and_scaled(asked: CompareConfig) -> None:
    config = replace(asked, batch_sizes="70", seeds=1, vary="last-batch=keep,drop,scale")
    ends = of(RunEnd, run(config))
    assert [(end.update, end.samples_seen) for end in ends] == [(10, 600), (8, 560), (10, 600)]
    assert len({end.weights_sha256 for end in ends}) == 3


def test_a_warm_up_is_that_of_the_training(asked: CompareConfig) -> None:
    config = replace(asked, batch_sizes="100", seeds=1, vary="warm-up=0,3")
    cold, warm = of(RunEnd, run(config))
    alone = replace(asked, batch_sizes="100", seeds=1, warm_up=3, output=f"{asked.output}-alone")
    [again] = of(RunEnd, run(alone))
    assert warm.weights_sha256 == again.weights_sha256 != cold.weights_sha256


def test_a_growing_batch_and_a_falling_rate_are_those_of_the_training(
    asked: CompareConfig,
) -> None:
    """300 samples: 10 updates an epoch of 30, then 5 of 60."""
    config = replace(asked, batch_sizes="30", seeds=1)
    vary = "schedule=constant,step batch-schedule=off,30:60"
    ends = of(RunEnd, run(replace(config, vary=vary, output=f"{asked.output}-varied")))
    assert [(end.update, end.samples_seen) for end in ends] == [(20, 600), (15, 600)] * 2
    assert len({end.weights_sha256 for end in ends}) == 4
    assert len({end.arm for end in ends}) == 4
    alone = [
        of(RunEnd, run(replace(config, schedule=schedule, batch_schedule=batch)))[0]
        for schedule in ("constant", "step")
        for batch in ("off", "30:60")
    ]
    assert [end.weights_sha256 for end in alone] == [end.weights_sha256 for end in ends]
    assert [end.arm for end in alone] == [end.arm for end in ends]


def test_the_control_is_one_variant_twice_with_another_order(asked: CompareConfig) -> None:
    """The orders of a comparison's seeds follow its first one, as its seeds do."""
    own = {
        end.seed: end.weights_sha256 for end in of(RunEnd, run(replace(asked, batch_sizes="30")))
    }
    config = replace(asked, batch_sizes="30,full", vary="order-seed=0,10")
    events = run(replace(config, output=f"{asked.output}-varied"))
    settings = {start.arm: start.setting for start in of(RunStart, events)}
    found = {
        (end.batch_size, settings[end.arm], end.seed): end.weights_sha256
        for end in of(RunEnd, events)
    }
    for seed in (0, 1):
        assert found[30, "order seed 0", seed] == own[seed]
        assert found[30, "order seed 10", seed] != own[seed]
        # One update an epoch has no order: the initial weights are the same.
        assert found["full", "order seed 0", seed] == found["full", "order seed 10", seed]


def test_the_edge_of_stability_is_that_of_each_momentum(asked: CompareConfig) -> None:
    results = Results()
    probes = {"probe": "sharpness", "probe_samples": 20}
    config = replace(asked, vary="momentum=0,0.9", batch_sizes="100", seeds=1, epochs=1, **probes)
    list(compare(config, results))
    assert results.conclusions
    found = [f.momentum for f in results.conclusions.findings if isinstance(f, Sharpness)]
    assert found == [0.0, 0.9]


def test_networks_are_compared_each_with_its_own_start(asked: CompareConfig) -> None:
    config = replace(asked, vary="model=linear,mlp", batch_sizes="100", seeds=1, probe="alignment")
    ends = of(RunEnd, run(replace(config, epochs=1, probe_samples=20)))
    assert len({end.weights_sha256 for end in ends}) == 2


def test_values_of_several_options_are_combined() -> None:
    config = CompareConfig(vary="shuffle=on,off sort-by-class=off,on")
    found = [(setting, each.shuffle, each.sort_by_class) for setting, each in settings_of(config)]
    assert found == [
        ("shuffle, no sort by class", True, False),
        ("shuffle, sort by class", True, True),
        ("no shuffle, no sort by class", False, False),
        ("no shuffle, sort by class", False, True),
    ]


def test_an_optimizer_has_the_momentum_that_is_its_default() -> None:
    config = CompareConfig(vary="optimizer=sgd,adamw")
    assert [each.momentum for _, each in settings_of(config)] == [0.0, 0.9]


@pytest.mark.parametrize(
    ("vary", "message"),
    [
        ("x=1,2", "'x' is not one of model"),
        ("lr", "give values to compare: --vary lr=A,B"),
        ("lr=0.1", "give values to compare"),
        ("lr=0.1,0.10", "a value is repeated"),
        ("momentum=0,0.5 momentum=0,0.9", "momentum is repeated"),
        (" ", "' ' is not one of"),
        ("lr=0.1,y", "--vary lr: 'y' is not a number"),
        ("momentum=0,2", "--vary momentum: must be at most"),
        ("seeds=1,2", "'seeds' is not one of"),
        ("data-dir=/a,/b", "'data-dir' is not one of"),
    ],
)
def test_a_wrong_value_is_told_before_any_work(vary: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        resolve(CompareConfig(vary=vary))


@pytest.mark.parametrize(
    "config",
    [
        CompareConfig(vary="lr=0.1,0.2", lr_rule="tuned"),
        CompareConfig(vary="model=linear,mlp", probe="path"),
    ],
)
def test_what_contradicts_the_values_is_told(config: CompareConfig) -> None:
    with pytest.raises(UsageError, match="contradicts"):
        resolve(config)
