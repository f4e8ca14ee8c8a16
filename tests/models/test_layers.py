import math

import pytest
import torch
from torch import nn
from torch.func import functional_call, grad, vmap
from torch.nn import functional as F

from mnist_cli.data.splits import Split
from mnist_cli.models import layers
from mnist_cli.models.networks import count_parameters


def test_a_convolution_of_all_nine_cosines_can_be_any_convolution(few: Split) -> None:
    """The waves are orthonormal, so its weights are the filters in another basis."""
    torch.manual_seed(0)
    layer = layers.CosineConv2d(2, 3, waves=9, stride=2).double()
    plain = nn.Conv2d(2, 3, 3, stride=2, padding=1, bias=False).double()
    basis = layer.filters
    torch.testing.assert_close(basis @ basis.T, torch.eye(9).double(), rtol=0, atol=1e-6)
    with torch.no_grad():
        layer.weight.copy_(plain.weight.flatten(2) @ basis.T)
    images = torch.rand(4, 2, 28, 28, dtype=torch.float64)
    torch.testing.assert_close(layer(images), plain(images), rtol=0, atol=1e-5)


def test_fewer_cosines_are_the_slowest() -> None:
    flat, right, down = layers.CosineConv2d(1, 1, waves=3).filters.view(3, 3, 3)
    torch.testing.assert_close(flat, torch.full((3, 3), 1 / 3))
    slope = torch.tensor([1.0, 0.0, -1.0]) / math.sqrt(6)
    torch.testing.assert_close(right, slope.expand(3, 3), rtol=0, atol=1e-6)
    torch.testing.assert_close(down, slope.expand(3, 3).T, rtol=0, atol=1e-6)


def test_repeated_layers_have_their_parameters_once() -> None:
    layer = nn.Conv2d(3, 3, 3, padding=1)
    repeated = layers.Repeat(3, layer, nn.ReLU())
    images = torch.rand(2, 3, 28, 28)
    expected = layer(layer(layer(images).relu()).relu()).relu()
    torch.testing.assert_close(repeated(images), expected)
    assert count_parameters(repeated) == count_parameters(layer)
    assert len(repeated.state_dict()) == 2


def test_places_are_averaged_with_their_weights() -> None:
    layer = layers.WeightedMean(2, 3)
    images = torch.arange(12.0).view(1, 2, 2, 3)
    torch.testing.assert_close(layer(images), torch.tensor([[2.5, 8.5]]))
    with torch.no_grad():
        layer.weight.zero_()
        layer.weight[1, 2] = 6.0
    torch.testing.assert_close(layer(images), images[:, :, 1, 2])


def test_several_maps_of_weights_give_each_channel_several_averages() -> None:
    torch.manual_seed(0)
    several = layers.WeightedMean(2, 3, maps=2)
    one = layers.WeightedMean(2, 3)
    images = torch.rand(4, 5, 2, 3)
    found = several(images).view(4, 5, 2)
    for each in range(2):
        with torch.no_grad():
            one.weight.copy_(several.weight[each])
        torch.testing.assert_close(found[:, :, each], one(images))
    assert not torch.equal(found[:, :, 0], found[:, :, 1]), "they start from different weights"


def moments_of(image: torch.Tensor) -> dict[str, float]:
    """Return centre, slant and deviations of an image, pixel by pixel; the width without slant."""
    pixels = [
        (row - 13.5, column - 13.5, float(image[row, column]))
        for row in range(28)
        for column in range(28)
    ]
    ink = sum(value for *_, value in pixels)
    y, x = (sum(one[at] * one[2] for one in pixels) / ink for at in (0, 1))
    xy = sum((one[0] - y) * (one[1] - x) * one[2] for one in pixels) / ink
    yy = sum((one[0] - y) ** 2 * one[2] for one in pixels) / ink
    xx = sum((one[1] - x) ** 2 * one[2] for one in pixels) / ink
    width = math.sqrt(xx - xy**2 / yy)
    return {"y": y, "x": x, "slant": xy / yy, "width": width, "columns": math.sqrt(xx)}


def test_deskewed_digits_are_upright_centred_and_equally_wide(few: Split) -> None:
    layer = layers.Deskew()
    for image, read in zip(few.images[:20], layer(few.images[:20])[:, 0], strict=True):
        before, after = moments_of(image), moments_of(read)
        least, greatest = (layer.width * scale for scale in layer.scales)
        width = before["width"] * layer.width / min(max(before["width"], least), greatest)
        assert after["x"] == pytest.approx(0, abs=0.3)
        assert after["y"] == pytest.approx(before["y"], abs=0.3)
        assert after["slant"] == pytest.approx(0, abs=0.05)
        assert after["width"] == pytest.approx(width, abs=0.3)


def test_an_upright_digit_of_the_right_width_is_read_as_it_is() -> None:
    image = torch.zeros(28, 28)
    image[6:22, 6:22] = 200.0
    layer = layers.Deskew()
    layer.width = math.sqrt((16**2 - 1) / 12)  # the deviation of 16 columns
    torch.testing.assert_close(layer(image)[0, 0], image, rtol=0, atol=0.02)
    layer.width /= 2  # half as wide: every other pixel
    layer.scales = (0.5, 2.0)
    half = torch.zeros(28, 28)
    half[6:22, 10:18] = 200.0
    torch.testing.assert_close(layer(image)[0, 0], half, rtol=0, atol=0.02)


def test_a_slant_beyond_the_limit_is_removed_in_part_and_the_width_is_right() -> None:
    image = torch.zeros(28, 28)
    for row in range(10, 18):
        for column in (2 * (row - 10) + 6, 2 * (row - 10) + 7):
            image[row, column : column + 2] = 200.0  # two columns to the right in each row
    layer = layers.Deskew()
    before, after = moments_of(image), moments_of(layer(image)[0, 0])
    assert before["slant"] == pytest.approx(2, abs=0.01)
    assert after["columns"] == pytest.approx(layer.width, abs=0.3)
    scale = after["slant"] / (before["slant"] - layer.slants[1])
    assert 1 < scale < 2, "one of two columns a row is left, stretched"


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1e38])
def test_a_pixel_that_is_no_number_harms_its_own_image_only(value: float, few: Split) -> None:
    images = few.images[:3].float()
    expected = layers.Deskew()(images)
    images[1, 5, 6] = value
    found = layers.Deskew()(images)
    assert torch.equal(found[::2], expected[::2])
    assert bool(found[1].isnan().any())


def test_pixels_whose_sum_is_negative_are_deskewed(few: Split) -> None:
    """As those that an attack or an occlusion may compute."""
    found = layers.Deskew()(few.images[:20].float() - 255)
    assert bool(found.isfinite().all())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_images_are_deskewed_in_single_precision_at_least(dtype: torch.dtype, few: Split) -> None:
    expected = layers.Deskew()(few.images[:20])
    found = layers.Deskew().to(dtype)(few.images[:20])
    assert found.dtype == dtype
    torch.testing.assert_close(found.float(), expected, rtol=0, atol=0.6)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(layers.Deskew()(few.images[:20]), expected)


@pytest.mark.parametrize("value", [0, 255])
def test_an_image_without_a_digit_is_deskewed_to_finite_pixels(value: int) -> None:
    images = torch.full((2, 28, 28), value, dtype=torch.uint8)
    images[1, 3, 20] = 255 - value  # a single dot, or a hole
    found = layers.Deskew()(images)
    assert found.shape == (2, 1, 28, 28)
    assert bool(found.isfinite().all())
    assert float(found.min()) >= 0
    assert float(found.max()) <= 255


@pytest.mark.parametrize("last", [True, False])
def test_channels_are_normalised_as_groups_of_one(last: bool) -> None:
    torch.manual_seed(0)
    layer = layers.ChannelNorm(5).double()
    with torch.no_grad():
        layer.weight.uniform_(0.5, 2)
        layer.bias.normal_()
    images = torch.randn(3, 5, 4, 6, dtype=torch.float64) * 2 + 1
    images[1, 2] = 7.0  # a channel without contrast
    given = torch.randn_like(images)
    if last:
        images = images.to(memory_format=torch.channels_last)
    images.requires_grad_()
    inputs = (images, layer.weight, layer.bias)
    found = layer(images)
    expected = F.group_norm(images, 5, layer.weight, layer.bias)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)
    gradients = torch.autograd.grad(found, inputs, given)
    wanted = torch.autograd.grad(expected, inputs, given)
    for mine, theirs in zip(gradients, wanted, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-7, atol=1e-7)


def test_the_gradients_of_normalised_channels_are_the_derivatives() -> None:
    torch.manual_seed(0)
    layer = layers.ChannelNorm(2).double()
    images = torch.randn(2, 2, 3, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(layer, images)
    assert torch.autograd.gradgradcheck(layer, images)


def test_normalised_channels_have_gradients_of_each_sample() -> None:
    """As the probes ask for them, by `torch.func`."""
    layer = layers.ChannelNorm(2).double()
    images = torch.randn(4, 2, 3, 3, dtype=torch.float64)
    weights = dict(layer.named_parameters())

    def loss(weights: dict[str, torch.Tensor], image: torch.Tensor) -> torch.Tensor:
        return functional_call(layer, weights, (image[None],)).pow(3).sum()  # type: ignore[no-any-return]

    each = vmap(grad(loss), in_dims=(None, 0))(weights, images)
    total = torch.autograd.grad(layer(images).pow(3).sum(), list(layer.parameters()))
    for name, whole in zip(weights, total, strict=True):
        torch.testing.assert_close(each[name].sum(0), whole)


def test_in_bfloat16_channels_are_normalised_in_single_precision() -> None:
    torch.manual_seed(0)
    layer = layers.ChannelNorm(3)
    images = (torch.rand(2, 3, 10, 10) + 5).to(memory_format=torch.channels_last)
    rounded = images.bfloat16()
    found = layer(rounded)
    assert found.dtype == torch.bfloat16
    expected = layer(rounded.float())
    torch.testing.assert_close(found.float(), expected, rtol=0.05, atol=0.3)
