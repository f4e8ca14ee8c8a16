"""No input from outside brings anything but a result or an error of the contract."""

import json
import random
import shutil
from pathlib import Path

import pytest

from tests.helpers.fork_server import ForkServer
from tests.torture import fuzz
from tests.torture.amount import count

HALVES = count(1, 2)  # that can run in parallel
# What `make test` tries, and what `make torture` does.
CASES = {
    "checkpoint": count(200, 20_000),
    "idx": count(200, 20_000),
    "toml": count(200, 20_000),
    "image": count(200, 20_000),
    "table": count(100, 2000),
    "array": count(100, 2000),
    "folder": count(50, 2000),
}


@pytest.fixture
def folder(tmp_path: Path, trained: Path) -> Path:
    shutil.copy(trained, tmp_path / "checkpoint.pt")
    return tmp_path


@pytest.mark.parametrize("half", range(HALVES))
@pytest.mark.parametrize("kind", CASES)
def test_damaged_input_is_read_or_refused_in_a_word(
    kind: str, half: int, folder: Path, fork_server: ForkServer
) -> None:
    cases = CASES[kind] // HALVES
    first, last = half * cases, (half + 1) * cases
    program = ("python", "-m", fuzz.__name__, kind, str(first), str(last), str(folder))
    code = fork_server.run(*program, folder=folder, out=Path("out"), err=Path("err"))
    assert (code, (folder / "err").read_text()) == (0, "")
    found = json.loads((folder / "out").read_text())
    assert found["read"] + found["refused"] == cases
    assert found["read"] > cases / 100, "some of the damage does no harm"
    assert found["refused"] > cases / 3
    assert found["slowest_s"] < fuzz.SECONDS
    assert found["grown_MB"] < fuzz.MEGABYTES
    print(f"{kind}, cases {first} to {last - 1}: {found}")


COMMANDS = {
    "checkpoint": (["mnist-eval", "case.pt"], {0, 4}),
    "idx": (["mnist-eval", "checkpoint.pt", "--dataset", "kmnist", "--data-dir", "data"], {0, 3}),
    "toml": (["mnist-train", "--config", "case.toml", "--resume", "none.pt"], {2, 4}),
    "image": (["mnist-predict", "-q", "checkpoint.pt", "case.img"], {0, 3}),
}


@pytest.mark.parametrize("kind", COMMANDS)
def test_the_programs_say_so_with_their_exit_code(
    kind: str, folder: Path, fork_server: ForkServer
) -> None:
    command, codes = COMMANDS[kind]
    (folder / "here").mkdir()
    seen = set()
    for case in range(count(8, 150)):
        place = folder / "here"
        shutil.copy(folder / "checkpoint.pt", place)
        fuzz.KIND[kind][0](random.Random(f"{kind}/{case}"), place)
        if kind == "idx" and not (place / "data" / "KMNIST").exists():
            continue
        code = fork_server.run(*command, folder=place)
        said = (folder / "err").read_text(errors="replace")
        assert code in codes, (case, code, said)
        assert len(said.splitlines()) <= 2, (case, said)
        assert "Traceback" not in said
        assert bool(said) == bool(code), (case, said)
        seen.add(code)
    assert seen
    print(f"{kind}: exit codes {sorted(seen)}")
