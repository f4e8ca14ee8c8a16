"""The measurements of a comparison as a table with a row for each, for other programs."""

import csv
import io
import json
import math
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from mnist_cli.comparison.results import Results, RunMeasurements
from mnist_cli.config.compare import FULL
from mnist_cli.errors import UsageError
from mnist_cli.events import ProbeEvent, values_of

ENDINGS = (".csv", ".json", ".parquet")
COLUMNS = (
    *("mode", "batch_size", "setting", "seed", "lr", "update", "samples_seen", "train_seconds"),
    *("quantity", "value"),
)
_POINT = (
    *("train_loss", "train_accuracy", "test_loss", "test_accuracy", "val_loss", "val_accuracy"),
)
_NOT_MEASURED = ("seconds", "lr")  # real numbers in the events of probes


def encode(results: Results, path: str) -> bytes:
    """Return the measurements of all runs in the format of the path's ending.

    Raises:
        UsageError: it is a Parquet file, and pyarrow is not installed.

    """
    rows = [row for run in results.runs for row in _rows(results, run)]
    match Path(path).suffix.lower():
        case ".csv":
            text = io.StringIO()
            writer = csv.writer(text, lineterminator="\n")
            writer.writerow(COLUMNS)
            writer.writerows(rows)
            return text.getvalue().encode()
        case ".json":
            objects = [dict(zip(COLUMNS, row, strict=True)) for row in rows]
            lines = ",\n".join(json.dumps(each, ensure_ascii=False) for each in objects)
            return f"[\n{lines}\n]\n".encode()
        case _:
            return _parquet(rows)


def import_pyarrow() -> Any:  # noqa: ANN401 (a module without types)
    """Return pyarrow with its Parquet module.

    Raises:
        UsageError: it is not installed.

    """
    try:
        import pyarrow  # noqa: PLC0415 (an extra)
        import pyarrow.parquet  # noqa: PLC0415 (an extra)
    except ImportError as error:
        raise UsageError(
            "--export: a Parquet file needs pyarrow: pip install 'mnist_cli[parquet]', or name a "
            ".csv or .json file"
        ) from error
    return pyarrow


def _rows(results: Results, run: RunMeasurements) -> Iterator[tuple[Any, ...]]:
    """Yield the rows of a run; a number that is not finite is left out."""
    variant, end = run.variant, run.end
    mode = "batch" if variant.batch_size == FULL else "mini-batch"
    named = (mode, results.update_size(variant), variant.setting or "", end.seed, end.lr)
    for point in run.points:
        place = (point.update, point.samples_seen, point.train_seconds)
        for name in _POINT:
            value = getattr(point, name)
            if value is not None and math.isfinite(value):
                yield (*named, *place, name, value)
    for update, loss in run.batch_losses:
        yield (*named, update, None, None, "batch_loss", loss)
    for change in run.changes:
        for name, loss in (("before", change.before), ("after", change.after)):
            if math.isfinite(loss):
                yield (*named, change.update, None, None, f"train_loss_{name}", loss)
    kinds: list[Sequence[ProbeEvent]] = [run.noise, run.alignment, run.sharpness, run.path]
    for probe in chain(*kinds, run.losses):
        at = (probe.update, probe.samples_seen, None)
        for name, value in values_of(probe).items():
            is_measured = isinstance(value, float) and name not in _NOT_MEASURED
            if is_measured and math.isfinite(value):
                yield (*named, *at, f"{name}{probe.curve_suffix}", value)


def _parquet(rows: list[tuple[Any, ...]]) -> bytes:
    arrow = import_pyarrow()
    text, whole, real = arrow.string(), arrow.int64(), arrow.float64()
    types = (text, whole, text, whole, real, whole, whole, real, text, real)
    columns = zip(*rows, strict=True) if rows else ([] for _ in COLUMNS)
    arrays = [arrow.array(each, kind) for each, kind in zip(columns, types, strict=True)]
    sink = arrow.BufferOutputStream()
    arrow.parquet.write_table(arrow.table(arrays, names=list(COLUMNS)), sink)
    return bytes(sink.getvalue().to_pybytes())
