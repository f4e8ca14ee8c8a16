from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mnist_cli.cli.parameters import PRESETS
from mnist_cli.config.programs import Display
from mnist_cli.config.sources import (
    Source,
    build_config,
    check_consistency,
    environment,
    flag,
    toml_file,
    validate,
)
from mnist_cli.config.train import TrainConfig
from mnist_cli.errors import UsageError
from mnist_cli.training.train import train


def from_flags(**given: object) -> TrainConfig:
    return build_config(TrainConfig, [Source(given, flag)])


def from_toml(folder: Path, text: str) -> TrainConfig:
    path = folder / "my.toml"
    path.write_text(text)
    return build_config(TrainConfig, [toml_file(str(path), PRESETS, TrainConfig, Display)])


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("batch_size", "128", 128),
        ("lr", "1e-3", 0.001),
        ("shuffle", "no", False),
        ("augment", "affine", "affine"),
        ("threads", "auto", None),
        ("lr", "auto", None),
        ("model", "mlp", "mlp"),
        ("data_dir", "auto", "auto"),  # a folder may have that name
    ],
)
def test_texts_become_values(name: str, text: str, value: object) -> None:
    assert getattr(from_flags(**{name: text}), name) == value


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("batch_size", "0", "--batch-size: must be at least 1, not 0"),
        ("batch_size", "many", "--batch-size: 'many' is not an integer"),
        ("batch_size", "1.5", "--batch-size: '1.5' is not an integer"),
        ("batch_size", 1.5, "--batch-size: 1.5 is not an integer"),
        ("batch_size", True, "--batch-size: True is not an integer"),
        ("epochs", "auto", "--epochs: 'auto' is not an integer"),
        ("epochs", 10**30, "--epochs: the number is too large"),
        ("epochs", "9" * 10_000, "--epochs: the number is too large"),
        ("seed", str(2**63), "--seed: the number is too large"),
        ("lr", "1e-400", "--lr: '1e-400' is so close to 0 that it becomes 0"),
        ("lr", "-1e400", "--lr: '-1e400' is too large"),
        ("lr", "nan", "--lr: nan is not finite"),
        ("lr", float("inf"), "--lr: inf is not finite"),
        ("lr", "-1", "--lr: must be at least 0, not -1.0"),
        ("momentum", "1", "--momentum: must be at most 0.9999, not 1.0"),
        ("max_seconds", "0", "--max-seconds: must be above 0, not 0.0"),
        ("until_accuracy", "1.5", "--until-accuracy: must be at most 1, not 1.5"),
        ("shuffle", "maybe", "--shuffle: 'maybe' is not true or false"),
        ("seed", "-1", "--seed: must be at least 0"),
        ("seed", [1], r"--seed: \[1\] is not an integer"),
        ("model", "cmn", r"--model: 'cmn' is unknown; did you mean 'cnn'\? There are "),
        ("mode", {"a": 1}, "--mode: .* is not a string"),
    ],
)
def test_a_value_that_cannot_be_used_is_named(name: str, value: object, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        from_flags(**{name: value})


@pytest.mark.parametrize("name", ["data_dir", "output"])
def test_a_tilde_in_a_path_is_the_home_folder(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    for config in (
        from_flags(**{name: "~/it"}),
        from_toml(tmp_path, f'{name} = "~/it"'),
        validate(TrainConfig(**{name: Path("~/it")}), TrainConfig),
    ):
        assert getattr(config, name) == "/home/me/it"


def test_two_problems_are_told_at_once_and_the_others_counted() -> None:
    with pytest.raises(UsageError) as raised:
        from_flags(batch_size="0", model="x", lr="y")
    first, second = str(raised.value).splitlines()
    assert first == "--batch-size: must be at least 1, not 0"
    assert second.endswith("(and 1 more)")


def test_a_problem_names_where_the_value_came_from(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="^MNIST_EPOCHS: 'x'"):
        build_config(TrainConfig, [environment({"MNIST_EPOCHS": "x"}, TrainConfig)])
    with pytest.raises(UsageError, match=r"my\.toml: epochs: 'x'"):
        from_toml(tmp_path, "epochs = 'x'")


def test_an_unknown_key_names_the_nearest_known_one(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="unknown key 'bach_size'; did you mean 'batch_size'"):
        from_toml(tmp_path, "bach_size = 3")


def test_an_unknown_preset_names_the_nearest_known_one() -> None:
    with pytest.raises(UsageError, match="name a TOML file or a preset"):
        toml_file("fats", PRESETS, TrainConfig)


@pytest.mark.parametrize("text", ["epochs = ", "[", "a" * 2_000_000, "x = " + "[" * 5000])
def test_a_file_that_is_not_toml_is_a_clear_error(tmp_path: Path, text: str) -> None:
    with pytest.raises(
        UsageError, match=r"my\.toml: (not valid TOML|larger than|a line has more than)"
    ):
        from_toml(tmp_path, text)


def test_a_file_of_powershell_is_read_or_named(tmp_path: Path) -> None:
    assert from_toml(tmp_path, "\ufeffepochs = 7\n").epochs == 7
    path = tmp_path / "utf-16.toml"
    path.write_text("epochs = 7\n", encoding="utf-16")
    with pytest.raises(UsageError, match="it is UTF-16"):
        toml_file(str(path), PRESETS, TrainConfig)


def test_a_message_about_toml_has_the_line_number(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="at line 3, column"):
        from_toml(tmp_path, f'epochs = 3\nlr = 0.1\nmodel = "{"x" * 200}\n')


def test_a_missing_or_unreadable_file_is_a_clear_error(tmp_path: Path) -> None:
    for path in (tmp_path / "none.toml", tmp_path):
        with pytest.raises(UsageError, match="cannot be read"):
            toml_file(str(path) + ("" if path.suffix else "/"), PRESETS, TrainConfig)


def test_batch_mode_contradicts_a_batch_size() -> None:
    with pytest.raises(UsageError, match="--batch-size 64 contradicts --mode batch"):
        check_consistency(from_flags(mode="batch", batch_size="64"))


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ({"replacement": "true", "shuffle": "false"}, "--replacement contradicts --no-shuffle"),
        ({"order_seed": "5", "shuffle": "false"}, "--order-seed 5 contradicts --no-shuffle"),
        ({"warm_up": "5"}, "--warm-up 5 contradicts --schedule one-cycle"),
        ({"replacement": "true", "mode": "batch"}, "--replacement contradicts --mode batch"),
    ],
)
def test_contradictions_of_sampling_are_told(flags: dict[str, str], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        check_consistency(from_flags(**flags))


def test_an_accuracy_to_reach_needs_validation_samples() -> None:
    with pytest.raises(UsageError, match="add --val-size"):
        check_consistency(from_flags(until_accuracy="0.9"))
    check_consistency(from_flags(until_accuracy="0.9", val_size="100"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"epochs": "3"}, "epochs: '3' is not an integer"),
        ({"epochs": 0}, "epochs: must be at least 1, not 0"),
        ({"model": "cmn"}, r"model: 'cmn' is unknown; did you mean 'cnn'\? There are "),
        ({"probe": "noise,noisy"}, "probe: 'noisy' is unknown; did you mean 'noise'"),
        ({"shuffle": 1}, "shuffle: 1 is not true or false"),
        ({"epochs": np.array([1, 2])}, r"epochs: array\(\[1, 2\]\) is not an integer"),
        ({"epochs": np.float64(2)}, r"epochs: .*2.0\)? is not an integer"),
        ({"shuffle": np.bool_(True)}, "shuffle: .*True_? is not true or false"),
        ({"lr": 10**400}, "lr: the number is too large"),
        ({"output": "\ud800"}, r"output: '\\ud800' cannot be the name of a file"),
    ],
)
def test_python_and_the_command_line_refuse_the_same_values(
    changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        next(train(replace(TrainConfig(), **changes)))


def test_a_path_is_as_good_as_a_string() -> None:
    config = replace(TrainConfig(), output=Path("x") / "y.pt")  # type: ignore[arg-type]
    assert validate(config, TrainConfig).output == str(Path("x") / "y.pt")


@pytest.mark.parametrize(
    ("name", "given", "value"),
    [
        ("epochs", np.int64(2), 2),
        ("lr", np.float32(0.5), 0.5),
        ("lr", np.float64(0.1), 0.1),
        ("lr", np.int64(1), 1.0),
        ("model", np.str_("mlp"), "mlp"),
        ("model", StrEnum("Name", {"MLP": "mlp"})["MLP"], "mlp"),
    ],
)
def test_numbers_of_numpy_and_subclasses_are_as_good(name: str, given: Any, value: Any) -> None:
    found = getattr(validate(replace(TrainConfig(), **{name: given}), TrainConfig), name)
    assert found == value
    assert type(found) is type(value)


def test_a_file_name_that_the_locale_cannot_write_is_told_in_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.fsencode", lambda path: path.encode("ascii"))
    with pytest.raises(UsageError, match="'é.pt' cannot be the name of a file in ascii"):
        from_toml(tmp_path, 'output = "é.pt"')


def test_a_file_in_another_encoding_is_told_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "my.toml"
    path.write_bytes('epochs = 1\noutput = "é.pt"\n'.encode("latin-1"))
    with pytest.raises(UsageError, match="a character in line 2 is not UTF-8"):
        toml_file(str(path), PRESETS, TrainConfig)
