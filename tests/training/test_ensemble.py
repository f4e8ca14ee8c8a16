"""Ensembles: each member learns as it would alone, and their mean probabilities predict."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from mnist_cli.config.compare import CompareConfig
from mnist_cli.config.programs import EvalConfig, ExportConfig, PredictConfig
from mnist_cli.data.splits import Dataset
from mnist_cli.errors import UsageError
from mnist_cli.evaluation.evaluate import evaluate_checkpoint
from mnist_cli.export.export import export_checkpoint
from mnist_cli.models.checkpoint import load_checkpoint
from mnist_cli.models.networks import Ensemble, build_model, count_parameters
from mnist_cli.output.html.evaluation import render
from mnist_cli.prediction.predict import ImagePrediction, predict
from mnist_cli.training.initial import load_weights
from mnist_cli.training.train import train
from tests.helpers.trainings import Configure, end_of, steps


def test_the_members_are_alike_and_begin_differently() -> None:
    ensemble = build_model("mlp", seed=3, members=3)
    assert isinstance(ensemble, Ensemble)
    assert count_parameters(ensemble) == 3 * count_parameters(build_model("mlp"))
    first = [next(member.parameters()) for member in ensemble.members]
    assert torch.equal(first[0], next(build_model("mlp", seed=3).parameters()))
    assert not torch.equal(first[1], first[0])
    assert not torch.equal(first[1], first[2])


def test_it_predicts_the_mean_of_the_probabilities(mnist: Dataset) -> None:
    ensemble = build_model("lenet", members=3).double()
    images = mnist.test.images[:20]
    assert isinstance(ensemble, Ensemble)
    assert ensemble(images).shape == (20, 3, 10), "in training each by itself"
    mean = sum(member(images).softmax(1) for member in ensemble.members) / 3
    torch.testing.assert_close(ensemble.eval()(images), mean.log())


def test_each_member_learns_as_it_would_alone(small: Configure) -> None:
    """Its gradient is that of its own loss, not of the mean, and AdamW sees it as it is."""
    options = {"model": "lenet", "augment": "shift", "micro_batch_size": 20}
    end_of(small(**options))
    alone = load_checkpoint(small(**options).output)
    config = small(**options, members=2)
    events = list(train(config))
    both = load_checkpoint(config.output)
    for key, value in alone.weights.items():
        assert torch.equal(both.weights[f"members.0.{key}"], value)
    other = both.weights["members.1.1.weight"]
    assert not torch.equal(other, both.weights["members.0.1.weight"])
    assert len(steps(events)) == 8


def test_what_is_reported_is_what_it_does(small: Configure) -> None:
    config = small(model="linear", members=2)
    end = end_of(config)
    assert (
        evaluate_checkpoint(config.output, EvalConfig(data_dir=config.data_dir)).accuracy
        == end.test_accuracy
    )


def test_predict_and_the_pages_read_an_ensemble(
    small: Configure, digits: dict[str, bytes], tmp_path: Path
) -> None:
    config = small(model="linear", members=2)
    end_of(config)
    image = tmp_path / "digit.png"
    image.write_bytes(digits["0.png"])
    (result,) = predict(config.output, [image], PredictConfig())
    assert isinstance(result, ImagePrediction)
    ensemble = load_checkpoint(config.output).build_model()
    assert isinstance(ensemble, Ensemble)
    pixels = torch.from_numpy(result.image)[None]
    mean = sum(member(pixels).softmax(1)[0] for member in ensemble.members) / 2
    assert result.event.probabilities == pytest.approx(mean.tolist(), abs=1e-5)
    export_checkpoint(config.output, str(tmp_path / "page.html"), ExportConfig())
    page = (tmp_path / "page.html").read_text()
    assert "<li>an ensemble of 2 linear</li><li>15,700 parameters</li>" in page
    scored = evaluate_checkpoint(config.output, EvalConfig(data_dir=config.data_dir, tta=True))
    report = render(scored)
    assert "What an ensemble of 2 linear gets wrong" in report
    assert scored.augmented is not None


def test_an_ensemble_begins_only_with_as_many(small: Configure, tmp_path: object) -> None:
    first = small(model="linear", members=2, output=f"{tmp_path}/two.pt")
    end_of(first)
    with pytest.raises(UsageError, match="--members 1 differs from the 2 of --init"):
        end_of(small(model="linear", init=first.output))
    with pytest.raises(UsageError, match="--members 1 differs from the 2 of --init"):
        load_weights("--init", first.output, CompareConfig(model="linear", init=first.output))
    end_of(small(model="linear", members=2, init=first.output))


@pytest.mark.parametrize("extra", [{"members": 2}, {"teacher": "teacher.pt"}])
def test_probes_are_refused(extra: dict[str, object], small: Configure) -> None:
    with pytest.raises(UsageError, match="--probe noise contradicts --"):
        next(train(replace(small(model="linear", probe="noise"), **extra)))  # type: ignore[arg-type]


def test_one_too_large_to_be_read_again_is_refused(small: Configure) -> None:
    with pytest.raises(UsageError, match="64 mlp is too large: .*; give fewer --members"):
        next(train(small(model="mlp", members=64)))
