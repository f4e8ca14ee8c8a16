"""The Python API: wrong arguments are told in words, and a call leaves the process as it was."""

import gc
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import nn

import mnist_cli
from mnist_cli import CompareConfig, Split, TrainConfig, build_model, evaluate, train
from mnist_cli.config.programs import PredictConfig
from mnist_cli.data.splits import Dataset
from mnist_cli.errors import MnistError, UsageError
from mnist_cli.prediction.predict import ImagePrediction, predict
from tests.conftest import Configure

LINEAR = build_model("linear")
SPLIT = Split(torch.zeros(3, 28, 28, dtype=torch.uint8), torch.zeros(3, dtype=torch.uint8))


@pytest.mark.parametrize(
    "call",
    [
        *(
            lambda wrong=wrong: train(wrong)
            for wrong in (None, {}, "x", TrainConfig, CompareConfig())
        ),
        *(
            lambda wrong=wrong: train(TrainConfig(), resume=wrong)
            for wrong in ("a.pt", "", 1, {}, True, False, b"x", TrainConfig())
        ),
        *(lambda wrong=wrong: mnist_cli.compare(wrong) for wrong in (None, "x", TrainConfig())),
        *(lambda wrong=wrong: evaluate(LINEAR, SPLIT, wrong) for wrong in (0, -1, "3", 1.5, None)),
        *(lambda wrong=wrong: evaluate(wrong, SPLIT) for wrong in (None, "a.pt")),
        *(lambda wrong=wrong: evaluate(LINEAR, wrong) for wrong in (None, "test", (SPLIT,))),
        *(
            lambda wrong=wrong: mnist_cli.load_checkpoint(wrong)
            for wrong in (None, 3, b"x", "a\0b", "")
        ),
        *(
            lambda wrong=wrong: predict("a.pt", wrong, PredictConfig())
            for wrong in (None, 3, "7.png", b"7.png", [3], [b"7.png"])
        ),
        *(lambda wrong=wrong: predict("a.pt", [], wrong) for wrong in (None, {}, TrainConfig())),
        *(lambda wrong=wrong: mnist_cli.load_dataset(wrong) for wrong in ("x", None, 3)),
        *(lambda wrong=wrong: mnist_cli.load_dataset("mnist", wrong) for wrong in (3, "")),
        *(lambda wrong=wrong: build_model(wrong) for wrong in ("resnet", "", None, 3)),
    ],
)
def test_a_wrong_argument_is_told_in_words(call: Callable[[], Any]) -> None:
    with pytest.raises(MnistError) as raised:
        list(call() or ())
    assert str(raised.value)


@pytest.mark.parametrize(
    "mode",
    [
        torch.no_grad,
        torch.inference_mode,
        lambda: torch.autocast("cpu"),
        lambda: torch.device("meta"),
    ],
)
def test_a_mode_that_would_change_results_is_refused(
    mode: Callable[[], Any], small: Configure
) -> None:
    with mode(), pytest.raises(UsageError, match="is in effect"):
        list(train(small()))
    assert list(train(small()))


@pytest.mark.parametrize("mode", [torch.no_grad, lambda: torch.device("meta")])
def test_a_mode_that_begins_during_a_training_is_refused(
    mode: Callable[[], Any], small: Configure
) -> None:
    events = train(small())
    next(events)
    with mode(), pytest.raises(UsageError, match="is in effect"):
        list(events)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (PredictConfig(device="tpu"), "device: 'tpu' is unknown; did you mean 'cpu'"),
        (PredictConfig(uncertain_below=7.0), "uncertain_below: must be at most 1"),
        (PredictConfig(all=3), "all: 3 is not true or false"),  # type: ignore[arg-type]
    ],
)
def test_a_prediction_checks_its_config(wrong: PredictConfig, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        next(predict("a.pt", [], wrong))


def test_images_may_be_paths(trained: Path, tmp_path: Path) -> None:
    given = tmp_path / "7.png"
    Image.new("L", (28, 28)).save(given)
    for images in ([given], (str(given),), iter([given])):
        (result,) = predict(trained, images, PredictConfig())
        assert isinstance(result, ImagePrediction)
        assert result.event.path == str(given)


def state_of_the_process() -> dict[str, object]:
    """Return what a call must leave as it was."""
    found: list[int] = []
    thread = threading.Thread(target=lambda: found.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    return {
        "threads": torch.get_num_threads(),
        "threads of new threads": found,
        "pools": [one.name for one in threading.enumerate() if one.name.startswith("pool")],
        "default type": torch.get_default_dtype(),
        "default device": torch.get_default_device(),
        "gradients": torch.is_grad_enabled(),
        "random state": torch.get_rng_state().tolist(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "collector": (gc.isenabled(), gc.get_threshold()),
        "handlers": [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)],
        "wake-up": signal.set_wakeup_fd(-1),
        "timeout": socket.getdefaulttimeout(),
        "streams": (sys.stdout, sys.stderr, os.fstat(2)[:2]),
        "loggers": [
            (log.level, list(log.handlers), log.propagate)
            for log in (
                logging.getLogger(),
                logging.getLogger("mnist_cli"),
                logging.getLogger("PIL"),
            )
        ],
        "folder": os.getcwd(),  # noqa: PTH109
        "environment": dict(os.environ),
    }


def test_a_training_leaves_the_process_as_it_was(small: Configure) -> None:
    torch.set_num_threads(2)
    before = state_of_the_process()
    for config in (small(threads=1), small(batch_size=200, micro_batch_size=20, threads=2)):
        list(train(config))
        assert state_of_the_process() == before
    with pytest.raises(MnistError):
        list(train(small(lr=1e30, optimizer="sgd", threads=1)))
    assert state_of_the_process() == before
    events = train(small(threads=1))  # abandoned
    next(iter(events))
    events.close()  # type: ignore[attr-defined]
    assert state_of_the_process() == before


def test_a_comparison_leaves_the_process_as_it_was(asked: CompareConfig) -> None:
    torch.set_num_threads(2)
    before = state_of_the_process()
    list(mnist_cli.compare(replace(asked, seeds=1, threads=1)))
    assert state_of_the_process() == before


def test_trainings_in_other_threads_compute_the_same_weights(
    small: Configure, tmp_path: Path
) -> None:
    torch.set_num_threads(2)
    digests: list[str] = []

    def run(name: str) -> None:
        *_, end = train(small(batch_size=200, micro_batch_size=20, output=str(tmp_path / name)))
        digests.append(end.weights_sha256)  # type: ignore[attr-defined]

    run("first.pt")
    for name in ("second.pt", "third.pt"):
        thread = threading.Thread(target=run, args=(name,))
        thread.start()
        thread.join()
    assert len(digests) == 3
    assert len(set(digests)) == 1


def test_a_network_evaluates_to_the_same_result_without_gradients(mnist: Dataset) -> None:
    few, model = Split(*mnist.test[:200]), build_model("linear")
    assert isinstance(model, nn.Module)
    expected = evaluate(model, few)
    with torch.no_grad():
        assert evaluate(model, few).loss == expected.loss
    with torch.inference_mode():
        assert evaluate(model, few).loss == expected.loss
