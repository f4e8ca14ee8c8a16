"""`python -m mnist_cli doctor`: check the installation and the machine.

A check imports torch only if it needs it, so that the other checks work where that fails.
"""

import importlib
import json
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import typer

from mnist_cli import __version__
from mnist_cli.cli.parameters import add_command, command_sources
from mnist_cli.cli.program import check_machine, exit_unless_main
from mnist_cli.cli.usage_errors import unknown_variables
from mnist_cli.config.options import data_dir_option
from mnist_cli.config.programs import Display
from mnist_cli.config.quoting import printable
from mnist_cli.config.sources import build_config
from mnist_cli.data.catalogue import CATALOGUE, MNIST_SHA256
from mnist_cli.data.files import (
    PACKAGE,
    find_file,
    folder_of,
    read_file,
    read_packaged,
    verify,
)
from mnist_cli.errors import DataError, ExitCode
from mnist_cli.output.renderers import has_colour
from mnist_cli.runtime.cores import cpu_quota, usable_cores
from mnist_cli.runtime.files import write_standard_output

app = typer.Typer(pretty_exceptions_enable=False)
OK, WARNING, PROBLEM = "ok", "warning", "problem"
_STYLES = {OK: typer.colors.GREEN, WARNING: typer.colors.YELLOW, PROBLEM: typer.colors.RED}
_CGROUP = Path("/sys/fs/cgroup")
_MEMINFO = Path("/proc/meminfo")
_MIN_MEMORY_MB = 500  # the default training takes 400 MB at its peak
_MIN_DISK_MB = 100  # in the folder of --data-dir MNIST takes 53 MB
_LEAVE_FILES = ("matplotlib", "onnxruntime")  # in the home folder, when they are imported


@dataclass(frozen=True)
class DoctorConfig:
    """Options of the command `doctor`."""

    data_dir: str | None = data_dir_option()


@dataclass(frozen=True)
class Check:
    """The result of a check; `code` is the exit code of a problem, `remedy` may be empty."""

    name: str
    status: str
    value: str
    remedy: str = ""
    code: int = ExitCode.DONE


def packages(_config: DoctorConfig) -> Iterator[Check]:
    """Check the versions of Python, of this package and of the packages that it needs."""
    version = ".".join(map(str, sys.version_info[:3]))
    yield Check("python", OK, f"{version} at {sys.executable}")
    yield Check("mnist_cli", OK, f"{__version__} at {Path(__file__).parents[1]}")
    for requirement in metadata.requires("mnist_cli") or []:
        match = re.match(r"([\w-]+)[^;]*>=([\d.]+)[^;]*(?:; extra == '(\w+)')?", requirement)
        if match and match[3] not in ("dev", "bench"):
            yield _package(match[1], match[2], match[3])


def _package(name: str, least: str, extra: str | None) -> Check:
    """Check that a package is installed, new enough and can be imported."""
    remedy = f"pip install -U '{name}>={least}'"
    if extra:
        remedy = f"optional: pip install -U 'mnist_cli[{extra}]'"
    elif name == "torchvision":
        remedy = "only the other data sets need it: pip install -U torch torchvision"
    is_needed = not extra and name != "torchvision"
    try:
        found = metadata.version(name)
    except metadata.PackageNotFoundError:
        if extra:
            return Check(name, OK, f"{remedy} (not installed)")
        found, error = "", "not installed"
    else:
        error = "is too old" if _numbers(found) < _numbers(least) else ""
        if not error and name not in _LEAVE_FILES:
            error = _import_error(name)
    if not error:
        return Check(name, OK, found)
    value = f"{found} {error}".strip()
    if is_needed:
        return Check(name, PROBLEM, value, remedy, ExitCode.USAGE)
    return Check(name, WARNING, value, remedy)


def _numbers(version: str) -> tuple[int, ...]:
    """Return the numbers of a version, such as `(2, 13, 0)`."""
    return tuple(map(int, re.findall(r"\d+", version.partition("+")[0])[:3]))


def _import_error(package: str) -> str:
    """Return why a package cannot be used, or an empty string."""
    try:
        if package == "torchvision":
            for requirement in metadata.requires("torchvision") or []:
                match = re.match(r"torch\s*\(?==\s*([\d.]+)", requirement)
                if match and match[1] != metadata.version("torch").partition("+")[0]:
                    return f"was built for torch {match[1]}"
            importlib.import_module("mnist_cli.data.download").import_datasets()
        else:
            importlib.import_module({"pillow": "PIL"}.get(package, package.replace("-", "_")))
    except Exception as error:
        return f"cannot be imported: {_one_line(error)}"
    return ""


def device(_config: DoctorConfig) -> Iterator[Check]:
    """Report the device that --device auto uses."""
    if _import_error("torch"):
        yield Check("device", WARNING, "not checked, since torch cannot be imported", "see torch")
        return
    torch = importlib.import_module("torch")
    if torch.cuda.is_available():
        value = f"cuda: {torch.cuda.get_device_name(0)}, of {torch.cuda.device_count()}"
    elif torch.backends.mps.is_available():
        value = "mps: Apple's graphics processor"
    else:
        why = "this build of torch is without CUDA" if not torch.version.cuda else "no CUDA device"
        value = f"cpu: {why}"
    yield Check("device", OK, value)


def cores(_config: DoctorConfig) -> Iterator[Check]:
    """Check the number of threads against the cores and the CPU quota of a container."""
    most, quota, threads = usable_cores(), cpu_quota(), os.environ.get("OMP_NUM_THREADS", "")
    value = f"{most} of {os.cpu_count() or 1}"
    value += f", limited to the time of {quota:g}" if quota is not None else ""
    value += f"; OMP_NUM_THREADS={threads}" if threads else ""
    remedy = ""
    if threads and not re.fullmatch("0*[1-9][0-9]{0,8}(,.*)?", threads):
        remedy = "that is no number of threads; unset OMP_NUM_THREADS"
    elif threads and int(threads.split(",")[0]) > most:
        remedy = f"more threads than cores are slow: set OMP_NUM_THREADS={most}"
    yield Check("cores", WARNING if remedy else OK, value, remedy)


def memory(_config: DoctorConfig) -> Iterator[Check]:
    """Check that the default training fits in the memory."""
    available = []
    try:
        available += [int(re.findall(r"MemAvailable: +(\d+)", _MEMINFO.read_text())[0]) // 1000]
        limit, used = (int((_CGROUP / f"memory.{n}").read_text()) for n in ("max", "current"))
        stat = (_CGROUP / "memory.stat").read_text()
        cached = int(re.findall(r"^inactive_file (\d+)", stat, re.M)[0])  # freed when needed
        available += [(limit - used + cached) // 10**6]
    except (OSError, ValueError, IndexError):  # another system, or no limit
        pass
    value = f"{min(available):,} MB available" if available else "not known on this system"
    if available and min(available) < _MIN_MEMORY_MB:
        remedy = "end other programs, or train with --model linear or a smaller --micro-batch-size"
        yield Check("memory", WARNING, value, remedy)
    else:
        yield Check("memory", OK, value)


def folders(config: DoctorConfig) -> Iterator[Check]:
    """Check that the working folder and the data folder are writable and have space."""
    places = [("working folder", Path(), "--output", ExitCode.OUTPUT)]
    if config.data_dir is not None:
        places.append(("data folder", Path(config.data_dir), "--data-dir", ExitCode.DATA))
    for name, path, flag, code in places:
        shown, remedy = path.absolute(), f"name another place with {flag}"
        there = next((folder for folder in (path, *shown.parents) if folder.exists()), shown)
        try:
            with tempfile.NamedTemporaryFile(dir=there, prefix=".mnist-doctor-"):
                free = shutil.disk_usage(there).free // 10**6
        except OSError:
            yield Check(name, PROBLEM, f"{shown} cannot be written to", remedy, code)
            continue
        if free < _MIN_DISK_MB:
            remedy = f"free some space, or {remedy}"
            yield Check(name, WARNING, f"{shown}: only {free:,} MB free", remedy)
        else:
            yield Check(name, OK, f"{shown}: can be written to, {free:,} MB free")


def mnist(config: DoctorConfig) -> Iterator[Check]:
    """Check MNIST's files: those in the data folder, if it is given, or in the package."""
    folder, found = folder_of("mnist", config.data_dir), 0
    for name in CATALOGUE["mnist"].files:
        try:
            if folder == PACKAGE:
                read_packaged(name)
            elif path := find_file(folder, name):
                verify(name, read_file(path), str(path))
            else:
                continue
        except DataError as error:
            yield Check("mnist", PROBLEM, str(error), code=error.code)
            return
        found += 1
    if found == len(MNIST_SHA256):
        yield Check("mnist", OK, f"{folder}, checksums right")
    else:
        yield Check("mnist", OK, f"not in {folder} yet; it is unpacked when first used")


def variables(_config: DoctorConfig) -> Iterator[Check]:
    """Warn of environment variables that begin with MNIST_ and have no effect."""
    unknown = unknown_variables(os.environ)
    known = sorted(name for name in os.environ if name.startswith("MNIST_") and name not in unknown)
    value = ", ".join(f"{name}={os.environ[name]}" for name in known)
    yield Check("variables", OK, value or "none set")
    for name, hint in unknown.items():
        yield Check("variables", WARNING, f"{name} has no effect", hint)


Checker = Callable[[DoctorConfig], Iterator[Check]]
CHECKS: tuple[Checker, ...] = (packages, device, cores, memory, folders, mnist, variables)


def checks(config: DoctorConfig) -> Iterator[Check]:
    """Yield the results of all checks; a check that raises an error is a problem itself."""
    for check in CHECKS:
        try:
            yield from check(config)
        except Exception as error:
            value = f"could not be checked: {type(error).__name__}: {_one_line(error)}"
            remedy = "the message may say what is broken; else report it"
            yield Check(check.__name__, PROBLEM, value, remedy, ExitCode.USAGE)


def doctor(given: dict[str, Any]) -> None:
    """Check the installation and the machine, and suggest remedies.

    Prints a line for each check: ok, warning or problem, the subject and the result. The next line
    has the remedy. With --json it is an object for each check. -q leaves out those that are ok.

    Exit codes: 0 no problem (there may be warnings); else that of the first problem: 2 the
    installation, 3 data, 7 the working folder cannot be written to, or too little memory.
    """
    exit_unless_main()
    check_machine()
    sources = command_sources(given, DoctorConfig, Display)
    display = build_config(Display, sources)
    code = 0
    for check in checks(build_config(DoctorConfig, sources)):
        if check.status == PROBLEM:
            code = code or check.code
        if display.json:
            write_standard_output(json.dumps({"event": "check", **asdict(check)}) + "\n")
        elif not (display.quiet and check.status == OK):
            write_standard_output(_format(check))
    if code:
        raise typer.Exit(code)


def _format(check: Check) -> str:
    """Return the line of a check, and a second line with its remedy."""
    mark = f"{check.status:<8}"
    if has_colour():
        mark = typer.style(mark, _STYLES[check.status])
    text = f"{mark} {printable(f'{check.name}: {check.value}')}\n"
    return text + (f"{'':<8} -> {printable(check.remedy)}\n" if check.remedy else "")


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__


add_command(app, doctor, (DoctorConfig, Display), (), name="doctor")
