"""`--show-config` prints the options that would be used, and `--config` takes them again."""

import json
import os
import tomllib
from pathlib import Path
from typing import Any

import pytest

from mnist_cli.cli.show_config import Setting, as_toml, resolved_training, settings_of
from mnist_cli.config.sources import (
    COMPARE,
    TRAIN,
    Source,
    build_config,
    flag,
    preset_names,
    toml_file,
)
from mnist_cli.config.train import TrainConfig
from tests.helpers.calling import Caller


def options_of(call: Caller, program: str, *options: str, **more: Any) -> dict[str, Any]:
    done = call(program, *options, "--show-config", "--json", **more)
    assert (done.code, done.err) == (0, "")
    (line,) = done.out.splitlines()
    return dict(json.loads(line))


def origin_of(text: str, name: str) -> str:
    (line,) = [line for line in text.splitlines() if line.removeprefix("# ").startswith(f"{name} ")]
    return line.rpartition("  # ")[2]


@pytest.mark.parametrize(
    ("program", "options"),
    [
        (TRAIN, ("--config", "small-data")),
        (COMPARE, ("--config", "edge-of-stability")),
        *(
            pytest.param(program, ("--config", name), marks=pytest.mark.torture)
            for program in (TRAIN, COMPARE)
            for name in preset_names(program)
        ),
        (TRAIN, ()),
        (TRAIN, ("--subset", "10")),
        (TRAIN, ("--val-size", "59990")),
        (TRAIN, ("--model", "lenet", "--optimizer", "sgd", "--batch-size", "7", "--no-shuffle")),
        (
            TRAIN,
            ("--mode", "batch", "--augment", "shift", "--lr", "1e-12", "--max-seconds", "1e300"),
        ),
        (TRAIN, ("--output", 'a "b"\\ü😀 #.pt', "--log-file", "x.jsonl", "--probe", "noise")),
        (COMPARE, ("--until-accuracy", "0.9", "--lr-rule", "tuned", "--report", "x.html")),
    ],
)
def test_what_is_shown_gives_the_same_options_again(
    program: str, options: tuple[str, ...], call: Caller
) -> None:
    done = call(program, *options, "--show-config")
    assert (done.code, done.err) == (0, "")
    (call.folder / "again.toml").write_text(done.out)
    first = options_of(call, program, *options)["options"]
    again = options_of(call, program, "--config", "again.toml", env={"MNIST_DATA_DIR": ""})
    assert again["options"] == first
    values = tomllib.loads(done.out)
    assert values == {name: value for name, value in first.items() if value is not None}
    assert [p.name for p in call.folder.iterdir()] == ["again.toml"]  # nothing was trained


def test_every_line_says_where_its_value_came_from(call: Caller) -> None:
    (call.folder / "my.toml").write_text("momentum = 0.8\nepochs = 9\nlr = 0.5\n")
    done = call(
        "mnist-train",
        *("--show-config", "--config", "my.toml", "--epochs", "2"),
        env={"MNIST_BATCH_SIZE": "32", "MNIST_LR": "0.25"},
    )
    assert done.code == 0
    assert "epochs = 2" in done.out
    for name, origin in {
        "epochs": "flag",
        "batch_size": "MNIST_BATCH_SIZE",
        "lr": "MNIST_LR",
        "momentum": "my.toml",
        "model": "default",
        "augment": "default of cnn in mini-batch mode",
        "max_updates": "not set",
        "subset": "not set: all",
    }.items():
        assert origin_of(done.out, name) == origin
    assert all("  # " in line for line in done.out.splitlines()[1:])
    preset = call("mnist-train", "--show-config", "--config", "fast")
    assert origin_of(preset.out, "model") == "preset fast"
    assert origin_of(preset.out, "label_smoothing") == "default of quick in mini-batch mode"
    taught = call("mnist-train", "--show-config", "--teacher", "teacher.pt")
    assert origin_of(taught.out, "label_smoothing") == "default with a teacher"


def test_what_is_shown_is_what_a_training_uses(call: Caller) -> None:
    options = ("--config", "fast", "--subset", "50", "--max-updates", "1")
    shown = options_of(call, "mnist-train", *options, "--batch-size", "20")["options"]
    done = call("mnist-train", *options, "--batch-size", "20", "-q", "--json")
    config = json.loads(done.out.splitlines()[0])["config"]
    assert {name: shown[name] for name in config} == config


def test_what_a_resumed_training_takes_from_its_checkpoint_is_said(
    call: Caller, trained: Path
) -> None:
    asked = ("--resume", str(trained), "--epochs", "7")
    shown = options_of(call, "mnist-train", *asked)
    assert shown["options"]["model"] == "linear"
    assert shown["origins"]["model"] == f"checkpoint {trained}"
    assert shown["origins"]["epochs"] == "flag"
    assert shown["options"]["epochs"] == 7
    assert shown["options"]["output"] == str(trained)
    assert shown["origins"]["output"] == "--resume"
    for place in ("data_dir", "no_clobber"):  # a checkpoint may be a stranger's
        origin = "MNIST_DATA_DIR" if place == "data_dir" else "default"
        assert shown["origins"][place] == origin
    auto = options_of(call, "mnist-train", "--resume", "auto", "-o", str(trained))
    assert (auto["origins"]["model"], auto["origins"]["output"]) == (
        f"checkpoint {trained}",
        "flag",
    )
    alone = options_of(call, "mnist-train", *asked, env={"MNIST_DATA_DIR": ""})
    assert (alone["options"]["data_dir"], alone["origins"]["data_dir"]) == (None, "not set")


@pytest.mark.parametrize(
    ("program", "options", "message"),
    [
        (TRAIN, ("--mode", "batch", "--batch-size", "3"), "contradicts --mode batch"),
        (TRAIN, ("--list-models",), "ask for one at a time"),
        (COMPARE, ("--epochs", "1", "--updates", "2"), "contradict each other"),
    ],
)
def test_contradictions_are_told_as_usual(
    program: str, options: tuple[str, ...], message: str, call: Caller
) -> None:
    done = call(program, "--show-config", *options)
    assert done.code == 2
    assert done.out == ""
    assert message in done.err


def test_batch_mode_shows_no_batch_size(tmp_path: Path) -> None:
    layers = [Source({"mode": "batch"}, flag, "flag"), Source({"batch_size": 3}, str, "my.toml")]
    asked = build_config(TrainConfig, layers)
    listed = {s.name: s for s in settings_of(asked, resolved_training(asked), layers, {})}
    assert listed["batch_size"] == Setting(
        "batch_size", None, "not set", "all samples, in batch mode"
    )


def test_the_name_of_a_file_cannot_end_its_comment(tmp_path: Path) -> None:
    path = tmp_path / "a\nepochs = 9 #.toml"
    path.write_text("seed = 3\n")
    layer = toml_file(str(path), tmp_path / "none", TrainConfig)
    asked = build_config(TrainConfig, [layer])
    text = as_toml(settings_of(asked, asked, [layer], {}), "title")
    assert tomllib.loads(text)["epochs"] == TrainConfig().epochs


def test_a_path_that_toml_cannot_hold_is_refused(call: Caller) -> None:
    name = os.fsdecode(b"\xff.toml")
    (call.folder / name).write_text("epochs = 2\n")
    done = call("mnist-train", "--show-config", "--config", name)
    assert done.code == 0
    assert tomllib.loads(done.out.encode("utf-8", "strict").decode())["epochs"] == 2
    done = call("mnist-train", "--show-config", "--data-dir", os.fsdecode(b"\xff"))
    assert (done.code, done.out) == (2, "")
    assert r"--data-dir '\udcff' is not in UTF-8" in done.err
    done = call("mnist-train", "--show-config", "--json", "--data-dir", os.fsdecode(b"\xff"))
    assert json.loads(done.out)["options"]["data_dir"] == os.fsdecode(b"\xff")
