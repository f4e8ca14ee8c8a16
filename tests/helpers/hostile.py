"""Image files that ask for far more than they are, made by hand.

Each has the words it is refused with; "" stands for one that is read: in the torture tests, one
that is as large as may be.
"""

import io
import struct
import zlib
from collections.abc import Callable
from typing import Any

from PIL import Image

from tests.torture.amount import count


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(
    width: int, height: int, depth: int, colour: int, *extra: bytes, rows: bool = True
) -> bytes:
    """Return a black PNG, colour 0 is grey and 6 is RGBA, with more chunks before its pixels."""
    squeeze = zlib.compressobj(1)
    samples = 4 if colour == 6 else 1
    row = bytes(1 + (width * depth * samples + 7) // 8) if rows else b""
    pixels = b"".join(squeeze.compress(row) for _ in range(height if rows else 0))
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    data = chunk(b"IDAT", pixels + squeeze.flush())
    return b"".join(
        [b"\x89PNG\r\n\x1a\n", chunk(b"IHDR", header), *extra, data, chunk(b"IEND", b"")]
    )


def tiff(*tags: tuple[int, int, int, int], end: bytes = b"") -> bytes:
    """Return a TIFF of 10 by 10 grey pixels; tags are (tag, type, count, value)."""
    image = {
        256: (3, 1, 10),
        257: (3, 1, 10),
        258: (3, 1, 8),
        259: (3, 1, 1),
        262: (3, 1, 1),
        273: (4, 1, 8),
        277: (3, 1, 1),
        278: (3, 1, 10),
        279: (4, 1, 100),
    } | {tag: rest for tag, *rest in tags}
    entries = b"".join(struct.pack("<HHII", tag, *image[tag]) for tag in sorted(image))
    start = 8 + 100
    directory = struct.pack("<H", len(image)) + entries + bytes(4)
    return b"II*\0" + struct.pack("<I", start) + bytes(100) + directory + end


def tiff_deep(side: int) -> bytes:
    """Return a TIFF of one deflated strip, 16-bit RGBA, to be turned by a quarter."""
    squeeze = zlib.compressobj(1)
    strip = b"".join(squeeze.compress(bytes(side * 8)) for _ in range(side)) + squeeze.flush()
    base = tiff(
        (256, 4, 1, side),
        (257, 4, 1, side),
        (258, 3, 4, 0),
        (259, 3, 1, 8),
        (262, 3, 1, 2),
        (273, 4, 1, 0),
        (274, 3, 1, 6),
        (277, 3, 1, 4),
        (278, 4, 1, side),
        (279, 4, 1, len(strip)),
        (338, 3, 1, 2),
    )
    depths = len(base)
    base = base.replace(struct.pack("<HHII", 258, 3, 4, 0), struct.pack("<HHII", 258, 3, 4, depths))
    place = struct.pack("<HHII", 273, 4, 1, depths + 8)
    base = base.replace(struct.pack("<HHII", 273, 4, 1, 0), place)
    return base + struct.pack("<4H", 16, 16, 16, 16) + strip


def jpeg_with(*segments: bytes) -> bytes:
    """Return a JPEG with segments before its own, which say nothing of its density."""
    plain = encoded(Image.new("L", (40, 40), 200), "JPEG")
    assert plain[2:4] == b"\xff\xe0"
    after_jfif = 4 + struct.unpack(">H", plain[4:6])[0]
    return plain[:2] + b"".join(segments) + plain[after_jfif:]


def exif_rationals() -> bytes:
    """Return EXIF data in hundreds of segments: a density of three million fractions."""
    entry = struct.pack("<HHII", 0x011A, 5, 3_000_000, 26)
    data = b"II*\0" + struct.pack("<IH", 8, 1) + entry + bytes(4) + b"\1\0\0\0" * 6_000_000
    pieces = [data[start : start + 65_000] for start in range(0, len(data), 65_000)]
    return b"".join(
        b"\xff\xe1" + struct.pack(">H", len(piece) + 8) + b"Exif\0\0" + piece for piece in pieces
    )


def jpeg_of_four_scans(side: int) -> bytes:
    """Return a sequential JPEG in CMYK that has each of its colours in a scan of its own."""
    grey = encoded(Image.new("L", (side, side), 200), "JPEG")
    frame, scan = grey.index(b"\xff\xc0"), grey.index(b"\xff\xda")
    colours = b"".join(bytes([number, 0x11, 0]) for number in range(1, 5))
    four = b"\xff\xc0" + struct.pack(">HBHHB", 20, 8, side, side, 4) + colours
    scans = [
        b"\xff\xda\0\x08\x01" + bytes([number]) + grey[scan + 6 : -2] for number in range(1, 5)
    ]
    return grey[:frame] + four + grey[frame + 13 : scan] + b"".join(scans) + grey[-2:]


def painted_over() -> bytes:
    """Return a progressive JPEG whose last scan comes a thousand times."""
    source = encoded(Image.new("L", (40, 40), 200), "JPEG", progressive=True)
    last = source.rindex(b"\xff\xda")
    return source[:last] + source[last:-2] * 1000 + source[-2:]


def bmp_rle(side: int) -> bytes:
    """Return a compressed BMP without any pixels but those that it jumps over."""
    header = struct.pack("<IiiHHIIiiII", 40, side, side, 1, 8, 1, 0, 0, 0, 256, 0)
    start = 14 + len(header) + 1024
    return b"BM" + struct.pack("<IHHI", 0, 0, 0, start) + header + bytes(1024) + b"\0\2\0\xff" * 300


def gif(width: int, height: int, *extra: bytes) -> bytes:
    frame = b"," + struct.pack("<4HB", 0, 0, width, height, 0) + b"\2\1\x04\0"
    return b"GIF89a" + struct.pack("<HH3B", width, height, 0, 0, 0) + b"".join(extra) + frame + b";"


def webp(width: int, height: int) -> bytes:
    """Return a WebP that declares a canvas, and has a tiny frame."""
    frame = encoded(Image.new("RGB", (8, 8)), "WEBP")[12:]
    size = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    chunks = b"VP8X" + struct.pack("<II", 10, 0) + size + frame
    return b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WEBP" + chunks


def texts() -> list[bytes]:
    """Return PNG texts that unpack to 60 million characters, of four bytes each."""
    words = zlib.compress(("\N{PILE OF POO}" + "a" * 999_000).encode())
    return [chunk(b"iTXt", b"key\0\1\0\0\0" + words)] * 60


TOO_MANY, TOO_MUCH = "pixels, which is too large", "too much memory"
HOSTILE: dict[str, tuple[Callable[[], bytes], str]] = {
    "png, 400 million pixels": (lambda: png(20_000, 20_000, 1, 0), TOO_MUCH),
    "png, 100 million pixels": (lambda: png(10_000, 10_000, 1, 0), TOO_MUCH),
    "png, 51 million pixels": (lambda: png(7150, 7150, 1, 0), TOO_MANY),
    "png, as wide as can be": (lambda: png(2**31 - 1, 2**31 - 1, 8, 0, rows=False), TOO_MUCH),
    "png, wide and flat": (lambda: png(2**20, 1, 8, 0), TOO_MANY),
    "png, largest": (lambda: png(7070, 7070, 8, 6, *texts()), ""),
    "png, colour profile": (
        lambda: png(9, 9, 8, 0, chunk(b"iCCP", b"a\0\0" + zlib.compress(bytes(1 << 28), 1))),
        "",
    ),
    "jpeg, 4 billion pixels": (
        lambda: jpeg_with().replace(struct.pack(">HH", 40, 40), b"\xff\xdc\xff\xdc"),
        TOO_MUCH,
    ),
    "jpeg, fractions in EXIF": (lambda: jpeg_with(exif_rationals()), "too many EXIF segments"),
    "jpeg, painted over": (painted_over, "too many scans"),
    "jpeg, largest": (
        lambda: encoded(
            Image.new("CMYK", (count(1000, 5000),) * 2), "JPEG", progressive=True, quality=30
        ),
        "",
    ),
    "jpeg, four scans": (lambda: jpeg_of_four_scans(count(1000, 3990)), ""),
    "jpeg, four large scans": (lambda: jpeg_of_four_scans(5100), TOO_MANY),
    "jpeg, large, but in one scan": (
        lambda: encoded(Image.new("L", (count(5000, 9400),) * 2, 200), "JPEG"),
        "",
    ),
    "bmp, jumps": (lambda: bmp_rle(count(2000, 7070)), ""),
    "bmp, 100 million pixels": (lambda: bmp_rle(10_000), TOO_MUCH),
    "gif, 4 billion pixels": (lambda: gif(65_535, 65_535), TOO_MUCH),
    "gif, comments": (
        lambda: gif(9, 9, b"!\xfe" + b"\2ab" * 11_000_000 + b"\0"),
        "millions of tiny blocks",
    ),
    "tiff, strips": (
        lambda: tiff((273, 3, 16_000_000, 300), end=bytes(range(256)) * 125_000),
        "too many numbers",
    ),
    "tiff, EXIF": (
        lambda: tiff(
            (34665, 4, 1, 234),  # just after the directory
            end=struct.pack("<HHHII", 1, 0x9201, 3, 16_000_000, 300) + bytes(range(256)) * 125_000,
        ),
        "too many numbers",
    ),
    "tiff, tiles": (
        lambda: tiff((259, 3, 1, 8), (322, 4, 1, 60_000), (323, 4, 1, 60_000)),
        TOO_MANY,
    ),
    "tiff, compression": (lambda: tiff((259, 3, 1, 34925)), "compression is not supported"),
    "tiff, big": (lambda: b"II+\0" + bytes(500), "BigTIFF"),
    "tiff, directory of itself": (lambda: tiff((34665, 4, 1, 108)), ""),
    "tiff, largest": (lambda: tiff_deep(count(1000, 3160)), ""),
    "webp, 268 million pixels": (lambda: webp(16_383, 16_383), TOO_MUCH),
    "webp, 16 million pixels": (
        lambda: encoded(Image.new("RGB", (4096, 4096)), "WEBP", lossless=True, method=0),
        TOO_MANY,
    ),
    "webp, largest": (
        lambda: encoded(
            Image.new("RGBA", (count(1000, 3160),) * 2), "WEBP", lossless=True, method=0
        ),
        "",
    ),
    "pgm, 10 billion pixels": (lambda: b"P5 100000 100000 255\n" + bytes(99), TOO_MUCH),
    "pgm, rare maximum": (lambda: b"P5 4000 4000 254\n" + bytes(16_000_000), ""),
    "ppm, rare maximum": (lambda: b"P6 2300 2300 1023\n" + bytes(31_740_000), ""),
    "pgm, rare maximum and a long header": (
        lambda: b"P5 4000 4000" + b" " * 5000 + b"254\n" + bytes(16_000_000),
        "tiny blocks",
    ),
    "pgm, comments": (lambda: b"P2 9 9 255\n" + b"#\n" * 2_000_000, "plain-text"),
    "too many bytes": (lambda: bytes((1 << 25) + 1), "more than 32 MiB"),
}
