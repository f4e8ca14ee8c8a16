"""What an evaluation shows besides the accuracy: a page, figures, mistakes in the terminal."""

import base64
import io
import json
import re
import sys
from collections import Counter
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import torch

from mnist_cli.config.programs import EvalConfig
from mnist_cli.evaluation.corruptions import CORRUPTIONS, STRENGTHS
from mnist_cli.evaluation.evaluate import evaluate_checkpoint
from mnist_cli.evaluation.label_errors import known_label_errors
from mnist_cli.evaluation.metrics import (
    CheckpointEvaluation,
    CorruptedEvaluation,
    EvaluationResult,
)
from mnist_cli.output import eval_table
from mnist_cli.output.figures import evaluation as evaluation_figure
from mnist_cli.output.html import evaluation as evaluation_page
from tests.helpers.browsing import VIEWS, OpenPage, check_self_contained
from tests.helpers.calling import Caller
from tests.helpers.shell import Shell


@pytest.fixture(scope="module")
def found(trained: Path, mnist_dir: Path) -> CheckpointEvaluation:
    config = EvalConfig(dataset="mnist", data_dir=str(mnist_dir))
    return evaluate_checkpoint(str(trained), config)


def _data_of(page: str) -> dict[str, Any]:
    [written] = re.findall(r'<script type="application/json" id="data">(.*)</script>', page)
    data: dict[str, Any] = json.loads(written)
    return data


def test_a_page_has_no_address_to_load_anything_from(found: CheckpointEvaluation) -> None:
    written = evaluation_page.render(found)
    check_self_contained(written)
    low, high = found.accuracy_interval
    assert f"{100 * low:.2f} to {100 * high:.2f} %" in written


def test_a_page_shows_the_predictions(found: CheckpointEvaluation) -> None:
    written = evaluation_page.render(found)
    data = _data_of(written)
    pixels = list(base64.b64decode(data["pixels"]))
    for place, one in enumerate(data["mistakes"]):
        number = one["number"]
        assert pixels[784 * place : 784 * (place + 1)] == found.images[number].flatten().tolist()
        assert (one["true"], one["predicted"]) == (found.labels[number], found.predictions[number])
        assert one["probabilities"] == pytest.approx(found.probabilities[number].tolist(), abs=5e-5)
    assert [one["number"] for one in data["mistakes"][:300]] == found.misclassified(300)
    shown = Counter((one["true"], one["predicted"]) for one in data["mistakes"])
    for true, row in enumerate(found.confusion.tolist()):
        others = [(n, -predicted) for predicted, n in enumerate(row) if predicted != true]
        assert all(shown[true, -predicted] >= min(n, 3) for n, predicted in others), "of every cell"
        score, (most, predicted) = found.per_class[true], max(others)
        shares = (f"{100 * share:.2f} %" for share in (score.precision, score.recall, score.f1))
        cells = (f"{score.samples:,}", *shares, f"{-predicted} ({most:,} times)")
        assert f"<th scope=row>{true}</th>" + "".join(f"<td>{c}</td>" for c in cells) in written
    bins = found.calibration.bins
    assert data["bins"] == [[b.low, b.high, b.count, b.confidence, b.accuracy] for b in bins]


def test_a_page_tells_of_what_was_scored(found: CheckpointEvaluation) -> None:
    config = replace(found.checkpoint.config, augment="affine")
    checkpoint = replace(found.checkpoint, config=config)
    other = replace(
        found, checkpoint=checkpoint, path="<b>\udcff.pt", split="val", dataset="qmnist"
    )
    written = evaluation_page.render(other)
    for words in (
        "&lt;b&gt;\\udcff.pt",
        "evaluated on the val samples of qmnist; mean",
        "# counts the samples held out of qmnist, from 0 on",
        "changed and early in the epoch",
    ):
        assert words in written
    assert "<b>\\" not in written
    assert "shifted" not in evaluation_page.render(found)
    confusion = torch.diag(torch.tensor([59_998] + 9 * [0]))
    confusion[1, 0] = 2
    written = evaluation_page.render(replace(found, path="-", confusion=confusion))
    assert "<b>99.99<small>" in written
    assert "<li>standard input: linear" in written


def test_a_page_has_test_time_augmentation_as_one_more_fact(found: CheckpointEvaluation) -> None:
    confusion = torch.diag(found.confusion.sum(1))
    confusion[1, 0] = 1
    confusion[1, 1] -= 1
    augmented = EvaluationResult(loss_sum=1.0, confusion=confusion)
    plain, both = map(evaluation_page.render, (found, replace(found, augmented=augmented)))
    (line,) = set(both.splitlines()) - set(plain.splitlines())
    fact = "<li>with test-time augmentation 99.99 %, 9,999 of 10,000 correct: the mean of"
    assert fact in line
    assert re.sub("<li>with test-time.*?</li>", "", line) in plain.splitlines()


@pytest.fixture(scope="module")
def corrupted(found: CheckpointEvaluation) -> CheckpointEvaluation:
    """Return an evaluation in which corruption k of strength s has k + s of 100 correct."""
    results = {}
    for place, name in enumerate(CORRUPTIONS):
        confusions = [torch.diag(torch.tensor([place + s] + 9 * [0])) for s in STRENGTHS]
        for confusion in confusions:
            confusion[0, 1] = 100 - confusion[0, 0]
        results[name] = [
            CorruptedEvaluation(1.0, confusion, example=torch.full((28, 28), 5 * place + s).byte())
            for s, confusion in zip(STRENGTHS, confusions, strict=True)
        ]
    return replace(found, corrupted=results)


def test_a_page_has_each_corruption_in_each_strength(
    found: CheckpointEvaluation, corrupted: CheckpointEvaluation
) -> None:
    written = evaluation_page.render(corrupted)
    check_self_contained(written)
    for place, name in enumerate(CORRUPTIONS):
        [row] = re.findall(rf"<tr><th scope=row>{name}</th>(.*)</tr>", written)
        assert re.findall(r"</canvas>([\d.]+)</td>", row) == [f"{place + s}.0" for s in STRENGTHS]
        numbers = [*map(int, re.findall(r"data-example=(\d+)", row))]
        assert numbers == [5 * place + s - 1 for s in STRENGTHS]
        for s, share in zip(STRENGTHS, re.findall(r"--share:([\d.]+)", row), strict=True):
            lost = 1 - (place + s) / 100 / found.accuracy
            assert float(share) == pytest.approx(max(0, lost), abs=6e-4)
    # The mean of k + s for k from 0 to 9 and s from 1 to 5 is 7.5.
    assert "corruptions 7.5 % on average" in written
    assert "least often with shift of strength 1: 1.0 %." in written
    data = _data_of(written)
    examples = base64.b64decode(data["examples"])
    assert [*examples[::784]] == [*range(1, 51)]
    given = found.probabilities.gather(1, found.labels[:, None])[:, 0]
    numbers = [one["number"] for one in data["doubted"]]
    assert numbers == given.argsort(stable=True)[:20].tolist()
    pixels = found.images[numbers].flatten().tolist()
    assert [*base64.b64decode(data["doubted_pixels"])] == pixels


def test_a_page_without_corruptions_has_no_section_on_them(found: CheckpointEvaluation) -> None:
    written = evaluation_page.render(found)
    assert "clean digits" not in written
    assert "doubts" not in written
    assert _data_of(written)["examples"] == ""


def test_known_label_errors_are_marked_in_mnist_alone(found: CheckpointEvaluation) -> None:
    written = evaluation_page.render(found)
    known = {one["number"] for one in _data_of(written)["mistakes"] if one["known_error"]}
    shown = {one["number"] for one in _data_of(written)["mistakes"]}
    assert known == shown & known_label_errors(found.images, found.labels)
    assert known
    assert "Northcutt et al. 2021; 15 of the images" in written
    other = replace(found, images=255 - found.images)
    written = evaluation_page.render(other)
    assert not any(one["known_error"] for one in _data_of(written)["mistakes"])
    assert "Northcutt" not in written


def test_a_terminal_shows_each_figure_in_its_column(found: CheckpointEvaluation) -> None:
    stream = io.StringIO()
    eval_table.print_metrics(found, stream)
    written = stream.getvalue()
    low, high = found.accuracy_interval
    assert f"{low:.4f} to {high:.4f}" in written
    for one in found.per_class:
        figures = (f"{value:.4f}" for value in (one.precision, one.recall, one.f1))
        assert [str(one.digit), f"{one.samples:,}", *figures] in map(
            str.split, written.splitlines()
        )


def _overlap(one: dict[str, float], other: dict[str, float]) -> bool:
    sides = (("x", "width"), ("y", "height"))
    return all(max(one[a], other[a]) < min(one[a] + one[s], other[a] + other[s]) for a, s in sides)


@pytest.mark.parametrize(("width", "scheme"), VIEWS)
def test_the_page_works_in_a_browser(
    corrupted: CheckpointEvaluation, browser: Any, tmp_path: Path, width: int, scheme: str
) -> None:
    found = corrupted
    path = tmp_path / "report.html"
    path.write_text(evaluation_page.render(found))
    opened = OpenPage(browser, path, width, scheme)
    view = opened.view
    items = view.locator("#mistakes li")
    at_first = items.count()
    assert at_first in (12, 24)
    confusion = found.confusion.tolist()
    pairs = [(n, t, r) for t, row in enumerate(confusion) for r, n in enumerate(row) if t != r]
    count, true, predicted = max(pairs)
    cell = view.locator(f".matrix button[data-true='{true}'][data-predicted='{predicted}']")
    cell.focus()
    view.keyboard.press("Enter")
    captions = items.all_inner_texts()
    assert captions
    assert all(text.startswith(f"{true} predicted as {predicted}") for text in captions)
    told = view.locator("#which").inner_text()
    assert re.match(
        rf"{true} predicted as {predicted}: the \d+ most confident of {count} times\.", told
    )
    view.keyboard.press("Enter")
    assert items.count() == at_first
    view.locator("#more").click()
    wrong = found.samples - found.correct
    assert items.count() == min(wrong, 300)
    assert view.locator("#calibration rect").count() >= 5
    boxes = [label.bounding_box() for label in view.locator("#calibration .count").all()]
    assert not any(_overlap(one, other) for one, other in combinations(boxes, 2))
    assert view.locator("#loss path").count() == 3, "train, test, val"
    painted = "canvas => [...canvas.getContext('2d').getImageData(9, 9, 1, 1).data]"
    examples = view.locator(".corruptions canvas").all()
    shown = [canvas.evaluate(painted) for canvas in examples]
    assert shown == [[n, n, n, 255] for n in range(1, 51)]
    doubted = view.locator("#doubted li").all_inner_texts()
    assert [int(text.split("#")[1].split()[0]) for text in doubted] == [
        doubt.index for doubt in found.doubted(20)
    ]
    known = [doubt.known_error for doubt in found.doubted(20)]
    assert ["known label error" in text for text in doubted] == known
    table = view.locator(".corruptions")
    assert table.evaluate("table => table.scrollWidth <= table.parentElement.clientWidth")
    opened.check(width, scheme)


def test_an_epoch_is_never_divided(
    found: CheckpointEvaluation, browser: Any, tmp_path: Path
) -> None:
    history = [{"event": "epoch", "epoch": 1, "train_loss": 1e6}]
    other = replace(found, checkpoint=replace(found.checkpoint, history=history))
    path = tmp_path / "report.html"
    path.write_text(evaluation_page.render(other))
    opened = OpenPage(browser, path)
    assert opened.view.locator("#loss text").all_text_contents()[-2:] == ["1", "epoch"]
    assert opened.view.locator("#accuracy").inner_text() == "Nothing to show."
    opened.close()
    # A legend of nothing would be a warning of matplotlib, which is an error here.
    assert evaluation_figure.draw(other, "history.svg", "auto")


def test_reports_go_to_a_file_a_folder_or_standard_output(call: Caller, trained: Path) -> None:
    done = call("mnist-eval", str(trained), "--report", "page.html")
    assert (done.code, done.err) == (0, "Wrote page.html\n")
    assert re.fullmatch(r"Test Accuracy: 0\.\d{4}\n", done.out)
    done = call("mnist-eval", "nope.pt", "--report", "new/folder", "-q")
    assert (done.code, list(call.folder.iterdir())) == (4, [call.folder / "page.html"])
    done = call("mnist-eval", str(trained), "--report", "new/folder", "-q")
    assert (done.code, done.err) == (0, "")
    first = (call.folder / "page.html").read_text()
    assert (call.folder / "new" / "folder" / "index.html").read_text() == first
    done = call("mnist-eval", str(trained), "--report", "-")
    assert done.out == first


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        ("--report - --json", 2, "choose one"),
        ("--plot figure.jpg", 2, "its ending is not one of .png, .svg, .pdf"),
        ("--plot /dev/null/a.svg", 7, "/dev/null"),
        ("--plot=", 2, "its ending is not one of"),
        ("--report=", 2, "--report '': its name is empty"),
        ("--report report.htmlx", 2, "its ending is not .html"),
        ("--report /dev/null/x", 7, "/dev/null/x"),
        ("--report /dev/null/a.html", 7, "/dev/null"),
        ("--panel history", 2, "add --plot"),
        ("--panel histroy", 2, "did you mean 'history'?"),
    ],
)
def test_places_are_checked_first(
    options: str, code: int, message: str, call: Caller, trained: Path
) -> None:
    done = call("mnist-eval", "nope.pt", *options.split())
    assert (done.code, message in done.err, done.out) == (code, True, ""), done.err
    assert len(done.err.splitlines()) == 1


def test_without_anything_to_draw_nothing_is_written(call: Caller) -> None:
    call.train("-q", "--max-updates", "5")
    done = call("mnist-eval", "checkpoint.pt", "--plot", "history.svg", "--report", "a.html")
    assert (done.code, done.out) == (2, "")
    assert "--plot history.svg: no history to draw: its training" in done.err
    assert not list(call.folder.glob("*.[sh]*"))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("panel", "ending"),
    [("confusion", "svg"), ("calibration", "png"), ("mistakes", "png"), ("history", "svg")],
)
def test_a_figure_is_what_its_name_says_and_always_the_same(
    panel: str, ending: str, found: CheckpointEvaluation
) -> None:
    drawn = evaluation_figure.draw(found, f"{panel}.{ending}", "auto")
    assert drawn.startswith({"svg": b"<?xml", "png": b"\x89PNG"}[ending])
    if panel != "mistakes":  # its sixty axes take seconds
        assert drawn == evaluation_figure.draw(found, f"x.{ending}", panel)
    assert evaluation_figure.panel_of("x.svg", "auto") == "confusion"


def test_without_matplotlib_a_figure_is_a_usage_error(
    call: Caller, trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    for name in ("evaluation", "style"):
        monkeypatch.delitem(sys.modules, f"mnist_cli.output.figures.{name}", raising=False)
    done = call("mnist-eval", str(trained), "--plot", "a.svg")
    assert (done.code, done.out) == (2, "")
    assert "pip install 'mnist_cli[plot]'" in done.err


def test_mistakes_leave_standard_output_to_data(call: Caller, trained: Path) -> None:
    done = call("mnist-eval", str(trained), "--mistakes", "3", env={"COLUMNS": "70"})
    assert re.fullmatch(r"Test Accuracy: 0\.\d{4}\n", done.out)
    assert "\x1b" not in done.err
    captions = re.findall(r"#\d+: (\d), predicted (\d), (0\.\d\d|1\.00)", done.err)
    assert len(captions) == 3
    assert all(true != predicted for true, predicted, _ in captions)
    assert max(map(len, done.err.splitlines())) <= 70


@pytest.mark.parametrize("columns", [40, 60, 120])
def test_nothing_is_wider_than_the_terminal(columns: int, shell: Shell, trained: Path) -> None:
    done = shell.bash(
        f"script -qec 'stty cols {columns}; mnist-eval {trained} --mistakes 4' /dev/null",
        env={"TERM": "xterm-256color"},
    )
    assert "\x1b[" in done.out, "it is coloured"
    plain = re.sub(r"\x1b\[[\d;]*m", "", done.out)
    assert max(len(line.rstrip("\r")) for line in plain.splitlines()) <= columns
    assert plain.count(", predicted ") == 4
