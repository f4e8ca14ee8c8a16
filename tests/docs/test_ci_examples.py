"""Tests of the examples for CI: the services accept them, and their commands run as they stand."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.helpers.schemas import problems
from tests.helpers.shell import Shell

FOLDER = Path(__file__).parents[2] / "examples" / "ci"
SCHEMAS = {"github-actions.yml": "github-workflows", "gitlab-ci.yml": "gitlab-ci"}


def load_job(name: str) -> dict[str, Any]:
    """Return the job of an example."""
    content = yaml.safe_load((FOLDER / name).read_text())
    return content.get("jobs", content)["train"]


def commands(name: str) -> list[str]:
    """Return the lines that a job runs."""
    job = load_job(name)
    steps = job.get("script") or [step.get("run", "") for step in job["steps"]]
    return [line for step in steps for line in step.splitlines()]


def artefacts(value: object) -> Iterator[str]:
    """Yield the files that a job keeps."""
    if isinstance(value, dict):
        for key, part in value.items():
            if key == "path":
                yield from part.split()
            elif key == "artifacts":
                yield from part["paths"]
            else:
                yield from artefacts(part)
    elif isinstance(value, list):
        for part in value:
            yield from artefacts(part)


def test_every_example_is_tested() -> None:
    assert {path.name for path in FOLDER.iterdir()} == set(SCHEMAS)


@pytest.mark.parametrize("name", SCHEMAS)
def test_the_service_accepts_it(name: str) -> None:
    assert problems(SCHEMAS[name], FOLDER / name) == ""


@pytest.mark.parametrize("name", SCHEMAS)
def test_its_commands_work_and_write_what_is_kept(name: str, shell: Shell) -> None:
    installing, *programs = commands(name)
    assert installing.startswith("pip install ")
    assert [program.split()[0] for program in programs] == [
        "mnist-train",
        "mnist-eval",
        "mnist-export",
        "mnist-eval",
    ]
    assert " --min-accuracy 0.985" in programs[-1]
    script = "\n".join(programs).replace("--min-accuracy 0.985", "--min-accuracy 0.2")
    done = shell.bash(f"set -e\n{script}", env={"MNIST_SUBSET": "2000", "MNIST_DATASET": "qmnist"})
    assert done.code == 0, done.err
    kept = list(artefacts(load_job(name)))
    assert kept == ["checkpoint.pt", "training.jsonl", "report.html", "digit.html"]
    for file in kept:
        assert (shell.folder / file).stat().st_size > 500, file
    strict = shell.bash("mnist-eval checkpoint.pt --min-accuracy 1.0")
    assert strict.code == 5, "the gate"
