"""What an evaluation shows besides the accuracy: a page, figures, mistakes in the terminal."""

import math
import re
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from browsing import VIEWS, OpenPage, check_self_contained
from conftest import Shell

from mnist_cli.calibration import BINS, calibration, wilson_interval
from mnist_cli.report import evaluation
from mnist_cli.report.evaluation_figure import panel_of
from mnist_cli.report.history import history_of
from mnist_cli.score import Examination, examine
from mnist_cli.uses import EvalConfig


@pytest.fixture(scope="module")
def found(trained: Path, mnist_dir: Path) -> Examination:
    return examine(str(trained), EvalConfig(data_dir=str(mnist_dir)), each=True)


def test_the_interval_is_that_of_wilson() -> None:
    # Newcombe 1998, table I, his worked cases: 81 of 263, 15 of 148, 0 of 20, 1 of 29.
    for correct, samples, low, high in (
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ):
        assert wilson_interval(correct, samples) == pytest.approx((low, high), abs=5e-5)
    assert wilson_interval(20, 20)[1] == 1


def test_the_calibration_error_is_the_mean_gap_of_the_bins() -> None:
    sure = torch.tensor([0.95, 0.95, 0.95, 0.95, 0.5, 0.5]).double()
    probabilities = torch.zeros(6, 10, dtype=torch.float64)
    probabilities[:, 3] = sure
    probabilities[:, 4] = 1 - sure
    labels = torch.tensor([3, 3, 3, 4, 3, 9])  # 3 of 4 right at 0.95, 1 of 2 at 0.5
    result = calibration(probabilities, labels)
    assert [(part.count, part.accuracy) for part in result.bins] == [(2, 0.5), (4, 0.75)]
    assert result.error == pytest.approx((4 * 0.20 + 2 * 0.0) / 6)
    assert result.confidence == pytest.approx(float(sure.mean()))
    assert result.accuracy == pytest.approx(4 / 6)


def test_a_probability_of_one_falls_into_the_last_bin() -> None:
    probabilities = torch.eye(10, dtype=torch.float64)
    (only,) = calibration(probabilities, torch.arange(10)).bins
    assert (only.high, only.count, only.accuracy) == (1.0, 10, 1.0)
    assert only.low == pytest.approx((BINS - 1) / BINS)


def test_the_readings_agree_with_the_scores(found: Examination) -> None:
    assert found.readings is not None
    right = found.readings.read == found.readings.labels
    assert int(right.sum()) == found.event.correct
    mistakes = found.readings.mistakes(10_000)
    assert len(mistakes) == found.event.samples - found.event.correct
    sure = found.readings.probabilities.max(1).values[mistakes]
    assert not bool(right[mistakes].any())
    assert bool((sure[1:] <= sure[:-1]).all()), "the surest first"


def test_a_strangers_history_is_drawn_only_as_far_as_it_is_one() -> None:
    entries: list[dict[str, Any]] = [
        {"event": "epoch", "epoch": 1, "train_loss": 0.5, "test_accuracy": 0.9},
        {"event": "epoch", "epoch": "</script>", "train_loss": 0.4},
        {"event": "epoch", "epoch": 2, "train_loss": "<b>", "test_accuracy": 7.0},
        {"event": "epoch", "epoch": 3, "train_loss": math.nan, "test_loss": -1.0},
        {"event": "resume", "epoch": 4, "train_loss": 0.1},
    ]
    curves = history_of(entries).curves
    assert curves == {"train_loss": [(1, 0.5)], "test_accuracy": [(1, 0.9)]}


def test_a_page_has_no_address_to_load_anything_from(found: Examination) -> None:
    written = evaluation.render(found)
    check_self_contained(written)
    low, high = wilson_interval(found.event.correct, found.event.samples)
    assert f"{100 * low:.2f} to {100 * high:.2f} %" in written


@pytest.mark.parametrize(("width", "scheme"), VIEWS)
def test_the_page_works_in_a_browser(
    found: Examination, browser: Any, tmp_path: Path, width: int, scheme: str
) -> None:
    path = tmp_path / "report.html"
    path.write_text(evaluation.render(found))
    opened = OpenPage(browser, path, viewport={"width": width, "height": 800}, color_scheme=scheme)
    view = opened.view
    items = view.locator("#mistakes li")
    at_first = items.count()
    assert at_first in (12, 24)
    confusion = found.event.confusion
    pairs = [(n, t, r) for t, row in enumerate(confusion) for r, n in enumerate(row) if t != r]
    _, true, read = max(pairs)
    cell = view.locator(f".matrix button[data-true='{true}'][data-read='{read}']")
    cell.focus()
    view.keyboard.press("Enter")
    captions = items.all_inner_texts()
    assert captions
    assert all(text.startswith(f"{true} read as {read}") for text in captions)
    view.keyboard.press("Enter")
    assert items.count() == at_first
    view.locator("#more").click()
    wrong = found.event.samples - found.event.correct
    assert items.count() == min(wrong, 300)
    assert view.locator("#calibration rect").count() >= 5
    assert view.locator("#loss path").count() == 3, "train, test, val"
    opened.check(width, scheme)


def test_reports_go_to_a_file_a_folder_or_standard_output(shell: Shell, trained: Path) -> None:
    done = shell("mnist-eval", str(trained), "--report", "page.html")
    assert (done.code, done.err) == (0, "Wrote page.html\n")
    assert re.fullmatch(r"Test Accuracy: 0\.\d{4}\n", done.out)
    done = shell("mnist-eval", str(trained), "--report", "new/folder", "-q")
    assert (done.code, done.err) == (0, "")
    first = (shell.folder / "page.html").read_text()
    assert (shell.folder / "new" / "folder" / "index.html").read_text() == first
    done = shell("mnist-eval", str(trained), "--report", "-")
    assert done.out == first


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        ("--report - --json", 2, "choose one"),
        ("--plot figure.jpg", 2, "its ending is not one of .png, .svg, .pdf"),
        ("--plot /dev/null/a.svg", 7, "/dev/null"),
        ("--report /dev/null/x", 7, "name a folder"),
        ("--report /dev/null/a.html", 7, "/dev/null"),
        ("--panel history", 0, ""),
        ("--panel histroy", 2, "did you mean 'history'?"),
    ],
)
def test_places_are_checked_first(
    options: str, code: int, message: str, shell: Shell, trained: Path
) -> None:
    done = shell("mnist-eval", str(trained), *options.split())
    assert (done.code, message in done.err) == (code, True), done.err
    assert (done.out == "") == (code != 0)


@pytest.mark.parametrize("panel", ["confusion", "calibration", "mistakes", "history"])
@pytest.mark.parametrize(("ending", "begins"), [("svg", b"<?xml"), ("png", b"\x89PNG")])
def test_a_figure_is_what_its_name_says_and_always_the_same(
    panel: str, ending: str, begins: bytes, found: Examination
) -> None:
    from mnist_cli.report import evaluation_figure

    name = f"{panel}.{ending}"
    drawn = evaluation_figure.draw(found, name, "auto")
    assert drawn.startswith(begins)
    assert drawn == evaluation_figure.draw(found, "x." + ending, panel)
    assert panel_of("x.svg", "auto") == "confusion"


def test_without_matplotlib_a_figure_is_a_usage_error(shell: Shell, trained: Path) -> None:
    code = (
        "import sys; sys.modules['matplotlib'] = None; "
        f"sys.argv = ['mnist-eval', {str(trained)!r}, '--plot', 'a.svg']; "
        "from mnist_cli.cli.evaluate import main; main()"
    )
    done = shell(sys.executable, "-c", code)
    assert (done.code, done.out) == (2, "")
    assert "pip install 'mnist_cli[plot]'" in done.err


def test_mistakes_leave_standard_output_to_data(shell: Shell, trained: Path) -> None:
    done = shell("mnist-eval", str(trained), "--mistakes", "3", env={"COLUMNS": "70"})
    assert re.fullmatch(r"Test Accuracy: 0\.\d{4}\n", done.out)
    assert "\x1b" not in done.err
    captions = re.findall(r"#\d+: (\d) read as (\d), (0\.\d\d|1\.00)", done.err)
    assert len(captions) == 3
    assert all(true != read for true, read, _ in captions)
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
    assert plain.count(" read as ") == 4
