"""Export to a web page: draw a digit, and the network reads it in the browser, offline."""

import base64
import math
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from mnist_cli.config.own_data import shown_data
from mnist_cli.config.registry import NETWORKS
from mnist_cli.export.graph import (
    ChannelMean,
    ChannelNorm,
    Convolution,
    Dense,
    Deskew,
    Ensemble,
    Flatten,
    Layer,
    MaxPool,
    Normalize,
    PairColumns,
    PlaceSums,
    Relu,
    layers_of,
)
from mnist_cli.models.checkpoint import Checkpoint
from mnist_cli.models.networks import count_parameters, little_endian
from mnist_cli.runtime.html_templates import render_page

_TEMPLATE = Path(__file__).with_name("playground.html")


def render(checkpoint: Checkpoint, model: nn.Module, digest: str) -> str:
    """Return the page for a checkpoint with its network and the digest of its weights.

    It contains the weights as 32-bit floats, little-endian, in base64.
    """
    dataset = shown_data(checkpoint.config.dataset)
    subject = checkpoint.subject
    network = NETWORKS.get(checkpoint.config.model)
    data = {
        "subject": subject,
        "threshold": network.confidence_threshold if network else 0.0,
        "labels": checkpoint.classes,
        **_network(model),
    }
    facts = [checkpoint.network_name, f"{count_parameters(model):,} parameters"]
    accuracy = _test_accuracy(checkpoint)
    if accuracy is not None:
        facts.append(f"{100 * accuracy:.2f} % right on {dataset}'s test images")
    facts.append(f"weights {digest[:12]}")
    return render_page(_TEMPLATE, data=data, facts=facts)


def _test_accuracy(checkpoint: Checkpoint) -> float | None:
    """Return the test accuracy of these weights if the history has a plausible one."""
    epochs = [entry for entry in checkpoint.history if entry.get("event") == "epoch"]
    last = epochs[-1] if epochs else {}
    accuracy = last.get("test_accuracy")
    if type(accuracy) is not float or last.get("update") != checkpoint.position.update:
        return None
    return accuracy if math.isfinite(accuracy) and 0 <= accuracy <= 1 else None


class _WeightBuffer:
    """A buffer of concatenated tensors; `add` returns the offset and length of one."""

    def __init__(self) -> None:
        self._blocks: list[bytes] = []
        self._end = 0

    def add(self, tensor: Tensor | None) -> list[int] | None:
        if tensor is None:
            return None
        self._blocks.append(little_endian(tensor.float()))
        start, self._end = self._end, self._end + tensor.numel()
        return [start, tensor.numel()]

    def text(self) -> str:
        return base64.b64encode(b"".join(self._blocks)).decode()


def _network(model: nn.Module) -> dict[str, Any]:
    """Return the layers and weights as network.js reads them: outputs are the last dimension."""
    buffer = _WeightBuffer()
    layers = [_layer_data(layer, buffer) for layer in layers_of(model)]
    return {"layers": layers, "weights": buffer.text()}


def _layer_data(layer: Layer, buffer: _WeightBuffer) -> dict[str, Any]:  # noqa: PLR0911 (a case for each layer)
    match layer:
        case Normalize():
            return {"kind": "normalize", "scale": layer.scale, "offset": layer.offset}
        case Deskew():
            names = ("width", "scales", "slants", "epsilon")
            return {"kind": "deskew", **{name: getattr(layer, name) for name in names}}
        case PairColumns():
            return {"kind": "pairColumns"}
        case Convolution():
            return {
                "kind": "convolution",
                "kernel": list(layer.weight.shape[2:]),
                "outputs": layer.weight.shape[0],
                "stride": list(layer.stride),
                "padding": list(layer.padding),
                "weight": buffer.add(layer.weight.permute(2, 3, 1, 0)),
                "bias": buffer.add(layer.bias),
            }
        case MaxPool():
            return {"kind": "maxPool", "side": layer.side, "stride": layer.stride}
        case Relu():
            return {"kind": "relu"}
        case ChannelNorm():
            return {
                "kind": "channelNorm",
                "epsilon": layer.epsilon,
                "weight": buffer.add(layer.weight),
                "bias": buffer.add(layer.bias),
            }
        case PlaceSums():
            maps = len(layer.weight)
            return {"kind": "placeSums", "maps": maps, "weight": buffer.add(layer.weight)}
        case ChannelMean():
            return {"kind": "channelMean"}
        case Flatten():
            return {"kind": "flatten"}
        case Dense():
            return {
                "kind": "dense",
                "outputs": layer.weight.shape[0],
                "weight": buffer.add(layer.weight.T),
                "bias": buffer.add(layer.bias),
            }
        case Ensemble():
            members = [[_layer_data(each, buffer) for each in own] for own in layer.members]
            return {"kind": "ensemble", "members": members}
