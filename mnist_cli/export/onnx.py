"""A network as an ONNX model, built node by node: https://onnx.ai/onnx/operators/.

Its input `pixels` is `float [N, 28, 28]`, values 0 to 255, for any N; its output `logits` is
`float [N, classes]`. The normalisation is inside.
"""

import logging
import math
import os
import sys
import warnings
from collections.abc import Iterable, Mapping
from contextlib import redirect_stdout
from importlib import import_module
from typing import Any

import torch
from onnx import ModelProto, NodeProto, TensorProto, checker, helper
from torch import Tensor, nn

from mnist_cli.errors import OutputError, UsageError, lack_of_memory
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
    checked_logits,
    layers_of,
)
from mnist_cli.models.networks import little_endian

_OPSET, _IR_VERSION = 17, 8  # of 2022: every current runtime reads them
_TRACED_OPSET = 18  # the oldest that PyTorch writes
_MAX_REASON = 300  # characters
_TOLERANCE = 1e-4  # relative to the largest logit, at least 1

_logger = logging.getLogger(__name__)


class _Graph:
    """Nodes and the tensors that they use; `last` is the output of the newest node."""

    def __init__(self) -> None:
        self.nodes: list[NodeProto] = []
        self.tensors: list[TensorProto] = []
        self.last = "pixels"

    def add(
        self,
        operator: str,
        *tensors: Tensor | None,
        **attributes: Any,  # noqa: ANN401 (as in onnx)
    ) -> None:
        """Append a node whose first input is the output of the previous one."""
        self.apply(operator, self.last, *tensors, **attributes)

    def apply(
        self,
        operator: str,
        *inputs: str | Tensor | None,
        **attributes: Any,  # noqa: ANN401 (as in onnx)
    ) -> str:
        """Append a node, and return its name; inputs are names of other nodes, or tensors."""
        names = [
            one if isinstance(one, str) else self._store(one) for one in inputs if one is not None
        ]
        self.last = f"{operator.lower()}_{len(self.nodes)}"
        self.nodes.append(
            helper.make_node(operator, names, [self.last], name=self.last, **attributes)
        )
        return self.last

    def _store(self, tensor: Tensor) -> str:
        name = f"tensor_{len(self.tensors)}"
        kind = TensorProto.INT64 if tensor.dtype == torch.int64 else TensorProto.FLOAT
        made = helper.make_tensor(name, kind, list(tensor.shape), little_endian(tensor), raw=True)
        self.tensors.append(made)
        return name


def encode(
    model: nn.Module, metadata: Mapping[str, str], *, traced: bool = False
) -> tuple[bytes, float | None]:
    """Return the contents of a file, and the largest difference between its logits and PyTorch's.

    A network in a file of one's own is `traced`: PyTorch follows what it computes.

    The difference is measured on generated images, and None if ONNX Runtime is not installed.

    Raises:
        CheckpointError: see `checked_logits`.
        OutputError: the difference exceeds rounding errors.
        UsageError: see `layers_of`; or PyTorch cannot follow the network.

    """
    proto = _traced(model) if traced else _proto(model)
    helper.set_model_props(proto, dict(metadata))
    checker.check_model(proto, full_check=True)
    data: bytes = proto.SerializeToString(deterministic=True)
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # or it leaves an id in the home folder
    try:
        import_module("onnxruntime.capi")
    except ImportError as error:
        why = " ".join(str(error).split())
        _logger.info("Not verified: onnxruntime is not installed (%s)", why)
        return data, None
    return data, _largest_difference(model, data)


def _traced(model: nn.Module) -> ModelProto:
    """Return a model of what PyTorch saw a network compute."""
    try:
        import_module("onnxscript.ir")  # a folder called onnxscript would be importable as well
    except ImportError as error:
        raise UsageError(
            f"a network in a Python file needs onnxscript, too: pip install 'mnist_cli[onnx]' "
            f"({' '.join(str(error).split())})"
        ) from error
    sizes = ({0: torch.export.Dim.DYNAMIC},)
    with warnings.catch_warnings(), redirect_stdout(sys.stderr):
        warnings.simplefilter("ignore")  # of PyTorch, about its own code
        try:
            program = torch.onnx.export(
                model,
                (torch.zeros(3, 28, 28),),
                input_names=["pixels"],
                output_names=["logits"],
                opset_version=_TRACED_OPSET,
                dynamic_shapes=sizes,
                dynamo=True,
                verbose=False,
            )
        except Exception as error:  # of many types
            if lack_of_memory(error):
                raise
            reason = " ".join(str(error).split())[:_MAX_REASON]
            raise UsageError(
                f"PyTorch cannot write this network as ONNX: {reason}; a .safetensors file holds "
                "the weights of any network"
            ) from error
    assert program is not None
    proto: ModelProto = program.model_proto
    for value in (*proto.graph.input, *proto.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "N"
    return proto


def _proto(model: nn.Module) -> ModelProto:
    graph = _Graph()
    graph.add("Reshape", torch.tensor([0, 1, 28, 28]))  # 0 keeps the number of samples
    _add_layers(graph, layers_of(model))
    graph.nodes.append(helper.make_node("Identity", [graph.last], ["logits"], name="logits"))
    taken = helper.make_tensor_value_info("pixels", TensorProto.FLOAT, ["N", 28, 28])
    classes = checked_logits(model)[1].shape[1]
    given = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", classes])
    built = helper.make_graph(graph.nodes, "mnist_cli", [taken], [given], graph.tensors)
    opsets = [helper.make_opsetid("", _OPSET)]
    return helper.make_model(
        built, opset_imports=opsets, ir_version=_IR_VERSION, producer_name="mnist_cli"
    )


def _add_layers(graph: _Graph, layers: Iterable[Layer]) -> None:  # noqa: PLR0912 (a case for each layer)
    """Append the nodes of layers, the first of which takes images `[N, 1, 28, 28]`."""
    shape = [1, 28, 28]  # of one sample: channels, height, width
    for layer in layers:
        match layer:
            case Normalize():
                graph.add("Mul", torch.tensor(layer.scale))
                graph.add("Add", torch.tensor(layer.offset))
            case Deskew():
                _add_deskew(graph, layer)
            case PairColumns():
                graph.add("Transpose", perm=[0, 2, 3, 1])
                shape = [2 * shape[0], shape[1], shape[2] // 2]
                graph.add("Reshape", torch.tensor([0, shape[1], shape[2], shape[0]]))
                graph.add("Transpose", perm=[0, 3, 1, 2])
            case Convolution():
                pads = [*layer.padding, *layer.padding]
                graph.add("Conv", layer.weight, layer.bias, strides=[*layer.stride], pads=pads)
                out, _, *kernel = layer.weight.shape
                sides = zip(shape[1:], kernel, layer.padding, layer.stride, strict=True)
                shape = [out, *((a + 2 * pad - k) // step + 1 for a, k, pad, step in sides)]
            case MaxPool():
                graph.add("MaxPool", kernel_shape=[layer.side] * 2, strides=[layer.stride] * 2)
                shape[1:] = [(a - layer.side) // layer.stride + 1 for a in shape[1:]]
            case Relu():
                graph.add("Relu")
            case ChannelNorm():
                graph.add("InstanceNormalization", layer.weight, layer.bias, epsilon=layer.epsilon)
            case PlaceSums():
                graph.add("Reshape", torch.tensor([0, shape[0], shape[1] * shape[2]]))
                graph.add("MatMul", layer.weight.flatten(1).T)
                graph.add("Flatten", axis=1)
            case ChannelMean():
                graph.add("GlobalAveragePool")
                shape[1:] = [1, 1]
            case Flatten():
                graph.add("Transpose", perm=[0, 2, 3, 1])
                graph.add("Flatten", axis=1)
            case Dense():
                graph.add("Gemm", layer.weight, layer.bias, transB=1)
            case Ensemble():
                _add_ensemble(graph, layer)


def _add_deskew(graph: _Graph, layer: Deskew) -> None:
    """Append the nodes that compute what `models.layers.Deskew` does, in its order."""
    apply, side, places = graph.apply, len(layer.places), layer.places
    images = apply("Reshape", graph.last, torch.tensor([0, side, side]))
    second, third = torch.tensor([1]), torch.tensor([2])  # dimensions

    rows = apply("ReduceSum", images, third, keepdims=0)
    columns = apply("ReduceSum", images, second, keepdims=0)
    ink = apply("ReduceSum", rows, second, keepdims=1)
    ink = apply("Add", apply("Relu", ink), torch.tensor(layer.epsilon))

    def moment(terms: str, factors: Tensor) -> str:
        total = apply("ReduceSum", apply("Mul", terms, factors), second, keepdims=1)
        return apply("Div", total, ink)

    def less_product(value: str, one: str, other: str) -> str:
        return apply("Sub", value, apply("Mul", one, other))

    y, x = moment(rows, places), moment(columns, places)
    yy = less_product(moment(rows, places.square()), y, y)
    xx = less_product(moment(columns, places.square()), x, x)
    weighted = apply("ReduceSum", apply("Mul", images, places), third, keepdims=0)
    xy = less_product(moment(weighted, places), x, y)
    slant = apply("Div", xy, apply("Add", yy, torch.tensor(layer.epsilon)))
    slant = apply("Clip", slant, *torch.tensor(layer.slants))
    variance = less_product(xx, slant, less_product(apply("Add", xy, xy), slant, yy))
    scale = apply("Div", apply("Sqrt", apply("Relu", variance)), torch.tensor(layer.width))
    scale = apply("Clip", scale, *torch.tensor(layer.scales))
    start = less_product(x, slant, y)
    shifts = apply("Unsqueeze", apply("Add", apply("Mul", slant, places), start), third)
    stretched = apply("Unsqueeze", apply("Mul", scale, places), second)
    read = apply("Add", apply("Add", shifts, stretched), torch.tensor((side + 1) / 2))
    read = apply("Clip", read, *torch.tensor([0.0, side + 1]))
    left = apply("Floor", read)
    index = apply("Cast", left, to=TensorProto.INT64)
    index = apply("Clip", index, *torch.tensor([0, side + 1]))
    padded = apply("Pad", images, torch.tensor([0, 0, 1, 0, 0, 2]))
    before = apply("GatherElements", padded, index, axis=2)
    after = apply("GatherElements", padded, apply("Add", index, torch.tensor(1)), axis=2)
    step = apply("Mul", apply("Sub", after, before), apply("Sub", read, left))
    apply("Unsqueeze", apply("Add", before, step), second)


def _add_ensemble(graph: _Graph, ensemble: Ensemble) -> None:
    """Append the nodes of the members side by side, then those that average their predictions."""
    images, outputs = graph.last, []
    for layers in ensemble.members:
        graph.last = images
        _add_layers(graph, layers)
        outputs.append(graph.apply("Unsqueeze", graph.last, torch.tensor([1])))
    graph.apply("Concat", *outputs, axis=1)
    graph.add("LogSoftmax", axis=2)
    graph.add("ReduceLogSumExp", axes=[1], keepdims=0)
    graph.add("Add", torch.tensor(-math.log(len(outputs))))


def _largest_difference(model: nn.Module, data: bytes) -> float:
    import onnxruntime  # noqa: PLC0415 (may be missing)

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    images, logits = checked_logits(model)
    largest = 0.0
    for part in (slice(0, 1), slice(None)):  # two sizes: the number of samples is free
        (found,) = session.run(["logits"], {"pixels": images[part].numpy()})
        difference = (torch.from_numpy(found) - logits[part]).abs().max()
        largest = max(largest, float(difference.nan_to_num(torch.inf)))
    if not largest <= _TOLERANCE * max(1.0, float(logits.abs().max())):
        raise OutputError(
            f"in ONNX Runtime the network's outputs differ by up to {largest:.2g}; "
            "nothing was written"
        )
    return largest
