"""Mutation testing: put small mistakes into the code, one at a time, and see whether tests fail.

`mutation.py [MINUTES [SEED]]` tries a random sample of all such mutants, as many as the time
allows, prints those that no test of their area noticed, and the share that were. It changes only
copies of the project.

Two packages do this. mutmut leaves out constants of modules and classes and functions that have a
decorator (properties, context managers), and the programs that the tests start run without its
mutants. cosmic-ray starts a process that imports PyTorch for each mutant, and changes the files in
place. Neither takes a sample.
"""

import ast
import contextlib
import multiprocessing
import os
import random
import shutil
import signal
import sys
import time
import venv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import torch  # noqa: F401 (here once, and not for every mutant; the package itself must not be)

ROOT = Path(__file__).parents[2]
# The modules that are mutated, and the tests that should notice.
AREAS = {
    "mnist_cli/training/*.py": "tests/training/test_*.py",
    "mnist_cli/training/probes/*.py": "tests/training/probes/test_*.py",
    "mnist_cli/models/checkpoint.py": "tests/models/test_checkpoint.py",
    "mnist_cli/runtime/files.py": "tests/runtime/test_file*.py",
}
COPIED = ("mnist_cli", "tests", "benchmarks", "configs", "pyproject.toml")
OPTIONS = ("-x", "-p", "no:randomly", "-p", "no:cacheprovider", "--basetemp=tmp", "-k=not memory")
PATIENCE = 180.0  # seconds for the tests of an area
SWAPPED = {
    ast.Lt: ast.LtE, ast.Gt: ast.GtE, ast.Eq: ast.NotEq, ast.Is: ast.IsNot, ast.In: ast.NotIn,
    ast.Add: ast.Sub, ast.Mult: ast.Div, ast.FloorDiv: ast.Mult, ast.Mod: ast.FloorDiv,
    ast.BitOr: ast.BitAnd, ast.LShift: ast.RShift, ast.And: ast.Or,
}  # fmt: skip
SWAPPED |= {new: old for old, new in SWAPPED.items() if new not in SWAPPED}


@dataclass(frozen=True)
class Mutant:
    """A module with a mistake."""

    path: Path
    mistake: str
    source: str


def mutants_of(path: Path) -> Iterator[Mutant]:
    tree = ast.parse(path.read_text())
    for holder, key, node in places(tree):
        for new in replacements(node, is_test=key == "test"):
            old, mistake = (ast.unparse(part).partition("\n")[0] for part in (node, new))
            mistake = f"{path.relative_to(ROOT)}:{node.lineno}: {old}  →  {mistake}"
            holder[key] = new
            yield Mutant(path, mistake, ast.unparse(tree))
            holder[key] = node


def places(node: ast.AST) -> Iterator[tuple[Any, Any, Any]]:
    """Yield every node below a node, after the list or the attributes that hold it, and where."""
    for name, value in ast.iter_fields(node):
        is_list = isinstance(value, list)
        for key, child in [*enumerate(value)] if is_list else [(name, value)]:
            if isinstance(child, ast.AST) and name not in ("annotation", "returns"):
                yield value if is_list else vars(node), key, child
                yield from places(child)


def replacements(node: ast.AST, *, is_test: bool) -> Iterator[ast.AST]:
    """Yield what a node can be replaced by: a swapped operator, another constant, nothing."""
    match node:
        case ast.Compare(left, [operator], right) if type(operator) in SWAPPED:
            yield ast.Compare(left, [SWAPPED[type(operator)]()], right)
        case ast.Compare(left, [first, second], right):
            yield ast.Compare(left, [SWAPPED[type(first)](), second], right)
            yield ast.Compare(left, [first, SWAPPED[type(second)]()], right)
        case ast.BoolOp(operator, values):
            yield ast.BoolOp(SWAPPED[type(operator)](), values)
        case ast.BinOp(left, operator, right) if type(operator) in SWAPPED:
            yield ast.BinOp(left, SWAPPED[type(operator)](), right)
        case ast.UnaryOp(ast.Not(), operand):
            yield operand
        case ast.Constant(bool(value)):
            yield ast.Constant(not value)
        case ast.Constant(int(value)):
            yield ast.Constant(value + 1)
        case ast.Constant(float(value)):
            yield ast.Constant(value * 2 or 1.0)
        case ast.Call(function, [first, second, *rest], keywords):
            yield ast.Call(function, [second, first, *rest], keywords)
        case ast.Raise() | ast.AugAssign() | ast.Assign([ast.Attribute() | ast.Subscript()]):
            yield ast.Pass()
        case ast.Expr(value) if not isinstance(value, ast.Constant):
            yield ast.Pass()
    if is_test and isinstance(node, ast.Call | ast.Name | ast.Attribute):
        yield ast.UnaryOp(ast.Not(), node)


def work_in_a_copy(folder: str) -> None:
    """Copy the project to a new folder, with a virtual environment, for this worker process."""
    copy = Path(folder) / str(os.getpid())
    copy.mkdir()
    for name in COPIED:
        (shutil.copytree if (ROOT / name).is_dir() else shutil.copy2)(ROOT / name, copy / name)
    venv.create(copy / ".venv", symlinks=True)
    (packages,) = copy.glob(".venv/lib/*/site-packages")
    paths = [str(copy), *(path for path in sys.path if path.endswith("site-packages"))]
    (packages / "copy.pth").write_text("\n".join(paths))
    os.chdir(copy)
    sys.path[0], sys.executable = str(copy), str(copy / ".venv" / "bin" / "python")
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the main process ends the workers
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())


def tests_fail(path: Path) -> bool:
    """Return True if a test for a module fails, or they take too long."""
    pattern = next(tests for code, tests in AREAS.items() if path in ROOT.glob(code))
    tests = sorted(Path().glob(pattern), key=lambda test: (path.stem not in test.stem, test))
    child = os.fork()
    if child == 0:
        os.setsid()
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        log = os.open(f"{path.stem}.log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(log, 1)
        os.dup2(log, 2)
        os._exit(pytest.main([*OPTIONS, *map(str, tests)]))
    deadline, ended = time.monotonic() + PATIENCE, (0, 0)
    try:
        while time.monotonic() < deadline and ended[0] == 0:
            time.sleep(0.05)
            ended = os.waitpid(child, os.WNOHANG)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child, signal.SIGKILL)  # with what it has started
    return ended != (child, 0)


def attempt(number: int) -> tuple[int, bool | None]:
    """Return a mutant's number and whether it was noticed, None if the time is up."""
    if time.monotonic() > end:
        return number, None
    mutant = mutants[number]
    path = mutant.path.relative_to(ROOT)
    path.write_text(mutant.source)
    try:
        return number, tests_fail(mutant.path)
    finally:
        shutil.copy2(mutant.path, path)  # with its time, which compiled code is recognised by


if __name__ == "__main__":
    minutes, seed = (float(sys.argv[1]) if sys.argv[1:] else 15.0), int((*sys.argv, 0, 0)[2])
    end = time.monotonic() + 60 * minutes
    modules = [path for code in AREAS for path in sorted(ROOT.glob(code))]
    mutants = [mutant for path in modules for mutant in mutants_of(path)]
    random.Random(seed).shuffle(mutants)
    workers, tried, noticed = len(os.sched_getaffinity(0)), 0, 0
    context = multiprocessing.get_context("fork")
    with (
        contextlib.suppress(KeyboardInterrupt),
        TemporaryDirectory() as folder,
        context.Pool(workers, work_in_a_copy, [folder]) as pool,
    ):
        if any(pool.map(tests_fail, [next(ROOT.glob(code)) for code in AREAS], chunksize=1)):
            logs = [log.read_text()[-2000:] for log in Path(folder).glob("*/*.log")]
            sys.exit("\n".join(["a test fails without a mutant:", *logs]))
        for number, result in pool.imap_unordered(attempt, range(len(mutants))):
            if result is not None:
                tried, noticed = tried + 1, noticed + result
            if result is False:
                print("not noticed:", mutants[number].mistake, flush=True)
    print(f"{noticed} of {tried} mutants were noticed ({noticed / max(tried, 1):.1%})")
