"""Tests of `--list-models` and `--list-presets`."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from mnist_cli.cli import doctor
from mnist_cli.cli.listings import Measurement, load_measured_results, options_digest
from mnist_cli.cli.parameters import PRESETS
from mnist_cli.config.registry import NETWORKS
from mnist_cli.config.sources import (
    COMPARE,
    TRAIN,
    build_config,
    preset_names,
    purpose_of,
    toml_file,
)
from mnist_cli.config.train import TrainConfig
from mnist_cli.models.networks import build_model, count_parameters
from tests.helpers.calling import Caller
from tests.helpers.fork_server import PROGRAMS
from tests.helpers.shell import Shell

RESULTS = load_measured_results()
AGAIN = "measure it again: python -m benchmarks.listings"


def test_every_model_and_every_preset_of_training_is_measured_and_nothing_else() -> None:
    assert set(RESULTS.models) == set(NETWORKS), AGAIN
    assert set(RESULTS.presets) == set(preset_names(TRAIN)), AGAIN


@pytest.mark.parametrize("name", NETWORKS)
def test_a_model_was_measured_with_its_present_defaults(name: str) -> None:
    measured = RESULTS.models[name]
    assert measured.options == options_digest(TrainConfig(model=name)), AGAIN
    assert measured.parameters == count_parameters(build_model(name)), AGAIN


@pytest.mark.parametrize("name", preset_names(TRAIN))
def test_a_preset_was_measured_with_its_present_options(name: str) -> None:
    config = build_config(TrainConfig, [toml_file(name, PRESETS, TrainConfig)])
    network = build_model(config.model, members=config.members)
    assert RESULTS.presets[name].options == options_digest(config), AGAIN
    assert RESULTS.presets[name].parameters == count_parameters(network), AGAIN


@pytest.mark.parametrize("measured", [*RESULTS.models.values(), *RESULTS.presets.values()])
def test_a_measurement_can_be_one_of_mnist(measured: Measurement) -> None:
    assert len(measured.accuracies) >= len(measured.seconds) > 0
    # softmax regression is the worst, and nothing so small is known to do better than 99.8 %
    assert 0.9 < min(measured.accuracies) <= max(measured.accuracies) < 0.998
    assert min(measured.seconds) > 0.5


def test_the_digest_sees_what_decides_a_result_and_nothing_else() -> None:
    base = TrainConfig()
    digest = options_digest(base)
    for changed in ({"epochs": 6}, {"lr": 0.1}, {"augment": "none"}, {"subset": 100}):
        assert options_digest(replace(base, **changed)) != digest  # type: ignore[arg-type]
    same_result = {"output": "x.pt"}, {"threads": 2}, {"seed": 3}, {"batch_size": 64}
    for same in (*same_result, {"precision": "auto"}):
        assert options_digest(replace(base, **same)) == digest  # type: ignore[arg-type]


def test_the_models_are_listed_with_tabs_between_for_a_pipe(call: Caller) -> None:
    done = call("mnist-train", "--list-models")
    assert (done.code, done.err) == (0, "")
    heading, *rows = [line.split("\t") for line in done.out.splitlines()]
    assert heading == ["name", "parameters", "accuracy", "deviation", "seeds", "seconds", "about"]
    assert [row[0] for row in rows] == list(NETWORKS)
    assert {len(row) for row in rows} == {len(heading)}


def test_the_presets_are_listed_as_objects(call: Caller) -> None:
    done = call("mnist-train", "--list-presets", "--json")
    assert (done.code, done.err) == (0, "")
    listed = [json.loads(line) for line in done.out.splitlines()]
    assert {entry["event"] for entry in listed} == {"preset"}
    programs = {entry["name"]: entry["program"] for entry in listed}
    assert programs == {
        **dict.fromkeys(preset_names(TRAIN), TRAIN),
        **dict.fromkeys(preset_names(COMPARE), COMPARE),
    }
    for entry in listed:
        measured = RESULTS.presets.get(entry["name"])
        assert entry["about"] == purpose_of(entry["name"])
        assert entry["seeds"] == (len(measured.accuracies) if measured else None)


def test_a_comparison_lists_its_own_presets(call: Caller) -> None:
    done = call("mnist-compare", "--list-presets")
    assert (done.code, done.err) == (0, "")
    assert [row.split("\t")[0] for row in done.out.splitlines()[1:]] == preset_names(COMPARE)


def test_a_listing_makes_nothing_and_is_not_stopped_by_other_options(call: Caller) -> None:
    done = call("mnist-train", "--list-models", "--config", "none.toml", "--epochs", "0")
    assert done.code == 0
    assert not list(call.folder.iterdir())


def test_the_reference_lists_each_object_with_its_program_and_keys(
    call: Caller, trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "_import_error", lambda _name: "")  # which imports all packages
    reference = (Path(__file__).parents[2] / "docs" / "reference.md").read_text()
    (call.folder / "seven.pgm").write_text("P2 5 7 1 1 1 1 1 1 " + "1 0 0 0 1 " + "1 1 1 0 1 " * 5)
    for command in (
        ("mnist-eval", str(trained)),
        ("mnist-predict", str(trained), "seven.pgm"),
        ("mnist-export", str(trained), "a.html"),
        ("mnist-train", "--list-models"),
        ("mnist-train", "--list-presets"),
        ("mnist-compare", "--show-config"),
        ("python", "-m", "mnist_cli", "doctor"),
    ):
        written = json.loads(call(*command, "--json").out.splitlines()[0])
        program = "doctor" if command[0] == "python" else command[0]
        name = written.pop("event")
        pattern = rf"^### `{name}` of [^:\n]*{program}[^\n]*\n(.*?)(?=^##)"
        (section,) = re.findall(pattern, reference, re.M | re.S)
        keys = set(re.findall(r"^- \*?`(\w+)`", section, re.M))
        assert set(written) - {"seconds"} <= keys
        has_no_time = name in ("model", "preset", "config", "check")
        assert has_no_time == (reference.index(section) > reference.index("\n## Information\n"))


def test_the_listings_belong_to_the_programs_that_take_presets(call: Caller) -> None:
    for program in PROGRAMS:
        expected = 0 if program in (TRAIN, COMPARE) else 2
        assert call(program, "--list-presets").code == expected


@pytest.mark.parametrize("question", ["--list-models", "--list-presets"])
def test_on_a_terminal_of_eighty_columns_no_name_or_figure_is_cut(
    question: str, shell: Shell
) -> None:
    env = {"COLUMNS": "80", "TERM": "xterm", "NO_COLOR": "1"}
    done = shell.bash(f"script -qec 'mnist-train {question} -q' /dev/null", env=env)
    text = re.sub(r"\x1b\[[\d;]*m", "", done.out)
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= 80
    networks = question == "--list-models"
    names = NETWORKS if networks else (*preset_names(TRAIN), *preset_names(COMPARE))
    for name in names:
        assert f" {name} " in text
    for measured in (RESULTS.models if networks else RESULTS.presets).values():
        assert f"{100 * measured.accuracy:.2f} " in text
