"""Checks of what is installed."""

import importlib
import re
import sys
from collections.abc import Iterable, Iterator
from importlib import metadata
from pathlib import Path

from mnist_cli import __version__
from mnist_cli.cli.doctor.check import (
    NOT_LOADED,
    OK,
    WARNING,
    Check,
    DoctorConfig,
    has_torch,
    line,
    numbers,
    problem,
)

LEAST = {"pillow": "13", "typer": "0.24", "rich": "13.8", "plotext": "6.1"}
_EXTRAS = {
    "matplotlib": "plot",
    "tensorboard": "tensorboard",
    "onnx": "onnx",
    "onnxruntime": "onnx",
}


def python(_config: DoctorConfig) -> Iterator[Check]:
    """Tell the version of Python; with one that is too old nothing here can be imported."""
    version = ".".join(map(str, sys.version_info[:3]))
    yield Check("python", OK, f"{version} at {sys.executable}")


def package(_config: DoctorConfig) -> Iterator[Check]:
    """Check which mnist_cli this is, and whether it is installed."""
    place = Path(__file__).parents[2]
    try:
        installed = metadata.version("mnist_cli")
    except metadata.PackageNotFoundError:
        remedy = "its programs are not on the path; in the checkout: pip install ."
        yield Check("mnist_cli", WARNING, f"{__version__} at {place}, not installed", remedy)
        return
    value = f"{__version__} at {place}"
    if installed != __version__:
        remedy = "install it again: pip install ."
        yield Check("mnist_cli", WARNING, f"{value}, installed as {installed}", remedy)
    else:
        yield Check("mnist_cli", OK, value)


def torch(_config: DoctorConfig) -> Iterator[Check]:
    """Check that PyTorch can be imported, and is new enough."""
    try:
        torch = importlib.import_module("torch")
    except Exception as error:
        remedy = "install it: pip install 'torch>=2.10'"
        yield problem("torch", f"cannot be imported: {line(error)}", remedy)
        return
    build = f"for CUDA {torch.version.cuda}" if torch.version.cuda else "without CUDA"
    value = f"{torch.__version__}, {build}"
    if numbers(str(torch.__version__)) < (2, 10):
        remedy = "older ones can be attacked through checkpoints: pip install -U 'torch>=2.10'"
        yield problem("torch", value, remedy)
    else:
        yield Check("torch", OK, value)


def torchvision(_config: DoctorConfig) -> Iterator[Check]:
    """Check that torchvision, which downloads the other data sets, fits PyTorch."""
    remedy = "only the other data sets need it: pip install torchvision"
    try:
        version = metadata.version("torchvision")
    except metadata.PackageNotFoundError:
        yield Check("torchvision", WARNING, "not installed", remedy)
        return
    if not has_torch():
        yield Check("torchvision", WARNING, f"{version}, {NOT_LOADED}", "see torch")
        return
    wanted = _torch_that_fits(metadata.requires("torchvision") or [])
    present = metadata.version("torch").partition("+")[0]
    if wanted and wanted != present:
        remedy = f"it was built for torch {wanted}: pip install -U torch torchvision"
        yield Check("torchvision", WARNING, f"{version} beside torch {present}", remedy)
        return
    from mnist_cli.data import download  # noqa: PLC0415 (torch)

    try:
        download.import_datasets()
    except Exception as error:
        value = f"{version} cannot be imported: {line(error)}"
        yield Check("torchvision", WARNING, value, remedy)
        return
    missing = download._declared
    note = "; its C++ operators do not load here, and are not needed" if missing else ""
    yield Check("torchvision", OK, version + note)


def _torch_that_fits(requirements: Iterable[str]) -> str:
    """Return the version in `torch==2.13.0` of some requirements, or nothing."""
    found = (re.match(r"torch\s*\(?==\s*([\d.]+)", text) for text in requirements)
    return next((match[1] for match in found if match), "")


def libraries(_config: DoctorConfig) -> Iterator[Check]:
    """Check the other packages that are needed."""
    for name, least in LEAST.items():
        try:
            version = metadata.version(name)
        except metadata.PackageNotFoundError:
            yield problem(name, "not installed", f"pip install '{name}>={least}'")
            continue
        if numbers(version) < numbers(least):
            yield problem(name, version, f"it is too old: pip install -U '{name}>={least}'")
        else:
            yield Check(name, OK, version)


def extras(_config: DoctorConfig) -> Iterator[Check]:
    """Tell which optional packages are there, and whether they can be imported."""
    for name, extra in _EXTRAS.items():
        remedy = f"pip install 'mnist_cli[{extra}]'"
        try:
            version = metadata.version(name)
        except metadata.PackageNotFoundError:
            yield Check(name, OK, f"not installed; optional: {remedy}")
            continue
        try:
            importlib.import_module(name)
        except Exception as error:
            value = f"{version} cannot be imported: {line(error)}"
            yield Check(name, WARNING, value, f"optional; install it again: {remedy}")
        else:
            yield Check(name, OK, version)
