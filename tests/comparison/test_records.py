"""Records of a comparison: damaged ones are made again, interrupted runs resume exactly."""

import errno
import json
import math
import os
import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Any
from unittest.mock import DEFAULT, Mock

import pytest
from filelock import FileLock

from mnist_cli.comparison import compare, run_training
from mnist_cli.comparison import records as records_module
from mnist_cli.comparison import run as run_module
from mnist_cli.comparison.events import (
    BatchLosses,
    Change,
    CompareEnd,
    Point,
    RunEnd,
    RunOptions,
    RunProgress,
    RunStart,
)
from mnist_cli.comparison.findings import Conclusions, conclusions
from mnist_cli.comparison.records import RunFolder, event_from_json
from mnist_cli.comparison.results import Results
from mnist_cli.comparison.run import plan_run
from mnist_cli.comparison.run_training import SharedData
from mnist_cli.comparison.variants import Variant
from mnist_cli.config.compare import CompareConfig, resolve, sizes_in
from mnist_cli.errors import MnistError, TerminatedRunError, ThresholdNotMetError
from mnist_cli.events import Event
from mnist_cli.output import compare_table
from mnist_cli.output.html import compare as page
from mnist_cli.runtime.signals import StopRequested
from tests.helpers.comparisons import of, run, timeless
from tests.helpers.trainings import SignalAt
from tests.torture.amount import count


def test_a_finished_comparison_is_not_run_again_and_says_the_same(
    asked: CompareConfig,
) -> None:
    first, second = run(asked), run(asked)
    assert of(CompareEnd, first)[0].arms_run == 6
    assert of(CompareEnd, second)[0].arms_run == 0
    kept = (Point, Change, RunEnd)
    assert [e for e in first if isinstance(e, kept)] == [e for e in second if isinstance(e, kept)]
    assert of(Conclusions, first)[0].findings == of(Conclusions, second)[0].findings
    more = run(replace(asked, batch_sizes="30,50,100,full"))
    assert of(CompareEnd, more)[0].arms_run == 2


def test_a_folder_that_cannot_be_locked_is_used_without_locks(
    asked: CompareConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_lock: FileLock) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    config = replace(asked, batch_sizes="full", seeds=1)
    alone = timeless(run(replace(config, output=f"{asked.output}-alone")))[1:]
    monkeypatch.setattr(FileLock, "acquire", fail)
    assert timeless(run(config))[1:] == alone


def test_a_run_keeps_the_name_that_it_had_before_there_was_the_option(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(run_module, "__version__", "0.1.0")
    config = CompareConfig(dataset="kmnist", epochs=1, threads=1, device="cpu")

    def name(**changes: Any) -> str:
        return plan_run(resolve(replace(config, **changes)), Variant(64), 0, 0.1, samples=8000).name

    assert name() == "64-seed0-lr0.1-ce03bbd63e"
    others = [
        {"sort_by_class": True},
        {"shuffle": False},
        {"replacement": True},
        {"last_batch": "drop"},
        {"warm_up": 9},
        {"order_seed": 0},
        {"epochs": 2},
        {"epochs": 2, "batch_schedule": "64:128"},
    ]
    others = [{"batch_sizes": "64", **other} for other in others]
    assert len({name(), *(name(**other) for other in others)}) == 1 + len(others)


def test_a_damaged_record_is_made_again(asked: CompareConfig) -> None:
    config = replace(asked, seeds=1)
    first = timeless(run(config))
    records = sorted(Path(asked.output).glob("*.jsonl"))
    assert len(records) == 3
    records[0].write_text("{")
    records[1].write_text(records[1].read_text().replace('"update": 1', '"update": "1"', 1))
    records[2].write_text(
        records[2].read_text().replace('"train_loss": ', '"train_loss": NaN, "x": ')
    )
    again = run(config)
    assert of(CompareEnd, again)[0].arms_run == 3
    kept = ("point", "change", "arm-end")
    assert [e for e in timeless(again) if e["event"] in kept] == [
        e for e in first if e["event"] in kept
    ]


def test_what_is_not_a_record_is_not_read(
    asked: CompareConfig, caplog: pytest.LogCaptureFixture
) -> None:
    list(compare.compare(resolve(replace(asked, seeds=1))))
    config = resolve(replace(asked, seeds=1))
    planned = plan_run(config, Variant(100), 0, 0.02, samples=300)
    path = Path(asked.output) / f"{planned.name}.jsonl"
    record = path.read_text()
    assert len(record) < 20_000
    path.write_text(record.replace("{", "{" + " " * (1 << 24), 1))  # as large as 40,000 probes
    assert RunFolder(asked.output).finished(planned) is not None
    path.write_text(record + " " * (1 << 25))
    assert RunFolder(asked.output).finished(planned) is None
    path.unlink()
    os.mkfifo(path)
    assert RunFolder(asked.output).finished(planned) is None  # it does not wait for a writer
    assert caplog.text.count("it is not a file, or too large") == 2


WRONG = (None, True, "x", "inf", "nan", [], {}, -1, 0, -1e300, 1e300, 7.5, 10**400, float("nan"))


@pytest.mark.slow
def test_no_value_in_a_record_breaks_a_comparison(asked: CompareConfig) -> None:
    """Each is either damaged, so that its run is made again, or as good as a measured one."""
    probes = {"probe": "noise,alignment,sharpness", "probe_samples": 50}
    config = resolve(replace(asked, seeds=1, batch_sizes="100,full", **probes))
    results = Results()
    list(compare.compare(config, results))
    folder, draw = Path(asked.output), Random(0)
    planned = plan_run(config, Variant(100), 0, 0.02, samples=300)
    path = folder / f"{planned.name}.jsonl"
    sound = path.read_text()
    lines = [json.loads(line) for line in sound.splitlines()]
    others = RunFolder(str(folder)).finished(
        plan_run(config, Variant("full"), 0, 0.02, samples=300)
    )
    places = [(n, key, wrong) for n, line in enumerate(lines) for key in line for wrong in WRONG]
    refused = 0
    for number, key, wrong in draw.sample(places, min(count(150, 5000), len(places))):
        changed = [dict(line) for line in lines]
        changed[number][key] = wrong
        path.write_text("".join(json.dumps(line) + "\n" for line in changed))
        record = RunFolder(str(folder)).finished(planned)
        refused += record is None
        if record is not None:
            again = Results()
            again.start = results.start
            for size, each in ((100, record), ("full", others)):
                assert each is not None
                again.add_run(Variant(size), each)
            again.conclusions = conclusions(0.0, config, again)
            assert compare_table.table(again)
            assert page.render(again)
            assert all(0 <= end.test_accuracy <= 1 for end in again.ends if end.test_accuracy)
    # Hardly a field takes more than 4 of the 14 wrong values: an infinity, -1, 0 or 7.5, say.
    assert refused > 0.7 * min(count(150, 5000), len(places))
    path.write_text(sound)
    assert RunFolder(str(folder)).finished(planned) is not None


@pytest.mark.parametrize(
    "damage",
    [
        lambda lines: lines[-1:],  # an end without its points
        lambda lines: lines[:-1],  # no end
        lambda lines: [*lines[:-1], lines[-1].replace('"seed": 0', '"seed": 1')],
        lambda lines: [*lines[:-1], lines[-1].replace("completed", "perfect")],
        lambda lines: [
            *lines[:-1],
            re.sub(r'"train_loss": [^,]*', '"train_loss": null', lines[-1]),
        ],
        lambda lines: [*lines[:-1], re.sub(r'"lr": [^,]*', '"lr": 0.5', lines[-1])],
        lambda lines: ["[]", *lines],
        lambda lines: ['{"event": "arm-end"}'],
        lambda lines: [lines[1].replace('"train_loss": ', '"train_loss": 1' + "0" * 400), *lines],
    ],
)
def test_an_incomplete_record_is_never_taken_for_its_runs(
    asked: CompareConfig, damage: Callable[[list[str]], list[str]]
) -> None:
    config = replace(asked, seeds=1, batch_sizes="100")
    first = timeless(run(config))
    (record,) = Path(asked.output).glob("*.jsonl")
    record.write_text("\n".join(damage(record.read_text().splitlines())) + "\n")
    again = run(config)
    assert of(CompareEnd, again)[0].arms_run == 1
    assert [e for e in timeless(again) if e["event"] == "arm-end"] == [
        e for e in first if e["event"] == "arm-end"
    ]


def test_a_number_that_is_not_finite_is_kept_as_it_was(
    asked: CompareConfig, tmp_path: Path
) -> None:
    folder = RunFolder(str(tmp_path))
    planned = plan_run(resolve(asked), Variant(30), 0, 0.05, samples=300, purpose="trial")
    end = RunEnd(
        *(1.0, planned.name, 30, 0, 0.05, "diverged", 1, 30, 1.0),
        *(None, None, None, None, 0, 0, None, None),
    )
    values = (math.inf, -math.inf, math.nan, 0.1)
    record = [Change(1.0, planned.name, 3, before=2.25, after=value) for value in values]
    folder.finish(planned, [*record, end])
    found = folder.finished(planned)
    assert found
    assert isinstance(found[0], RunOptions)
    assert repr(found[1:]) == repr([*record, end])  # not a number is not equal to itself


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("after", None),
        ("after", "infinite"),
        ("after", True),
        ("update", -1),
        ("update", 2**63),
        ("update", 1.5),
        ("update", "1"),
        ("arm", "x\x1b[31m"),
        ("arm", 3),
        ("unknown", 3),
    ],
)
def test_a_value_that_cannot_be_is_refused(key: str, value: object) -> None:
    values = {"event": "change", "seconds": 1, "arm": "a", "update": 3, "before": 2, "after": 1.5}
    assert event_from_json(values) == Change(1.0, "a", 3, before=2.0, after=1.5)
    with pytest.raises((ValueError, LookupError)):
        event_from_json({**values, key: value})


@dataclass
class StopAfter:
    """Stands for the signals: one comes after so many events were looked at."""

    looks: int

    @property
    def error(self) -> type[MnistError] | None:
        return ThresholdNotMetError if self.looks < 0 else None

    def check_stop(self) -> None:
        self.looks -= 1
        if self.error:
            raise StopRequested


@pytest.fixture
def data(asked: CompareConfig) -> SharedData:
    from mnist_cli.data.datasets import load_dataset
    from mnist_cli.data.splits import Split, train_val_split
    from mnist_cli.runtime.device import ThreadPool

    data = load_dataset(asked.dataset, asked.data_dir)
    train, val = train_val_split(data.train, val_size=100, subset=300, seed=0)
    test = Split(*data.test[:100])  # it is scored hundreds of times
    return SharedData(train, val, test, ThreadPool(), lambda: 0.0)


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        {"epochs": 2},
        {"epochs": 2, "optimizer": "adamw", "momentum": 0.9, "schedule": "one-cycle"},
        {"epochs": None, "until_accuracy": 0.8, "max_epochs": 5},
        {"epochs": 2, "probe": "noise", "probe_every": 3, "probe_samples": 50},
        {"epochs": 2, "momentum": 0.9, "micro_batch_size": 20},
        {"epochs": 2, "batch_schedule": "30:60", "batch_sizes": "30", "schedule": "step"},
        {"epochs": 2, "model": "mlp", "lr": 1e5},
    ],
    ids=[
        "epochs",
        "one-cycle",
        "until-accuracy",
        "probes",
        "micro-batches",
        "growing",
        "diverging",
    ],
)
def test_a_run_that_was_interrupted_anywhere_ends_as_if_it_was_not(
    asked: CompareConfig, data: SharedData, tmp_path: Path, changes: dict[str, Any]
) -> None:
    config = resolve(replace(asked, val_size=100, **{"lr": None, **changes}))
    for size in sizes_in(config.batch_sizes.replace("100,", "")):
        planned = plan_run(config, Variant(size or "full"), 0, config.lr or 0.05, samples=300)
        whole = RunFolder(str(tmp_path / "whole")).open(planned, data)
        list(whole.events(StopAfter(10**9)))  # type: ignore[arg-type]
        assert isinstance(whole.record[-1], RunEnd)
        for looks in range(0, 40, count(9, 3)):
            (tmp_path / f"{size}-{looks}").mkdir()
            store = RunFolder(str(tmp_path / f"{size}-{looks}"))
            run = store.open(planned, data)
            list(run.events(StopAfter(looks)))  # type: ignore[arg-type]
            cut = not (run.record and isinstance(run.record[-1], RunEnd))
            assert cut or looks > 2
            if cut:
                store.save(run)
                elsewhere = replace(planned, config=replace(planned.config, data_dir="moved"))
                run = store.open(elsewhere, data)
                assert run.record or not looks
                list(run.events(StopAfter(10**9)))  # type: ignore[arg-type]
            assert timeless(run.record) == timeless(whole.record)
            assert losses_of(run.record) == losses_of(whole.record)


@pytest.mark.slow
def test_a_run_that_was_interrupted_has_the_path_of_one_that_was_not(
    asked: CompareConfig, data: SharedData, tmp_path: Path
) -> None:
    shared = replace(data, records_path=True)
    planned = plan_run(resolve(replace(asked, epochs=9)), Variant(30), 0, 0.05, samples=300)
    stores = [RunFolder(str(tmp_path / name)) for name in ("whole", "cut")]
    for store, looks in zip(stores, (10**9, 70), strict=True):
        training = store.open(planned, shared)
        list(training.events(StopAfter(looks)))  # type: ignore[arg-type]
        if looks < 10**9:
            assert 41 < training.state.update < 90  # thinned once
            store.save(training)
            training = store.open(planned, shared)
            list(training.events(StopAfter(10**9)))  # type: ignore[arg-type]
        store.save_path(training, ended=True)
    first, second = (store.snapshots(planned, training.state.model) for store in stores)
    assert [*first] == [*second] == [*range(0, 90, 4), 90]
    assert all(bool((first[update] == second[update]).all()) for update in first)


def losses_of(record: list[Event]) -> tuple[list[int], list[float]]:
    (event,) = of(BatchLosses, record)
    return event.updates, event.losses


def test_a_run_keeps_the_losses_of_its_batches_or_of_evenly_spread_ones(
    asked: CompareConfig, data: SharedData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    planned = plan_run(resolve(replace(asked, epochs=3)), Variant(30), 0, 0.05, samples=300)
    whole = RunFolder(str(tmp_path)).open(planned, data)
    steps = [e for e in whole.events(StopAfter(10**9)) if isinstance(e, RunProgress)]  # type: ignore[arg-type]
    updates, losses = losses_of(whole.record)
    assert updates == [*range(1, len(steps) + 1)]
    assert losses[0] == pytest.approx(steps[0].loss, rel=1e-4)
    monkeypatch.setattr(run_training, "MAX_BATCH_LOSSES", 8)
    few = RunFolder(str(tmp_path / "few")).open(planned, data)
    list(few.events(StopAfter(10**9)))  # type: ignore[arg-type]
    assert losses_of(few.record) == (updates[3::4], losses[3::4])


def test_a_record_without_the_losses_of_batches_is_read(asked: CompareConfig) -> None:
    config = replace(asked, batch_sizes="full", seeds=1)
    run(config)
    (path,) = Path(asked.output).glob("*.jsonl")
    lines = [line for line in path.read_text().splitlines() if "batch-losses" not in line]
    assert len(lines) == len(path.read_text().splitlines()) - 1
    path.write_text("\n".join(lines))
    results = Results()
    (*_, end) = compare.compare(config, results)
    assert isinstance(end, CompareEnd)
    assert end.arms_run == 0
    assert results.runs[0].batch_losses == []
    assert "<html" in page.render(results)


def test_a_run_that_is_killed_while_it_is_saved_continues_where_it_was_saved_before(
    asked: CompareConfig, data: SharedData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    planned = plan_run(resolve(replace(asked, val_size=100)), Variant(30), 0, 0.05, samples=300)
    store = RunFolder(str(tmp_path))
    run = store.open(planned, data)
    list(run.events(StopAfter(8)))  # type: ignore[arg-type]
    store.save(run)
    saved = run.state.update
    run = store.open(planned, data)
    list(run.events(StopAfter(8)))  # type: ignore[arg-type]
    assert run.state.update > saved > 0
    assert run.train_seconds > store.open(planned, data).train_seconds > 0
    real = records_module.write_atomic
    for written in (0, 1):  # of two files
        failing = Mock(wraps=real, side_effect=[*[DEFAULT] * written, OSError])
        with monkeypatch.context() as patch, suppress(OSError):
            patch.setattr(records_module, "write_atomic", failing)
            store.save(run)
        again = store.open(planned, data)
        assert again.state.update == saved
        assert again.record
    store.save(again)
    assert len([*tmp_path.glob("*.part.pt")]) == 1
    list(again.events(StopAfter(10**9)))  # type: ignore[arg-type]
    whole = RunFolder(str(tmp_path / "whole")).open(planned, data)
    list(whole.events(StopAfter(10**9)))  # type: ignore[arg-type]
    assert timeless(again.record) == timeless(whole.record)


def test_a_run_whose_checkpoint_does_not_fit_its_record_begins_again(
    asked: CompareConfig, data: SharedData, tmp_path: Path
) -> None:
    planned = plan_run(resolve(replace(asked, val_size=100)), Variant(30), 0, 0.05, samples=300)
    (tmp_path / "store").mkdir()
    store = RunFolder(str(tmp_path / "store"))
    run = store.open(planned, data)
    list(run.events(StopAfter(20)))  # type: ignore[arg-type]
    store.save(run)
    (path,) = (tmp_path / "store").glob("*.part.pt")
    path.write_bytes(path.read_bytes()[:1000])
    assert store.open(planned, data).record == []


def test_a_record_that_another_process_removes_meanwhile_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "x.part.jsonl").symlink_to("nowhere")  # listed, and then not found
    RunFolder(str(tmp_path))


def test_another_run_has_another_name_and_folders_do_not_matter(asked: CompareConfig) -> None:
    config = resolve(asked)
    planned = plan_run(config, Variant(30), 0, 0.05, samples=300)
    assert planned.name.startswith("30-seed0-lr0.05-")
    elsewhere = replace(config, data_dir="elsewhere", output="elsewhere")
    assert plan_run(elsewhere, Variant(30), 0, 0.05, samples=300).name == planned.name
    others = [
        plan_run(config, Variant("full"), 0, 0.05, samples=300),
        plan_run(config, Variant(30), 1, 0.05, samples=300),
        plan_run(config, Variant(30), 0, 0.06, samples=300),
        plan_run(config, Variant(30), 0, 0.05, samples=300, purpose="trial"),
        plan_run(replace(config, epochs=3), Variant(30), 0, 0.05, samples=300),
        plan_run(replace(config, probe="noise"), Variant(30), 0, 0.05, samples=300),
    ]
    assert len({planned.name, *(other.name for other in others)}) == 7


def test_every_record_is_json_lines_that_name_their_events(asked: CompareConfig) -> None:
    run(replace(asked, seeds=1))
    for path in Path(asked.output).glob("*.jsonl"):
        events = [json.loads(line)["event"] for line in path.read_text().splitlines()]
        assert events[:2] == ["arm-options", "point"]
        assert events[-1] == "arm-end"
    starts = of(RunStart, run(replace(asked, seeds=1)))
    assert [start.finished_before for start in starts] == [True] * 3


@pytest.mark.slow
def test_a_comparison_that_a_signal_ended_anywhere_goes_on(
    asked: CompareConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also while something was measured: what the record lacks then is made again."""
    config = replace(asked, seeds=1, batch_sizes="100,full", probe="sharpness", probe_samples=50)
    whole = timeless(run(replace(config, output=f"{config.output}-whole")))
    monkeypatch.setattr(compare, "StopSignals", SignalAt)
    stops = 0
    for place in (*range(1, 60, count(5, 2)), 10**9):
        SignalAt.place, SignalAt.looks = place, 0
        with suppress(TerminatedRunError):
            last = run(config)
            break
        stops += 1
    assert stops >= 8
    ends = [e for e in timeless(last) if e["event"] == "arm-end"]
    assert ends == [e for e in whole if e["event"] == "arm-end"]
