"""The self-contained web page of the lesson."""

import base64
import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from mnist_cli.data.catalogue import subject_of
from mnist_cli.data.splits import Dataset, Split
from mnist_cli.errors import UsageError
from mnist_cli.output import html
from mnist_cli.runtime.html_templates import render_page

SAMPLES, TEST_SAMPLES = 2000, 1000

_HERE = Path(__file__).parent
_TEMPLATE = _HERE / "lesson.html"
_SHARED = (Path(html.__file__).parent, _HERE.parents[1] / "export")


def render(
    dataset: Dataset,
    *,
    name: str = "mnist",
    samples: int = SAMPLES,
    test_samples: int = TEST_SAMPLES,
    measured: Mapping[str, Any] | None = None,
) -> str:
    """Return the page, with some of the samples of a data set and what was measured on all.

    `measured` has, for each step of the tour, commands and the numbers that they showed.

    Raises:
        UsageError: the data set has fewer samples.

    """
    parts = {
        "train": choose_samples(dataset.train, samples),
        "test": choose_samples(dataset.test, test_samples),
    }
    data = {
        "dataset": name,
        "subject": subject_of(dataset.classes, name),
        "labels": dataset.classes,
        "samples": {part: len(split) for part, split in parts.items()},
        "texts": json.loads((_HERE / "texts.json").read_text(encoding="utf-8")),
        "measured": {"steps": {}} if measured is None else dict(measured),
    }
    packed = {part: _pack(split) for part, split in parts.items()}
    return render_page(_TEMPLATE, *_SHARED, data=data, packed=packed)


def choose_samples(split: Split, number: int) -> Split:
    """Return the first samples of each class, in equal numbers, in the order of the split.

    Equal numbers, so that training on the samples sorted by class sees each class for as long; the
    first, so that the same page is made every time.

    Raises:
        UsageError: there are fewer samples.

    """
    if number > len(split):
        raise UsageError(f"{number:,} samples requested, but the data set has {len(split):,}")
    one_hot = torch.nn.functional.one_hot(split.labels.long())
    rank = (one_hot.cumsum(0) * one_hot).sum(1)  # of each sample within its class, from 1
    chosen = rank.argsort(stable=True)[:number].sort().values
    return split.at(chosen)


def _pack(split: Split) -> str:
    """Return the pixels and then the labels, a byte each, in zlib's format and base64."""
    raw = split.images.numpy().tobytes() + split.labels.numpy().tobytes()
    return base64.b64encode(zlib.compress(raw, 9)).decode()
