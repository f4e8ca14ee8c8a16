"""All measurements of a comparison as a table, for other programs."""

import csv
import io
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest

from mnist_cli.comparison.compare import compare
from mnist_cli.comparison.events import Change, Point
from mnist_cli.comparison.results import Results
from mnist_cli.config.compare import CompareConfig, resolve
from mnist_cli.errors import UsageError
from mnist_cli.output import measurements
from mnist_cli.training.probes.alignment import AlignmentProbe
from mnist_cli.training.probes.noise import NoiseProbe
from tests.helpers.comparisons import of


@pytest.fixture
def found(asked: CompareConfig) -> tuple[Results, list[Any]]:
    results = Results()
    probes = {"probe": "noise,alignment", "probe_samples": 20}
    config = replace(asked, batch_sizes="100,full", vary="momentum=0,0.9", seeds=1, **probes)
    return results, list(compare(config, results))


def test_the_rows_are_the_measurements_in_each_format(
    found: tuple[Results, list[Any]], tmp_path: Path
) -> None:
    results, events = found
    rows = list(csv.DictReader(io.StringIO(measurements.encode(results, "a.csv").decode())))
    points = of(Point, events)
    losses = [row for row in rows if row["quantity"] == "test_loss"]
    assert [float(row["value"]) for row in losses] == [point.test_loss for point in points]
    assert [int(row["update"]) for row in losses] == [point.update for point in points]
    assert {row["setting"] for row in rows} == {"momentum 0", "momentum 0.9"}
    assert {row["batch_size"] for row in rows} == {"100", "300"}  # full: all samples
    quantities = {row["quantity"] for row in rows}
    assert {"train_loss", "batch_loss", "noise_scale", "cosine_mean_100"} <= quantities
    batch = [row for row in rows if row["quantity"] == "batch_loss"]
    assert {row["train_seconds"] for row in batch} == {""}  # not measured for each

    objects = json.loads(measurements.encode(results, "A.JSON"))
    assert [str(each["value"]) for each in objects] == [row["value"] for row in rows]
    modes = {(row["mode"], row["batch_size"]) for row in rows}
    assert modes == {("mini-batch", "100"), ("batch", "300")}
    path = tmp_path / "a.parquet"
    path.write_bytes(measurements.encode(results, str(path)))
    assert pyarrow.parquet.read_table(path).to_pylist() == objects


def test_every_number_of_a_probe_and_every_monitored_change_is_in_a_row(
    found: tuple[Results, list[Any]],
) -> None:
    results, events = found
    rows = list(csv.DictReader(io.StringIO(measurements.encode(results, "a.csv").decode())))

    def values(quantity: str) -> list[float]:
        return [float(row["value"]) for row in rows if row["quantity"] == quantity]

    noise = of(NoiseProbe, events)
    assert len(noise) == 8  # at the start and at the end of four runs
    for name in ("noise_scale_error", "trace_error", "two_batch_trace_error", "trace"):
        assert values(name) == [getattr(probe, name) for probe in noise]
    for name in ("norm_test_batch_size", "cabs_batch_size", "curvature_noise_scale_error"):
        known = [getattr(probe, name) for probe in noise]
        assert values(name) == [value for value in known if value is not None]
    assert values("norm_test_batch_size") == pytest.approx([4 * v for v in values("noise_scale")])
    aligned = [probe for probe in of(AlignmentProbe, events) if probe.batch_size == 64]
    assert values("deviation_64") == [probe.deviation for probe in aligned]
    changes = of(Change, events)
    assert values("train_loss_before") == [change.before for change in changes]
    assert values("train_loss_after") == [change.after for change in changes]
    at = [int(row["update"]) for row in rows if row["quantity"] == "train_loss_after"]
    assert at == [change.update for change in changes]
    assert not {"seconds", "lr"} & {row["quantity"] for row in rows}


def test_a_file_of_another_ending_is_a_usage_error(asked: CompareConfig) -> None:
    for path in ("a.txt", "-"):
        with pytest.raises(UsageError, match="end in .csv or .json or .parquet"):
            resolve(replace(asked, export=path))


def test_without_pyarrow_a_parquet_file_is_a_usage_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(UsageError, match="needs pyarrow: pip install 'mnist_cli"):
        measurements.encode(Results(), "a.parquet")
