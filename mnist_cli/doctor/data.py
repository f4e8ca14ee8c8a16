"""Checks of the data sets; without torch, so that a broken one hides nothing."""

import hashlib
import lzma
import sys
from collections.abc import Iterator
from importlib import resources, util
from pathlib import Path

from mnist_cli.config import DATASETS
from mnist_cli.doctor.check import OK, Check, DoctorConfig, line, problem
from mnist_cli.errors import ExitCode

_FOLDERS = {"fashion-mnist": "FashionMNIST", "kmnist": "KMNIST", "qmnist": "QMNIST"}


def archive(_config: DoctorConfig) -> Iterator[Check]:
    """Check the data set inside the package."""
    hashes = _mnist_hashes()
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
    folder = Path(config.data_dir) / "MNIST" / "raw"
    hashes = _mnist_hashes()
    missing, compressed = [], []
    for name, expected in hashes.items():
        path = folder / name
        if path.is_file():
            with path.open("rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
            if found != expected:
                remedy = "delete it, and the right one is unpacked by the next training"
                yield problem("mnist", f"{path} is damaged", remedy, ExitCode.DATA)
                return
        elif path.with_name(f"{name}.gz").is_file():
            compressed.append(name)
        else:
            missing.append(name)
    if missing:
        yield Check("mnist", OK, f"not in {folder} yet; it is unpacked when first used")
    elif compressed:
        yield Check("mnist", OK, f"{folder}; files ending in .gz are checked when read")
    else:
        yield Check("mnist", OK, f"{folder}, checksums right")


def other_data(config: DoctorConfig) -> Iterator[Check]:
    """Tell which of the other data sets are there."""
    assert {"mnist", *_FOLDERS} == set(DATASETS)
    for name, place in _FOLDERS.items():
        folder = Path(config.data_dir) / place / "raw"
        there = folder.is_dir() and any(folder.iterdir())
        yield Check(name, OK, str(folder) if there else "is downloaded when first used")


def _mnist_hashes() -> dict[str, str]:
    """Return the checksums of the four files; the module is loaded by itself, without torch."""
    origin = Path(__file__).parents[1] / "data" / "catalogue.py"
    spec = util.spec_from_file_location("_mnist_catalogue", origin)
    assert spec is not None
    assert spec.loader is not None
    module = util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look there
    spec.loader.exec_module(module)
    hashes: dict[str, str] = module.MNIST_SHA256
    return hashes
