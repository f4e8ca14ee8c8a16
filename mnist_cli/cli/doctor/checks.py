"""Whether everything here is as the programs need it: checks, each by itself, without torch.

A check that needs torch imports it, and says so where that fails. None changes anything.
"""

from collections.abc import Callable, Iterable, Iterator

from mnist_cli.cli.doctor import console, data, installation, machine
from mnist_cli.cli.doctor.check import OK, PROBLEM, WARNING, Check, DoctorConfig, line, problem

__all__ = ["CHECKS", "OK", "PROBLEM", "WARNING", "Check", "DoctorConfig", "checks"]

Checker = Callable[[DoctorConfig], Iterable[Check]]
CHECKS: dict[str, Checker] = {
    "python": installation.python,
    "mnist_cli": installation.package,
    "torch": installation.torch,
    "torchvision": installation.torchvision,
    "libraries": installation.libraries,
    "extras": installation.extras,
    "MNIST in the package": data.archive,
    "mnist": data.mnist,
    "other data sets": data.other_data,
    "device": machine.device,
    "cores": machine.cores,
    "memory": machine.memory,
    "folders": machine.folders,
    "terminal": console.terminal,
    "completion": console.completion,
    "variables": console.variables,
}


def checks(config: DoctorConfig) -> Iterator[Check]:
    """Yield what each check finds; one that fails itself is a problem, and the others go on."""
    for name, check in CHECKS.items():
        try:
            yield from check(config)
        except Exception as error:
            value = f"could not be checked: {type(error).__name__}: {line(error)}"
            yield problem(name, value, "the message may say what is broken; else report it")
