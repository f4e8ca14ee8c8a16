"""Comparisons: fair arms, exact resumption, searches and verdicts that follow from numbers."""

import json
import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from mnist_cli.config import TrainConfig
from mnist_cli.errors import DivergedError, MnistError, ThresholdNotMetError, UsageError
from mnist_cli.events import End, Event, to_dict
from mnist_cli.lab.arm import Arm, Material
from mnist_cli.lab.compare import compare
from mnist_cli.lab.events import ArmEnd, ArmStart, Change, CompareEnd, Point, Tuned, Verdict
from mnist_cli.lab.options import CompareConfig, resolve, sizes_in
from mnist_cli.lab.plan import arm_of, learning_rate_of
from mnist_cli.lab.results import Results
from mnist_cli.lab.store import Store
from mnist_cli.lab.tuning import HALF_OF_GUESSING, Search, grid, nearest
from mnist_cli.lab.verdict import verdict
from mnist_cli.report import figure, page, text
from mnist_cli.run import train


@pytest.fixture
def small(mnist_dir: Path, tmp_path: Path) -> CompareConfig:
    """Return a comparison of softmax regressions on 300 samples: 20, 6 and 2 updates an arm."""
    return CompareConfig(
        model="linear",
        subset=300,
        batch_sizes="30,100,full",
        seeds=2,
        epochs=2,
        lr=0.02,
        data_dir=str(mnist_dir),
        output=str(tmp_path / "comparison"),
    )


def run(config: CompareConfig) -> list[Event]:
    return list(compare(config))


def of(kind: type, events: list[Event]) -> list[Any]:
    return [event for event in events if isinstance(event, kind)]


def timeless(events: list[Event]) -> list[dict[str, Any]]:
    """Return the lasting events without what a clock says."""
    clocks = ("seconds", "train_seconds")
    return [
        {k: v for k, v in to_dict(event).items() if k not in clocks}
        for event in events
        if event.lasting
    ]


def test_all_arms_of_a_seed_begin_with_the_same_loss_on_the_full_set(small: CompareConfig) -> None:
    points = of(Point, run(replace(small, model="mlp")))
    for seed in (0, 1):
        first = [p for p in points if p.seed == seed and p.update == 0]
        assert {p.batch_size for p in first} == {30, 100, "full"}
        assert len({p.train_loss for p in first}) == 1
    assert len({p.train_loss for p in points if p.update == 0}) == 2  # one a seed


def test_an_arm_ends_with_the_weights_of_the_same_training_by_mnist_train(
    small: CompareConfig, tmp_path: Path
) -> None:
    for end in of(ArmEnd, run(replace(small, model="mlp", seeds=1))):
        full = end.batch_size == "full"
        config = TrainConfig(
            mode="batch" if full else "mini-batch",
            batch_size=None if full else end.batch_size,
            model="mlp",
            optimizer="sgd",
            momentum=0.0,
            weight_decay=0.0,
            lr=end.lr,
            schedule="constant",
            label_smoothing=0.0,
            augment=False,
            epochs=2,
            subset=300,
            data_dir=small.data_dir,
            output=str(tmp_path / "x.pt"),
        )
        (trained,) = of(End, list(train(config)))
        assert trained.weights_sha256 == end.weights_sha256
        assert trained.test_accuracy == end.test_accuracy


def test_an_arm_has_as_many_updates_as_its_budget_and_its_batch_size_say(
    small: CompareConfig,
) -> None:
    ends = {end.batch_size: end for end in of(ArmEnd, run(replace(small, seeds=1)))}
    assert {size: end.update for size, end in ends.items()} == {30: 20, 100: 6, "full": 2}
    assert {end.samples_seen for end in ends.values()} == {600}
    output = small.output + "-updates"
    ends = {
        end.batch_size: end
        for end in of(ArmEnd, run(replace(small, epochs=None, updates=7, seeds=1, output=output)))
    }
    assert {end.update for end in ends.values()} == {7}


def test_the_watched_updates_are_spread_over_the_arm_and_measured_before_and_after(
    small: CompareConfig,
) -> None:
    events = run(replace(small, seeds=1, batch_sizes="5"))  # 120 updates
    changes, points = of(Change, events), {p.update: p for p in of(Point, events)}
    assert [change.update for change in changes] == [k * 10 + 1 for k in range(12)]
    for change in changes:
        assert change.before == points[change.update - 1].train_loss
    (end,) = of(ArmEnd, events)
    assert end.watched == 12
    assert end.rises == sum(change.after > change.before for change in changes)


def test_a_finished_comparison_is_not_run_again_and_says_the_same(small: CompareConfig) -> None:
    first, second = run(small), run(small)
    assert of(CompareEnd, first)[0].arms_run == 6
    assert of(CompareEnd, second)[0].arms_run == 0
    kept = (Point, Change, ArmEnd)
    assert [e for e in first if isinstance(e, kept)] == [e for e in second if isinstance(e, kept)]
    assert of(Verdict, first)[0].findings == of(Verdict, second)[0].findings
    more = run(replace(small, batch_sizes="30,50,100,full"))
    assert of(CompareEnd, more)[0].arms_run == 2


def test_a_damaged_record_is_made_anew(small: CompareConfig) -> None:
    config = replace(small, seeds=1)
    first = timeless(run(config))
    records = sorted(Path(small.output).glob("*.jsonl"))
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
        lambda lines: [lines[0].replace('"train_loss": ', '"train_loss": 1' + "0" * 400), *lines],
    ],
)
def test_a_record_that_is_not_whole_is_never_taken_for_its_arms(
    small: CompareConfig, damage: Callable[[list[str]], list[str]]
) -> None:
    config = replace(small, seeds=1, batch_sizes="100")
    first = timeless(run(config))
    (record,) = Path(small.output).glob("*.jsonl")
    record.write_text("\n".join(damage(record.read_text().splitlines())) + "\n")
    again = run(config)
    assert of(CompareEnd, again)[0].arms_run == 1
    assert [e for e in timeless(again) if e["event"] == "arm-end"] == [
        e for e in first if e["event"] == "arm-end"
    ]


@dataclass
class StopAfter:
    """Stands for the signals: one comes after so many events were looked at."""

    looks: int

    @property
    def error(self) -> type[MnistError] | None:
        self.looks -= 1
        return ThresholdNotMetError if self.looks < 0 else None


@pytest.fixture
def material(small: CompareConfig) -> Material:
    from mnist_cli.data import Split, load_dataset, part
    from mnist_cli.team import Team

    data = load_dataset("mnist", small.data_dir)
    train, val = part(data.train, val_size=100, subset=300, seed=0)
    test = Split(*data.test[:500])  # it is scored hundreds of times
    return Material(train, val, test, Team(), lambda: 0.0)


@pytest.mark.parametrize(
    "changes",
    [
        {"epochs": 2},
        {"epochs": 2, "optimizer": "adamw", "momentum": 0.9, "schedule": "one-cycle"},
        {"epochs": None, "until_accuracy": 0.8, "max_epochs": 5},
        {"epochs": 2, "probe": "noise", "probe_every": 3, "probe_samples": 50},
        {"epochs": 2, "momentum": 0.9, "micro_batch_size": 20},
        {"epochs": 2, "model": "mlp", "lr": 1e5},
    ],
    ids=["epochs", "one-cycle", "until-accuracy", "probes", "micro-batches", "diverging"],
)
def test_an_arm_that_was_interrupted_anywhere_ends_as_if_it_was_not(
    small: CompareConfig, material: Material, tmp_path: Path, changes: dict[str, Any]
) -> None:
    config = resolve(replace(small, val_size=100, **{"lr": None, **changes}))
    for size in (30, None):
        arm = arm_of(config, size, 0, config.lr or 0.05, samples=300)
        whole = Store(str(tmp_path / "whole")).open(arm, material)
        list(whole.events(StopAfter(10**9)))  # type: ignore[arg-type]
        assert isinstance(whole.record[-1], ArmEnd)
        for looks in range(0, 40, 3):
            store = Store(str(tmp_path / f"{size}-{looks}"))
            store.check()
            run = store.open(arm, material)
            list(run.events(StopAfter(looks)))  # type: ignore[arg-type]
            cut = not (run.record and isinstance(run.record[-1], ArmEnd))
            assert cut or looks > 2
            if cut:
                store.save(run)
                elsewhere = replace(arm, config=replace(arm.config, data_dir="moved"))
                run = store.open(elsewhere, material)
                assert run.record or not looks
                list(run.events(StopAfter(10**9)))  # type: ignore[arg-type]
            assert timeless(run.record) == timeless(whole.record)


def test_an_arm_whose_checkpoint_does_not_fit_its_record_begins_anew(
    small: CompareConfig, material: Material, tmp_path: Path
) -> None:
    arm = arm_of(resolve(replace(small, val_size=100)), 30, 0, 0.05, samples=300)
    store = Store(str(tmp_path / "store"))
    store.check()
    run = store.open(arm, material)
    list(run.events(StopAfter(20)))  # type: ignore[arg-type]
    store.save(run)
    (path,) = (tmp_path / "store").glob("*.part.pt")
    path.write_bytes(path.read_bytes()[:1000])
    assert store.open(arm, material).record == []


def test_another_arm_has_another_name_and_places_do_not_matter(small: CompareConfig) -> None:
    config = resolve(small)
    arm = arm_of(config, 30, 0, 0.05, samples=300)
    assert arm.name.startswith("30-seed0-lr0.05-")
    elsewhere = replace(config, data_dir="elsewhere", output="elsewhere")
    assert arm_of(elsewhere, 30, 0, 0.05, samples=300).name == arm.name
    others = [
        arm_of(config, None, 0, 0.05, samples=300),
        arm_of(config, 30, 1, 0.05, samples=300),
        arm_of(config, 30, 0, 0.06, samples=300),
        arm_of(config, 30, 0, 0.05, samples=300, purpose="trial"),
        arm_of(replace(config, epochs=3), 30, 0, 0.05, samples=300),
        arm_of(replace(config, probe="noise"), 30, 0, 0.05, samples=300),
    ]
    assert len({arm.name, *(other.name for other in others)}) == 7


def test_an_arm_that_diverges_is_a_finding_and_all_of_them_an_error(small: CompareConfig) -> None:
    with pytest.raises(DivergedError, match="every arm diverged"):
        run(replace(small, lr=1e38, model="mlp"))
    results = Results()
    rates = replace(small, lr=3e35, model="mlp", lr_rule="linear", batch_sizes="30,100")
    with pytest.raises(DivergedError):
        list(compare(rates, results))
    assert {end.reason for end in results.ends} == {"diverged"}
    assert all(end.train_loss is None for end in results.ends)
    assert results.verdict
    assert any("Diverged with every seed" in f.text for f in results.verdict.findings)


def test_a_batch_size_that_diverged_is_named_and_ranked_nowhere(small: CompareConfig) -> None:
    results = Results()
    config = replace(
        small, model="linear", lr=1e-4, lr_rule="linear", batch_sizes="30,100", seeds=3
    )
    list(compare(config, results))
    lost = replace(
        results.arms[-1],
        end=replace(results.arms[-1].end, reason="diverged", train_loss=None, test_accuracy=None),
    )
    results.arms[-1] = lost
    found = verdict(0.0, resolve(config), results)
    texts = [finding.text for finding in found.findings]
    assert texts[0].startswith("Diverged with 1 of 3 seeds: batches of 100")
    ranked = [finding for finding in found.findings if finding.p is not None]
    assert ranked == []  # only one batch size is left whole
    results.verdict = found
    (_, row) = [text.cells(summary) for summary in results.summaries(0.0)]
    assert row["diverged"] == "1 of 3"
    assert "Diverged with 1 of 3" in page.render(results)
    assert figure.draw(results, "a.svg", "curves").startswith(b"<?xml")
    assert "100" in text.table(results)


def test_an_arm_ends_at_its_target_or_says_how_far_it_came(small: CompareConfig) -> None:
    config = replace(small, epochs=None, until_accuracy=0.75, max_epochs=3, val_size=100)
    results = Results()
    list(compare(config, results))
    ends = {end.batch_size: end for end in results.ends if end.seed == 0}
    assert ends[30].reason == "until-accuracy"
    assert ends[30].val_accuracy >= 0.75
    assert ends["full"].reason == "gave-up"
    assert ends["full"].update == 3
    (full,) = [s for s in results.summaries(0.0) if s.batch_size == "full"]
    assert (full.reached, full.seeds, full.updates) == (0, 2, None)
    assert results.verdict
    assert any(
        f.text.startswith("Never got to the target: batch") for f in results.verdict.findings
    )
    with pytest.raises(ThresholdNotMetError, match="the best came to 0"):
        run(replace(config, until_accuracy=1.0, max_epochs=1))


def test_arms_of_so_many_seconds_end_when_these_are_spent(small: CompareConfig) -> None:
    ends = of(ArmEnd, run(replace(small, epochs=None, seconds=0.05, seeds=1)))
    assert all(end.train_seconds >= 0.05 for end in ends)
    assert {end.reason for end in ends} == {"completed"}


def test_the_tuned_rate_is_better_on_held_out_samples_than_its_neighbours_which_were_tried(
    small: CompareConfig,
) -> None:
    events = run(replace(small, lr_rule="tuned", val_size=300, seeds=1, batch_sizes="30,full"))
    for tuned in of(Tuned, events):
        tried = {trial.lr: trial for trial in tuned.tried}
        place = nearest(tuned.lr)
        best = tried[tuned.lr].val_loss
        for neighbour in (grid(place - 1), grid(place + 1)):
            assert best <= tried[neighbour].val_loss
        assert tuned.train_seconds == pytest.approx(sum(t.train_seconds for t in tuned.tried))
        (end,) = [e for e in of(ArmEnd, events) if e.batch_size == tuned.batch_size][-1:]
        assert end.lr == tuned.lr
    assert of(CompareEnd, events)[0].tuning_seconds > 0


def test_the_stable_range_ends_where_the_next_rate_does_not_train(small: CompareConfig) -> None:
    (tuned,) = of(
        Tuned, run(replace(small, lr_range=True, val_size=300, seeds=1, batch_sizes="30"))
    )
    inside = [t for t in tuned.tried if tuned.stable_from <= t.lr <= tuned.stable_to]
    assert len(inside) >= 2
    assert all(t.stable and t.train_loss <= HALF_OF_GUESSING for t in inside)
    tried = {trial.lr: trial for trial in tuned.tried}
    assert not tried[grid(nearest(tuned.stable_from) - 1)].stable
    assert not tried[grid(nearest(tuned.stable_to) + 1)].stable


def test_the_grid_has_three_rates_a_decade() -> None:
    assert [grid(place) for place in range(-4, 4)] == [0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10]
    assert all(nearest(grid(place)) == place for place in range(-18, 9))
    assert grid(nearest(0.03)) == 0.02
    assert grid(nearest(0.04)) == 0.05


def climb(loss: Callable[[float], float], start: float, small: CompareConfig) -> tuple[float, int]:
    """Return the rate that a search finds on a made-up curve, and how many it tried."""
    arm = arm_of(resolve(small), 30, 0, start, samples=300, purpose="trial")

    def run(arm: Arm) -> Iterator[Event]:
        assert arm.config.lr is not None
        value = loss(arm.config.lr)
        figures = (None,) * 4 if math.isinf(value) else (value, 0.5, value, 0.5)
        return ArmEnd(  # type: ignore[return-value]
            *(0.0, "x", 30, 0, arm.config.lr),
            *("diverged" if math.isinf(value) else "completed", 1, 1, 1.0),
            *(*figures, 0, 0, None, None, figures[0], figures[1]),
        )
        yield

    search = Search(arm, run)  # type: ignore[arg-type]
    steps = search.best()
    try:
        while True:
            next(steps)
    except StopIteration as done:
        return grid(done.value), len(search.ends)


@pytest.mark.parametrize("start", [1e-5, 0.01, 0.2, 50])
def test_the_search_climbs_to_the_best_from_anywhere(start: float, small: CompareConfig) -> None:
    found, tried = climb(lambda lr: abs(math.log(lr / 0.2)), start, small)
    assert found == 0.2
    assert tried <= abs(nearest(start) - nearest(0.2)) + 3


@pytest.mark.parametrize("start", [0.05, 50])
def test_the_search_comes_away_from_where_everything_diverges(
    start: float, small: CompareConfig
) -> None:
    found, _ = climb(lambda lr: math.inf if lr > 0.1 else 1 - lr, start, small)
    assert found == 0.1


@pytest.mark.parametrize(
    ("rule", "ratio"), [("fixed", 1), ("sqrt", 4), ("linear", 16), ("tuned", 4)]
)
def test_the_rules_scale_the_rate_by_batch_size(rule: str, ratio: float) -> None:
    config = CompareConfig(lr_rule=rule, lr=0.1)
    assert learning_rate_of(config, 64, 60000) == pytest.approx(0.1)
    assert learning_rate_of(config, 1024, 60000) == pytest.approx(0.1 * ratio)


def test_batch_sizes_have_commas_between_and_full_is_all() -> None:
    assert sizes_in("64, 16,full,") == [64, 16, None]


@pytest.mark.parametrize("sizes", ["", ",", "0", "-1", "64,64", "ful", "1e3", "٣"])
def test_what_is_no_batch_size_is_a_usage_error(sizes: str) -> None:
    with pytest.raises(UsageError, match="--batch-sizes"):
        sizes_in(sizes)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"epochs": 1, "updates": 3}, "--epochs and --updates contradict"),
        ({"seconds": 3.0, "schedule": "cosine"}, "--schedule cosine needs"),
        ({"lr_rule": "tuned", "val_size": 0}, "--val-size 0"),
        ({"probe": "noisy"}, "did you mean 'noise'"),
        ({"report": "report.pdf"}, "has to end in .html"),
        ({"plot": "curves.gif"}, "has to end in .svg"),
        ({"output": ""}, "--output"),
        ({"output": "-"}, "kept in a folder"),
        ({"max_epochs": 3}, "--max-epochs 3 needs --until-accuracy"),
        ({"probe_every": 3}, "--probe-every 3 needs --probe"),
        ({"panel": "noise"}, "add --probe alignment"),
        ({"panel": "target"}, "add --until-accuracy"),
    ],
)
def test_contradictions_are_usage_errors(wrong: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        resolve(replace(CompareConfig(), **wrong))


def test_a_batch_larger_than_the_training_set_is_a_usage_error(small: CompareConfig) -> None:
    with pytest.raises(UsageError, match="301 is more than the 300"):
        run(replace(small, batch_sizes="30,301"))


def test_without_a_budget_it_is_three_epochs_and_nothing_is_held_out_needlessly() -> None:
    config = resolve(CompareConfig())
    assert (config.epochs, config.val_size, config.momentum) == (3, 0, 0.0)
    assert resolve(CompareConfig(lr_rule="tuned")).val_size == 5000
    assert resolve(CompareConfig(lr_rule="tuned", subset=500)).val_size == 100


def test_every_record_is_json_lines_that_name_their_events(small: CompareConfig) -> None:
    run(replace(small, seeds=1))
    for path in Path(small.output).glob("*.jsonl"):
        events = [json.loads(line)["event"] for line in path.read_text().splitlines()]
        assert events[0] == "point"
        assert events[-1] == "arm-end"
    starts = of(ArmStart, run(replace(small, seeds=1)))
    assert [start.finished_before for start in starts] == [True] * 3


def test_a_batch_size_that_missed_the_target_with_a_seed_is_not_ranked_by_the_others(
    small: CompareConfig,
) -> None:
    config = replace(small, epochs=None, until_accuracy=0.5, val_size=100, seeds=3)
    results = Results()
    list(compare(config, results))
    place = next(k for k, arm in enumerate(results.arms) if arm.end.batch_size == 30)
    missed = results.arms[place]
    results.arms[place] = replace(
        missed, end=replace(missed.end, reason="gave-up", val_accuracy=0.4)
    )
    texts = [finding.text for finding in verdict(0.0, resolve(config), results).findings]
    assert texts[0] == "Never got to the target: batches of 30 (1 of 3, at 40.00 %)."
    assert all("batches of 30" not in text for text in texts if text.startswith("Fewest"))
    assert figure.draw(results, "a.svg", "auto").startswith(b"<?xml")


def test_a_sharpness_at_the_end_of_a_schedule_has_the_last_updates_rate(
    small: CompareConfig,
) -> None:
    config = replace(small, schedule="cosine", probe="sharpness", probe_samples=50, seeds=1)
    results = Results()
    list(compare(config, results))
    last = results.arms[0].sharpness[-1]
    assert last.update == 20
    assert last.lr == pytest.approx(0.02 * (1 + math.cos(math.pi * 19.5 / 20)) / 2)
    assert "the edge of stability" in page.render(results)


def test_a_rate_of_zero_has_no_edge_and_breaks_nothing(small: CompareConfig) -> None:
    results = Results()
    list(compare(replace(small, lr=0.0, probe="sharpness,alignment,noise", seeds=1), results))
    assert results.arms[0].sharpness[0].two_over_lr is None
    assert page.render(results)
    assert figure.draw(results, "a.svg", "sharpness")
