"""Random streams, addressed by seed and purpose."""

import hashlib

import torch


def stream_seed(seed: int, *address: str | int) -> int:
    """Return the 63-bit seed of the random stream at an address, such as `("order", epoch)`.

    No state is carried from one stream to the next, so any part of a training can be repeated from
    the seed and its address alone. SHA-256 makes neighbouring addresses independent.
    """
    text = "/".join(str(part) for part in (seed, *address))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") >> 1


def stream(seed: int, *address: str | int) -> torch.Generator:
    """Return a new CPU generator at the start of the stream at `address`."""
    return torch.Generator().manual_seed(stream_seed(seed, *address))
