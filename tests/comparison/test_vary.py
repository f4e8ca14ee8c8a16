"""`mnist-compare --vary`: the values of any option beside the batch sizes."""

import math
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from mnist_cli.comparison.compare import compare
from mnist_cli.comparison.events import RunEnd, RunProgress, RunStart, Summary
from mnist_cli.comparison.findings import Sharpness
from mnist_cli.comparison.results import Results
from mnist_cli.config.compare import VARIED, CompareConfig, resolve, settings_of
from mnist_cli.config.train import TrainConfig
from mnist_cli.errors import TerminatedRunError, UsageError
from mnist_cli.events import End
from mnist_cli.output.compare_table import table
from mnist_cli.output.html.compare import render
from mnist_cli.training.train import train
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


def _trained(config: CompareConfig, **options: Any) -> RunEnd:
    [end] = of(RunEnd, run(replace(config, **options)))
    return cast("RunEnd", end)


# Each option that has an effect on the result, with values that all differ in it.
VALUES: dict[str, list[Any]] = {
    "model": ["linear", "mlp"],
    "optimizer": ["sgd", "adamw"],
    "lr": [0.02, 0.05],
    "momentum": [0.0, 0.9],
    "weight_decay": [0.0, 0.1],
    "schedule": ["constant", "one-cycle", "cosine", "step"],
    "warm_up": [0, 3],
    "batch_schedule": ["off", "30:60"],
    "shuffle": [True, False],
    "order_seed": [0, 7],
    "replacement": [False, True],
    "last_batch": ["keep", "drop", "scale"],
    "sort_by_class": [False, True],
    "subset": [100, 340],
    "members": [1, 2],
    "ema": [0.0, 0.9],
    "label_smoothing": [0.0, 0.1],
    "augment": ["none", "shift", "affine", "elastic"],
    "augment_strength": [0.5, 2.0],
    "precision": ["float32", "bfloat16"],
}


@pytest.mark.parametrize("option", VALUES)
def test_the_values_of_any_option_are_trained_as_each_by_itself(
    option: str, asked: CompareConfig
) -> None:
    values = VALUES[option]
    base = {"augment": "affine"} if option == "augment_strength" else {}
    size = 70 if option == "last_batch" else 30
    config = replace(asked, batch_sizes=str(size), seeds=1, epochs=1 + (len(values) == 2), **base)
    vary = f"{option.replace('_', '-')}={','.join(map(str, values))}"
    results = Results()
    list(compare(replace(config, vary=vary, output=f"{asked.output}-varied"), results))
    digests = [end.weights_sha256 for end in results.ends]
    assert len({*digests}) == len({end.arm for end in results.ends}) == len(values)
    assert results.start.values_of(option) == values
    for value, end in zip(values, results.ends, strict=True):
        alone = _trained(config, **{option: value})
        assert (end.weights_sha256, end.arm) == (alone.weights_sha256, alone.arm)


def test_every_option_that_can_be_varied_is_tried() -> None:
    """Micro-batches change rounding at most, and a checkpoint has its own tests."""
    assert {*VALUES} == {*VARIED} - {"micro_batch_size", "init"}


@pytest.mark.parametrize(
    "options",
    [
        {"members": 2},
        {"ema": 0.9},
        {"label_smoothing": 0.1},
        {"augment": "elastic", "augment_strength": 0.5},
        {"augment": "affine"},
        {"augment": "shift", "precision": "bfloat16", "subset": 310},
    ],
)
def test_a_run_is_the_training_with_its_options(
    options: dict[str, Any], asked: CompareConfig, tmp_path: Path
) -> None:
    plain = {"label_smoothing": 0.0, "augment": "none", **options}
    trained = TrainConfig(
        batch_size=30,
        model=asked.model,
        optimizer="sgd",
        lr=asked.lr,
        momentum=0.0,
        weight_decay=0.0,
        schedule="constant",
        epochs=asked.epochs or 0,
        dataset=asked.dataset,
        data_dir=asked.data_dir,
        output=str(tmp_path / "c.pt"),
        **{"subset": asked.subset, **plain},
    )
    *_, end = train(trained)
    assert isinstance(end, End)
    config = replace(asked, batch_sizes="30", seeds=1)
    assert _trained(config, **options).weights_sha256 == end.weights_sha256


@pytest.mark.parametrize("options", [{"ema": 0.9}, {"members": 2}, {"augment": "affine"}])
def test_an_interrupted_run_with_any_option_goes_on_with_the_same_result(
    options: dict[str, Any], asked: CompareConfig
) -> None:
    config = replace(asked, batch_sizes="30", seeds=1, **options)
    whole = _trained(config, output=f"{asked.output}-whole")
    with pytest.raises(TerminatedRunError):
        for event in compare(config):
            if isinstance(event, RunProgress) and event.update == 11:
                signal.raise_signal(signal.SIGTERM)
    assert [*Path(asked.output).glob("*.part.pt")]
    assert _trained(config).weights_sha256 == whole.weights_sha256


def test_a_checkpoint_is_compared_with_random_weights_on_its_samples(
    asked: CompareConfig, trained: Path
) -> None:
    config = replace(asked, batch_sizes="30", subset=500)
    vary = f"init=random,{trained}"
    results = Results()
    list(compare(replace(config, vary=vary, output=f"{asked.output}-varied"), results))
    assert [run.variant.setting for run in results.runs] == [
        "init random",
        "init checkpoint.pt",
    ] * 2
    begun = [run.points[0].train_loss for run in results.runs]
    assert begun[1] == begun[3], "all begin with the weights of the checkpoint"
    assert begun[0] == begun[2] == pytest.approx(math.log(10)), "linear begins from zero"
    alone = of(RunEnd, run(replace(config, init=str(trained))))
    ends = [end.weights_sha256 for end in results.ends]
    assert [end.weights_sha256 for end in alone] == ends[1::2]


def test_an_ensemble_can_begin_an_ensemble_only(asked: CompareConfig, tmp_path: Path) -> None:
    few = replace(asked, batch_sizes="30", seeds=1)
    ensemble = TrainConfig(
        model=asked.model,
        members=2,
        subset=100,
        epochs=1,
        dataset=asked.dataset,
        data_dir=asked.data_dir,
        output=str(tmp_path / "two.pt"),
    )
    list(train(ensemble))
    with pytest.raises(UsageError, match="--members 1 differs from the 2 of --init"):
        run(replace(few, init=ensemble.output))
    assert of(RunEnd, run(replace(few, init=ensemble.output, members=2)))


def test_each_size_of_the_training_set_holds_the_same_samples_out() -> None:
    config = CompareConfig(vary="subset=500,2000,auto", lr_rule="tuned")
    assert [each.val_size for _, each in settings_of(config)] == [100, 100, 100]
    config = CompareConfig(vary="subset=500,2000", val_size=300)
    assert [each.val_size for _, each in settings_of(config)] == [300, 300]
    assert [each for each, _ in settings_of(CompareConfig(vary="subset=500,auto"))] == [
        *("subset 500", "subset all")
    ]


def test_batch_mode_has_an_update_of_each_training_set(asked: CompareConfig) -> None:
    results = Results()
    list(compare(replace(asked, batch_sizes="full", seeds=1, vary="subset=100,300"), results))
    assert [results.update_size(variant) for variant in results.variants] == [100, 300]
    assert [end.samples_seen for end in results.ends] == [200, 600]
    assert "up to 300 samples to train on" in render(results)


def test_a_strength_is_that_of_the_augmentations_that_have_one() -> None:
    config = CompareConfig(vary="augment=none,affine", augment_strength=0.5)
    assert [each.augment_strength for _, each in settings_of(config)] == [None, 0.5]
    config = CompareConfig(vary="augment=shift,elastic", model="nano")
    assert [each.augment_strength for _, each in settings_of(config)] == [None, 0.2]


def test_files_are_named_without_their_folders_if_that_tells_them_apart() -> None:
    config = CompareConfig(vary="init=a/one.pt,b/two.pt,random")
    assert [name for name, _ in settings_of(config)] == [
        *("init one.pt", "init two.pt", "init random")
    ]
    config = CompareConfig(vary="init=a/one.pt,b/one.pt")
    assert [name for name, _ in settings_of(config)] == ["init a/one.pt", "init b/one.pt"]


def test_numbers_that_differ_little_are_told_apart() -> None:
    config = CompareConfig(vary="lr=0.1234567,0.1234568,0.1")
    assert [name for name, _ in settings_of(config)] == [
        *("lr 0.1234567", "lr 0.1234568", "lr 0.1")
    ]


def test_the_page_tells_what_was_trained(asked: CompareConfig, tmp_path: Path) -> None:
    """The momentum of each optimizer is its default; two networks of one name have their files."""
    one, two = tmp_path / "one.py", tmp_path / "two.py"
    text = "from torch import nn\ndef Net():\n    "
    text += "return nn.Sequential(nn.Flatten(), nn.Linear(784, 10, bias={}))\n"
    one.write_text(text.format("True"))
    two.write_text(text.format("False"))
    results = Results()
    config = replace(asked, batch_sizes="100", seeds=1, epochs=1)
    vary = f"model={one}:Net,{two}:Net optimizer=sgd,adamw label-smoothing=0,0.1"
    list(compare(replace(config, vary=vary), results))
    page = render(results)
    for fact in (
        "<li>one.py:Net or two.py:Net</li>",
        "<li>sgd or adamw, momentum 0 or 0.9, constant learning rate, rule: fixed</li>",
        "<li>label smoothing 0 or 0.1</li>",
    ):
        assert fact in page
    assert results.variants[0].setting == "model one.py:Net, optimizer sgd, label smoothing 0"


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
        ("augment-strength=0.5,2", "--augment-strength 0.5 changes only --augment affine"),
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
        CompareConfig(vary="init=a.pt,b.pt", init="c.pt"),
        CompareConfig(vary="init=a.pt,b.pt model=linear,mlp"),
        CompareConfig(vary="members=1,2", init="c.pt"),
        CompareConfig(vary="members=1,2", probe="noise"),
    ],
)
def test_what_contradicts_the_values_is_told(config: CompareConfig) -> None:
    with pytest.raises(UsageError, match="contradicts"):
        resolve(config)
