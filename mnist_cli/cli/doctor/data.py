"""Checks of the data sets; without torch, so that a broken one hides nothing."""

import gzip
import hashlib
import lzma
import sys
import zlib
from collections.abc import Iterator
from importlib import resources, util
from pathlib import Path
from types import ModuleType

from mnist_cli.cli.doctor.check import OK, Check, DoctorConfig, line, problem
from mnist_cli.errors import ExitCode

_MOST = 1 << 26  # bytes of a file, unpacked, as where it is read for a training
_PIECE = 1 << 20


def archive(_config: DoctorConfig) -> Iterator[Check]:
    """Check the data set inside the package."""
    hashes = _catalogue().MNIST_SHA256
    for name, expected in hashes.items():
        packed = resources.files("mnist_cli") / "data" / "mnist" / f"{name}.xz"
        try:
            found = hashlib.sha256(lzma.decompress(packed.read_bytes())).hexdigest()
        except (OSError, EOFError, lzma.LZMAError) as error:
            found = line(error)
        if found != expected:
            remedy = "install it again: pip install --force-reinstall ."
            value = f"{name}.xz in the package is missing or damaged"
            yield problem("MNIST in the package", value, remedy, ExitCode.DATA)
            return
    yield Check("MNIST in the package", OK, f"{len(hashes)} files, checksums right")


def mnist(config: DoctorConfig) -> Iterator[Check]:
    """Check the data set in the data folder, if it is there."""
    catalogue = _catalogue()
    source = catalogue.CATALOGUE["mnist"]
    folder = source.raw(Path(config.data_dir))
    try:
        there = _there(folder, source.files)
        for name, path in there.items():
            if _sha256(path) != catalogue.MNIST_SHA256[name]:
                remedy = "delete it, and the right one is unpacked by the next training"
                yield problem("mnist", f"{path} is damaged", remedy, ExitCode.DATA)
                return
    except OSError as error:
        yield _unreadable("mnist", folder, error)
        return
    if len(there) < len(source.files):
        yield Check("mnist", OK, f"not in {folder} yet; it is unpacked when first used")
    else:
        yield Check("mnist", OK, f"{folder}, checksums right")


def other_data(config: DoctorConfig) -> Iterator[Check]:
    """Tell which of the other data sets are there; torchvision has their checksums."""
    for name, source in _catalogue().CATALOGUE.items():
        if name == "mnist":
            continue
        folder = source.raw(Path(config.data_dir))
        try:
            there = _there(folder, source.files)
        except OSError as error:
            yield _unreadable(name, folder, error)
            continue
        is_whole = len(there) == len(source.files)
        yield Check(name, OK, str(folder) if is_whole else "is downloaded when first used")


def _there(folder: Path, names: tuple[str, ...]) -> dict[str, Path]:
    """Return which of the files are in a folder, each unpacked or else as its .gz.

    Raises:
        OSError: something else is in the place of the folder or of a file.

    """
    for above in (folder, *folder.parents):
        if above.exists() and not above.is_dir():
            raise OSError(f"{above} is no folder")
    there = {}
    for name in names:
        paths = [path for path in (folder / name, folder / f"{name}.gz") if path.exists()]
        found = next(filter(Path.is_file, paths), None)
        if paths and found is None:
            raise OSError(f"{paths[0]} is no file")
        if found is not None:
            there[name] = found
    return there


def _sha256(path: Path) -> str:
    """Return the checksum of what a file holds, unpacked; none where that is too much or damaged.

    Raises:
        OSError: it cannot be read.

    """
    digest, size = hashlib.sha256(), 0
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            while piece := file.read(_PIECE):
                size += len(piece)
                if size > _MOST:
                    return ""
                digest.update(piece)
    except (gzip.BadGzipFile, EOFError, zlib.error):
        return ""
    return digest.hexdigest()


def _unreadable(name: str, folder: Path, error: OSError) -> Check:
    where = error.filename or folder
    value = f"{where} cannot be read: {line(error.strerror or error)}"
    remedy = "delete or repair that, or name another folder with --data-dir"
    return problem(name, value, remedy, ExitCode.DATA)


def _catalogue() -> ModuleType:
    """Return the module of the data sets, loaded by itself, without torch."""
    origin = Path(__file__).parents[2] / "data" / "catalogue.py"
    spec = util.spec_from_file_location("_mnist_catalogue", origin)
    assert spec is not None
    assert spec.loader is not None
    module = util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look there
    spec.loader.exec_module(module)
    return module
