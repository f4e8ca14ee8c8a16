"""Get the missing files of a data set: MNIST from the package, others by torchvision's code."""

import contextlib
import hashlib
import http.client
import importlib.util
import io
import logging
import lzma
import socket
import sys
import tempfile
from collections.abc import Iterator
from functools import cache
from importlib import resources
from pathlib import Path
from types import ModuleType

import torch

from mnist_cli.data.catalogue import CATALOGUE, MNIST_SHA256, DatasetFiles
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


_FAILURES = (
    *(OSError, EOFError, http.client.HTTPException),  # the network or the disk
    *(RuntimeError, ValueError),  # torchvision: no mirror left, a wrong checksum
    *(AttributeError, ImportError),  # torchvision lacks the data set, or is not installed
)
_TIMEOUT_SECONDS = 30.0  # torchvision sets no timeout


def download(source: DatasetFiles, data_dir: Path) -> None:
    """Download a data set to `data_dir` with torchvision.

    Raises:
        DataError: no mirror has the right files; the message names the files to put in place.

    """
    folder = source.raw(data_dir)
    _log.info("Downloading %s to %s", source.folder, folder)
    try:
        dataset = getattr(import_datasets(), source.folder)
        data_dir.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=data_dir, prefix=".download-") as temporary:
            with _torchvision_output(), _socket_timeout(_TIMEOUT_SECONDS):
                for train in (True, False):  # QMNIST downloads each separately
                    dataset(temporary, train=train, download=True)
            folder.mkdir(parents=True, exist_ok=True)
            for name in source.files:  # a file appears when it is complete
                (source.raw(Path(temporary)) / name).replace(folder / name)
    except _FAILURES as error:
        raise DataError(
            f"{source.folder} could not be downloaded ({_reason(error)})\n"
            f"put these files, or their .gz, in {folder}: {', '.join(source.files)}"
        ) from error


def _reason(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


@contextlib.contextmanager
def _torchvision_output() -> Iterator[None]:
    """Show the output of torchvision on stderr if that is a terminal and not quiet, else hide it.

    Standard output is for data, and torchvision draws its bar into pipes and files too.
    """
    shown = sys.stderr.isatty() and _log.isEnabledFor(logging.INFO)
    stream = sys.stderr if shown else io.StringIO()
    with contextlib.redirect_stdout(stream), contextlib.redirect_stderr(stream):
        yield


@contextlib.contextmanager
def _socket_timeout(seconds: float) -> Iterator[None]:
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


# `import torchvision` fails if its C++ operators do not load, as happens when torch and torchvision
# come from different builds: it registers Python implementations for these two. Its data sets need
# none of them, so it is enough to declare them.
_OPERATORS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)


@cache
def import_datasets() -> ModuleType:
    """Return `torchvision.datasets`, even if the operators of torchvision do not load.

    Raises:
        ImportError: torchvision is not installed.

    """
    spec = importlib.util.find_spec("torchvision")
    if spec is None or spec.origin is None:
        raise ImportError("torchvision is not installed")
    if not _operators_load(Path(spec.origin).parent):
        library = torch.library.Library("torchvision", "FRAGMENT")  # type: ignore[no-untyped-call]
        for operator in _OPERATORS:
            library.define(operator)  # type: ignore[no-untyped-call]
        _declared.append(library)
    from torchvision import datasets  # noqa: PLC0415

    return datasets  # type: ignore[no-any-return]


_declared: list[torch.library.Library] = []  # kept, since a declaration ends with its Library


def _operators_load(folder: Path) -> bool:
    """Load the library of torchvision's operators; return False if that fails."""
    for library in folder.glob("_C*"):
        try:
            torch.ops.load_library(library)  # type: ignore[no-untyped-call]
        except OSError:
            continue
        return True
    return False
