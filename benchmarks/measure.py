"""Timing of whole processes, comparisons in turn, and what is said about them."""

import json
import math
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

import mnist_cli
from mnist_cli.runtime.cores import usable_cores
from mnist_cli.runtime.device import processor

BIN = Path(sys.executable).parent
ROOT = Path(__file__).parents[1]
BUSY = 0.2  # cores used by other programs; with more, the seconds are not reliable
# As a user has it: modules are compiled once, and not by every process. No variable sets an option.
ENVIRONMENT = {
    name: value
    for name, value in os.environ.items()
    if name != "PYTHONDONTWRITEBYTECODE"
    if not name.startswith("MNIST_") or name == "MNIST_DATA_DIR"
}


@dataclass(frozen=True)
class Ran:
    """A process that ended: its wall-clock seconds and standard output."""

    seconds: float
    out: str

    @property
    def last(self) -> dict[str, Any]:
        """The JSON object of its last line."""
        return json.loads(self.out.splitlines()[-1])


def run(program: str, *arguments: object) -> Ran:
    """Run a program of this environment to its end; `python` finds the benchmarks.

    Raises:
        RuntimeError: it failed.

    """
    return _run([str(BIN / program), *map(str, arguments)], program)


def peak_mb(program: str, *arguments: object) -> float:
    """Return the largest memory of a program, in MB.

    It is started by a small process: a program's peak begins with that of the one it is forked
    from.
    """
    launcher = [sys.executable, "-S", "-c", _LAUNCHER, str(BIN / program), *map(str, arguments)]
    return float(_run(launcher, program).out.splitlines()[-1]) / 1024


_LAUNCHER = """
import os, sys
child = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ)
_, status, usage = os.wait4(child, 0)
print(usage.ru_maxrss, flush=True)
sys.exit(os.waitstatus_to_exitcode(status))
"""


def _run(command: list[str], program: str) -> Ran:
    environment = ENVIRONMENT | ({"PYTHONPATH": str(ROOT)} if program == "python" else {})
    began = time.perf_counter()
    done = subprocess.run(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=environment,
        check=False,
    )
    seconds = time.perf_counter() - began
    if done.returncode:
        raise RuntimeError(f"exit code {done.returncode}: {' '.join(command)}")
    return Ran(seconds, done.stdout)


def until_line(start: str, program: str, *arguments: object) -> float:
    """Return the seconds until a program writes a line that starts so to standard error."""
    began = time.perf_counter()
    with subprocess.Popen(
        [str(BIN / program), *map(str, arguments)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=ENVIRONMENT,
    ) as process:
        assert process.stderr
        for line in process.stderr:
            if line.startswith(start):
                seconds = time.perf_counter() - began
                process.kill()
                return seconds
    raise RuntimeError(f"no line starts with {start}")


def in_turn(times: int, *tasks: Callable[[], float]) -> list[list[float]]:
    """Return what each task measured, a list each; they take turns: A B A B ..."""
    results: list[list[float]] = [[] for _ in tasks]
    for _ in range(times):
        for task, figures in zip(tasks, results, strict=True):
            figures.append(task())
    return results


@dataclass
class Row:
    """One comparison: what was measured of ours and of a reference, turn by turn.

    `factor` is how often ours fits into the reference, or, where more is better, the reverse. A
    target is met when the median factor is no less than `at_least` or no more than `at_most`.
    """

    name: str
    unit: str
    ours: Sequence[float]
    reference_name: str = ""
    reference: Sequence[float] = ()
    more_is_better: bool = False
    at_least: float | None = None
    at_most: float | None = None
    note: str = ""
    factors: list[float] = field(init=False)

    def __post_init__(self) -> None:
        reference = self.reference
        if len(reference) == 1:  # too slow for several turns
            reference = list(reference) * len(self.ours)
        pairs = zip(self.ours, reference, strict=False)
        self.factors = [a / b if self.more_is_better else b / a for a, b in pairs if a and b]

    @property
    def met(self) -> bool | None:
        """True if the target is met; None without a target."""
        if self.at_least is None and self.at_most is None:
            return None
        figure = statistics.median(self.factors or self.ours)
        low = self.at_least if self.at_least is not None else figure
        return low <= figure <= (self.at_most if self.at_most is not None else figure)

    def to_dict(self) -> dict[str, Any]:
        """Return the row as a JSON object, with medians."""
        medians = {
            "ours_median": _median(self.ours),
            "reference_median": _median(self.reference),
            "factor_median": _median(self.factors),
        }
        return {**asdict(self), **medians, "met": self.met}


def _median(figures: Sequence[float]) -> float | None:
    return statistics.median(figures) if figures else None


def exponent(sizes: Sequence[float], seconds: Sequence[float]) -> float:
    """Return the exponent p of the fit `seconds = c * size ** p` (least squares of logarithms)."""
    logarithms = [[math.log(value) for value in values] for values in (sizes, seconds)]
    return statistics.linear_regression(*logarithms).slope


def others_seconds() -> float:
    """Return the processor seconds that this machine has spent on other programs (Linux)."""
    try:
        line = Path("/proc/stat").read_text().splitlines()[0]
    except OSError:
        return 0.0
    user, nice, system, _idle, _wait, irq, softirq, *_ = map(int, line.split()[1:])
    every = (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")
    own = os.times()
    return every - own.user - own.system - own.children_user - own.children_system


def this_machine() -> dict[str, Any]:
    """Return the date and a description of this machine."""
    return {
        "date": time.strftime("%F"),
        "processor": processor(),
        "cores": usable_cores(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "mnist_cli": mnist_cli.__version__,
    }


def machine() -> dict[str, Any]:
    """Return what the figures were measured on, with the versions of what is compared."""
    packages = ("torchvision", "scikit-learn", "keras")
    return {
        **this_machine(),
        "threads": torch.get_num_threads(),
        "system": platform.platform(),
        **{package: version(package) for package in packages},
    }
