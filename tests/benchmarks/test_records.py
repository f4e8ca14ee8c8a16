"""The records: what is trained, what a log keeps, and the pages that are made from it."""

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks import __main__ as command
from benchmarks import records, records_page
from benchmarks.measure import Ran
from benchmarks.records import Log, Run, measure, options_of, read_log, read_logs, same_options
from benchmarks.records_page import PAGE, README, figure, page, readme
from mnist_cli.cli.listings import load_measured_results

LOGS = read_logs(records.LOGS)
AGAIN = "run: python -m benchmarks records --page"
ACCURACIES = (0.99, 0.992, 0.997)  # mean 0.993, standard deviation 0.0036056


def run_of(seed: int, **changes: Any) -> Run:
    run = Run(
        preset="fast",
        seed=seed,
        test_accuracy=ACCURACIES[seed],
        test_errors=round(10_000 * (1 - ACCURACIES[seed])),
        seconds=(3.0, 2.0, 40.0)[seed],
        train_seconds=1.0,
        network="quick",
        parameters=112_042,
        training_tflop=0.09643,
        samples_seen=60_000,
        weights_sha256=f"{seed:064}",
        options=options_of("fast"),
        machine={"date": f"2026-11-2{seed}", "processor": "a", "cores": 2, "torch": "2.13.0"},
        other_cores=0.0,
    )
    return replace(run, **changes)


@pytest.fixture
def log() -> Log:
    return Log(tuple(run_of(seed) for seed in range(3)))


Trained = list[tuple[object, ...]]


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> Trained:
    """The arguments of each training that was begun; nothing is trained."""
    commands: Trained = []

    def train(*arguments: object) -> Ran:
        commands.append(arguments)
        config = arguments[arguments.index("--config") + 1] if "--config" in arguments else None
        options = {**options_of(str(config or "default")), "data_dir": "/a", "output": "/b"}
        options["seed"] = arguments[arguments.index("--seed") + 1]
        start = {"event": "start", "parameters": 7850, "threads": 2, "config": options}
        end = {"event": "end", "test_accuracy": 0.9925, "train_seconds": 1.23456}
        end |= {"samples_seen": 1000, "weights_sha256": "ab", "checkpoint": "/b"}
        return Ran(2.34567, f"{json.dumps(start)}\n{json.dumps(end)}\n")

    monkeypatch.setattr(records, "run", train)
    return commands


def seeds_of(commands: Trained) -> list[object]:
    return [arguments[arguments.index("--seed") + 1] for arguments in commands]


@pytest.fixture
def config(tmp_path: Path) -> Callable[[int], str]:
    """A maker of TOML files that differ in the epochs."""

    def make(epochs: int) -> str:
        path = tmp_path / "try.toml"
        path.write_text(f'model = "linear"\nepochs = {epochs}\n')
        return str(path)

    return make


def test_an_interrupted_measurement_goes_on(trained: Trained, tmp_path: Path) -> None:
    runs = measure("fast", range(3), tmp_path)
    next(runs)
    logged = (tmp_path / "fast.jsonl").read_text()
    assert len(logged.splitlines()) == 1, "before the next training begins"
    runs.close()
    assert [run.seed for run in measure("fast", range(3), tmp_path)] == [1, 2]
    assert seeds_of(trained) == [0, 1, 2]
    assert (tmp_path / "fast.jsonl").read_text().startswith(logged)
    assert [*measure("fast", range(3), tmp_path)] == []
    assert len(trained) == 3, "nothing is trained twice"


def test_a_log_of_other_options_is_replaced(
    trained: Trained, tmp_path: Path, config: Callable[[int], str]
) -> None:
    for epochs in (1, 2):
        for _ in measure("try", range(2), tmp_path, config=config(epochs)):
            pass
    log = read_log("try", tmp_path)
    assert log is not None
    assert [(run.seed, run.options["epochs"]) for run in log.runs] == [(0, 2), (1, 2)]
    assert seeds_of(trained) == [0, 1, 0, 1]


def test_a_log_that_could_not_be_replaced_stays(
    trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = [*measure("fast", range(2), tmp_path)]

    def fails(*_: object) -> Ran:
        raise RuntimeError

    monkeypatch.setattr(records, "run", fails)
    with pytest.raises(RuntimeError):
        next(measure("fast", range(2), tmp_path, again=True))
    log = read_log("fast", tmp_path)
    assert log is not None
    assert [*log.runs] == before


def test_all_seeds_are_trained_again_if_asked(trained: Trained, tmp_path: Path) -> None:
    for first in (0, 1):
        for _ in measure("fast", range(first, first + 2), tmp_path, again=first == 1):
            pass
    log = read_log("fast", tmp_path)
    assert log is not None
    assert [run.seed for run in log.runs] == [1, 2], "of the second time alone"
    assert seeds_of(trained) == [0, 1, 1, 2]


def test_the_default_is_trained_without_a_preset(trained: Trained, tmp_path: Path) -> None:
    next(measure("default", range(1), tmp_path))
    next(measure("fast", range(1), tmp_path))
    assert trained[0][:2] == ("mnist-train", "--seed")
    assert trained[1][:3] == ("mnist-train", "--config", "fast")


def test_an_option_that_a_log_does_not_know_had_its_default() -> None:
    asked = options_of("fast")
    before = {name: value for name, value in asked.items() if name != "ema"}
    assert same_options(before, asked)
    assert not same_options(before, {**asked, "ema": 0.9})
    assert not same_options({**asked, "gone": 1}, asked)
    assert not same_options(asked, {**asked, "micro_batch_size": 64})
    assert same_options({**asked, "teacher": "its digest"}, {**asked, "teacher": "teacher.pt"})
    assert same_options({**asked, "precision": "bfloat16"}, {**asked, "precision": "auto"})
    assert not same_options({**asked, "precision": "bfloat16"}, asked)


def test_the_command_trains_what_is_asked_for_and_says_what_came_of_it(
    trained: Trained,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(records, "LOGS", tmp_path)
    command.measure_records(["fast", "default", "--seeds", "2", "--first-seed", "5"])
    assert seeds_of(trained) == [5, 6, 5, 6]
    lines = capsys.readouterr().out.splitlines()
    assert lines[1:3] == ["fast, seed 6: 99.25%, 2.3 s", "fast: 99.25 ± 0.00 % (2 seeds), 2.3 s"]
    with pytest.raises(SystemExit):
        command.measure_records(["nothing"])
    assert "no such record: nothing" in capsys.readouterr().err


@pytest.mark.slow
def test_a_training_is_logged_as_it_was(mnist_dir: Path, tmp_path: Path) -> None:
    path = tmp_path / "try.toml"
    path.write_text(
        f'model = "linear"\nepochs = 2\nsubset = 640\nthreads = 1\ndata_dir = "{mnist_dir}"\n'
    )
    (run,) = measure("try", range(3, 4), tmp_path / "logs", config=str(path))
    (line,) = (tmp_path / "logs" / "try.jsonl").read_text().splitlines()
    assert json.loads(line) == asdict(run)
    assert str(tmp_path) not in line
    assert str(mnist_dir) not in line
    assert not {"data_dir", "output", "seed"} & set(run.options)
    assert (run.preset, run.seed, run.network, run.parameters) == ("try", 3, "linear", 7850)
    assert (run.options["subset"], run.machine["threads"]) == (640, 1)
    assert 0.7 < run.test_accuracy < 0.9
    assert run.test_errors == pytest.approx(10_000 * (1 - run.test_accuracy))
    assert run.samples_seen == 1280
    # two products of 784 by 10, forward and by the weights; an operation for each factor and sum
    assert run.training_tflop == pytest.approx(1280 * 2 * 2 * 7840 / 1e12)
    assert 0 < run.train_seconds < run.seconds
    assert [*measure("try", range(3, 4), tmp_path / "logs", config=str(path))] == []


def test_a_preset_that_does_not_exist_yet_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(records, "PRESETS", tmp_path)
    for name in ("nano", "fast"):
        (tmp_path / f"{name}.toml").touch()
    assert records.available() == ["fast", "nano"]


def test_the_page_shows_means_deviations_and_medians(log: Log) -> None:
    text = f"Before.\n\n{records_page._BEGIN}\n\nOld.\n\n{records_page._END}\n\nAfter.\n"
    shown = page(text, {"fast": log})
    row = (
        "| `fast` | `quick` | 1 | 112,042 | 0.0964 | 3.0 s | 99.30 ± 0.36 % (3 seeds) | [every run]"
    )
    assert row in shown
    assert "2 cores of a, PyTorch 2.13.0 (2026-11-20 to 2026-11-22)." in shown
    assert "Old." not in shown
    assert (shown[:9], shown[-8:]) == ("Before.\n\n", "\nAfter.\n")
    assert page(shown, {"fast": log}) == shown
    ensemble = replace(run_of(0), options={**run_of(0).options, "members": 5}, other_cores=0.5)
    shown = page(text, {"best": Log((ensemble,))})
    assert "| `best` | 5 of `quick` | 1 | 112,042 | 0.0964 | 3.0 s | 99.00 % (1 seed) |" in shown
    assert "Whenever `best` trained, other programs were computing." in shown


def test_the_seconds_are_of_undisturbed_runs(log: Log) -> None:
    first, second, third = log.runs
    some = Log((first, replace(second, other_cores=0.5), third)).measurement
    assert (some.seconds, some.busy) == ((3.0, 40.0), False)
    assert some.accuracies == ACCURACIES, "which do not depend on other programs"
    none = Log(tuple(replace(run, other_cores=0.5) for run in log.runs)).measurement
    assert (none.seconds, none.busy) == ((3.0, 2.0, 40.0), True)


def test_the_table_of_the_readme_is_made_from_the_logs(
    log: Log, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    example = {
        "reference_name": "tutorial program",
        "note": "reference 99.06% after 4 epochs, one run",
        "reference_median": 284.4,
    }
    full = {"machine": {"processor": "AMD EPYC"}, "rows": [example]}
    (tmp_path / "full.json").write_text(json.dumps(full))
    monkeypatch.setattr(records_page, "FULL", tmp_path / "full.json")
    text = "# Title\n\n| on two cores, no GPU | old |\n|---|---|\n| x | y |\n\n| other |\n\nEnd.\n"
    assert readme(text, {}) == text, "nothing was measured"
    shown = readme(text, {"fast": log, "default": log})
    assert shown.splitlines()[2:] == [
        "| on two cores, no GPU | parameters | test accuracy | whole program |",
        "|---|---|---|---|",
        "| `mnist-train --config fast` | 112,042 | 99.30 ± 0.36 % (3 seeds) | 3.0 s |",
        "| `mnist-train` | 112,042 | 99.30 ± 0.36 % (3 seeds) | 3.0 s |",
        "| PyTorch's MNIST example, 4 epochs, on AMD EPYC | 1,199,882 | 99.06 % (1 run) | 284 s |",
        "",
        "| other |",
        "",
        "End.",
    ]
    assert readme(shown, {"fast": log, "default": log}) == shown


def test_the_figure_names_every_point(log: Log) -> None:
    drawn = figure({"fast": log, "nano": log})
    assert drawn == figure({"fast": log, "nano": log}), "the same bytes every time"
    for name in ("fast", "nano"):
        assert drawn.count(f"<!-- {name} -->".encode()) == 2


def test_the_pages_are_those_of_the_logs() -> None:
    assert page(PAGE.read_text(), LOGS) == PAGE.read_text(), AGAIN
    assert readme(README.read_text(), LOGS) == README.read_text(), AGAIN


@pytest.mark.parametrize("name", LOGS)
def test_a_log_is_of_the_present_options_and_the_listings_have_its_results(name: str) -> None:
    again = f"run: python -m benchmarks records {name}"
    runs = LOGS[name].runs
    assert all(same_options(run.options, options_of(name)) for run in runs), again
    assert all(run.preset == name for run in runs)
    assert len({run.seed for run in runs}) == len(runs)
    listed = load_measured_results().presets[name]
    assert listed == LOGS[name].measurement, "run: python -m benchmarks.listings"
