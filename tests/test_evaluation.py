import pytest
import torch

from mnist_cli.data import Dataset, Split
from mnist_cli.evaluation import Score, evaluate
from mnist_cli.models import build_model


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
