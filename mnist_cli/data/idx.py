"""The IDX format: a magic number, the sizes, then the bytes in C order.

Format: two zero bytes, one byte for the type (0x08 unsigned byte, 0x0C 32-bit integer), one for
the number of dimensions, the dimensions as 32-bit big-endian integers, then the values, big-endian
too. Source: the description on the MNIST page of LeCun, Cortes and Burges.
"""

import struct

import torch

from mnist_cli.errors import DataError

_DTYPES = {0x08: (torch.uint8, 1), 0x0C: (torch.int32, 4)}
_MAX_DIMENSIONS = 3
_ADVICE = "replace or delete it"


def parse(data: bytearray, source: str) -> torch.Tensor:
    """Return the values of an IDX file as a tensor of its shape, `uint8` or `int32`.

    A `uint8` tensor shares its memory with `data`.

    Raises:
        DataError: not an IDX file, or its length is not what its header says.

    """
    if len(data) < 4 or data[0] or data[1] or data[2] not in _DTYPES:
        start = bytes(data[:4]).hex(" ")
        raise DataError(f"{source} is not an IDX file: it begins with '{start}'; {_ADVICE}")
    dtype, width = _DTYPES[data[2]]
    dimensions = data[3]
    header = 4 + 4 * dimensions
    if not 1 <= dimensions <= _MAX_DIMENSIONS or len(data) < header:
        raise DataError(
            f"{source} is damaged: its header promises {dimensions} dimensions; {_ADVICE}"
        )
    shape = struct.unpack_from(f">{dimensions}I", data, 4)
    expected = header + width * _product(shape)
    if len(data) != expected:
        raise DataError(
            f"{source} is {'truncated' if len(data) < expected else 'too long'}: it has "
            f"{len(data):,} bytes, its header promises {expected:,}; {_ADVICE}"
        )
    if expected == header:
        raise DataError(f"{source} is empty: its header promises the shape {shape}; {_ADVICE}")
    values = torch.frombuffer(data, dtype=torch.uint8, offset=header)
    if dtype is torch.int32:
        values = values.view(-1, 4).flip(1).contiguous().view(torch.int32)  # big-endian
    return values.view(shape)


def _product(shape: tuple[int, ...]) -> int:
    product = 1
    for size in shape:
        product *= size
    return product
