"""The formats of image files, and limits that are checked before one is decoded.

Pillow's own limits are far higher than what a digit needs, and some attacks evade them: texts that
unpack to a thousand times their size, lists of millions of tags or strips, and JPEGs with
hundreds of scans.
"""

import io
import struct

from PIL import Image

FORMAT_NAMES = "PNG, JPEG, BMP, GIF, TIFF, WebP or PGM"
ENDINGS = (
    *(".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".dib", ".gif", ".tif", ".tiff"),
    *(".webp", ".pgm", ".ppm", ".pbm", ".pnm", ".heic", ".heif"),
)
MAX_BYTES = 1 << 25
_MAX_SIDE = 30_000  # no format needs more, and a row of pixels is decoded as a whole
_MAX_PIXELS = 89_000_000  # Pillow itself refuses more
_MAX_READS = 1 << 20  # of a file; ordinary ones need a thousandth of that
# The maximum memory for decoding a pixel, measured on the worst kind of file: RGBA in PNG, BMP and
# PPM; CMYK in several scans in JPEG, whose coefficients are all kept; lossless WebP, whose decoder
# keeps two canvases; 16-bit RGBA in one strip in TIFF; 7.6 bytes in HEIF with 8 bits a
# colour, more with 10.
_PIXEL_BYTES = {
    "PNG": 4,
    "BMP": 4,
    "GIF": 4,
    "JPEG": 8,
    "MPO": 8,
    "PPM": 12,
    "WEBP": 20,
    "TIFF": 20,
    "HEIF": 12,
}
_MAX_DECODING_BYTES = 200_000_000  # besides the file itself
LARGE_BYTES = 32_000_000  # only one image that needs more is decoded at a time

# The chunks of a PNG that are decoded. Texts, colour profiles and animations are left out.
_PNG_CHUNKS = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND", b"eXIf")

_SEQUENTIAL = (0xC0, 0xC1, 0xC9)  # JPEG frames that may have one scan
_SHRINK = 4  # at least: a large JPEG of that kind is decoded at a half to an eighth of its size
_MAX_JPEG_SCANS = 100  # each is a pass over the whole image; progressive files have a dozen
_MAX_EXIF_SEGMENTS = 16  # of 64 KiB; cameras write one or two

_MAX_PLAIN_TEXT, _MAX_COMMENTS = 1 << 22, 1000

_MAX_TIFF_NUMBERS = 200_000  # in all tags: mostly offsets and sizes of strips
_TIFF_DIRECTORIES = (34665, 34853, 40965)  # tags that point to another directory
_TIFF_BYTES = (1, 2, 6, 7)  # types whose values are bytes
# Others are rare, and some allocate as much as the file declares.
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


class UnsupportedImageError(ValueError):
    """An image file is refused; the message says why and what to do."""


class LimitedReads(io.BytesIO):
    """A file in memory with a limited number of reads, because Pillow keeps each result."""

    def __init__(self, source: bytes) -> None:
        super().__init__(source)
        self._reads = 0

    def read(self, size: int | None = -1, /) -> bytes:
        """Return the next bytes."""
        self._reads += 1
        if self._reads > _MAX_READS:
            raise UnsupportedImageError("it has millions of tiny blocks; re-save it as PNG")
        return super().read(size)


def screen_image(source: bytes) -> bytes:
    """Check a file by its bytes, and return the part of it that is needed for its image.

    Raises:
        UnsupportedImageError: it needs far more work or memory than an image does, or is truncated.

    """
    if source.startswith(b"\x89PNG\r\n\x1a\n"):
        return _strip_png(source)
    if source.startswith(b"\xff\xd8"):
        _check_jpeg(source)
    elif source.startswith((b"II", b"MM")):
        try:
            _check_tiff(source)
        except struct.error:
            raise UnsupportedImageError("TIFF is damaged or truncated; re-save it as PNG") from None
    elif source.startswith((b"P1", b"P2", b"P3")):
        _check_plain_text(source)
    return source


def decoding_bytes(image: Image.Image, source: bytes) -> float:
    """Return the maximum memory in bytes for decoding an opened file.

    Raises:
        UnsupportedImageError: it exceeds the limit.

    """
    pixel_bytes = _PIXEL_BYTES[image.format or ""] / (_SHRINK if _is_one_scan(source) else 1)
    sizes = [image.size, _tile_size(image)] if image.format == "TIFF" else [image.size]
    for width, height in sizes:
        if max(width, height) > _MAX_SIDE or width * height * pixel_bytes > _MAX_DECODING_BYTES:
            most = min(_MAX_DECODING_BYTES / pixel_bytes, _MAX_PIXELS)
            raise UnsupportedImageError(
                f"it has {width:,} by {height:,} pixels, which is too large to decode; "
                f"scale it down to {most / 1e6:.0f} million or fewer, {_MAX_SIDE:,} a side"
            )
    return pixel_bytes * max(width * height for width, height in sizes)


def _strip_png(source: bytes) -> bytes:
    """Return a PNG without the chunks that are not decoded."""
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
    """Check the number of scans and of EXIF segments.

    Their markers do not occur in image data, in which a 0 follows each 255.
    """
    if source.count(b"\xff\xda") > _MAX_JPEG_SCANS:
        raise UnsupportedImageError("JPEG has too many scans; re-save it as PNG")
    if source.count(b"Exif\0\0") > _MAX_EXIF_SEGMENTS:
        raise UnsupportedImageError("JPEG has too many EXIF segments; re-save it as PNG")


def _is_one_scan(source: bytes) -> bool:
    """Return True if a file is certainly a JPEG whose first scan has all its components.

    libjpeg keeps all coefficients of other files in memory.
    """
    start, components = 2, 0
    while source.startswith(b"\xff\xd8") and start + 10 <= len(source):
        marker, kind, length = struct.unpack_from(">BBH", source, start)
        if marker != 0xFF or kind < 0xC0 or 0xD0 <= kind <= 0xD9:
            break
        if kind in _SEQUENTIAL:
            components = source[start + 9]
        if kind == 0xDA:
            return source[start + 4] == components
        start += 2 + length
    return False


def _check_tiff(source: bytes) -> None:
    """Check the directories that Pillow unpacks: the first one and those it refers to."""
    order = "<" if source.startswith(b"II") else ">"
    version, first = struct.unpack_from(order + "HI", source, 2)
    if version == 43:
        raise UnsupportedImageError("BigTIFF is not supported; re-save it as PNG")
    numbers = 0
    pending, visited = [first], set[int]()
    while pending:
        start = pending.pop()
        if start in visited:
            continue
        visited.add(start)
        (entries,) = struct.unpack_from(order + "H", source, start)
        for entry in range(entries):
            offset = start + 2 + 12 * entry
            tag, kind, count, value = struct.unpack_from(order + "HHII", source, offset)
            if tag in _TIFF_DIRECTORIES:
                pending.append(value)
            numbers += 1 if kind in _TIFF_BYTES else count
        if numbers > _MAX_TIFF_NUMBERS:
            raise UnsupportedImageError("TIFF tags hold too many numbers; re-save it as PNG")


def _check_plain_text(source: bytes) -> None:
    """Check an image in plain text, of which Pillow reads a million numbers per second."""
    if len(source) > _MAX_PLAIN_TEXT or source.count(b"#") > _MAX_COMMENTS:
        raise UnsupportedImageError("plain-text image is too long; re-save it as PNG")


def _tile_size(image: Image.Image) -> tuple[int, int]:
    """Return the width and height of the tiles of a TIFF, which may be larger than the image."""
    tags = getattr(image, "tag_v2", {})
    if image.info.get("compression") not in _TIFF_COMPRESSIONS:
        raise UnsupportedImageError("TIFF compression is not supported; re-save it as PNG")
    width, height = (tags.get(tag, 0) for tag in (322, 323))
    if not (isinstance(width, int) and isinstance(height, int)):
        raise UnsupportedImageError("TIFF tile size is not a number; re-save it as PNG")
    return width, height
