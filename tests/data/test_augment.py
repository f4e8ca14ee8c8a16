import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from mnist_cli.config.sources import check_consistency
from mnist_cli.config.train import TrainConfig
from mnist_cli.data.augment import SHIFTS, WAVE, WAVES, Augmentation, Shift, Warp, warp
from mnist_cli.data.batches import epoch_updates
from mnist_cli.data.splits import Dataset, Split
from mnist_cli.errors import UsageError
from mnist_cli.evaluation.evaluate import evaluate
from mnist_cli.models.checkpoint import load_checkpoint


def numbered(samples: int) -> Split:
    """Return a split whose labels are the samples' numbers, so that a batch shows its indices."""
    return Split(torch.zeros(samples, 28, 28, dtype=torch.uint8), torch.arange(samples))


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("size", [64, 300, 1000])
def test_a_shift_comes_from_the_place_in_the_epoch_alone(size: int, shuffle: bool) -> None:
    """Fetching several updates at once, or entering the epoch later, changes no shift."""
    split = numbered(1000)
    split.images[:, 14, 14] = 1  # a dot, by which the shift shows
    options = {"size": size, "seed": 3, "epoch": 2, "shuffle": shuffle}
    batches = list(epoch_updates(Shift(split), **options))  # type: ignore[arg-type]
    images, labels = (torch.cat(parts) for parts in zip(*batches, strict=True))
    assert labels.tolist() == whole_order(**options), "shifting does not change the order"
    turns = torch.arange(1000) + 2  # an epoch begins with its own number
    top, left = torch.tensor(SHIFTS)[turns % 9].unbind(1)
    dots = torch.stack([torch.arange(1000), 15 - top, 15 - left], 1)
    assert torch.equal(images.nonzero(), dots)
    first = len(batches) - 1
    ((late, _),) = epoch_updates(Shift(split), first=first, **options)  # type: ignore[arg-type]
    assert torch.equal(late, batches[-1][0])


def test_what_moves_in_from_the_edge_is_black() -> None:
    split = Split(torch.full((9, 28, 28), 7, dtype=torch.uint8), torch.arange(9))
    images, _labels = Shift(split).at_epoch(0)[torch.arange(9), 0]
    for image, (top, left) in zip(images, SHIFTS, strict=True):
        black = (image == 0).sum()
        assert black == 28 * 28 - (28 - abs(top - 1)) * (28 - abs(left - 1))


def whole_order(**options: object) -> list[int]:
    batches = epoch_updates(numbered(1000), **options)  # type: ignore[arg-type]
    return torch.cat([labels for _images, labels in batches]).tolist()


def blurred(samples: int) -> Split:
    """Return a split of smooth random images, each different."""
    noise = torch.rand(samples, 1, 34, 34, generator=torch.Generator().manual_seed(0))
    smooth = torch.nn.functional.avg_pool2d(noise, 7, stride=1)[:, 0]
    return Split((smooth * 255).to(torch.uint8), torch.arange(samples))


def by_sample(dataset: Augmentation, **options: object) -> Tensor:
    """Return the images of an epoch in the order of their samples."""
    batches = list(epoch_updates(dataset, **options))  # type: ignore[arg-type]
    images, labels = (torch.cat(parts) for parts in zip(*batches, strict=True))
    return images[labels.argsort()]


@pytest.mark.parametrize("waves", [False, True])
def test_a_warp_comes_from_the_seed_the_sample_and_the_epoch_alone(waves: bool) -> None:
    """Neither the order, nor the batch size, nor what is fetched together changes an image."""
    split = blurred(1500)
    warps = Warp(split, 5, waves=waves)
    images = by_sample(warps, size=64, seed=5, epoch=2)
    assert images.dtype == torch.uint8
    for options in ({"size": 7, "seed": 6}, {"size": 1500, "seed": 5}, {"size": 64, "seed": 7}):
        assert torch.equal(by_sample(warps, epoch=2, **options), images)
    for other in (
        by_sample(warps, size=64, seed=5, epoch=3),
        by_sample(Warp(split, 6, waves=waves), size=64, seed=5, epoch=2),
    ):
        assert (other != images).flatten(1).any(1).all(), "each image differs"
    fewer = Warp(Split(*split[:1000]), 5, waves=waves)
    assert torch.equal(by_sample(fewer, size=64, seed=5, epoch=2), images[:1000])


def test_no_numbers_change_nothing() -> None:
    images = blurred(9).images
    for count in (6, 6 + 2 * len(WAVES)):
        assert torch.equal(warp(images, torch.zeros(9, count)), images.float())
    still = Warp(blurred(9), 0, strength=0.0, waves=True).at_epoch(1)[torch.arange(9), 0]
    assert torch.equal(still[0], images)


@pytest.mark.parametrize(
    ("which", "value", "moved"),
    [
        # A dot at (x, y) = (4, 2) from the centre; where it is drawn, in pixels to the right and
        # down. The map is that of reading, so what is drawn makes the inverse move.
        (0, 1.0, (4 * math.cos(0.2094) + 2 * math.sin(0.2094),
                  2 * math.cos(0.2094) - 4 * math.sin(0.2094))),
        (1, 1.0, (4 / 1.12, 2.0)),
        (2, -1.0, (4.0, 2 / 0.88)),
        (3, 1.0, (4 - 2 * math.tan(0.17453), 2.0)),
        (4, 1.0, (2.0, 2.0)),
        (5, -0.5, (4.0, 3.0)),
    ],
    ids=["rotation", "width", "height", "shear", "right", "down"],
)  # fmt: skip
def test_each_number_has_its_own_effect(
    which: int, value: float, moved: tuple[float, float]
) -> None:
    y, x = torch.meshgrid(*[torch.arange(28) - 13.5] * 2, indexing="ij")
    dot = (255 * torch.exp(-((x - 4) ** 2 + (y - 2) ** 2) / 8)).to(torch.uint8)[None]
    drawn = torch.zeros(1, 6)
    drawn[0, which] = value
    image = warp(dot, drawn)[0]
    centre = ((image * x).sum() / image.sum(), (image * y).sum() / image.sum())
    assert centre == pytest.approx(moved, abs=0.03)


def test_the_displacement_of_a_wave_is_its_cosine() -> None:
    """A ramp of brightness, read at a displaced place, shows the displacement itself."""
    ramp = (torch.arange(28) * 9).expand(1, 28, 28).to(torch.uint8)
    drawn = torch.zeros(1, 6 + 2 * len(WAVES))
    drawn[0, 6 + WAVES.index((1, 2))] = 0.5
    found = (warp(ramp, drawn) - ramp)[0] / 9
    at = (torch.arange(28) + 0.5) * math.pi / 28
    expected = 0.5 * WAVE / math.sqrt(1 + 1 + 4) * at.cos()[:, None] * (2 * at).cos()
    inside = slice(2, -2)  # at the edge it reads beyond the image
    torch.testing.assert_close(found[:, inside], expected[:, inside], atol=0.06, rtol=0)


def test_what_is_drawn_is_uniform_and_within_the_strength() -> None:
    drawn = Warp(blurred(2000), 0, strength=0.5, waves=True).at_epoch(1)._drawn  # type: ignore[attr-defined]
    assert drawn.abs().max() <= 0.5
    assert drawn.mean(0).abs().max() < 0.05
    torch.testing.assert_close(
        drawn.std(0), torch.full((drawn.shape[1],), 0.5 / 3**0.5), atol=0.01, rtol=0
    )


def test_digits_stay_readable(skilled: Path, mnist: Dataset) -> None:
    """A network that never saw such images reads most of them."""
    model = load_checkpoint(skilled).build_model()
    split = Split(*mnist.test[:1000])
    plain = evaluate(model, split).accuracy
    for waves in (False, True):
        images, labels = Warp(split, 0, waves=waves).at_epoch(1)[slice(0, 1000), 0]
        found = evaluate(model, Split(images, labels)).accuracy
        assert 0.94 * plain < found < plain


@pytest.mark.parametrize("kind", ["none", "shift"])
def test_a_strength_without_a_map_is_refused(kind: str | None) -> None:
    config = TrainConfig(augment=kind, augment_strength=2.0)
    with pytest.raises(UsageError, match=r"--augment-strength 2\.0 changes only --augment affine"):
        check_consistency(config)
    check_consistency(replace(config, augment="elastic"))


def test_the_image_is_read_sheared_then_rotated_then_scaled() -> None:
    """The place where a pixel is read, by the product of the three matrices, in pixels."""
    y, x = torch.meshgrid(*[torch.arange(28) - 13.5] * 2, indexing="ij")
    ramp = torch.stack([128 + 4 * x, 128 + 4 * y]).to(torch.uint8)
    drawn = torch.tensor([[1.0, 1.0, -1.0, 1.0, 0.0, 0.0]]).expand(2, 6)
    turn = math.radians(12)
    scale = torch.diag(torch.tensor([1.12, 0.88]))
    rotation = torch.tensor([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]])
    shear = torch.tensor([[1.0, math.tan(math.radians(10))], [0.0, 1.0]])
    place = scale @ rotation @ shear @ torch.stack([x.flatten(), y.flatten()])
    inside = (slice(None), slice(8, 20), slice(8, 20))
    expected = (128 + 4 * place).view(2, 28, 28)[inside]
    assert (warp(ramp, drawn)[inside] - expected).abs().max() <= 0.51
