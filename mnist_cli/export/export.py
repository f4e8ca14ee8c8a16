"""Export a checkpoint: its network in another format, as a file or on standard output."""

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import assert_never

import torch
from torch import Tensor, nn

from mnist_cli import __version__
from mnist_cli.config.network_file import shown_name
from mnist_cli.config.programs import ExportConfig, ExportFormat
from mnist_cli.config.quoting import printable
from mnist_cli.data.catalogue import DIGITS
from mnist_cli.errors import UsageError
from mnist_cli.events import Exported
from mnist_cli.export.formats import resolve_format
from mnist_cli.export.graph import checked_logits
from mnist_cli.models.checkpoint import Checkpoint, load_checkpoint
from mnist_cli.models.networks import count_parameters, little_endian, weights_sha256
from mnist_cli.runtime.files import open_output

_SAFETENSORS_TYPES = {
    torch.bool: "BOOL",
    torch.uint8: "U8",
    torch.int8: "I8",
    torch.int16: "I16",
    torch.int32: "I32",
    torch.int64: "I64",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.float32: "F32",
    torch.float64: "F64",
}


def export_checkpoint(checkpoint: str, output: str, config: ExportConfig) -> tuple[Exported, bytes]:
    """Write a checkpoint's network to a file, whole or not at all, or to standard output for `-`.

    Return the event, and what was written.

    Raises:
        CheckpointError: see `load_checkpoint`; or the weights are too large to compute with.
        OutputError: the file cannot be written, or exists and `no_clobber` keeps it.
        UsageError: see `resolve_format` and `layers_of`; or the output is the checkpoint, or a
            terminal.

    """
    began = time.perf_counter()
    export_format = resolve_format(output, config.format)
    with open_output(output, no_clobber=config.no_clobber) as write:
        path = Path(output)
        is_file = "-" not in (checkpoint, output) and path.exists()
        if is_file and path.resolve() == Path(checkpoint).resolve():
            raise UsageError(f"OUTPUT {path} is the checkpoint itself; choose another name")
        loaded = load_checkpoint(checkpoint, config.model)
        event, data = _export(loaded, checkpoint, output, export_format, began)
        write(data)
    return event, data


def _export(
    checkpoint: Checkpoint, path: str, output: str, export_format: ExportFormat, began: float
) -> tuple[Exported, bytes]:
    """Return the event of an export, and the contents of the file."""
    model = checkpoint.build_model().eval()
    checked_logits(model)
    digest = weights_sha256(checkpoint.weights)
    data, difference = _encode(export_format, checkpoint, model, digest)
    event = Exported(
        seconds=time.perf_counter() - began,
        checkpoint=path,
        output=output,
        format=export_format,
        bytes=len(data),
        model=shown_name(checkpoint.config.model),
        parameters=count_parameters(model),
        weights_sha256=digest,
        largest_difference=difference,
    )
    return event, data


def _encode(
    export_format: ExportFormat, checkpoint: Checkpoint, model: nn.Module, digest: str
) -> tuple[bytes, float | None]:
    """Return the contents of the file, and the largest difference of logits if it was measured."""
    metadata = {
        "model": checkpoint.config.model,
        "mnist_cli_version": __version__,
        "weights_sha256": digest,
    }
    if checkpoint.config.members > 1:
        metadata["members"] = str(checkpoint.config.members)
    if checkpoint.classes != DIGITS:
        metadata["classes"] = json.dumps(checkpoint.classes, ensure_ascii=False)
    file = checkpoint.network_file
    if file is not None:
        metadata |= {"model": file.name, "network_sha256": file.sha256}
    match export_format:
        case ExportFormat.SAFETENSORS:
            return encode_safetensors(checkpoint.weights, metadata), None
        case ExportFormat.ONNX:
            from mnist_cli.export import onnx  # noqa: PLC0415 (an optional package)

            return onnx.encode(model, metadata, traced=file is not None)
        case ExportFormat.HTML if file is not None:
            raise UsageError(
                "a page computes the networks of mnist_cli only, and this one is in "
                f"{printable(file.path)}; export it as .onnx or .safetensors"
            )
        case ExportFormat.HTML:
            from mnist_cli.export import playground  # noqa: PLC0415 (jinja2)

            return playground.render(checkpoint, model, digest).encode(), None
        case _:
            assert_never(export_format)


def encode_safetensors(weights: Mapping[str, Tensor], metadata: Mapping[str, str]) -> bytes:
    """Return the contents of a safetensors file with a state dict, its keys unchanged.

    The file is the length of the header in 8 bytes, little-endian; the header, JSON, padded with
    spaces to a multiple of 8 bytes; and the tensors' bytes, little-endian and contiguous:
    https://huggingface.co/docs/safetensors, section Format. As in other files written from PyTorch,
    the metadata's `format` is `pt`.
    """
    header: dict[str, object] = {"__metadata__": {"format": "pt", **metadata}}
    blocks: list[bytes] = []
    end = 0
    for key, tensor in weights.items():
        blocks.append(little_endian(tensor))
        start, end = end, end + len(blocks[-1])
        header[key] = {
            "dtype": _SAFETENSORS_TYPES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [start, end],
        }
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return b"".join([len(text).to_bytes(8, "little"), text, *blocks])
