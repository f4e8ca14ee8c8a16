"""The pages of `docs/` tell the truth: every command in them runs, the reference is the code's."""

import json
import re
import shutil
from dataclasses import dataclass, fields
from pathlib import Path
from runpy import run_path

import pytest
import torch

from mnist_cli.config.compare import CompareConfig
from mnist_cli.config.programs import (
    EvalConfig,
    ExportConfig,
    LessonConfig,
    PredictConfig,
    Recording,
    Serving,
)
from mnist_cli.config.sources import flag
from mnist_cli.config.train import TrainConfig
from mnist_cli.data.splits import Dataset, Split
from mnist_cli.errors import ExitCode
from tests.helpers import copied_package
from tests.helpers.idx_files import write_raw
from tests.helpers.pages import FEW, blocks, commands_of, section, shortened
from tests.helpers.shell import Done, Shell

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
TUTORIALS = (
    "first-classifier.md",
    "what-is-a-batch.md",
    "command-line.md",
    "own-digits.md",
    "reports-and-exports.md",
    "pipelines.md",
    "cluster.md",
)
COMPARED = ("--subset", "200", "--batch-sizes", "64", "--epochs", "1", "--seeds", "1", "-q")


@pytest.mark.parametrize("name", TUTORIALS)
def test_every_command_of_a_tutorial_works_as_printed(name: str, shell: Shell) -> None:
    page = (DOCS / name).read_text()
    if name == "pipelines.md":
        page = page.replace(section(page, "One line each"), "")  # test_readme.py runs them
    script = shortened("\n".join(commands_of(page)))
    assert script.count("mnist") >= 4
    done = shell.bash(f"set -e\n{script}", env=FEW)
    assert done.code == 0, done.err
    assert "error: " not in done.err.replace("error: test accuracy", "")


def test_the_cells_of_the_notebook_follow_on_one_another(shell: Shell) -> None:
    cells = blocks((DOCS / "notebook.md").read_text(), "python")
    assert len(cells) >= 5
    script = shortened("\n".join(cells)).replace("epochs=1,", "epochs=1, subset=2000,")
    done = shell("python", "-c", f"# forked\n{script}")
    assert done.code == 0, done.err
    assert "are misclassified" in done.out
    assert re.search(r"^- ", done.out, re.M), "the verdict"


def test_the_reference_has_every_option() -> None:
    reference = (DOCS / "reference.md").read_text()
    of_training = (TrainConfig, Recording, CompareConfig)
    for config in (*of_training, EvalConfig, PredictConfig, ExportConfig, LessonConfig, Serving):
        for field in fields(config):
            assert re.search(rf"^\| `{flag(field.name)}[ `/]", reference, re.M), field.name


def test_the_reference_is_that_of_the_code() -> None:
    made = run_path(str(DOCS / "make_reference.py"))
    assert (DOCS / "reference.md").read_text() == made["reference"](), (
        "run: python docs/make_reference.py"
    )


def test_every_exit_code_stands_in_the_table() -> None:
    table = (DOCS / "reference.md").read_text().split("| code | meaning |")[1]
    assert {int(code) for code in re.findall(r"^\| (\d+) \|", table, re.M)} == set(ExitCode)


def test_every_preset_stands_in_the_tables() -> None:
    tables = (DOCS / "reference.md").read_text().split("\n## Models and presets\n")[1]
    questions = (DOCS / "comparing.md").read_text()
    for path in (ROOT / "configs").glob("*.toml"):
        assert f"| `{path.stem}` |" in tables
        if "batch_sizes" in path.read_text():
            assert f"| `{path.stem}` |" in questions


def test_every_link_leads_somewhere() -> None:
    pages = [*DOCS.rglob("*.md"), *ROOT.glob("*.md")]
    for page in [*pages, ROOT / "examples" / "README.md", ROOT / "benchmarks" / "README.md"]:
        text = page.read_text()
        for link in re.findall(r"\]\(([^)\s]+)\)", text):
            path, _, heading = link.partition("#")
            if "://" in link:
                continue
            target = (page.parent / path).resolve() if path else page
            assert target.exists(), f"{page.name}: {link}"
            if heading:
                titles = re.findall(r"^#+ (.*)$", target.read_text(), re.M)
                slugs = [re.sub(r"[^\w -]", "", t.lower()).replace(" ", "-") for t in titles]
                assert heading in slugs, f"{page.name}: {link}"


@dataclass(frozen=True)
class Copy:
    """A copy of the package, to be changed and run."""

    shell: Shell

    @property
    def folder(self) -> Path:
        return self.shell.folder

    def __call__(self, *options: str) -> Done:
        """Run `python -m mnist_cli` of the copy."""
        program = ("python", copied_package.__file__, str(self.folder), *options)
        out, err = self.folder / "out", self.folder / "err"
        started = {"folder": self.folder, "env": self.shell.env, "out": out, "err": err}
        code = self.shell.fork_server.run(*program, **started)
        return Done(code, out.read_text(), err.read_text())


@pytest.fixture
def copy(shell: Shell) -> Copy:
    for name in ("mnist_cli", "configs"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, shell.folder / name, ignore=ignored)
    return Copy(shell)


def apply(diff: str, folder: Path) -> int:
    """Apply a diff whose hunks have no line numbers; return how many lines it adds."""
    for part in re.split(r"^--- .*\n\+\+\+ ", diff, flags=re.M)[1:]:
        name, rest = part.split("\n", 1)
        path = folder / name
        text = path.read_text() if path.exists() else ""
        for hunk in re.split(r"^@@\n", rest, flags=re.M)[1:]:
            lines = hunk.splitlines()
            before = "\n".join(line[1:] for line in lines if line[:1] != "+")
            after = "\n".join(line[1:] for line in lines if line[:1] != "-")
            assert text.count(before) == 1, f"{name}: {before}"
            text = text.replace(before, after)
        path.write_text(text)
    return len(re.findall(r"^\+(?!\+)", diff, re.M))


def diff_of(path: str) -> str:
    """Return the diff of the page that touches a file of the package."""
    page = (DOCS / "contributing.md").read_text()
    (diff,) = [d for d in blocks(page, "diff") if f"+++ mnist_cli/{path}" in d]
    return diff


def test_an_option_is_added_as_the_page_says(copy: Copy, trained: Path) -> None:
    diff = diff_of("config/train.py")
    assert re.findall(r"^--- (.*)", diff, re.M) == ["mnist_cli/config/train.py"]
    apply(diff, copy.folder)
    assert "--note" in copy("train", "--help").out
    asked = ("--resume", str(trained), "--note", "second try", "--show-config")
    done = copy("train", *asked)
    assert (done.code, done.err) == (0, "")
    assert re.search(r'^note = "second try" +# flag$', done.out, re.M)


def test_a_model_is_added_as_the_page_says(copy: Copy) -> None:
    model = diff_of("models/networks.py")
    assert apply(model, copy.folder) <= 13
    options = ("--model", "wide", "--subset", "200", "--epochs", "1", "-q")
    done = copy("train", *options)
    assert (done.code, done.out) == (0, "checkpoint.pt\n"), done.err
    (copy.folder / "seven.pgm").write_text("P2 5 7 1 1 1 1 1 1 " + "1 0 0 0 1 " + "1 1 1 0 1 " * 5)
    for command in (
        ("eval", "checkpoint.pt"),
        ("predict", "checkpoint.pt", "seven.pgm"),
        ("export", "checkpoint.pt", "digit.html"),
        ("compare", "--model", "wide", *COMPARED),
        ("train", "--list-models"),
    ):
        done = copy(*command)
        assert (done.code, bool(done.out)) == (0, True), done.err
    assert "wide" in done.out


def test_an_optimizer_is_added_as_the_page_says(copy: Copy) -> None:
    apply(diff_of("training/optim.py"), copy.folder)
    options = ("--optimizer", "sign-sgd", "--model", "linear", "--subset", "500", "--json", "-q")
    done = copy("train", *options)
    assert done.code == 0, done.err
    end = json.loads(done.out.splitlines()[-1])
    assert end["test_accuracy"] > 0.6, "it trains"


def test_a_probe_is_added_as_the_page_says(copy: Copy) -> None:
    apply(diff_of("training/probes/weights.py"), copy.folder)
    options = ("--model", "mlp", "--probe", "weight-norm,noise")
    done = copy("train", *options, "--subset", "200", "--epochs", "1", "--json")
    assert done.code == 0, done.err
    events = [json.loads(line) for line in done.out.splitlines()]
    noise, weights = [event for event in events if event["event"] == "probe"]
    assert (noise["probe"], weights["probe"]) == ("noise", "weight-norm")
    assert weights["norm"] > 0
    assert f"Probe at update 0, norm of the weights: {weights['norm']:.3f}\n" in done.err
    compare = ("compare", *options, *COMPARED, "--json", "--output", "runs")
    first, again = copy(*compare), copy(*compare)
    assert (first.code, again.code) == (0, 0), first.err + again.err
    norms = [
        [event["norm"] for event in map(json.loads, done.out.splitlines()) if "norm" in event]
        for done in (first, again)
    ]
    assert len(norms[0]) == 2, "at the start and the end"
    assert norms[1] == norms[0], "read from the record of the finished run"


def test_a_data_set_is_added_as_the_page_says(copy: Copy, mnist: Dataset) -> None:
    data = diff_of("data/catalogue.py")
    apply(data, copy.folder)
    train = ("train", "--dataset", "house-numbers", "--model", "linear", "--epochs", "1", "-q")
    train += ("--data-dir", "data")
    done = copy(*train)
    assert done.code == 3
    assert "train-images-idx3-ubyte" in done.err, "it says what to put where"
    samples = torch.arange(300)
    train_set, test_set = Split(*mnist.train[samples]), Split(*mnist.test[samples])
    write_raw(copy.folder / "data" / "HouseNumbers" / "raw", train_set, test_set)
    done = copy(*train)
    assert (done.code, done.out) == (0, "checkpoint.pt\n"), done.err
