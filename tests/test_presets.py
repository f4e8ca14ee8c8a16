"""Every preset trains, from anywhere."""

import json
import tomllib
from pathlib import Path

import pytest
from conftest import Shell

from mnist_cli.cli.options import PRESETS, Display
from mnist_cli.config import TrainConfig
from mnist_cli.recipes import resolve
from mnist_cli.settings import build, check, toml_file

NAMES = sorted(path.stem for path in PRESETS.glob("*.toml"))


def test_the_promised_presets_are_there() -> None:
    assert {"fast", "default", "batch", "mini-batch", "small-data", "accurate"} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_preset_trains(name: str, shell: Shell) -> None:
    done = shell("mnist-train", "--config", name, "--max-updates", "1", "--json", "-q")
    assert (done.code, done.err) == (0, "")
    start, *_, end = [json.loads(line) for line in done.out.splitlines()]
    wanted = tomllib.loads((PRESETS / f"{name}.toml").read_text())
    assert {key: start["config"][key] for key in wanted} == wanted
    assert end["update"] == 1


@pytest.mark.parametrize("name", NAMES)
def test_a_preset_says_what_it_is_for(name: str) -> None:
    first = (PRESETS / f"{name}.toml").read_text().splitlines()[0]
    assert first.startswith("# ")


def test_the_default_preset_is_the_default() -> None:
    config = build(TrainConfig, [toml_file("default", PRESETS, TrainConfig, Display)])
    check(config)
    assert resolve(config) == resolve(TrainConfig())


def test_a_file_of_a_presets_name_comes_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "fast").write_text("epochs = 7\n")
    monkeypatch.chdir(tmp_path)
    assert toml_file("fast", PRESETS, TrainConfig).values == {"epochs": 7}
