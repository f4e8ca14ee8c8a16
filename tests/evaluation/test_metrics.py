"""Confidence intervals, calibration, and the history in a checkpoint."""

import math
from typing import Any

import pytest
import torch

from mnist_cli.evaluation.metrics import (
    BINS,
    Bin,
    Calibration,
    calibrate,
    learning_curves,
    wilson_interval,
)
from mnist_cli.output.html.evaluation import describe_calibration


def test_the_interval_is_that_of_wilson() -> None:
    # Newcombe 1998, table I, his worked cases: 81 of 263, 15 of 148, 0 of 20, 1 of 29.
    for correct, samples, low, high in (
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ):
        assert wilson_interval(correct, samples) == pytest.approx((low, high), abs=5e-5)
    assert wilson_interval(20, 20)[1] == 1


def test_the_calibration_error_is_the_mean_gap_of_the_bins() -> None:
    sure = torch.tensor([0.95, 0.95, 0.95, 0.95, 0.5, 0.5]).double()
    right = torch.tensor([True, True, True, False, True, True])  # less than 95 %, more than 50 %
    result = calibrate(sure, right)
    found = [(each.count, each.confidence, each.accuracy) for each in result.bins]
    assert found == [(2, 0.5, 1.0), (4, pytest.approx(0.95), 0.75)]
    assert result.error == pytest.approx((4 * 0.20 + 2 * 0.50) / 6)
    assert result.confidence == pytest.approx(float(sure.mean()))
    assert result.accuracy == pytest.approx(5 / 6)


def test_a_probability_of_one_falls_into_the_last_bin() -> None:
    (only,) = calibrate(torch.ones(10).double(), torch.ones(10).bool()).bins
    assert (only.high, only.count, only.accuracy) == (1.0, 10, 1.0)
    assert only.low == pytest.approx((BINS - 1) / BINS)


def test_a_strangers_history_is_drawn_only_as_far_as_it_is_one() -> None:
    entries: list[dict[str, Any]] = [
        {"event": "epoch", "epoch": 1, "train_loss": 0.5, "test_accuracy": 0.9},
        {"event": "epoch", "epoch": "</script>", "train_loss": 0.4},
        {"event": "epoch", "epoch": 2, "train_loss": "<b>", "test_accuracy": 7.0},
        {"event": "epoch", "epoch": 3, "train_loss": math.nan, "test_loss": -1.0},
        {"event": "epoch", "epoch": 3, "train_loss": 10**400, "test_loss": True, "val_loss": 1e308},
        {"event": "resume", "epoch": 4, "train_loss": 0.1},
    ]
    curves = learning_curves(entries)
    assert curves == {"train_loss": [(1, 0.5)], "test_accuracy": [(1, 0.9)]}


SENTENCES = {
    "is overconfident in places": [
        (500, 0.60, 1.0),
        (500, 0.99, 0.60),
    ],
    "is slightly overconfident in places": [
        (500, 0.515, 0.50),
        (500, 0.985, 1.0),
    ],
    "the network is well calibrated": [(500, 0.60, 0.60), (500, 0.99, 0.98)],
    "the network is overconfident.": [(500, 0.60, 0.50), (500, 0.99, 0.98)],
    "the network is underconfident.": [(500, 0.60, 0.61), (500, 0.96, 1.0)],
    "the network is slightly underconfident.": [(500, 0.60, 0.61), (500, 0.98, 1.0)],
}


@pytest.mark.parametrize("sentence", SENTENCES)
def test_the_sentence_follows_from_the_bins(sentence: str) -> None:
    # Each bin: the number of predictions, their mean probability, their accuracy.
    calibration = Calibration(tuple(Bin(0.0, 1.0, *each) for each in SENTENCES[sentence]))
    assert sentence in describe_calibration(calibration, smoothed=False)
    because = ", as label smoothing makes it" in describe_calibration(calibration, smoothed=True)
    assert because == sentence.endswith("underconfident.")
