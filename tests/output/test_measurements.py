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
from mnist_cli.comparison.events import Point
from mnist_cli.comparison.results import Results
from mnist_cli.config.compare import CompareConfig, resolve
from mnist_cli.errors import UsageError
from mnist_cli.output import measurements
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
    path = tmp_path / "a.parquet"
    path.write_bytes(measurements.encode(results, str(path)))
    assert pyarrow.parquet.read_table(path).to_pylist() == objects


def test_a_file_of_another_ending_is_a_usage_error(asked: CompareConfig) -> None:
    for path in ("a.txt", "-"):
        with pytest.raises(UsageError, match="end in .csv or .json or .parquet"):
            resolve(replace(asked, export=path))


def test_without_pyarrow_a_parquet_file_is_a_usage_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(UsageError, match="needs pyarrow: pip install 'mnist_cli"):
        measurements.encode(Results(), "a.parquet")
