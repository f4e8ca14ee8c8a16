"""The MNIST files inside the package."""

import hashlib
import logging
import lzma
from importlib import resources
from pathlib import Path

from mnist_cli.data.catalogue import CATALOGUE, MNIST_SHA256
from mnist_cli.errors import DataError, OutputError
from mnist_cli.runtime.files import OutputLock

_log = logging.getLogger(__name__)
_CHUNK = 1 << 20


def unpack(names: list[str], data_dir: Path) -> None:
    """Unpack MNIST files to `data_dir`, each verified and written atomically.

    If several programs start at the same time, one unpacks a file and the others wait for it.

    Raises:
        DataError: the folder cannot be written, or the package itself is damaged.

    """
    folder = CATALOGUE["mnist"].raw(data_dir)
    _log.info("Unpacking MNIST to %s", folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name in names:
            with OutputLock(folder / name, wait=True) as lock:
                if not (folder / name).is_file():
                    lock.write(_read_packed(name))
    except (OSError, OutputError) as error:
        raise DataError(
            f"cannot unpack MNIST to {folder}: {error}\nname a folder to write to with --data-dir"
        ) from error


def _read_packed(name: str) -> bytearray:
    """Return the verified, unpacked contents of one of the files in the package."""
    packed = resources.files("mnist_cli.data") / "mnist" / f"{name}.xz"
    try:
        contents = _decompress(packed.read_bytes())
    except (OSError, lzma.LZMAError) as error:
        raise DataError(
            f"the installed package lacks its data ({error}); install it again"
        ) from error
    verify(name, contents, source=f"{name} of the installed package")
    return contents


def _decompress(packed: bytes) -> bytearray:
    """Return the unpacked contents, in chunks so that a signal is handled between two of them."""
    unpacker, contents = lzma.LZMADecompressor(), bytearray()
    while not unpacker.eof:
        if unpacker.needs_input and contents:
            raise lzma.LZMAError("truncated")
        contents += unpacker.decompress(packed if not contents else b"", _CHUNK)
    return contents


def verify(name: str, contents: bytes | bytearray, source: str) -> None:
    """Raise DataError unless `contents` are those of the MNIST file `name`."""
    if hashlib.sha256(contents).hexdigest() != MNIST_SHA256[name]:
        raise DataError(
            f"{source} is not the MNIST file: its SHA-256 differs; "
            "delete it to have the right one unpacked"
        )
