"""The value of `--batch-schedule`: which batch sizes it stands for, and what contradicts it."""

from dataclasses import replace
from typing import Any

import pytest

from mnist_cli.config.batch_schedule import check_enough_samples, growing_sizes
from mnist_cli.config.compare import CompareConfig, resolve, settings_of
from mnist_cli.config.sources import check_consistency
from mnist_cli.config.train import TrainConfig
from mnist_cli.errors import UsageError


@pytest.mark.parametrize(
    ("schedule", "sizes"),
    [
        ("off", ()),
        ("64:1024", (64, 128, 256, 512, 1024)),
        ("1:2", (1, 2)),
        ("3:12", (3, 6, 12)),
        ("100:400", (100, 200, 400)),
    ],
)
def test_each_size_is_twice_the_one_before(schedule: str, sizes: tuple[int, ...]) -> None:
    assert growing_sizes(schedule) == sizes


@pytest.mark.parametrize(
    "schedule",
    [
        *(
            "",
            ":",
            "64",
            "64:",
            ":64",
            "64:64",
            "128:64",
            "64:192",
            "64:1000",
            "0:64",
            "-1:2",
            "010:40",
        ),
        *("64:128:256", "64:full", "64.0:128", " 64:128", "²:4", f"1:{2**63}", "ON"),
    ],
)
def test_what_does_not_double_is_told(schedule: str) -> None:
    with pytest.raises(UsageError, match="--batch-schedule .* is neither 'off' nor two batch siz"):
        check_consistency(TrainConfig(batch_schedule=schedule))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"mode": "batch"}, "--batch-schedule 64:256 contradicts --mode batch"),
        ({"batch_size": 128}, "--batch-size 128 contradicts --batch-schedule 64:256, which begins"),
        ({"epochs": 2}, "64:256 has 3 sizes, .* ask for --epochs 3"),
    ],
)
def test_what_contradicts_a_growing_batch_in_a_training(
    options: dict[str, Any], words: str
) -> None:
    check_consistency(TrainConfig(batch_schedule="64:256", batch_size=64, epochs=3))
    with pytest.raises(UsageError, match=words):
        check_consistency(TrainConfig(batch_schedule="64:256", **options))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"batch_sizes": "64,256"}, "--batch-sizes 64,256 contradicts .*: use --batch-sizes 64$"),
        ({"batch_sizes": "full"}, "--batch-sizes full contradicts"),
        ({"epochs": None, "updates": 9}, "--updates contradicts .*: use --epochs"),
        ({"epochs": None, "seconds": 9.0}, "--seconds contradicts .*: use --epochs"),
        ({"epochs": None, "until_accuracy": 0.9}, "--until-accuracy contradicts .*: use --epochs"),
        ({"epochs": 2}, "64:256 has 3 sizes"),
        ({"vary": "batch-schedule=off,64:512"}, "64:512 has 4 sizes"),
        ({"vary": "batch-schedule=off,32:64"}, "which begins with 32"),
        ({"vary": "batch-schedule=off,64:96"}, "'64:96' is neither"),
        ({"profile": True}, "--batch-schedule.*: --profile only measures speed"),
    ],
)
def test_what_contradicts_a_growing_batch_in_a_comparison(
    options: dict[str, Any], words: str
) -> None:
    config = CompareConfig(batch_schedule="64:256", batch_sizes="64", epochs=3)
    assert resolve(replace(config, epochs=None)).epochs == 3  # the default is enough for three
    with pytest.raises(UsageError, match=words):
        resolve(replace(config, **options))


def test_a_comparison_has_it_with_and_without() -> None:
    config = CompareConfig(vary="batch-schedule=off,64:256", batch_sizes="64")
    assert [(setting, each.batch_schedule) for setting, each in settings_of(config)] == [
        ("batch schedule off", "off"),
        ("batch schedule 64:256", "64:256"),
    ]


def test_a_batch_larger_than_the_training_set_is_told() -> None:
    check_enough_samples("64:256", 256)
    with pytest.raises(UsageError, match="64:256: 256 is more than the 255 training samples"):
        check_enough_samples("64:256", 255)


def test_the_batch_size_and_the_rate_are_those_of_the_start() -> None:
    config = TrainConfig(batch_schedule="16:64").resolve(60_000)
    assert config.batch_size == 16
    assert config.lr == TrainConfig(batch_size=16).resolve(60_000).lr
    check_consistency(config)
    assert config.resolve(60_000) == config
