import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from mnist_cli.config.registry import NETWORKS
from mnist_cli.data.splits import Split
from mnist_cli.errors import UsageError
from mnist_cli.models.layers import Flatten, Normalize
from mnist_cli.models.networks import build_model, check_additive, weights_sha256


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
