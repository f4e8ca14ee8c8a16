from dataclasses import replace
from pathlib import Path

import pytest
import torch

from mnist_cli.config.inference import EvalConfig
from mnist_cli.data.datasets import Dataset, Split
from mnist_cli.evaluation.evaluate import evaluate, logits_of, score_of
from mnist_cli.evaluation.evaluate_checkpoint import examine
from mnist_cli.evaluation.metrics import Score
from mnist_cli.models.checkpoint import load_checkpoint, save_checkpoint
from mnist_cli.models.networks import build_model
from tests.helpers.shell import Shell


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
def test_the_score_of_logits_is_that_of_the_evaluation_to_the_last_bit(
    size: int, mnist: Dataset
) -> None:
    model, split = build_model("mlp", seed=1), Split(*mnist.test[:2001])
    whole = evaluate(model, split, size)
    again = score_of(logits_of(model, split, size), split.labels.long(), size)
    assert again.loss_sum == whole.loss_sum
    assert torch.equal(again.confusion, whole.confusion)


def test_figures_follow_from_the_confusion_matrix() -> None:
    confusion = torch.zeros(10, 10, dtype=torch.int64)
    confusion[0, 0], confusion[0, 1], confusion[1, 1] = 6, 2, 4
    score = Score(loss_sum=3.0, confusion=confusion)
    assert (score.samples, score.correct) == (12, 10)
    assert score.accuracy == 10 / 12
    assert score.loss == 0.25
    assert score.precision[:3] == [1.0, 4 / 6, 0.0]
    assert score.recall[:3] == [6 / 8, 1.0, 0.0]
    assert score.f1[:3] == pytest.approx([2 * 6 / (6 + 8), 2 * 4 / (6 + 4), 0.0])


def test_evaluation_leaves_the_model_as_it_was(few: Split) -> None:
    model = build_model("linear").train()
    evaluate(model, few)
    assert model.training
    assert all(p.grad is None for p in model.parameters())


def test_the_readings_agree_with_the_scores(trained: Path, mnist_dir: Path) -> None:
    found = examine(str(trained), EvalConfig(data_dir=str(mnist_dir)))
    right = found.readings.right
    assert int(right.sum()) == found.event.correct
    mistakes = found.readings.mistakes(10_000)
    assert len(mistakes) == found.event.samples - found.event.correct
    sure = found.readings.confidence[mistakes]
    assert not bool(right[mistakes].any())
    assert bool((sure[1:] <= sure[:-1]).all()), "the surest first"


def test_the_readings_are_the_scored_ones_even_if_hardly_any_is_surer(
    trained: Path, mnist_dir: Path, tmp_path: Path
) -> None:
    checkpoint = load_checkpoint(trained)
    weights = {key: value * 1e-30 for key, value in checkpoint.weights.items()}
    save_checkpoint(replace(checkpoint, weights=weights), str(tmp_path / "x.pt"))
    found = examine(str(tmp_path / "x.pt"), EvalConfig(data_dir=str(mnist_dir)))
    assert len(found.readings.mistakes()) == found.event.samples - found.event.correct
    assert found.event.accuracy > 0.5


def test_a_network_that_overflows_is_refused(shell: Shell, trained: Path) -> None:
    checkpoint = load_checkpoint(trained)
    weights = {key: value.sign() * 3e38 for key, value in checkpoint.weights.items()}
    save_checkpoint(replace(checkpoint, weights=weights), str(shell.folder / "x.pt"))
    done = shell("mnist-eval", "x.pt", "--json")
    assert (done.code, done.out) == (4, "")
    assert "x.pt: its network computes no finite numbers" in done.err
