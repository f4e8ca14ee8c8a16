import math

import pytest
import torch
from torch import nn
from torch.func import functional_call, grad, vmap
from torch.nn import functional as F

from mnist_cli.config.registry import NETWORKS
from mnist_cli.data.splits import Split
from mnist_cli.errors import UsageError
from mnist_cli.models import networks
from mnist_cli.models.networks import (
    Flatten,
    Normalize,
    build_model,
    check_additive,
    weights_sha256,
)


@pytest.mark.parametrize("name", NETWORKS)
def test_raw_pixels_of_either_shape_and_type_give_the_same_logits(name: str, few: Split) -> None:
    model = build_model(name)
    if name == "linear":  # its zeros would hide a difference
        torch.nn.init.normal_(next(iter(model.parameters())))
    logits = model(few.images)
    assert logits.shape == (len(few), 10)
    assert torch.equal(logits, model(few.images.unsqueeze(1)))
    assert torch.equal(logits, model(few.images.float()))


@pytest.mark.parametrize("name", NETWORKS)
def test_weights_come_from_the_seed_alone(name: str) -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = weights_sha256(build_model(name, seed=3).state_dict())
    assert torch.equal(before, torch.get_rng_state()), "the global stream was drawn from"
    torch.manual_seed(2)
    assert weights_sha256(build_model(name, seed=3).state_dict()) == first
    if name != "linear":
        assert weights_sha256(build_model(name, seed=4).state_dict()) != first


def test_linear_starts_at_the_loss_of_a_guess(few: Split) -> None:
    loss = F.cross_entropy(build_model("linear")(few.images), few.labels.long())
    assert loss.item() == pytest.approx(math.log(10), abs=1e-6)  # ten equal probabilities


@pytest.mark.parametrize("name", NETWORKS)
def test_a_sample_is_read_the_same_alone_and_in_company(name: str, few: Split) -> None:
    """No layer mixes samples, as batch normalisation would."""
    model = build_model(name).double()
    together = model(few.images)
    for at in (0, 57):
        alone = model(few.images[at : at + 1])
        torch.testing.assert_close(alone[0], together[at], rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("layer", "why"),
    [
        (nn.BatchNorm1d(784), "changes its 2.running_mean"),
        (nn.BatchNorm1d(784, track_running_stats=False), "here it is not"),
        (nn.Dropout(0.1), "here it is not"),
        (nn.utils.parametrizations.spectral_norm(nn.Linear(784, 784)), "changes its 2.param"),
    ],
    ids=["batch norm", "batch norm without buffers", "dropout", "spectral norm"],
)
def test_a_network_whose_gradients_do_not_add_up_is_refused(layer: nn.Module, why: str) -> None:
    model = nn.Sequential(Normalize(), Flatten(), layer, nn.Linear(784, 10))
    with pytest.raises(UsageError, match=f"model 'mine' .* {why}"):
        check_additive(model, "mine")


@pytest.mark.parametrize("name", NETWORKS)
def test_the_check_of_gradients_leaves_no_trace(name: str) -> None:
    model = build_model(name)
    random, weights = torch.get_rng_state(), weights_sha256(model.state_dict())
    check_additive(model, name)
    assert torch.equal(random, torch.get_rng_state())
    assert weights_sha256(model.state_dict()) == weights
    assert all(parameter.grad is None for parameter in model.parameters())


def test_layers_that_normalise_each_sample_are_allowed() -> None:
    layers = [nn.Conv2d(1, 4, 3), nn.GroupNorm(2, 4), Flatten(), nn.LayerNorm(4 * 26 * 26)]
    check_additive(nn.Sequential(Normalize(), *layers, nn.Linear(4 * 26 * 26, 10)), "mine")


def test_a_convolution_of_all_nine_cosines_can_be_any_convolution(few: Split) -> None:
    """The waves are orthonormal, so its weights are the filters in another basis."""
    torch.manual_seed(0)
    layer = networks.CosineConv2d(2, 3, waves=9, stride=2).double()
    plain = nn.Conv2d(2, 3, 3, stride=2, padding=1, bias=False).double()
    basis = layer.filters
    torch.testing.assert_close(basis @ basis.T, torch.eye(9).double(), rtol=0, atol=1e-6)
    with torch.no_grad():
        layer.weight.copy_(plain.weight.flatten(2) @ basis.T)
    images = torch.rand(4, 2, 28, 28, dtype=torch.float64)
    torch.testing.assert_close(layer(images), plain(images), rtol=0, atol=1e-5)


def test_fewer_cosines_are_the_slowest() -> None:
    flat, right, down = networks.CosineConv2d(1, 1, waves=3).filters.view(3, 3, 3)
    torch.testing.assert_close(flat, torch.full((3, 3), 1 / 3))
    slope = torch.tensor([1.0, 0.0, -1.0]) / math.sqrt(6)
    torch.testing.assert_close(right, slope.expand(3, 3), rtol=0, atol=1e-6)
    torch.testing.assert_close(down, slope.expand(3, 3).T, rtol=0, atol=1e-6)


def test_repeated_layers_have_their_parameters_once() -> None:
    layer = nn.Conv2d(3, 3, 3, padding=1)
    repeated = networks.Repeat(3, layer, nn.ReLU())
    images = torch.rand(2, 3, 28, 28)
    expected = layer(layer(layer(images).relu()).relu()).relu()
    torch.testing.assert_close(repeated(images), expected)
    assert networks.count_parameters(repeated) == networks.count_parameters(layer)
    assert len(repeated.state_dict()) == 2


def test_places_are_averaged_with_their_weights() -> None:
    layer = networks.WeightedMean(2, 3)
    images = torch.arange(12.0).view(1, 2, 2, 3)
    torch.testing.assert_close(layer(images), torch.tensor([[2.5, 8.5]]))
    with torch.no_grad():
        layer.weight.zero_()
        layer.weight[1, 2] = 6.0
    torch.testing.assert_close(layer(images), images[:, :, 1, 2])


@pytest.mark.parametrize("last", [True, False])
def test_channels_are_normalised_as_groups_of_one(last: bool) -> None:
    torch.manual_seed(0)
    layer = networks.ChannelNorm(5).double()
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
    layer = networks.ChannelNorm(2).double()
    images = torch.randn(2, 2, 3, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(layer, images)
    assert torch.autograd.gradgradcheck(layer, images)


def test_normalised_channels_have_gradients_of_each_sample() -> None:
    """As the probes ask for them, by `torch.func`."""
    layer = networks.ChannelNorm(2).double()
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
    layer = networks.ChannelNorm(3)
    images = (torch.rand(2, 3, 10, 10) + 5).to(memory_format=torch.channels_last)
    rounded = images.bfloat16()
    found = layer(rounded)
    assert found.dtype == torch.bfloat16
    expected = layer(rounded.float())
    torch.testing.assert_close(found.float(), expected, rtol=0.05, atol=0.3)
