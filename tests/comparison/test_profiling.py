"""Speed and memory against the batch size."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from mnist_cli.comparison import profiling
from mnist_cli.comparison.events import ProfileEnd, Throughput
from mnist_cli.comparison.profiling import enough, fit_update_seconds, measure, profile
from mnist_cli.config.compare import CompareConfig
from mnist_cli.errors import UsageError
from mnist_cli.output import profile_display
from mnist_cli.output.figures import profile as figure
from tests.helpers.comparisons import of
from tests.helpers.shell import Shell

SMALL = CompareConfig(
    profile=True, model="linear", batch_sizes="30,full", subset=300, micro_batch_size=100
)


def test_the_times_of_updates_are_fitted_by_a_constant_and_a_share_for_each_sample() -> None:
    times = [(size, 1e-3 + 2e-5 * size) for size in (1, 16, 64, 60_000)]
    assert fit_update_seconds(times) == pytest.approx((1e-3, 2e-5))
    assert fit_update_seconds([(1, 1e-3), (1, 2e-3)]) is None
    assert fit_update_seconds([]) is None


@pytest.mark.parametrize(
    ("rates", "size"),
    [
        ({1: 10.0, 64: 94.0, 256: 96.0, 1024: 100.0}, 256),
        ({1: 10.0, 64: 100.0, "full": 50.0}, 64),
        ({1: 10.0, "full": 50.0}, "full"),
        ({1: 10.0, 64: 50.0}, None),  # a larger one may be faster
        ({1: 10.0, 64: 50.0, 256: 0.0}, 64),  # the largest failed
        ({1: 0.0}, None),
    ],
)
def test_beyond_the_first_size_that_is_nearly_the_fastest_nothing_is_gained(
    rates: dict[int | str, float], size: int | str | None
) -> None:
    assert enough(rates) == size


@pytest.mark.slow
def test_each_size_is_measured_with_micro_batches_and_in_one_pass_in_turn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(profiling, "_SECONDS", 0.001)
    order = []

    def measured(case: profiling._Case) -> list[profiling.Measured]:
        order.append((case.variant.batch_size, case.passes))
        return [measure(case.variant.batch_size, case.config)]

    monkeypatch.setattr(profiling, "_measured", measured)
    events = list(profile(SMALL))
    cases = [(30, 1), ("full", 3), ("full", 1)]
    assert order == cases * profiling.ROUNDS
    found = of(Throughput, events)
    assert [(each.batch_size, each.passes) for each in found] == cases
    assert [each.samples for each in found] == [30, 300, 300]
    for each in found:
        assert 0 < each.lowest <= each.samples_per_second <= each.highest
    heading, *rows = profile_display.table(found).splitlines()
    assert heading.split("\t") == list(profile_display.COLUMNS)
    assert [row.split("\t")[0] for row in rows] == ["30", "full", "full"]
    assert b"<svg" in figure.draw(found, "a.svg")


def test_what_a_failed_measurement_lacks_is_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(profiling, "_measured", lambda _: [])
    *_, end = events = list(profile(SMALL))
    assert all(each.samples_per_second is None for each in of(Throughput, events))
    assert isinstance(end, ProfileEnd)
    assert (end.enough, end.update_seconds, end.busy_share) == (None, None, None)


def test_options_of_what_a_profile_does_not_do_contradict_it() -> None:
    with pytest.raises(UsageError, match=r"--seeds, --lr, --report: --profile only measures"):
        next(profile(replace(SMALL, seeds=2, lr=0.1, report="x.html")))


@pytest.mark.slow
def test_memory_is_that_of_a_process_with_one_batch_size(shell: Shell) -> None:
    """The activations of 4,000 images in `cnn` take more than 100 MB, those of 100 next to none."""
    config = replace(SMALL, model="cnn", batch_sizes="full", subset=4000)
    several, one = profiling._cases(config)
    [small], [large] = profiling._measured(several), profiling._measured(one)
    assert small.peak_bytes
    assert large.peak_bytes
    assert large.peak_bytes - small.peak_bytes > 100e6
    env = {"MNIST_MODEL": "linear", "MNIST_SUBSET": "300", "MNIST_BATCH_SIZES": "30"}
    done = shell("mnist-compare", "--profile", "--json", env=env)
    assert done.code == 0, done.err
    *rows, end = [json.loads(line) for line in done.out.splitlines()]
    assert [row["event"] for row in rows] == ["throughput"]
    assert end["event"] == "profile-end"
    assert end["command"].startswith("mnist-compare --batch-sizes 30 --profile")
    assert not [*Path(shell.folder).glob("comparison")]
