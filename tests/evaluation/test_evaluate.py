from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from mnist_cli.config.programs import EvalConfig
from mnist_cli.data.splits import Dataset, Split
from mnist_cli.evaluation.evaluate import ShiftAverage, evaluate, evaluate_checkpoint
from mnist_cli.evaluation.metrics import EvaluationResult
from mnist_cli.events import ClassMetrics
from mnist_cli.models.checkpoint import load_checkpoint
from mnist_cli.models.networks import build_model
from mnist_cli.runtime.device import ThreadPool
from tests.helpers.calling import Caller
from tests.helpers.checkpoints import save_checkpoint


@pytest.mark.parametrize("name", ["linear", "cnn"])
def test_the_score_does_not_depend_on_the_batch_size(name: str, mnist: Dataset) -> None:
    model, split = build_model(name, seed=1), Split(*mnist.test[:1000])
    torch.nn.init.normal_(next(iter(model.parameters())), std=0.05)
    whole = evaluate(model, split, batch_size=1000)
    for size in (1, 7, 333, 5000):
        score = evaluate(model, split, batch_size=size)
        assert torch.equal(score.confusion, whole.confusion)
        assert score.loss == pytest.approx(whole.loss, rel=1e-6)  # float32 rounding


def test_the_loss_is_a_sum_divided_once(mnist: Dataset) -> None:
    """A mean of means would weigh the last, smaller batch too much."""
    model, split = build_model("mlp", seed=1), Split(*mnist.test[:1001])
    logits = model.double()(split.images)
    expected = torch.nn.functional.cross_entropy(logits, split.labels.long()).item()
    assert evaluate(model, split, batch_size=1000).loss == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("size", [1000, 333])
def test_threads_change_nothing_and_the_logits_are_those_of_the_result(
    size: int, mnist: Dataset
) -> None:
    model, split = build_model("mlp", seed=1), Split(*mnist.test[:2001])
    expected, logits = evaluate(model, split, size), torch.empty(2001, 10)
    result = evaluate(model, split, size, ThreadPool(2), logits_out=logits)
    assert result.loss_sum == expected.loss_sum
    assert torch.equal(result.confusion, expected.confusion)
    cells = split.labels.long() * 10 + logits.argmax(1)
    assert torch.equal(torch.bincount(cells, minlength=100).view(10, 10), result.confusion)


def test_metrics_follow_from_the_confusion_matrix() -> None:
    confusion = torch.zeros(10, 10, dtype=torch.int64)
    confusion[0, 0], confusion[0, 1], confusion[1, 1] = 6, 2, 4
    result = EvaluationResult(loss_sum=3.0, confusion=confusion)
    assert (result.samples, result.correct, result.accuracy) == (12, 10, 10 / 12)
    assert result.loss == 0.25
    assert result.per_class[:3] == [
        ClassMetrics(0, 8, 1.0, 6 / 8, pytest.approx(2 * 6 / (6 + 8))),
        ClassMetrics(1, 4, 4 / 6, 1.0, pytest.approx(2 * 4 / (6 + 4))),
        ClassMetrics(2, 0, 0.0, 0.0, 0.0),
    ]


def test_evaluation_leaves_the_model_as_it_was(few: Split) -> None:
    model = build_model("linear").train()
    evaluate(model, few)
    assert model.training
    assert all(p.grad is None for p in model.parameters())

    def interrupt() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evaluate(model, few, pool=ThreadPool(1, interrupt))
    assert model.training, "an interrupt leaves the mode as it was, too"


def test_the_predictions_agree_with_the_metrics(trained: Path, few_dir: Path) -> None:
    result = evaluate_checkpoint(str(trained), EvalConfig(data_dir=str(few_dir)))
    assert int(result.is_correct.sum()) == result.correct
    mistakes = result.misclassified(10_000)
    assert len(mistakes) == result.samples - result.correct
    confidences = result.confidences[mistakes]
    assert not bool(result.is_correct[mistakes].any())
    assert bool((confidences[1:] <= confidences[:-1]).all()), "the most confident first"


def test_the_prediction_is_the_largest_logit_even_where_probabilities_tie(
    trained: Path, few_dir: Path, tmp_path: Path
) -> None:
    checkpoint = load_checkpoint(trained)
    weights = {key: value * 1e-30 for key, value in checkpoint.weights.items()}
    save_checkpoint(replace(checkpoint, weights=weights), str(tmp_path / "x.pt"))
    result = evaluate_checkpoint(str(tmp_path / "x.pt"), EvalConfig(data_dir=str(few_dir)))
    assert len(result.misclassified()) == result.samples - result.correct
    assert result.accuracy > 0.5


def test_a_network_that_overflows_is_refused(call: Caller, trained: Path) -> None:
    checkpoint = load_checkpoint(trained)
    weights = {key: value.sign() * 3e38 for key, value in checkpoint.weights.items()}
    save_checkpoint(replace(checkpoint, weights=weights), str(call.folder / "x.pt"))
    done = call("mnist-eval", "x.pt", "--json")
    assert (done.code, done.out) == (4, "")
    assert "x.pt: its network computes no finite numbers" in done.err


def test_test_time_augmentation_is_the_mean_over_nine_shifts(mnist: Dataset) -> None:
    """Computed by hand with NumPy in double precision: the shifts, the means, the losses."""
    model, split = build_model("lenet", seed=1).double(), Split(*mnist.test[:20])
    probabilities = np.zeros((20, 10))
    for down, right in product((-1, 0, 1), repeat=2):
        shifted = np.zeros((20, 28, 28))
        for row, column in product(range(28), repeat=2):
            if 0 <= row - down < 28 and 0 <= column - right < 28:
                shifted[:, row, column] = split.images[:, row - down, column - right]
        odds = np.exp(model(torch.from_numpy(shifted)).detach().numpy())
        probabilities += odds / odds.sum(1, keepdims=True) / 9
    labels = split.labels.numpy()
    result = evaluate(ShiftAverage(model), split)
    assert result.correct == (probabilities.argmax(1) == labels).sum()
    expected = -np.log(probabilities[np.arange(20), labels]).mean()
    assert result.loss == pytest.approx(expected, rel=1e-12)
    assert result.loss != pytest.approx(evaluate(model, split).loss, rel=1e-3)


def test_test_time_augmentation_changes_nothing_where_shifts_change_nothing(
    mnist: Dataset,
) -> None:
    """A network of the sum of the pixels, and images with empty edges."""

    class Ink(nn.Module):
        def forward(self, pixels: torch.Tensor) -> torch.Tensor:
            ink = pixels.double().sum((1, 2)) / 10_000
            return torch.stack([-((ink - digit / 2) ** 2) for digit in range(10)], 1)

    images, labels = (tensor.clone() for tensor in mnist.test[:500])
    images[:, [0, -1]] = 0
    images[:, :, [0, -1]] = 0
    plain = evaluate(Ink(), Split(images, labels))
    augmented = evaluate(ShiftAverage(Ink()), Split(images, labels))
    assert torch.equal(augmented.confusion, plain.confusion)
    assert augmented.loss == pytest.approx(plain.loss, rel=1e-12)


def test_test_time_augmentation_depends_on_no_batch_size_and_no_threads(
    mnist: Dataset, trained: Path
) -> None:
    model, split = load_checkpoint(trained).build_model(), Split(*mnist.test[:1000])
    whole = evaluate(ShiftAverage(model), split)
    assert not torch.equal(whole.confusion, evaluate(model, split).confusion)
    for size, threads in ((7, 1), (333, 2), (5000, 2)):
        result = evaluate(ShiftAverage(model), split, size, ThreadPool(threads))
        assert torch.equal(result.confusion, whole.confusion)
        assert result.loss == pytest.approx(whole.loss, rel=1e-6)  # float32 rounding
