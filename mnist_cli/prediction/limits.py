"""Checks of an image file before it is decoded.

Pillow's own limits are far higher than what a digit needs, and some tricks pass by them: texts that
unpack to a thousand times their size, lists of millions of tags or strips, and pictures that are
painted over again and again.
"""

import io
import struct

from PIL import Image

MAX_BYTES = 1 << 25
_MAX_SIDE = 30_000  # no format needs more, and a row of pixels is decoded as a whole
_MAX_PIXELS = 89_000_000  # Pillow itself refuses more
_MAX_READS = 1 << 20  # of a file; an honest one is read in a thousandth of that
# The most memory that decoding takes for a pixel, measured on the worst kind of file: RGBA in
# PNG, BMP and PPM; CMYK in several scans in JPEG, whose coefficients are all kept; lossless WebP,
# whose decoder keeps two canvases; 16-bit RGBA in one strip in TIFF.
_PIXEL_BYTES = {
    "PNG": 4,
    "BMP": 4,
    "GIF": 4,
    "JPEG": 8,
    "MPO": 8,
    "PPM": 12,
    "WEBP": 20,
    "TIFF": 20,
}
_PICTURE_BYTES = 200_000_000  # besides the file and what little else is needed
LARGE_BYTES = 32_000_000  # what takes more is decoded by itself

# What a PNG's picture is made of. Texts, colour profiles and animations are left out.
_PNG_CHUNKS = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND", b"eXIf")

_SEQUENTIAL = (0xC0, 0xC1, 0xC9)  # frames of a JPEG that may come in one scan
_SHRINK = 4  # at least: such a JPEG, if it is large, is decoded at a half to an eighth of its size
_MAX_JPEG_SCANS = 100  # each is a pass over the whole picture; progressive files have a dozen
_MAX_EXIF_SEGMENTS = 16  # of 64 KiB, and cameras write one or two

_MAX_PLAIN_TEXT, _MAX_COMMENTS = 1 << 22, 1000

_MAX_TIFF_NUMBERS = 200_000  # in all tags: places and sizes of strips, mostly
_TIFF_DIRECTORIES = (34665, 34853, 40965)  # tags that point to another directory
_TIFF_BYTES = (1, 2, 6, 7)  # types whose values stay bytes
# Simple ones. The others are rare, and some allocate what the file tells them to.
_TIFF_COMPRESSIONS = (
    "raw",
    "packbits",
    "tiff_lzw",
    "tiff_adobe_deflate",
    "tiff_deflate",
    "tiff_ccitt",
    "group3",
    "group4",
    "jpeg",
)


class UnusableError(ValueError):
    """Why an image file is refused, and what to do."""


class Metered(io.BytesIO):
    """A file in memory that cannot be read in millions of crumbs, of which Pillow keeps each."""

    def __init__(self, source: bytes) -> None:
        super().__init__(source)
        self._reads = 0

    def read(self, size: int | None = -1, /) -> bytes:
        """Return the next bytes."""
        self._reads += 1
        if self._reads > _MAX_READS:
            raise UnusableError("it is made of millions of tiny pieces; save it anew as PNG")
        return super().read(size)


def inspected(source: bytes) -> bytes:
    """Return the part of a file that its picture needs.

    Raises:
        UnusableError: it asks for far more work or memory than a picture does, or is cut off.

    """
    if source.startswith(b"\x89PNG\r\n\x1a\n"):
        return _png_picture(source)
    if source.startswith(b"\xff\xd8"):
        _check_jpeg(source)
    elif source.startswith((b"II", b"MM")):
        try:
            _check_tiff(source)
        except struct.error:
            raise UnusableError("it is a damaged or truncated TIFF; save it anew as PNG") from None
    elif source.startswith((b"P1", b"P2", b"P3")):
        _check_plain_text(source)
    return source


def bytes_needed(image: Image.Image, source: bytes) -> float:
    """Return how much memory it takes at most to decode a file that has been opened.

    Raises:
        UnusableError: it is too much.

    """
    each = _PIXEL_BYTES[image.format or ""] / (_SHRINK if _is_one_scan(source) else 1)
    sizes = [image.size, _tile_of(image)] if image.format == "TIFF" else [image.size]
    for width, height in sizes:
        if max(width, height) > _MAX_SIDE or width * height * each > _PICTURE_BYTES:
            most = min(_PICTURE_BYTES / each, _MAX_PIXELS)
            raise UnusableError(
                f"it has {width:,} by {height:,} pixels, too many to be read in little memory; "
                f"scale it down to {most / 1e6:.0f} million or fewer, {_MAX_SIDE:,} a side"
            )
    return each * max(width * height for width, height in sizes)


def _png_picture(source: bytes) -> bytes:
    """Return a PNG without the chunks that its picture does not need."""
    view = memoryview(source)
    kept, start = bytearray(view[:8]), 8
    while start + 8 <= len(source):
        length, kind = struct.unpack_from(">I4s", source, start)
        end = start + 12 + length  # length and kind, the contents, a checksum
        if kind in _PNG_CHUNKS:
            kept += view[start:end]
        if kind == b"IEND":
            break
        start = end
    return bytes(kept)


def _check_jpeg(source: bytes) -> None:
    # Neither can be part of the compressed picture, where 0 follows 255.
    if source.count(b"\xff\xda") > _MAX_JPEG_SCANS:
        raise UnusableError("it paints its picture hundreds of times over; save it anew as PNG")
    if source.count(b"Exif\0\0") > _MAX_EXIF_SEGMENTS:
        raise UnusableError("it has more notes of a camera than picture; save it anew as PNG")


def _is_one_scan(source: bytes) -> bool:
    """Tell whether a file is a JPEG whose colours come all at once; if in doubt, not.

    libjpeg asks just that, at the first scan, to decide whether it keeps all coefficients.
    """
    start, colours = 2, 0
    while source.startswith(b"\xff\xd8") and start + 10 <= len(source):
        mark, kind, length = struct.unpack_from(">BBH", source, start)
        if mark != 0xFF or kind < 0xC0 or 0xD0 <= kind <= 0xD9:
            break
        if kind in _SEQUENTIAL:
            colours = source[start + 9]
        if kind == 0xDA:
            return source[start + 4] == colours
        start += 2 + length
    return False


def _check_tiff(source: bytes) -> None:
    """Look through the directories that Pillow will unpack: the first one and what it refers to."""
    order = "<" if source.startswith(b"II") else ">"
    version, first = struct.unpack_from(order + "HI", source, 2)
    if version == 43:
        raise UnusableError("it is a BigTIFF, made for gigabytes; save it anew as PNG")
    numbers = 0
    waiting, seen = [first], set[int]()
    while waiting:
        start = waiting.pop()
        if start in seen:
            continue
        seen.add(start)
        (entries,) = struct.unpack_from(order + "H", source, start)
        for entry in range(entries):
            place = start + 2 + 12 * entry
            tag, kind, count, value = struct.unpack_from(order + "HHII", source, place)
            if tag in _TIFF_DIRECTORIES:
                waiting.append(value)
            numbers += 1 if kind in _TIFF_BYTES else count
        if numbers > _MAX_TIFF_NUMBERS:
            raise UnusableError("its tags hold far too many numbers; save it anew as PNG")


def _check_plain_text(source: bytes) -> None:
    """Look at a picture in digits for people, of which Pillow reads a million in a second."""
    if len(source) > _MAX_PLAIN_TEXT or source.count(b"#") > _MAX_COMMENTS:
        raise UnusableError("it is a very long picture in plain text; save it anew as PNG")


def _tile_of(image: Image.Image) -> tuple[int, int]:
    """Return width and height of the tiles of a TIFF, which may be larger than its picture."""
    tags = getattr(image, "tag_v2", {})
    if image.info.get("compression") not in _TIFF_COMPRESSIONS:
        raise UnusableError("it is a TIFF with a rare compression; save it anew as PNG")
    width, height = (tags.get(tag, 0) for tag in (322, 323))
    if not (isinstance(width, int) and isinstance(height, int)):
        raise UnusableError("the size of its tiles is not a number; save it anew as PNG")
    return width, height
