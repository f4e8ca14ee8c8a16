"""Distillation: the targets are what a trained network predicts for the images as they are seen."""

import signal
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from mnist_cli.data.splits import Split
from mnist_cli.errors import InterruptedRunError, UsageError
from mnist_cli.events import Step
from mnist_cli.models.checkpoint import load_checkpoint
from mnist_cli.models.networks import build_model, weights_sha256
from mnist_cli.training.loop import Update, teacher_targets
from mnist_cli.training.train import train
from tests.helpers.checkpoints import save_checkpoint
from tests.helpers.trainings import Configure, end_of


@pytest.mark.parametrize("members", [1, 3])
@pytest.mark.parametrize("micro", [100, 7])
def test_the_gradient_is_that_of_the_cross_entropy_with_its_probabilities(
    micro: int, members: int, few: Split
) -> None:
    model = build_model("lenet", seed=1, members=members).double()
    teacher = build_model("mlp", seed=2, members=2).double()
    parameters: list[torch.Tensor] = list(model.parameters())
    update = Update(model, parameters, *few[:100], 100, teacher_targets(teacher))
    parts = [slice(start, start + micro) for start in range(0, 100, micro)]
    found = [sum(each) for each in zip(*(update.gradient_of(p)[0] for p in parts), strict=True)]
    targets = teacher(few.images[:100]).exp()
    logits = model(few.images[:100]).view(100, members, 10)
    loss = sum(F.cross_entropy(logits[:, member], targets) for member in range(members))
    wanted = torch.autograd.grad(loss, parameters)  # type: ignore[arg-type]
    for mine, expected in zip(found, wanted, strict=True):
        torch.testing.assert_close(mine, expected, rtol=1e-9, atol=1e-12)
    assert not any(weight.requires_grad for weight in teacher.parameters())


@pytest.fixture
def taught(small: Configure, tmp_path: Path) -> Configure:
    """Configure trainings with a teacher."""
    teacher = str(tmp_path / "teacher.pt")
    end_of(small(model="mlp", output=teacher))

    def make(**changes: object) -> object:
        return small(model="linear", teacher=teacher, **changes)

    return make  # type: ignore[return-value]


def test_the_checkpoint_names_the_teacher_by_its_weights(taught: Configure) -> None:
    config = taught()
    digest = end_of(config).weights_sha256
    kept = load_checkpoint(config.output)
    assert kept.config.teacher == weights_sha256(load_checkpoint(str(config.teacher)).weights)
    assert kept.config.label_smoothing == 0
    assert digest != end_of(replace(config, teacher=None)).weights_sha256


def test_it_goes_on_exactly_with_the_same_teacher_only(taught: Configure, small: Configure) -> None:
    config = taught(augment="affine")
    whole = end_of(config).weights_sha256
    end_of(replace(config, max_updates=3))
    checkpoint = load_checkpoint(config.output)
    rest = replace(checkpoint.config, max_updates=None)
    for other, message in (
        (replace(rest, teacher=None), "give it again: --teacher"),
        (rest, "give it again: --teacher"),  # with the digest, which names no file
        (replace(rest, teacher=config.output), f"{config.output}: .* learned from other weights"),
    ):
        with pytest.raises(UsageError, match=message):
            next(train(other, checkpoint))
    assert end_of(replace(rest, teacher=config.teacher), resume=checkpoint).weights_sha256 == whole
    plain = small(model="linear", max_updates=3)
    end_of(plain)
    with pytest.raises(UsageError, match="began without a teacher; leave it out"):
        next(train(replace(plain, teacher=config.teacher), load_checkpoint(plain.output)))


def test_labels_are_not_smoothed_beside_a_teacher(taught: Configure) -> None:
    with pytest.raises(UsageError, match=r"--label-smoothing 0\.1 contradicts --teacher"):
        next(train(taught(label_smoothing=0.1)))


def test_how_to_go_on_names_the_teacher(taught: Configure) -> None:
    config = taught()
    with pytest.raises(InterruptedRunError, match=f"--resume .* --teacher {config.teacher}"):
        for event in train(config):
            if isinstance(event, Step) and event.update == 3:
                signal.raise_signal(signal.SIGINT)


@pytest.mark.parametrize(("dataset", "is_told"), [("fashion-mnist", True), ("mnist", False)])
def test_a_teacher_of_other_classes_is_warned_of(
    dataset: str, is_told: bool, taught: Configure, caplog: pytest.LogCaptureFixture
) -> None:
    config = taught()
    teacher = load_checkpoint(str(config.teacher))
    other = replace(teacher, config=replace(teacher.config, dataset=dataset))
    save_checkpoint(other, Path(str(config.teacher)))
    next(train(config))
    told = "trained on fashion-mnist, whose classes are not those of qmnist"
    assert (told in caplog.text) == is_told
