"""Comparisons: equal initial weights, budgets, and conclusions that follow from numbers."""

import math
import operator
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mnist_cli.comparison.compare import compare
from mnist_cli.comparison.events import (
    Change,
    CompareEnd,
    Estimate,
    Point,
    RunEnd,
    RunProgress,
    RunStart,
    Trial,
    Tuned,
)
from mnist_cli.comparison.findings import Conclusions, Ranking, RateExponent, Sharpness, conclusions
from mnist_cli.comparison.results import Results
from mnist_cli.comparison.run_training import scored_updates
from mnist_cli.comparison.stats import mean_and_deviation
from mnist_cli.config.compare import CompareConfig, resolve, sizes_in
from mnist_cli.config.programs import EvalConfig
from mnist_cli.config.train import TrainConfig
from mnist_cli.errors import DivergedError, TerminatedRunError, ThresholdNotMetError, UsageError
from mnist_cli.evaluation.evaluate import evaluate_checkpoint
from mnist_cli.events import End, ProbeEvent, to_dict
from mnist_cli.models.checkpoint import load_checkpoint
from mnist_cli.models.networks import weights_sha256
from mnist_cli.output import compare_table
from mnist_cli.output.compare_findings import sentence
from mnist_cli.output.figures import compare as compare_figure
from mnist_cli.output.html import compare as compare_page
from mnist_cli.runtime.cores import BusyCores
from mnist_cli.training.probes import alignment, noise, sharpness
from mnist_cli.training.train import train
from tests.helpers.checkpoints import save_checkpoint
from tests.helpers.comparisons import of, run

pytestmark = pytest.mark.slow


def sentences(found: Conclusions | None) -> list[str]:
    return [sentence(finding).text for finding in found.findings] if found else []


@pytest.mark.parametrize(("share", "is_told"), [(None, False), (0.05, False), (0.4, True)])
def test_seconds_on_a_busy_machine_are_said_not_to_be_comparable(
    share: float | None,
    is_told: bool,
    asked: CompareConfig,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(BusyCores, "share_taken", lambda *_: share)
    results = Results()
    list(compare(replace(asked, seeds=1, epochs=1), results))
    for end in results.ends:
        assert end.busy_share == share
        assert end.update_seconds
        assert end.update_seconds * 0.5 < end.train_seconds / end.update
    told = [text for text in sentences(results.conclusions) if "Seconds are not comparable" in text]
    runs = len(results.ends)
    assert [f"{runs} of {runs} runs other" in t and "up to 40 %" in t for t in told] == [True] * (
        is_told
    )


def test_probes_at_the_start_are_measured_once_a_seed_and_are_those_of_a_run_alone(
    asked: CompareConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def at_start(config: CompareConfig) -> list[dict[str, Any]]:
        probes = [e for e in run(config) if isinstance(e, ProbeEvent) and not e.update]
        return [to_dict(replace(probe, seconds=0.0)) for probe in probes]

    monkeypatch.setattr(alignment, "_MIN_DRAWS", 2)
    monkeypatch.setattr(alignment, "_MIN_SAMPLES", 8)
    monkeypatch.setattr(sharpness, "_MAX_ITERATIONS", 2)
    measured = []
    for module, name in (
        (alignment, "alignment"),
        (noise, "noise_scale"),
        (sharpness, "sharpness"),
    ):
        original = getattr(module, name)

        def count(*args: Any, original: Any = original, **options: Any) -> Any:
            measured.append((original.__name__, options.get("size")))
            return original(*args, **options)

        monkeypatch.setattr(module, name, count)
    config = replace(
        asked,
        updates=1,
        epochs=None,
        probe="alignment,noise,sharpness",
        probe_samples=20,
    )
    together = at_start(replace(config, batch_sizes="30,full"))
    at_end = (6 + 5) + 2 + 2  # the alignment of five sizes, and of 30, the only other one
    assert len(measured) == 2 * (at_end + 6 + 1 + 1)
    alone = []
    for size in ("30", "full"):
        alone += at_start(replace(config, batch_sizes=size, output=f"{asked.output}-{size}"))
    key = operator.itemgetter("arm")
    assert sorted(together, key=key) == sorted(alone, key=key)


def test_all_runs_of_a_seed_begin_with_the_same_loss_on_the_full_set(
    asked: CompareConfig,
) -> None:
    points = of(Point, run(replace(asked, model="mlp")))
    for seed in (0, 1):
        first = [p for p in points if p.seed == seed and p.update == 0]
        assert {p.batch_size for p in first} == {30, 100, "full"}
        assert len({p.train_loss for p in first}) == 1
    assert len({p.train_loss for p in points if p.update == 0}) == 2  # one a seed


@pytest.mark.parametrize("options", [{}, {"sort_by_class": True, "shuffle": False}], ids=str)
def test_a_run_ends_with_the_weights_of_the_same_training_by_mnist_train(
    options: dict[str, Any], asked: CompareConfig, tmp_path: Path
) -> None:
    for end in of(RunEnd, run(replace(asked, model="mlp", seeds=1, **options))):
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
            augment="none",
            epochs=2,
            subset=300,
            dataset=asked.dataset,
            data_dir=asked.data_dir,
            output=str(tmp_path / "x.pt"),
            **options,
        )
        (trained,) = of(End, list(train(config)))
        assert trained.weights_sha256 == end.weights_sha256
        assert trained.test_accuracy == end.test_accuracy


def test_a_run_has_as_many_updates_as_its_budget_and_its_batch_size_say(
    asked: CompareConfig,
) -> None:
    ends = {end.batch_size: end for end in of(RunEnd, run(replace(asked, seeds=1)))}
    assert {size: end.update for size, end in ends.items()} == {30: 20, 100: 6, "full": 2}
    assert {end.samples_seen for end in ends.values()} == {600}
    output = asked.output + "-updates"
    ends = {
        end.batch_size: end
        for end in of(RunEnd, run(replace(asked, epochs=None, updates=7, seeds=1, output=output)))
    }
    assert {end.update for end in ends.values()} == {7}


def test_the_time_of_the_runs_without_a_record_is_estimated_before_the_first(
    asked: CompareConfig,
) -> None:
    def estimates(config: CompareConfig) -> list[tuple[int, bool]]:
        events = list(compare(config, estimating=True))
        found = of(Estimate, events)
        assert not found or events.index(found[0]) < events.index(of(RunStart, events)[0])
        return [(one.runs, one.expected is not None and 0 < one.expected < 60) for one in found]

    assert estimates(replace(asked, seeds=1)) == [(3, True)]
    assert estimates(asked) == [(3, True)]  # three of six are finished
    assert estimates(asked) == []
    until = replace(asked, epochs=None, until_accuracy=0.5, max_epochs=2, seeds=1)
    assert estimates(until) == [(3, False)]


@pytest.mark.parametrize("end", [1, 2, 7, 20, 120])
def test_the_updates_after_which_a_run_is_scored_are_foreseen(
    end: int, asked: CompareConfig
) -> None:
    config = replace(asked, epochs=None, updates=end, seeds=1, batch_sizes="30")
    events = run(config)
    points = {point.update for point in of(Point, events)}
    changes = {change.update for change in of(Change, events)}
    assert scored_updates(end) == (len(points | changes), len(points))


def test_the_monitored_updates_are_spread_over_the_run_and_measured_before_and_after(
    asked: CompareConfig,
) -> None:
    events = run(replace(asked, seeds=1, batch_sizes="5"))  # 120 updates
    changes, points = of(Change, events), {p.update: p for p in of(Point, events)}
    assert [change.update for change in changes] == [k * 10 + 1 for k in range(12)]
    for change in changes:
        assert change.before == points[change.update - 1].train_loss
    (end,) = of(RunEnd, events)
    assert end.watched == 12
    assert end.rises == sum(change.after > change.before for change in changes)


def test_a_run_that_diverges_is_a_finding_and_all_of_them_an_error(
    asked: CompareConfig,
) -> None:
    with pytest.raises(DivergedError, match="every run diverged"):
        run(replace(asked, lr=1e38, model="mlp"))
    results = Results()
    rates = replace(asked, lr=3e35, model="mlp", lr_rule="linear", batch_sizes="30,100")
    with pytest.raises(DivergedError):
        list(compare(rates, results))
    assert {end.reason for end in results.ends} == {"diverged"}
    assert all(end.train_loss is None for end in results.ends)
    assert any("Diverged with every seed" in text for text in sentences(results.conclusions))


def test_a_batch_size_that_diverged_is_named_and_ranked_nowhere(asked: CompareConfig) -> None:
    results = Results()
    config = replace(
        asked, model="linear", lr=1e-4, lr_rule="linear", batch_sizes="30,100", seeds=3
    )
    list(compare(config, results))
    lost = replace(
        results.runs[-1],
        end=replace(results.runs[-1].end, reason="diverged", train_loss=None, test_accuracy=None),
    )
    results.runs[-1] = lost
    found = conclusions(0.0, resolve(config), results)
    texts = sentences(found)
    assert texts[0].startswith("Diverged with 1 of 3 seeds: batches of 100")
    assert not any(isinstance(finding, Ranking) for finding in found.findings)  # one is left
    results.conclusions = found
    (_, row) = [compare_table.cells(summary) for summary in results.summaries()]
    assert row["diverged"] == "1 of 3"
    assert "Diverged with 1 of 3" in compare_page.render(results)
    assert compare_figure.draw(results, "a.svg", "curves").startswith(b"<?xml")
    assert "100" in compare_table.table(results)


def test_a_run_ends_at_its_target_or_says_how_far_it_came(asked: CompareConfig) -> None:
    config = replace(asked, epochs=None, until_accuracy=0.8, max_epochs=3, val_size=100)
    results = Results()
    list(compare(config, results))
    ends = {end.batch_size: end for end in results.ends if end.seed == 0}
    assert ends[30].reason == "until-accuracy"
    assert ends[30].val_accuracy >= 0.8
    assert ends["full"].reason == "gave-up"
    assert ends["full"].update == 3
    (full,) = [s for s in results.summaries() if s.batch_size == "full"]
    assert (full.reached, full.seeds, full.updates) == (0, 2, None)
    assert any(
        text.startswith("Missed the target: batch") for text in sentences(results.conclusions)
    )
    with pytest.raises(ThresholdNotMetError, match="the best came to 0"):
        run(replace(config, until_accuracy=1.0, max_epochs=1))


def test_runs_with_a_time_budget_end_when_it_is_spent(asked: CompareConfig) -> None:
    ends = of(RunEnd, run(replace(asked, epochs=None, seconds=0.05, seeds=1)))
    assert all(end.train_seconds >= 0.05 for end in ends)
    assert {end.reason for end in ends} == {"completed"}


def test_batch_sizes_have_commas_between_and_full_is_all() -> None:
    assert sizes_in("64, 16,full,") == [64, 16, None]


@pytest.mark.parametrize("sizes", ["", ",", "0", "-1", "64,64", "ful", "1e3", "٣"])
def test_an_invalid_batch_size_is_a_usage_error(sizes: str) -> None:
    with pytest.raises(UsageError, match="--batch-sizes"):
        sizes_in(sizes)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"epochs": 1, "updates": 3}, "--epochs and --updates contradict"),
        ({"seed": 2**63 - 1, "seeds": 2}, "the last one is more than 2\\^63 - 1"),
        ({"seconds": 3.0, "schedule": "cosine"}, "--schedule cosine depends"),
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
        ({"replacement": True, "shuffle": False}, "--replacement contradicts --no-shuffle"),
        ({"replacement": True}, "leave full out"),
        ({"order_seed": 2**63 - 1}, "--order-seed .*: with 5 seeds the last one is more than"),
        ({"warm_up": 9, "schedule": "one-cycle"}, "--warm-up 9 contradicts"),
    ],
)
def test_contradictions_are_usage_errors(wrong: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        resolve(replace(CompareConfig(), **wrong))


def test_a_batch_larger_than_the_training_set_is_a_usage_error(asked: CompareConfig) -> None:
    with pytest.raises(UsageError, match="301 is more than the 300"):
        run(replace(asked, batch_sizes="30,301"))


def test_without_a_budget_it_is_three_epochs_and_nothing_is_held_out_needlessly() -> None:
    config = resolve(CompareConfig())
    assert (config.epochs, config.val_size, config.momentum) == (3, 0, 0.0)
    assert resolve(CompareConfig(lr_rule="tuned")).val_size == 5000
    assert resolve(CompareConfig(lr_rule="tuned", subset=500)).val_size == 100


def test_a_batch_size_that_missed_the_target_with_a_seed_is_not_ranked_by_the_others(
    asked: CompareConfig,
) -> None:
    config = replace(asked, epochs=None, until_accuracy=0.5, val_size=100, seeds=3)
    results = Results()
    list(compare(config, results))
    place = next(k for k, run in enumerate(results.runs) if run.end.batch_size == 30)
    missed = results.runs[place]
    results.runs[place] = replace(
        missed, end=replace(missed.end, reason="gave-up", val_accuracy=0.4)
    )
    texts = sentences(conclusions(0.0, resolve(config), results))
    assert texts[0] == "Missed the target: batches of 30 (1 of 3, at 40.00 %)."
    assert all("batches of 30" not in text for text in texts if text.startswith("Fewest"))
    assert compare_figure.draw(results, "a.svg", "auto").startswith(b"<?xml")


def test_a_sharpness_at_the_end_of_a_schedule_has_the_last_updates_rate(
    asked: CompareConfig,
) -> None:
    config = replace(asked, schedule="cosine", probe="sharpness", probe_samples=50, seeds=1)
    results = Results()
    list(compare(config, results))
    last = results.runs[0].sharpness[-1]
    assert last.update == 20
    assert last.lr == pytest.approx(0.02 * (1 + math.cos(math.pi * 19.5 / 20)) / 2)
    assert "the edge of stability" in compare_page.render(results)


def test_a_rate_of_zero_has_no_edge_and_breaks_nothing(asked: CompareConfig) -> None:
    results = Results()
    probes = {"probe": "sharpness,noise", "probe_samples": 50}
    list(compare(replace(asked, lr=0.0, batch_sizes="100,full", seeds=1, **probes), results))
    assert results.runs[0].sharpness[0].two_over_lr is None
    assert compare_page.render(results)
    assert compare_figure.draw(results, "a.svg", "sharpness")


def test_probes_of_a_run_that_diverged_are_not_those_of_an_end(asked: CompareConfig) -> None:
    results = Results()
    probes = {"probe": "sharpness,noise", "probe_samples": 50}
    list(compare(replace(asked, batch_sizes="100", seeds=2, **probes), results))
    first, second = results.runs
    end = replace(second.end, reason="diverged", train_loss=None, test_accuracy=None)
    early = {"noise": second.noise[:1], "sharpness": second.sharpness[:1]}
    results.runs[1] = replace(second, end=end, **early)
    (summary,) = results.summaries()
    assert summary.noise_scale == mean_and_deviation([first.noise[-1].noise_scale])
    assert summary.sharpness == mean_and_deviation([first.sharpness[-1].sharpness])
    measured = (first.noise[0].noise_scale, first.noise[-1].noise_scale)
    assert results.noise_scales() == {first.variant: measured}
    found = conclusions(0.0, resolve(replace(asked, batch_sizes="100", **probes)), results)
    (sharpness,) = (f for f in found.findings if isinstance(f, Sharpness))
    assert sharpness.last == mean_and_deviation([first.sharpness[-1].sharpness])


def test_the_power_of_the_tuned_rates_leaves_out_searches_that_ended_at_their_edge(
    asked: CompareConfig,
) -> None:
    results = Results()
    sizes = "10,20,40,80,full"
    config = resolve(replace(asked, batch_sizes=sizes, lr_rule="tuned", val_size=50, seeds=1))
    list(compare(replace(asked, batch_sizes=sizes, seeds=1), results))
    rates = zip([10, 20, 40, 80, "full"], [0.01, 0.02, 0.04, 0.08, 9.0], strict=True)
    results.tuned = [
        Tuned(
            *(0.0, size, 0, lr),
            [Trial(lr, "completed", 1, 1.0, 0.5, 0.5, 0.9, stable=True)],
            *(1.0, None, None),
            at_edge=lr > 1,
        )
        for size, lr in rates
    ]
    found = conclusions(0.0, config, results)
    (power,) = (each for each in found.findings if isinstance(each, RateExponent))
    assert power.exponent == pytest.approx(1)
    assert power.error == pytest.approx(0, abs=1e-8)
    assert (power.smallest, power.largest) == (10, 80)
    assert "From batches of 10 to 80 the best learning rate grows as B to the power 1.00 ±" in (
        " ".join(sentences(found))
    )


def test_all_runs_begin_with_the_weights_of_a_checkpoint_and_its_split(
    asked: CompareConfig, trained: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The split is that of the checkpoint's seed, whatever the seeds of the runs."""
    checkpoint = load_checkpoint(trained)
    digest = weights_sha256(checkpoint.weights)
    config = replace(asked, init=str(trained), subset=500, val_size=500)
    results = Results()
    list(compare(config, results))
    assert results.start.config["init"] == digest
    assert f"--init {trained}" in results.start.command
    firsts = [run.points[0] for run in results.runs]
    validated = evaluate_checkpoint(str(trained), EvalConfig(split="val", data_dir=asked.data_dir))
    assert {(p.update, p.val_accuracy) for p in firsts} == {(0, validated.accuracy)}
    assert len({p.train_loss for p in firsts}) == 1
    by_seed = {end.seed: end.weights_sha256 for end in results.ends if end.batch_size == 30}
    assert len({*by_seed.values()}) == 2  # they differ in the samples' order
    assert not caplog.text
    list(compare(replace(config, val_size=100, subset=300, seeds=1, updates=1, epochs=None)))
    assert not caplog.text
    list(compare(replace(config, val_size=600, seeds=1, updates=1, epochs=None)))
    assert "validation samples, so that accuracies on them are too high" in caplog.text


def test_a_target_that_the_weights_of_the_checkpoint_have_reached_compares_nothing(
    asked: CompareConfig, trained: Path
) -> None:
    config = replace(asked, init=str(trained), subset=500, val_size=500, epochs=None, seeds=1)
    known = evaluate_checkpoint(str(trained), EvalConfig(split="val", data_dir=asked.data_dir))
    with pytest.raises(UsageError, match="behind the weights of --init, which have"):
        run(replace(config, until_accuracy=known.accuracy))
    assert next(compare(replace(config, until_accuracy=known.accuracy + 0.001)))


def test_runs_from_another_checkpoint_are_not_taken_for_these(
    asked: CompareConfig, trained: Path, tmp_path: Path
) -> None:
    def trained_runs(config: CompareConfig) -> int:
        *_, end = run(config)
        assert isinstance(end, CompareEnd)
        return end.arms_run

    checkpoint = load_checkpoint(trained)
    other = {key: value * 0.5 for key, value in checkpoint.weights.items()}
    save_checkpoint(replace(checkpoint, weights=other), tmp_path / "other.pt")
    (tmp_path / "copy.pt").write_bytes(trained.read_bytes())
    config = replace(asked, seeds=1, batch_sizes="100")
    counts = [
        trained_runs(replace(config, init=init and str(init)))
        for init in (None, trained, tmp_path / "copy.pt", tmp_path / "other.pt", None)
    ]
    assert counts == [1, 1, 0, 1, 0]


def test_an_interrupted_run_from_a_checkpoint_goes_on_with_the_same_result(
    asked: CompareConfig, trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = replace(asked, init=str(trained), seeds=1, batch_sizes="30")
    whole = of(RunEnd, run(replace(config, output=f"{asked.output}-whole")))
    with pytest.raises(TerminatedRunError):
        for event in compare(config):
            if isinstance(event, RunProgress) and event.update == 11:
                signal.raise_signal(signal.SIGTERM)
    assert [*Path(asked.output).glob("*.part.pt")]
    assert [e.weights_sha256 for e in of(RunEnd, run(config))] == [e.weights_sha256 for e in whole]


def test_weights_of_one_network_cannot_begin_another(asked: CompareConfig, trained: Path) -> None:
    with pytest.raises(UsageError, match="--model mlp differs from the linear of --init"):
        run(replace(asked, init=str(trained), model="mlp"))
    with pytest.raises(UsageError, match="--vary model contradicts --init"):
        resolve(replace(asked, init=str(trained), vary="model=linear,mlp"))
