"""Several processes that work on one folder."""

import os
import re
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from mnist_cli.comparison.compare import Runner, compare
from mnist_cli.comparison.events import CompareEnd, RunEnd, RunStart, Waiting
from mnist_cli.comparison.records import RunFolder
from mnist_cli.comparison.run import plan_run
from mnist_cli.comparison.variants import Variant
from mnist_cli.config.compare import CompareConfig, resolve
from mnist_cli.data.datasets import load_dataset
from mnist_cli.runtime.signals import StopSignals
from tests.helpers.comparisons import of, run, timeless
from tests.helpers.launching import Launcher, Started, events, wait_until
from tests.helpers.shell import Shell

SMALL = {
    "MNIST_MODEL": "linear",
    "MNIST_SUBSET": "600",
    "MNIST_BATCH_SIZES": "10,100,full",
    "MNIST_SEEDS": "2",
    "MNIST_EPOCHS": "2",
}
LONG = ("-q", "--json", "--epochs", "20000")  # minutes a run
CLOCKS = {"seconds", "time", "train_seconds", "tuning_seconds"}
CLOCKS |= {"busy_share", "update_seconds", "update_seconds_iqr"}
CLOCKS |= {"machine", "jobs", "output", "command"}


def timeless_json(value: Any) -> Any:
    """Return events without what clocks and the way of running decide, at any depth."""
    if isinstance(value, dict):
        return {k: timeless_json(v) for k, v in value.items() if k not in CLOCKS}
    if isinstance(value, list):
        return [timeless_json(v) for v in value if "seconds" not in str(v)[:40].lower()]
    return re.sub(r"[\d.]+ s\b", "", value) if isinstance(value, str) else value


def records(out: str) -> list[dict[str, Any]]:
    """Return the events that were recorded, with their clocks: they tell who made them."""
    return [e for e in events(out) if e["event"] in ("point", "change", "arm-end")]


@pytest.fixture
def launcher(launcher: Launcher) -> Launcher:
    """Return a launcher whose comparisons are small."""
    return replace(launcher, env=launcher.env | SMALL)


def start(launcher: Launcher, *options: str) -> Started:
    return launcher.start("mnist-compare", "-q", "--json", *options, ranks=1)


def free(path: Path) -> bool:
    """Return True if nobody holds a lock."""
    lock = FileLock(path, timeout=0)
    try:
        lock.acquire()
    except TimeoutError:
        return False
    lock.release()
    return True


@pytest.mark.parametrize(
    "options",
    [pytest.param((), marks=pytest.mark.torture), ("--lr-rule", "tuned", "--lr-range")],
    ids=["fixed", "tuned"],
)
def test_two_processes_make_each_run_once_and_report_what_one_would(
    launcher: Launcher, folder: Path, options: tuple[str, ...]
) -> None:
    both = [start(launcher, "-o", "both", *options) for _ in range(2)]
    jobs = start(launcher, "-o", "jobs", "--jobs", "2", *options)
    (one,) = start(launcher, "-o", "one", *options).wait()
    done = [started.wait()[0] for started in (*both, jobs)]
    assert [each.code for each in (one, *done)] == [0] * 4, done
    assert records(done[0].out) == records(done[1].out)  # their clocks, too
    for each in done:
        assert timeless_json(events(each.out)) == timeless_json(events(one.out))
    names = [sorted(path.name for path in (folder / f).iterdir()) for f in ("one", "both", "jobs")]
    assert names[0] == names[1] == names[2]
    assert all(name.endswith(".jsonl") for name in names[0])


def test_what_a_killed_process_was_training_is_taken_over(launcher: Launcher, folder: Path) -> None:
    options = ("--epochs", "10", "--batch-sizes", "10,full")
    victim = start(launcher, "-o", "both", *options)
    wait_until(lambda: '"point"' in victim.stream(0))
    victim.children[0].kill(signal.SIGSTOP)
    survivor = start(launcher, "-o", "both", *options)
    wait_until(lambda: len([*(folder / "both").glob("*.jsonl")]) >= 3)  # all but the victim's
    victim.children[0].kill(signal.SIGKILL)
    victim.wait()
    (done,) = survivor.wait()
    (one,) = start(launcher, "-o", "one", *options).wait()
    assert done.code == 0, done.err
    assert timeless_json(records(done.out)) == timeless_json(records(one.out))
    assert len(list((folder / "both").iterdir())) == 4


def test_jobs_take_the_options_of_the_python_api(asked: CompareConfig) -> None:
    config = replace(asked, batch_sizes="full", seeds=2, output=Path(asked.output), jobs=2)
    assert len(of(RunEnd, run(config))) == 2


def test_while_another_process_trains_a_run_this_one_trains_the_others(
    asked: CompareConfig,
) -> None:
    alone = timeless(run(replace(asked, output=f"{asked.output}-alone")))
    dataset = load_dataset(asked.dataset, asked.data_dir)
    runner = Runner(resolve(asked), dataset, StopSignals(), float)
    first = plan_run(
        resolve(asked), Variant(30), 0, 0.02, samples=runner.samples_of(resolve(asked))
    )
    folder = RunFolder(asked.output)
    comparison, together = compare(asked), []
    with folder.lock(first) as locked:
        assert locked
        for event in comparison:
            together.append(event)
            if isinstance(event, Waiting) and len(list(Path(asked.output).glob("*.jsonl"))) == 5:
                break
    together += comparison
    told = [event for event in timeless(together) if event["event"] != "start"]
    untold = [event for event in alone if event["event"] != "start"]
    assert timeless_json(told) == timeless_json(untold)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_further_processes_end_with_the_first(
    launcher: Launcher, folder: Path, number: signal.Signals
) -> None:
    started = start(launcher, "--jobs", "2", *LONG)
    kept = folder / "comparison"
    wait_until(lambda: len(list(kept.glob("*.lock"))) == 2)
    started.children[0].kill(number)
    (done,) = started.wait()
    locks = list(kept.glob("*.lock"))
    if number == signal.SIGTERM:
        assert done.code == 143
        assert "the same command goes on" in done.err
        assert all(free(path) for path in locks)
    wait_until(lambda: all(free(path) for path in locks))


def test_a_damaged_record_that_another_process_mends_is_not_from_before(
    asked: CompareConfig,
) -> None:
    config = replace(asked, seeds=1)
    run(config)
    damaged = sorted(Path(asked.output).glob("*.jsonl"))[0]
    whole = damaged.read_bytes()
    damaged.write_text("{")
    comparison = compare(config)
    made = [next(comparison)]  # it has begun
    replacement = damaged.with_suffix(".new")
    replacement.write_bytes(whole)
    replacement.replace(damaged)
    made += comparison
    assert [start.arm for start in of(RunStart, made) if not start.finished_before] == [
        damaged.stem
    ]
    assert of(CompareEnd, made)[0].arms_run == 1


def test_ranks_are_refused(shell: Shell) -> None:
    ranks = {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29999"}
    done = shell("mnist-compare", env=ranks)
    assert done.code == 2
    assert "--jobs 2" in done.err
    assert not os.listdir(shell.folder)  # noqa: PTH208
