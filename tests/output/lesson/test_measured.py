"""What the lesson tells about whole data sets is what its commands and the docs tell."""

import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from benchmarks import lesson
from mnist_cli.output.lesson.measured import load_measured
from tests.helpers.calling import Caller

DOCS = Path(__file__).parents[3] / "docs"
RESULTS = load_measured()
STEPS: dict[str, Any] = RESULTS["steps"]


def rows_after(command: str) -> list[list[str]]:
    """Return the cells of the table that follows a command in the docs."""
    page = (DOCS / "batch-vs-mini-batch.md").read_text()
    (section,) = [part for part in re.split(r"^## ", page, flags=re.M) if command in part]
    return [line.strip("|").split("|") for line in re.findall(r"^\|.*$", section, re.M)[2:]]


def first_number(cell: str) -> float:
    found = re.search(r"\d[\d,.]*", cell)
    assert found is not None
    return float(found[0].replace(",", ""))


def by_first_cell(command: str) -> dict[int, list[str]]:
    """Return the rows of a table by the number in their first cell."""
    return {int(first_number(row[0])): row for row in rows_after(command)}


def test_every_step_has_its_commands_and_the_machine_is_named() -> None:
    assert {name: step["commands"] for name, step in STEPS.items()} == {
        name: list(step.commands) for name, step in lesson.STEPS.items()
    }
    assert {"machine", "version", "torch", "date"} < set(RESULTS)


def test_numbers_of_mnist_are_not_told_of_other_data_sets() -> None:
    assert load_measured("qmnist")["steps"] == {
        name: {"commands": [f"{command} --dataset qmnist" for command in step["commands"]]}
        for name, step in STEPS.items()
    }


@pytest.mark.parametrize("command", [c for step in lesson.STEPS.values() for c in step.commands])
def test_a_command_is_short_and_has_options_that_exist(command: str, call: Caller) -> None:
    assert command.isascii()
    assert len(command) <= 180
    done = call(*shlex.split(command), "--show-config", env={"MNIST_DATASET": "mnist"})
    assert (done.code, done.err) == (0, "")


def test_the_docs_have_the_same_numbers_for_the_same_commands() -> None:
    steady, rows = STEPS["steady"], by_first_cell("--config claim-steady")
    for size, rose in ((steady["small"], "small_rose"), (steady["samples"], "batch_rose")):
        assert rows[size][1].strip() == f"{steady[rose]} of {steady['monitored']}"

    rate, rows = STEPS["rate"], by_first_cell("--config claim-small-batch-unstable")
    for size in (1, 16, 64):
        assert float(rows[size][2].split(" to ")[1]) == rate[f"largest_{size}"]
    assert first_number(rows[1][4]) == rate["best_1"]
    assert first_number(rows[1][5]) == pytest.approx(100 * rate["accuracy_1"], abs=0.006)

    axes, rows = STEPS["axes"], by_first_cell("--config claim-data-size")
    row = [first_number(cell) for cell in rows[axes["samples"]]]
    assert row[1:3] == [axes["small_updates"], axes["batch_updates"]]
    if "batch_seconds" in axes:
        assert row[3:5] == pytest.approx([axes["small_seconds"], axes["batch_seconds"]], rel=0.01)

    large, rows = STEPS["large"], by_first_cell("--config steps-to-target")
    assert list(rows) == large["sizes"]
    assert [first_number(row[2]) for row in rows.values()] == large["updates"]
    page = (DOCS / "batch-vs-mini-batch.md").read_text()
    assert f"**critical batch size {large['critical']}**" in page.replace("\n", " ")


def test_the_docs_have_the_same_accuracies_without_shuffling() -> None:
    step, page = STEPS["sorted"], (DOCS / "comparing.md").read_text()
    assert step["commands"][0] in page
    for key in ("sorted_accuracy", "shuffled_accuracy"):
        assert f"{100 * step[key]:.2f} %" in page
