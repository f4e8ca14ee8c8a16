"""Weights as a safetensors file: https://huggingface.co/docs/safetensors, section Format.

The length of the header in 8 bytes, little-endian; the header, JSON, filled up with spaces to a
multiple of 8 bytes; the tensors' bytes, little-endian, one behind the other.
"""

import json
from collections.abc import Mapping

import torch
from torch import Tensor

from mnist_cli.models.digest import little_endian

_TYPES = {torch.float32: "F32", torch.float64: "F64", torch.int64: "I64"}


def encode(weights: Mapping[str, Tensor], about: Mapping[str, str]) -> bytes:
    """Return the contents of a file with a state dict, its keys as they are.

    `about` becomes the file's metadata; as in other files of PyTorch's, its `format` is `pt`.
    """
    header: dict[str, object] = {"__metadata__": {"format": "pt", **about}}
    blocks: list[bytes] = []
    end = 0
    for key, tensor in weights.items():
        blocks.append(little_endian(tensor))
        start, end = end, end + len(blocks[-1])
        header[key] = {
            "dtype": _TYPES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [start, end],
        }
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return b"".join([len(text).to_bytes(8, "little"), text, *blocks])
