"""Wounds of bytes, drawn at random."""

import random

NUMBERS = [0, 1, 2, 7, 9, 10, 127, 128, 255, 256, 65535, 65536, 2**31 - 1, 2**31, 2**32 - 1, 2**63]


def damaged(data: bytes, draw: random.Random) -> bytes:
    """Return bytes with one to a dozen wounds."""
    out = bytearray(data)
    for _ in range(draw.choice([1, 1, 1, 2, 3, 12])):
        draw.choice(WOUNDS)(out, draw)
    return bytes(out)


def flip(out: bytearray, draw: random.Random) -> None:
    if out:
        out[draw.randrange(len(out))] ^= 1 << draw.randrange(8)


def overwrite(out: bytearray, draw: random.Random) -> None:
    if out:
        out[draw.randrange(len(out))] = draw.randrange(256)


def number(out: bytearray, draw: random.Random) -> None:
    value, width = draw.choice(NUMBERS), draw.choice([1, 2, 4, 8])
    order = draw.choice(["little", "big"])
    at = draw.randrange(len(out) + 1)
    out[at : at + width] = (value % (1 << (8 * width))).to_bytes(width, order)  # type: ignore[arg-type]


def cut(out: bytearray, draw: random.Random) -> None:
    del out[draw.randrange(len(out) + 1) :]


def remove(out: bytearray, draw: random.Random) -> None:
    at = draw.randrange(len(out) + 1)
    del out[at : at + draw.choice([1, 4, 100])]


def insert(out: bytearray, draw: random.Random) -> None:
    at = draw.randrange(len(out) + 1)
    out[at:at] = draw.randbytes(draw.choice([1, 4, 100]))


def repeat(out: bytearray, draw: random.Random) -> None:
    at, size = draw.randrange(len(out) + 1), draw.choice([1, 8, 64, 1000])
    out[at:at] = out[at : at + size] * draw.choice([1, 2, 50])


def near_the_start(out: bytearray, draw: random.Random) -> None:
    if out:
        out[draw.randrange(min(len(out), 64))] = draw.choice(NUMBERS) & 0xFF


WOUNDS = [flip, overwrite, number, cut, remove, insert, repeat, near_the_start]
