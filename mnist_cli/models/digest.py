"""The digest of a network's weights."""

import ctypes
import hashlib
import sys
from collections.abc import Mapping

import torch
from torch import Tensor


def weights_sha256(weights: Mapping[str, Tensor]) -> str:
    """Return the SHA-256 over a state dict: for each key in order, the key in UTF-8 and the tensor.

    The tensor's bytes are contiguous and little-endian.
    """
    digest = hashlib.sha256()
    for key in sorted(weights):
        digest.update(key.encode())
        digest.update(little_endian(weights[key]))
    return digest.hexdigest()


def little_endian(tensor: Tensor) -> bytes:
    """Return the bytes of a tensor's values in the order of its indices, little-endian."""
    values = tensor.detach().cpu().contiguous()
    if sys.byteorder == "big":
        values = values.view(torch.uint8).view(-1, values.element_size()).flip(1).contiguous()
    return ctypes.string_at(values.data_ptr(), values.nbytes)
