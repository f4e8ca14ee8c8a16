"""Trainings whose products are computed in bfloat16."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from mnist_cli.data.splits import Split
from mnist_cli.errors import CheckpointError
from mnist_cli.models.checkpoint import decode, encode, load_checkpoint
from mnist_cli.models.networks import build_model
from mnist_cli.runtime.device import pick_precision
from mnist_cli.training.loop import Update, forward, label_targets
from tests.helpers.trainings import Configure, end_of


def test_the_gradient_is_that_of_float32_but_for_rounding(few: Split) -> None:
    model = build_model("cnn")
    parameters: list[torch.Tensor] = list(model.parameters())
    targets = label_targets(0.1, 10, parameters[0])
    gradients = []
    for precision in ("float32", "bfloat16"):
        update = Update(model, parameters, *few[:64], 64, targets, precision=precision)
        gradient, _ = update.gradient_of(slice(None))
        assert all(each.dtype == torch.float32 for each in gradient)
        gradients.append(torch.cat([each.flatten() for each in gradient]))
    error = (gradients[0] - gradients[1]).norm() / gradients[0].norm()
    assert 1e-4 < error < 0.05, "bfloat16 has 8 bits: 0.4 % of each number"


def test_logits_are_float32_and_no_context_is_left_behind(few: Split) -> None:
    logits = forward(build_model("cnn"), few.images, "bfloat16")
    assert logits.dtype == torch.float32
    assert not torch.is_autocast_enabled("cpu")


def test_a_checkpoint_has_what_auto_chose(small: Configure) -> None:
    config = small(model="linear", precision="auto")
    end_of(config)
    chosen = load_checkpoint(config.output).config.precision
    assert chosen == pick_precision("auto", torch.device("cpu"))
    assert chosen in ("float32", "bfloat16")


def test_a_checkpoint_without_a_choice_is_damaged(trained: Path) -> None:
    checkpoint = load_checkpoint(trained)
    config = replace(checkpoint.config, precision="auto")
    with pytest.raises(CheckpointError, match="an option is left open"):
        decode(encode(replace(checkpoint, config=config)), "it")


@pytest.mark.parametrize(("units", "chosen"), [(True, "bfloat16"), (False, "float32")])
def test_auto_takes_bfloat16_where_the_processor_has_units_for_it(
    units: bool, chosen: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("_is_amx_tile_supported", "_is_avx512_bf16_supported"):
        monkeypatch.setattr(torch.cpu, name, lambda: units)
    assert pick_precision("auto", torch.device("cpu")) == chosen
    assert pick_precision("float32", torch.device("cpu")) == "float32"
    assert pick_precision("auto", torch.device("mps")) == "float32"
