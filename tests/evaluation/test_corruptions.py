"""How a network fares on other than clean digits."""

import json

import pytest
import torch

from mnist_cli.data.splits import Dataset, Split
from mnist_cli.evaluation.corruptions import CORRUPTIONS, STRENGTHS, corrupted
from tests.helpers.shell import Shell


@pytest.fixture
def split(mnist: Dataset) -> Split:
    return Split(*mnist.test[:200])


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_a_corruption_grows_with_its_strength_and_is_the_same_each_time(
    name: str, split: Split
) -> None:
    changes = []
    for strength in STRENGTHS:
        found = corrupted(split, name, strength)
        assert (found.images.shape, found.images.dtype) == (split.images.shape, torch.uint8)
        assert torch.equal(found.labels, split.labels)
        assert torch.equal(found.images, corrupted(split, name, strength).images)
        changes.append(float((found.images.float() - split.images.float()).abs().mean()))
    assert changes == sorted(changes)
    assert changes[0] > 0.3


def middle(images: torch.Tensor) -> torch.Tensor:
    """Return the centre of mass of each image, in pixels: down and right."""
    images = images.float()
    at = torch.arange(28.0)
    total = images.sum((1, 2))
    return torch.stack([(images.sum(2) @ at) / total, (images.sum(1) @ at) / total], 1)


@pytest.mark.parametrize("strength", STRENGTHS)
def test_a_shift_moves_by_its_strength_in_pixels(strength: int) -> None:
    images = torch.zeros(50, 28, 28, dtype=torch.uint8)
    images[:, 12:16, 12:16] = 200
    split = Split(images, torch.zeros(50, dtype=torch.uint8))
    moved = middle(corrupted(split, "shift", strength).images) - middle(images)
    torch.testing.assert_close(
        moved.norm(dim=1), torch.full((50,), float(strength)), rtol=0, atol=0.05
    )
    assert moved.mean(0).norm() < strength, "in many directions"


def test_strokes_become_thicker_and_thinner_and_contrast_less(split: Split) -> None:
    ink = split.images.float().mean()
    assert corrupted(split, "thick strokes", 5).images.float().mean() > 2 * ink
    assert corrupted(split, "thin strokes", 5).images.float().mean() < 0.3 * ink
    faint = corrupted(split, "contrast", 5).images
    assert faint.min() == round(255 * 0.85 / 5)
    assert faint.max() < 255 * (0.15 + 0.85 / 5) + 1
    dark = corrupted(split, "occlusion", 3).images
    assert ((dark == split.images) | (dark == 0)).all()
    assert corrupted(split, "noise", 2).images.float().std() > split.images.float().std() / 2


def test_the_program_prints_a_table_and_json(shell: Shell) -> None:
    assert shell.train("-o", "c.pt").code == 0
    done = shell("mnist-eval", "c.pt", "--corruptions")
    assert (done.code, len(done.out.splitlines())) == (0, 1)
    for name in CORRUPTIONS:
        assert f"  {name} " in done.err
    assert "Labels that the network doubts most" in done.err
    done = shell("mnist-eval", "c.pt", "--corruptions", "--json", "-q")
    event = json.loads(done.out)
    assert list(event["corruptions"]) == list(CORRUPTIONS)
    assert all(len(each) == len(STRENGTHS) for each in event["corruptions"].values())
    assert event["corruptions"]["blur"][0] == pytest.approx(event["accuracy"], abs=0.1)
    given = [doubt["label_probability"] for doubt in event["doubted"]]
    assert given == sorted(given)
    assert len(given) == 20
    assert all(doubt["label"] != doubt["prediction"] for doubt in event["doubted"][:5])
    plain = json.loads(shell("mnist-eval", "c.pt", "--json", "-q").out)
    assert not {"corruptions", "doubted"} & set(plain)
    assert plain["accuracy"] == event["accuracy"]
