"""Every preset trains, from anywhere."""

import json
import tomllib
from pathlib import Path

import pytest

from mnist_cli.cli.parameters import PRESETS
from mnist_cli.config.compare import CompareConfig, resolve
from mnist_cli.config.programs import Display
from mnist_cli.config.sources import build_config, check_consistency, toml_file
from mnist_cli.config.train import TrainConfig
from tests.helpers.calling import Caller

CONTENTS = {path.stem: path.read_text() for path in sorted(PRESETS.glob("*.toml"))}
COMPARISONS = [name for name, text in CONTENTS.items() if "batch_sizes" in text]
NAMES = [name for name in CONTENTS if name not in COMPARISONS]


def test_the_promised_presets_are_there() -> None:
    promised = {
        "fast",
        "default",
        "accurate",
        "best",
        "tiny",
        "nano",
        "batch",
        "mini-batch",
        "small-data",
    }
    assert promised <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_preset_trains(name: str, call: Caller) -> None:
    done = call("mnist-train", "--config", name, "--max-updates", "1", "--json", "-q")
    assert (done.code, done.err) == (0, "")
    start, *_, end = [json.loads(line) for line in done.out.splitlines()]
    wanted = tomllib.loads((PRESETS / f"{name}.toml").read_text())
    if wanted.get("precision") == "auto":  # which is said as what it is on this processor
        del wanted["precision"]
        assert start["config"]["precision"] in ("float32", "bfloat16")
    assert {key: start["config"][key] for key in wanted} == wanted
    assert end["update"] == 1


def test_the_promised_experiments_are_there() -> None:
    assert set(COMPARISONS) == {
        "claim-steady",
        "claim-small-batch-unstable",
        "claim-data-size",
        "claim-local-optimum",
        "edge-of-stability",
        "steps-to-target",
        "along-the-way",
        "linear-scaling",
        "shuffling",
        "accumulation",
        "last-batch",
        "replacement",
        "warm-up",
        "stochastic",
        "momentum",
        "generalisation",
        "optimizers",
        "growing-batch",
    }


@pytest.mark.parametrize("name", COMPARISONS)
def test_an_experiment_is_a_valid_config(name: str) -> None:
    config = build_config(CompareConfig, [toml_file(name, PRESETS, CompareConfig, Display)])
    resolve(config)
    wanted = tomllib.loads(CONTENTS[name])
    listed = {key: ",".join(map(str, v)) for key, v in wanted.items() if isinstance(v, list)}
    assert {key: getattr(config, key) for key in wanted} == wanted | listed


SHORT = "--model linear --batch-sizes 100 --subset 300 --seeds 1 --updates 2".split()
# A batch that grows needs epochs, and samples for its largest size.
GROWING = "--batch-sizes 64 --subset 1124 --updates auto --epochs 5".split()


@pytest.mark.slow
@pytest.mark.parametrize("name", COMPARISONS)
def test_an_experiment_compares(name: str, call: Caller) -> None:
    more = GROWING if "batch-schedule" in CONTENTS[name] else []
    options = (*SHORT, *more, "--val-size", "100", "--probe-samples", "50")
    done = call("mnist-compare", "--config", name, *options, "--json", "-q")
    assert done.code == 0, done.err
    start, *_, end = [json.loads(line) for line in done.out.splitlines()]
    wanted = tomllib.loads(CONTENTS[name])
    shortened = {"model", "subset", "seeds", "batch_sizes", "probe_samples", "val_size"}
    budgets = {"epochs", "updates", "seconds", "until_accuracy"}
    kept = {k: v for k, v in wanted.items() if k not in shortened | budgets}
    assert {key: start["config"][key] for key in kept} == kept
    assert end["event"] == "end"


@pytest.mark.parametrize("name", COMPARISONS)
def test_an_experiment_says_its_claim_its_source_its_command_and_what_was_measured(
    name: str,
) -> None:
    comment = [line for line in CONTENTS[name].splitlines() if line.startswith("# ")]
    assert comment[0].startswith(("# Claim: ", "# Question: "))
    for heading in ("Source: ", "Command: ", "Measured: "):
        assert any(line.startswith(f"# {heading}") for line in comment), heading
    assert any(f"mnist-compare --config {name}" in line for line in comment)


@pytest.mark.parametrize("name", CONTENTS)
def test_a_preset_says_what_it_is_for(name: str) -> None:
    first = (PRESETS / f"{name}.toml").read_text().splitlines()[0]
    assert first.startswith("# ")


def test_the_default_preset_is_the_default() -> None:
    config = build_config(TrainConfig, [toml_file("default", PRESETS, TrainConfig, Display)])
    check_consistency(config)
    assert config.resolve(60_000) == TrainConfig().resolve(60_000)


def test_a_file_of_a_presets_name_comes_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "fast").write_text("epochs = 7\n")
    monkeypatch.chdir(tmp_path)
    assert toml_file("fast", PRESETS, TrainConfig).values == {"epochs": 7}
