"""Get the missing files of a data set: MNIST from the package, others by torchvision's code."""

import contextlib
import http.client
import importlib.util
import io
import logging
import socket
import sys
import tempfile
from collections.abc import Iterator
from functools import cache
from itertools import chain
from pathlib import Path
from types import ModuleType

import torch

from mnist_cli.data.catalogue import CATALOGUE
from mnist_cli.data.files import read_packaged
from mnist_cli.errors import DataError, OutputError
from mnist_cli.runtime.files import OutputLock
from mnist_cli.runtime.terminals import can_animate

_log = logging.getLogger(__name__)


def unpack(names: list[str], folder: Path) -> None:
    """Unpack MNIST's files to a folder, each verified and written atomically.

    If several programs start at the same time, one unpacks a file and the others wait for it.

    Raises:
        DataError: the folder cannot be written, or the package itself is damaged.

    """
    _log.info("Unpacking MNIST to %s", folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name in names:
            with OutputLock(folder / name, wait=True) as lock:
                if not (folder / name).is_file():
                    lock.write(read_packaged(name))
    except (OSError, OutputError) as error:
        raise DataError(
            f"cannot unpack MNIST to {folder}: {error}\nname a folder to write to with --data-dir"
        ) from error


_FAILURES = (
    *(OSError, EOFError, http.client.HTTPException),  # the network or the disk
    *(RuntimeError, ValueError),  # torchvision: no mirror left, a wrong checksum
    *(AttributeError, ImportError),  # torchvision lacks the data set, or is not installed
)
_TIMEOUT_SECONDS = 30.0  # torchvision sets no timeout


def download(name: str, folder: Path) -> None:
    """Download the files of a data set to a folder with torchvision.

    Raises:
        DataError: no mirror has the right files; the message names the files to put in place.

    """
    source = CATALOGUE[name]
    _log.info("Downloading %s to %s", source.folder, folder)
    try:
        dataset = getattr(import_datasets(), source.folder)
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix=".download-") as temporary:
            with _torchvision_output(), _socket_timeout(_TIMEOUT_SECONDS):
                split = {"split": source.split} if source.split else {}
                for train in (True, False):  # QMNIST downloads each separately
                    dataset(temporary, train=train, download=True, **split)
            raw = source.raw(Path(temporary))
            related = (each for each in CATALOGUE.values() if each.folder == source.folder)
            for file in chain.from_iterable(each.files for each in related):
                if file in source.files or (raw / file).is_file():  # EMNIST's splits come together
                    (raw / file).replace(folder / file)  # a file appears when it is complete
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
    shown = can_animate(sys.stderr) and _log.isEnabledFor(logging.INFO)
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
