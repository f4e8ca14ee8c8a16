"""The counting of floating-point operations."""

import pytest
import torch

from benchmarks.peak import operations
from mnist_cli.models.networks import build_model

# Multiply-adds of a forward pass by layer, computed by hand: outputs times inputs of each.
FORWARD = {
    "linear": (784 * 10,),
    "mlp": (784 * 256, 256 * 128, 128 * 10),
    "cnn": (
        16 * 12 * 12 * 36,
        32 * 5 * 5 * 16 * 16,
        64 * 3 * 3 * 32 * 9,
        576 * 10,
    ),
}


@pytest.mark.parametrize("members", [1, 2])
@pytest.mark.parametrize("name", FORWARD)
def test_a_training_is_three_forward_passes_without_the_gradient_by_the_pixels(
    name: str, members: int
) -> None:
    first, *others = FORWARD[name]
    counted = operations(build_model(name, members=members), torch.zeros(3, 28, 28).byte())
    assert counted == 3 * members * 2 * (2 * first + 3 * sum(others))


def test_a_layer_that_is_not_trained_is_computed_once() -> None:
    waves, (second, *dense) = 16 * 12 * 12 * 36, (32 * 5 * 5 * 16 * 16, 800 * 128, 128 * 10)
    counted = operations(build_model("quick"), torch.zeros(1, 28, 28).byte())
    assert counted == 2 * (waves + 2 * second + 3 * sum(dense))
