"""The layout: which packages there are, which may import which, and what imports cost."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import mnist_cli

ROOT = Path(mnist_cli.__file__).parent
# From top to bottom: a package imports only those of the lines below its own.
ORDER = [
    ["__main__"],
    ["cli"],
    ["output"],
    ["comparison"],
    ["training"],
    ["evaluation", "prediction", "export"],
    ["models"],
    ["data"],
    ["runtime"],
    ["config"],
    ["events", "errors"],
]
LEVEL = {name: level for level, names in enumerate(ORDER) for name in names}
MODULES = {"__init__.py", "__main__.py", "events.py", "errors.py"}


def test_the_package_has_eleven_packages_and_no_other_modules() -> None:
    packages = {path.parent.name for path in ROOT.glob("*/__init__.py")}
    assert packages == set(LEVEL) - {"__main__", "events", "errors"}
    assert {path.name for path in ROOT.glob("*.py")} == MODULES


@pytest.mark.parametrize("path", [*ROOT.rglob("*.py")], ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_go_down_only(path: Path) -> None:
    here = path.relative_to(ROOT).with_suffix("").parts[0]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module == "mnist_cli":
            targets = [alias.name for alias in node.names if alias.name != "__version__"]
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("mnist_cli."):
            targets = [str(node.module).split(".")[1]]
        else:
            targets = []
        for there in targets:
            assert here in (there, "__init__") or LEVEL[there] > LEVEL[here], f"imports {there}"


def test_every_test_file_stands_where_what_it_tests_stands() -> None:
    tests = Path(__file__).parent
    others = {"helpers", "benchmarks", "docs", "drawn", "torture"}
    for path in tests.rglob("test_*.py"):
        folder = path.relative_to(tests).parent
        assert folder.parts[:1] == () or folder.parts[0] in others or (ROOT / folder).is_dir(), path


def loaded_by(code: str) -> set[str]:
    """Return the modules that a fresh interpreter has loaded after running `code`."""
    program = f"import sys\n{code}\nprint(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    return set(done.stdout.split())


@pytest.mark.slow
def test_what_answers_at_once_does_not_import_torch() -> None:
    """In one interpreter: what one of them imported would still be there at the end."""
    code = """
import io, os
import mnist_cli
from importlib import import_module
def answer(program, *arguments, **env):
    os.environ.update(env)
    sys.argv = [program, *arguments]
    sys.stdout = answers = io.StringIO()
    try:
        import_module(f"mnist_cli.cli.{program}").main()
    except SystemExit as stop:
        assert not stop.code, (program, arguments)
    assert answers.getvalue(), (program, arguments)
    sys.stdout = sys.__stdout__
    for name in env:
        del os.environ[name]
for program in ("train", "evaluate", "predict", "compare", "export", "lesson"):
    answer(program, "--version")
    name = {"evaluate": "eval"}.get(program, program)
    complete = {f"_MNIST_{name.upper()}_COMPLETE": "complete_bash"}
    answer(program, COMP_WORDS=f"mnist-{name} --", COMP_CWORD="1", **complete)
answer("train", "--list-models")
answer("compare", "--list-presets")
assert "rich.progress" not in sys.modules
for program in ("train", "evaluate", "predict", "compare", "export", "lesson"):
    answer(program, "--help")
"""
    modules = loaded_by(code)
    assert "mnist_cli.config.options" in modules
    assert not {"torch", "torchvision", "numpy", "scipy", "PIL", "matplotlib"} & modules


@pytest.mark.slow
def test_training_on_mnist_imports_neither_torchvision_nor_the_compiler(
    mnist_dir: Path, tmp_path: Path
) -> None:
    code = (
        "from mnist_cli import TrainConfig, train\n"
        f"config = TrainConfig(model='mlp', subset=64, epochs=1, data_dir={str(mnist_dir)!r},"
        f" output={str(tmp_path / 'x.pt')!r})\n"
        "assert list(train(config))"
    )
    modules = loaded_by(code)
    assert "mnist_cli.training.train" in modules
    assert not {"torchvision", "torch._dynamo"} & modules  # a second each
    assert "sympy" not in modules  # a third of a second


def test_the_python_api_has_every_name_it_lists() -> None:
    for name in mnist_cli.__all__:
        assert callable(getattr(mnist_cli, name))
    with pytest.raises(AttributeError):
        _ = mnist_cli.no_such_name
