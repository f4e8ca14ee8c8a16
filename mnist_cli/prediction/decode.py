"""Image files to digits. A file is hostile until checked: anybody may have made it.

No file may take more than about 300 MB of memory, whatever it declares, and none may end the
program. So the size is read from the header before a pixel is decoded, what is not needed of a file
is not unpacked, and whatever Pillow raises becomes a DataError.
"""

import contextlib
import contextvars
import logging
import os
import threading
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import torch
from PIL import Image, TiffImagePlugin, UnidentifiedImageError, WebPImagePlugin
from torch import Tensor

from mnist_cli.errors import DataError
from mnist_cli.prediction.image_files import KINDS
from mnist_cli.prediction.limits import (
    LARGE_BYTES,
    MAX_BYTES,
    Metered,
    UnusableError,
    bytes_needed,
    inspected,
)
from mnist_cli.prediction.preprocess import as_digit

_ = TiffImagePlugin, WebPImagePlugin  # Pillow would import every plugin to find these two
_FORMATS = ("PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP", "PPM")
_WORKING_SIDE = 1024  # a digit that fills a fiftieth of it still has the 20 pixels of MNIST's
_STRIP_PIXELS = 1 << 21  # converted at a time, so that no second copy of the image is needed
_MAX_EXIF = 1 << 20
_ORIENTATION = 0x0112
# Large images are decoded by one thread, whoever reads them: each thread's allocator keeps some.
_LARGE = ThreadPoolExecutor(1)
_LIBTIFF = threading.Lock()  # for file descriptor 2, which is the process's
# Of EXIF's orientations: whether rows become columns, and what is mirrored after that.
_TURNS: dict[object, tuple[bool, tuple[int, ...]]] = {
    2: (False, (1,)),
    3: (False, (0, 1)),
    4: (False, (0,)),
    5: (True, ()),
    6: (True, (1,)),
    7: (True, (0, 1)),
    8: (True, (0,)),
}


def read_image(source: bytes, name: str) -> Tensor:
    """Return the digit in an image file as `uint8 [28, 28]`, light on dark, prepared like MNIST.

    Of several frames the first is taken. `name` is what an error calls the file. Without a digit
    all is 0.

    Raises:
        DataError: it is no image of the known formats, damaged, or too large.

    """
    with contained():
        return decode(source, name)


def decode(source: bytes, name: str) -> Tensor:
    """Do what `read_image` does, where `contained` is in force already: in one of many threads.

    Raises:
        DataError: see `read_image`.

    """
    try:
        return as_digit(_read(source))
    except UnusableError as error:
        raise DataError(f"cannot read {name}: {error}") from error
    except UnidentifiedImageError as error:
        raise DataError(
            f"cannot read {name}: it is not a sound {KINDS} image; convert it to one of these"
        ) from error
    except (MemoryError, Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise DataError(
            f"cannot read {name}: it would take too much memory; scale it down"
        ) from error
    except Exception as error:  # hostile files bring out errors of every kind in Pillow
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise DataError(
            f"cannot read {name}: it is damaged, or of a rare kind ({reason}); save it anew as PNG"
        ) from error


@contextlib.contextmanager
def contained() -> Iterator[None]:
    """Keep what Pillow has to say off the user's terminal: it comes as an exception or not at all.

    Its loggers, left alone, would write errors to stderr. Loggers and warnings belong to the whole
    process, so it is for one thread to contain what others decode.
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
    """Keep libtiff, which writes to file descriptor 2 by itself, from doing so."""
    with _LIBTIFF, contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):  # it is closed, or there are too many open ones
            before = os.dup(2)
            stack.callback(os.close, before)
            nowhere = os.open(os.devnull, os.O_WRONLY)
            stack.callback(os.close, nowhere)
            os.dup2(nowhere, 2)
            stack.callback(os.dup2, before, 2)
        yield


def _read(source: bytes) -> Tensor:
    """Return the picture in a file, upright: `uint8 [height, width, bands]`, grey or RGB."""
    if not source:
        raise UnusableError("it is empty; give an image")
    if len(source) > MAX_BYTES:
        raise UnusableError(f"it has more than {MAX_BYTES >> 20} MiB; scale it down")
    image = Image.open(Metered(inspected(source)), formats=_FORMATS)
    if bytes_needed(image, source) > LARGE_BYTES:
        return _LARGE.submit(contextvars.copy_context().run, _decoded, image).result()
    return _decoded(image)


def _decoded(image: Image.Image) -> Tensor:
    """Return the picture of an opened image, upright, and free the image."""
    factor = -(-max(image.size) // _WORKING_SIDE)
    with contextlib.closing(image):
        # JPEG shrinks itself.
        image.draft(None, (max(1, image.width // factor), max(1, image.height // factor)))
        with _libtiff_silenced() if image.format == "TIFF" else contextlib.nullcontext():
            image.load()
        return _upright(_bands(image), image)


def _bands(image: Image.Image) -> Tensor:
    """Return a decoded image in grey or RGB, `uint8 [height, width, bands]`, at the working size.

    A transparent one lies on white paper, or on black if white would hide what it shows.
    """
    if image.mode == "F" or image.mode.startswith("I"):
        return _stretched(_shrunk(image, ["F"]))
    if not image.has_transparency_data:
        is_grey = image.mode in ("1", "L") or _has_grey_palette(image)
        return _shrunk(image, ["L" if is_grey else "RGB"])
    colour = _shrunk(image, ["RGBA", "RGBa"])  # premultiplied
    colour, opacity = colour[:, :, :3], colour[:, :, 3:]
    on_white = 255 - (opacity - colour)
    white_ink = int(on_white.min()) == 255  # invisible there
    return colour if white_ink else on_white


def _has_grey_palette(image: Image.Image) -> bool:
    """Tell whether all colours of a palette are grey."""
    palette = image.getpalette("RGB") if image.mode == "P" else None
    return palette is not None and palette[::3] == palette[1::3] == palette[2::3]


def _shrunk(image: Image.Image, modes: list[str]) -> Tensor:
    """Return an image converted through modes and scaled down, `[height, width, bands]`.

    Its values are `uint8`, or `float` if the last mode is F.
    """
    factor = -(-max(image.size) // _WORKING_SIDE)
    rows = max(1, _STRIP_PIXELS // (image.width * factor)) * factor
    strips = []
    for top in range(0, image.height, rows):
        strip = image.crop((0, top, image.width, min(top + rows, image.height)))
        for mode in modes:
            strip = strip.convert(mode)
        strip = strip.reduce(factor)
        kind = torch.float32 if strip.mode == "F" else torch.uint8
        values = torch.frombuffer(bytearray(strip.tobytes()), dtype=kind)
        strips.append(values.view(strip.height, strip.width, -1))
    return torch.cat(strips)


def _stretched(values: Tensor) -> Tensor:
    """Return values of any range, as of 16 or 32 bits, stretched to 0 to 255."""
    values = values.double().nan_to_num(0.0, 0.0, 0.0)
    least, range_ = values.min(), values.max() - values.min()
    scaled = (values - least) * (255 / range_) if range_ > 0 else values * 0
    return scaled.round().to(torch.uint8)


def _upright(bands: Tensor, image: Image.Image) -> Tensor:
    """Return the picture as a camera's note on its orientation says."""
    turned, mirrored = _TURNS.get(_orientation(image), (False, ()))
    return (bands.transpose(0, 1) if turned else bands).flip(mirrored)


def _orientation(image: Image.Image) -> object:
    """Return EXIF's number; notes that are damaged or far too long say nothing."""
    if len(image.info.get("exif") or b"") > _MAX_EXIF:
        return 1
    with contextlib.suppress(Exception):
        return image.getexif().get(_ORIENTATION)
    return 1
