"""Decode image files, which may be malicious.

No file may take more than about 300 MB of memory, whatever it declares, and none may end the
program. So the size is read from the header before a pixel is decoded, unneeded parts of a file
are not unpacked, and whatever Pillow raises becomes a DataError.
"""

import contextlib
import contextvars
import logging
import os
import re
import threading
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, TiffImagePlugin, UnidentifiedImageError, WebPImagePlugin

from mnist_cli.data.pictures.limits import (
    FORMAT_NAMES,
    LARGE_BYTES,
    MAX_BYTES,
    LimitedReads,
    UnsupportedImageError,
    decoding_bytes,
    screen_image,
)
from mnist_cli.data.pictures.preprocess import ImageDigits, Pixels, prepare_digits
from mnist_cli.errors import DataError

_ = TiffImagePlugin, WebPImagePlugin  # otherwise Pillow imports every plugin to find these two
_FORMATS = ("PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP", "PPM")
_HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
_WORKING_SIDE = 1024  # a digit that fills a fiftieth of it still has the 20 pixels of MNIST's
_STRIP_PIXELS = 1 << 21  # converted at a time, so that no second copy of the image is needed
# The header of a binary PGM or PPM: kind, width, height and the largest value, comments between.
_NETPBM = re.compile(rb"(P[56])" + 3 * rb"(?:\s|#[^\r\n]*[\r\n])+(\d+)" + rb"\s")
_MAX_NETPBM_HEADER = 1 << 12
_MAX_EXIF = 1 << 20
_SAMPLE_FORMAT, _UNSIGNED = 339, 1  # a tag of TIFF
_ORIENTATION = 0x0112
# All large images are decoded in one thread: the allocator keeps some memory for each thread.
_LARGE = ThreadPoolExecutor(1)
_LIBTIFF = threading.Lock()  # file descriptor 2 belongs to the whole process
# EXIF orientations: whether to transpose the image, and the axes to flip afterwards.
_ORIENTATIONS: dict[object, tuple[bool, tuple[int, ...]]] = {
    2: (False, (1,)),
    3: (False, (0, 1)),
    4: (False, (0,)),
    5: (True, ()),
    6: (True, (1,)),
    7: (True, (0, 1)),
    8: (True, (0,)),
}


def read_image(source: bytes, name: str, *, reads_digits: bool = True) -> ImageDigits:
    """Return the digits in an image file, prepared like MNIST's.

    Only the first frame is read. Boxes are in pixels of the upright image. Error messages call the
    file `name`; for `reads_digits` see `prepare_digits`. Call it within `pillow_silenced`, in any
    number of threads.

    Raises:
        DataError: the format is unknown, or the file is damaged or too large.

    """
    with _errors_of(name):
        image, (width, height) = _decode(source)
        found = prepare_digits(image, reads_digits=reads_digits)
        return found.scaled(width / image.shape[1], height / image.shape[0])


def decode_image(source: bytes, name: str) -> Pixels:
    """Return an image file upright, `[height, width, channels]`, grayscale or RGB.

    See `read_image` for the rest.

    Raises:
        DataError: the format is unknown, or the file is damaged or too large.

    """
    with _errors_of(name):
        return _decode(source)[0]


@contextlib.contextmanager
def _errors_of(name: str) -> Iterator[None]:
    """Turn whatever decoding raises into a DataError that calls the file `name`."""
    try:
        yield
    except UnsupportedImageError as error:
        raise DataError(f"cannot read {name}: {error}") from error
    except UnidentifiedImageError as error:
        raise DataError(
            f"cannot read {name}: it is not a valid {FORMAT_NAMES} image; "
            "convert it to one of these"
        ) from error
    except (MemoryError, Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise DataError(
            f"cannot read {name}: it would take too much memory; scale it down"
        ) from error
    except Exception as error:  # malicious files raise errors of every kind in Pillow
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise DataError(
            f"cannot read {name}: it is damaged or of a rare kind ({reason}); re-save it as PNG"
        ) from error


@contextlib.contextmanager
def pillow_silenced() -> Iterator[None]:
    """Keep Pillow's log and warnings off the terminal; a decompression bomb raises its warning.

    Loggers and warnings belong to the whole process: one thread enters, others decode within.
    """
    logger, silence = logging.getLogger("PIL"), logging.NullHandler()
    logger.addHandler(silence)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            yield
    finally:
        logger.removeHandler(silence)


@contextlib.contextmanager
def _libtiff_silenced() -> Iterator[None]:
    """Redirect file descriptor 2, to which libtiff writes by itself, to the null device."""
    with _LIBTIFF, contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):  # it is closed, or too many files are open
            before = os.dup(2)
            stack.callback(os.close, before)
            null = os.open(os.devnull, os.O_WRONLY)
            stack.callback(os.close, null)
            os.dup2(null, 2)
            stack.callback(os.dup2, before, 2)
        yield


def _decode(source: bytes) -> tuple[Pixels, tuple[int, int]]:
    """Return the image in a file, upright, and its width and height before it was scaled down.

    The image is `[height, width, channels]`, grayscale or RGB.
    """
    if not source:
        raise UnsupportedImageError("it is empty; give an image")
    if len(source) > MAX_BYTES:
        raise UnsupportedImageError(f"it has more than {MAX_BYTES >> 20} MiB; scale it down")
    image = _open(LimitedReads(_rescale_netpbm(screen_image(source))), source)
    if decoding_bytes(image, source) > LARGE_BYTES:
        return _LARGE.submit(contextvars.copy_context().run, _load, image).result()
    return _load(image)


def _rescale_netpbm(source: bytes) -> bytes:
    """Return a binary PGM or PPM with values up to 255 or 65,535; any other file as it is.

    Pillow decodes these at once, but other ranges and 16-bit colours pixel by pixel.
    """
    header = _NETPBM.match(source[:_MAX_NETPBM_HEADER])
    if not header:
        return source
    kind, width, height, largest = header[1], header[2], header[3], int(header[4])
    made = 65_535 if kind == b"P5" and largest > 255 else 255
    if largest == made or not 0 < largest <= 65_535:
        return source
    given = np.dtype(">u2" if largest > 255 else "u1")
    values = np.frombuffer(
        source, given, (len(source) - header.end()) // given.itemsize, header.end()
    )
    result = [b"%s %s %s %d\n" % (kind, width, height, made)]
    for start in range(0, len(values), _STRIP_PIXELS):
        strip = np.minimum(values[start : start + _STRIP_PIXELS], largest) * (made / largest)
        result.append(strip.round().astype(">u2" if made > 255 else "u1").tobytes())
    return b"".join(result)


def _open(file: LimitedReads, source: bytes) -> Image.Image:
    """Open an image by its first bytes; its pixels are not decoded yet."""
    if source[4:8] == b"ftyp" and source[8:12] in _HEIF_BRANDS:
        try:
            from pillow_heif import HeifImageFile  # noqa: PLC0415 (an extra)
        except ImportError:
            raise UnsupportedImageError(
                "it is a HEIC picture, as many phones take them: pip install 'mnist_cli[heic]', or "
                "save it as JPEG"
            ) from None
        return HeifImageFile(file)  # type: ignore[no-untyped-call]
    return Image.open(file, formats=_FORMATS)


def _load(image: Image.Image) -> tuple[Pixels, tuple[int, int]]:
    """Return the pixels of an opened image, upright, and its size; free the image."""
    width, height = image.size
    factor = -(-max(image.size) // _WORKING_SIDE)
    with contextlib.closing(image):
        # The JPEG decoder shrinks by itself.
        image.draft(None, (max(1, image.width // factor), max(1, image.height // factor)))
        with _libtiff_silenced() if image.format == "TIFF" else contextlib.nullcontext():
            image.load()
        transposed, flipped = _ORIENTATIONS.get(_orientation(image), (False, ()))
        pixels = _channels(image)
    upright = np.flip(pixels.swapaxes(0, 1) if transposed else pixels, flipped)
    return upright, (height, width) if transposed else (width, height)


def _channels(image: Image.Image) -> Pixels:
    """Return a decoded image in grayscale or RGB, `[height, width, channels]`, at the working size.

    A transparent image is put on white, or on black if it is invisible on white.
    """
    if image.mode == "F" or image.mode.startswith("I"):
        return _stretch(_convert(image, ["F"]))
    if not image.has_transparency_data:
        is_gray = image.mode in ("1", "L") or _has_gray_palette(image)
        return _convert(image, ["L" if is_gray else "RGB"])
    colour = _convert(image, ["RGBA", "RGBa"])  # premultiplied
    colour, opacity = colour[:, :, :3], colour[:, :, 3:]
    on_white = 255 - (opacity - colour)
    is_invisible = int(on_white.min()) == 255
    return colour if is_invisible else on_white


def _has_gray_palette(image: Image.Image) -> bool:
    """Return True if all colours of a palette are gray."""
    palette = image.getpalette("RGB") if image.mode == "P" else None
    return palette is not None and palette[::3] == palette[1::3] == palette[2::3]


def _convert(image: Image.Image, modes: list[str]) -> NDArray[Any]:
    """Return an image converted through modes and scaled down, `[height, width, channels]`.

    Its values are `uint8`, or `float32` if the last mode is F.
    """
    factor = -(-max(image.size) // _WORKING_SIDE)
    tags = getattr(image, "tag_v2", {})
    is_unsigned = image.mode == "I" and tags.get(_SAMPLE_FORMAT) == (_UNSIGNED,)
    rows = max(1, _STRIP_PIXELS // (image.width * factor)) * factor
    strips = []
    for top in range(0, image.height, rows):
        strip = image.crop((0, top, image.width, min(top + rows, image.height)))
        for mode in modes:
            strip = strip.convert(mode)
        if is_unsigned:  # Pillow takes 32 bits as signed
            strip = Image.fromarray(np.asarray(strip) % np.float32(1 << 32))
        values = np.asarray(strip.reduce(factor))
        strips.append(values.reshape(*values.shape[:2], -1))
    return np.concatenate(strips)


def _stretch(values: NDArray[np.float32]) -> Pixels:
    """Return values of any range, as of 16 or 32 bits, stretched to 0 to 255."""
    values = np.nan_to_num(values.astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    least, range_ = values.min(), values.max() - values.min()
    scaled = (values - least) * (255 / range_) if range_ > 0 else values * 0
    return scaled.round().astype(np.uint8)


def _orientation(image: Image.Image) -> object:
    """Return the EXIF orientation; damaged or far too long EXIF data count as upright."""
    if len(image.info.get("exif") or b"") > _MAX_EXIF:
        return 1
    with contextlib.suppress(Exception):
        return image.getexif().get(_ORIENTATION)
    return 1
