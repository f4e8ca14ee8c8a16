"""The direction of imports: a room imports only rooms below its own."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import mnist_cli

ROOT = Path(mnist_cli.__file__).parent
# From top to bottom. Rooms in one line do not import each other.
FLOORS = [
    ["__main__", "torchrun"],
    ["cli"],
    ["report"],
    ["scalars"],
    ["display", "recording"],
    ["render", "showing"],
    ["words", "doctor"],
    ["variables"],
    ["lab"],
    ["run", "score", "predict", "export"],
    ["scoring"],
    ["trainer", "probes"],
    ["state", "preflight", "saving"],
    ["checkpoint"],
    ["loop", "evaluation", "calibration"],
    ["exchange"],
    ["models", "optim", "loaders"],
    ["augment", "images", "seen"],
    ["digits"],
    ["inspection", "finding"],
    ["paper", "pieces", "gathering", "certainty"],
    ["data"],
    ["distributed"],
    ["group"],
    ["board", "runtime", "team", "files", "signals", "screening", "blocks", "sparkline"],
    ["plain_pickle", "start", "claim", "digest", "ranks"],
    ["origins", "figures"],
    ["recipes", "settings", "uses"],
    ["config", "events", "errors", "suggestions"],
]
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}


def room_of(module: str) -> str:
    return module.split(".")[1]


def imports_of(path: Path) -> list[str]:
    """Return the modules of this package that a file imports, wherever in the file."""
    modules = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("mnist_cli"):
            assert node.module
            names = [alias.name for alias in node.names]
            whole = node.module == "mnist_cli"
            modules += [f"mnist_cli.{name}" for name in names] if whole else [node.module]
        elif isinstance(node, ast.Import):
            modules += [a.name for a in node.names if a.name.startswith("mnist_cli.")]
    return [m for m in modules if m != "mnist_cli.__version__"]


FILES = [path for path in ROOT.rglob("*.py") if path != ROOT / "__init__.py"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_go_down_only(path: Path) -> None:
    here = path.relative_to(ROOT).with_suffix("").parts[0]
    for module in imports_of(path):
        there = room_of(module)
        inside = here == there and path.parent != ROOT
        assert inside or FLOOR[there] > FLOOR[here], f"{here} imports {there}"


def loaded_by(code: str) -> set[str]:
    """Return the modules that a fresh interpreter has loaded after running `code`."""
    program = f"import sys\n{code}\nprint(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    return set(done.stdout.split())


def test_help_and_version_do_not_import_torch() -> None:
    for option in ("--help", "--version"):
        for program in ("train", "evaluate", "predict", "compare", "export"):
            code = (
                f"sys.argv = ['program', {option!r}]\n"
                f"from mnist_cli.cli.{program} import main\n"
                "try: main()\nexcept SystemExit: pass"
            )
            modules = loaded_by(code)
            assert "mnist_cli.config" in modules
            assert not {"torch", "torchvision", "numpy", "PIL"} & modules


def test_importing_the_package_does_not_import_torch() -> None:
    assert "torch" not in loaded_by("import mnist_cli")


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
    assert "mnist_cli.run" in modules
    assert not {"torchvision", "torch._dynamo"} & modules  # a second each
    assert "sympy" not in modules  # a third of a second


def test_the_python_api_has_every_name_it_lists() -> None:
    for name in mnist_cli.__all__:
        assert callable(getattr(mnist_cli, name))
    with pytest.raises(AttributeError):
        _ = mnist_cli.no_such_name
