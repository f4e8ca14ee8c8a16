"""What a check is, and what checks share."""

import importlib
import re
from dataclasses import dataclass

from mnist_cli.config.options import option
from mnist_cli.errors import ExitCode

OK, WARNING, PROBLEM = "ok", "warning", "problem"
NOT_LOADED = "not checked, since torch cannot be imported"


@dataclass(frozen=True)
class DoctorConfig:
    """Where to look."""

    data_dir: str = option("data", "Folder of the data, in torchvision's layout.", metavar="DIR")


@dataclass(frozen=True)
class Check:
    """What was found. `code` is the exit code of a problem; `remedy` is empty where all is well."""

    name: str
    status: str
    value: str
    remedy: str = ""
    code: int = ExitCode.DONE


def problem(name: str, value: str, remedy: str, code: int = ExitCode.USAGE) -> Check:
    """Return a check that found what keeps the programs from working."""
    return Check(name, PROBLEM, value, remedy, code)


def has_torch() -> bool:
    """Tell whether torch can be imported."""
    try:
        importlib.import_module("torch")
    except Exception:
        return False
    return True


def numbers(version: str) -> tuple[int, ...]:
    """Return the numbers of a version, such as `(2, 13, 0)`, to be compared."""
    return tuple(map(int, re.findall(r"\d+", version.partition("+")[0])[:3]))


def line(error: object) -> str:
    """Return an error's message in one line, and not at any length."""
    return " ".join(str(error).split())[:200] or type(error).__name__
