"""The README tells the truth and is short: its commands work as printed, its paths exist."""

import json
import re
from pathlib import Path

import pytest
import yaml

import mnist_cli
from mnist_cli.cli.listings import Measurement, load_measured_results
from mnist_cli.data.splits import Dataset
from tests.helpers.own_data import write_csv
from tests.helpers.pages import FEW, blocks, commands_of, section, shortened
from tests.helpers.schemas import problems
from tests.helpers.shell import Shell

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


# Each line of these sections stands for itself; those of other sections follow on one another.
ALONE = section(README, "Scripts and CI")
ONE_LINE_EACH = section((ROOT / "docs" / "pipelines.md").read_text(), "One line each")
PIPELINES = [
    line
    for text in (ALONE, ONE_LINE_EACH)
    for block in blocks(text, "sh")
    for line in block.splitlines()
]
assert len(PIPELINES) >= 10


@pytest.mark.parametrize("line", sorted(set(PIPELINES)))
def test_a_pipeline_works_as_printed(line: str, shell: Shell) -> None:
    quick = shortened(line).replace("--min-accuracy 0.97", "--min-accuracy 0.5")
    done = shell.bash(quick, env=FEW)
    assert done.code == 0, done.err
    assert done.out.strip()
    assert "error" not in done.err or "exit code 5" in done.out


def test_the_commands_of_the_other_sections_work_one_after_another(
    shell: Shell, mnist: Dataset
) -> None:
    write_csv(shell.folder / "train.csv", mnist.train.at(slice(2600)))
    write_csv(shell.folder / "test.csv", mnist.test.at(slice(20)), labelled=False)
    typed = commands_of(README.replace(ALONE, ""))
    assert len(typed) >= 8
    done = shell.bash("set -e\n" + shortened("\n".join(typed)), env=FEW)
    assert done.code == 0, done.err
    assert "error: " not in done.err
    assert len((shell.folder / "submission.csv").read_text().splitlines()) == 21


def test_the_python_example_works_as_printed(shell: Shell) -> None:
    (example,) = blocks(README, "python")
    assert len(example.strip().splitlines()) <= 10
    example = example.replace("epochs=1", "epochs=1, subset=2000")
    done = shell("python", "-c", f"# forked\n{example}")
    assert done.code == 0, done.err
    assert done.out.startswith("Start(")
    assert "Progress(" not in done.out
    assert "tensor(" in done.out


def test_it_is_read_in_five_minutes() -> None:
    assert len(README.split()) <= 1300


def test_every_path_in_the_readme_exists() -> None:
    for name in re.findall(r"`((?:mnist_cli|configs|docs|tests)/[\w./]*)`", README):
        assert (ROOT / name).exists(), name


def test_the_page_on_batches_has_a_figure_and_a_command_for_every_experiment() -> None:
    page = ROOT / "docs" / "batch-vs-mini-batch.md"
    text = page.read_text()
    for name in re.findall(r"\]\(([\w./-]+)\)", text):
        assert (page.parent / name).exists(), name
    experiments = [
        path.stem for path in (ROOT / "configs").glob("*.toml") if "batch_sizes" in path.read_text()
    ]
    assert len(experiments) == 18
    for name in experiments:
        assert re.search(rf"mnist-compare --config {name}.* --plot ", text), name
        assert re.search(rf"!\[[^\]]+\]\(figures/{name}[\w-]*\.svg\)", text), name
    assert not re.search(r"^[A-Z0-9]{4,}$|MEASURED", text, re.M)


def words_of(one: Measurement) -> str:
    """Return an accuracy as the pages write it; the standard deviation is left out for one seed."""
    spread = "" if one.std is None else f" ± {100 * one.std:.2f}"
    return f"{100 * one.accuracy:.2f}{spread} % ({len(one.accuracies)} seeds)"


def test_accuracies_and_seconds_are_those_of_the_measured_results() -> None:
    results = load_measured_results()
    table = README.partition("| on two cores, no GPU |")[2].partition("\n\n")[0]
    for command, preset in {
        "`mnist-train --config fast`": "fast",
        "`mnist-train`": "default",
        "`mnist-train --config accurate`": "accurate",
    }.items():
        one = results.presets[preset]
        seconds = one.median_seconds
        shown = f"{seconds:,.0f}" if seconds > 10 else f"{seconds:.1f}"
        row = rf"^\| {command}[ ,].* \| {re.escape(words_of(one))} \| {shown} s \|$"
        assert re.search(row, table, re.M), preset


@pytest.mark.parametrize("name", ["README.md", "docs/command-line.md", "benchmarks/README.md"])
def test_an_accuracy_has_one_value_on_all_pages(name: str) -> None:
    results = load_measured_results()
    measured = [*results.models.values(), *results.presets.values()]
    known = {words_of(one).partition(" (")[0] for one in measured}
    found = re.findall(r"99\.\d\d ± \d\.\d\d %", (ROOT / name).read_text())
    assert found
    assert set(found) <= known


def test_the_rows_of_the_comparison_are_those_of_its_recording() -> None:
    cast = (ROOT / "docs" / "figures" / "comparison.cast").read_text().splitlines()[1:]
    shown = re.sub(r"\x1b\[[\d;?]*\w", "", "".join(json.loads(line)[2] for line in cast))
    rows = re.findall(r"^\| ([\d,]+|full) \| ([\d,]+) \| 180,000 \| (.* %) \|$", README, re.M)
    assert len(rows) == 3
    for size, updates, accuracy in rows:
        start = rf"^ +{size.replace(',', '')} +"  # of a row in each of two tables
        assert re.search(rf"{start}0\.1 +{updates} +180,000 ", shown, re.M), size
        assert re.search(rf"{start}{re.escape(accuracy)} ", shown, re.M), size


def test_the_citation_is_of_this_version() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == mnist_cli.__version__
    assert problems("citation-file-format", ROOT / "CITATION.cff") == ""
