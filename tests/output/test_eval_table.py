"""The tables of an evaluation on terminals of few columns and few colours."""

import io
import re
from collections.abc import Callable
from itertools import pairwise

import pytest
import torch
from rich.color import Color, ColorSystem

from mnist_cli.data.catalogue import DIGITS
from mnist_cli.evaluation.metrics import EvaluationResult
from mnist_cli.output import eval_table

SYSTEMS = {ColorSystem.TRUECOLOR: 9, ColorSystem.EIGHT_BIT: 4, ColorSystem.STANDARD: 2}


def luminance(colour: Color) -> float:
    """Return the relative luminance, https://www.w3.org/TR/WCAG21/#dfn-relative-luminance."""
    channels = [channel / 255 for channel in colour.get_truecolor()]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return sum(w * c for w, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


@pytest.mark.parametrize(("system", "least"), SYSTEMS.items(), ids=str)
def test_a_more_frequent_mistake_is_never_darker(system: ColorSystem, least: int) -> None:
    confusion = [[1000 if row == column else 0 for column in range(10)] for row in range(10)]
    confusion[0] = [1000, 1, 2, 4, 8, 16, 32, 64, 128, 256]
    matrix = eval_table._matrix(confusion, 6, DIGITS[: len(confusion)])
    styles = [span.style for span in matrix.spans if not isinstance(span.style, str)]
    colours = [style.bgcolor.downgrade(system) for style in styles if style.bgcolor]
    correct, mistakes = colours[0], colours[1:10]
    shades = [luminance(colour) for colour in mistakes]
    assert all(first <= second for first, second in pairwise(shades)), mistakes
    assert len(set(shades)) >= least
    red, green, blue = correct.get_truecolor()
    assert green > max(red, blue), "correct ones are green"
    assert correct not in mistakes


def augmented_by(correct: int) -> EvaluationResult:
    """Return a result with test-time augmentation."""
    confusion = torch.full((10, 10), 10).fill_diagonal_(1100)
    confusion[0, 0], confusion[0, 1] = 1100 + correct, 10 - correct
    return EvaluationResult(loss_sum=0.25, confusion=confusion)


@pytest.fixture
def show(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], list[str]]:
    """Return a function that returns the lines of an evaluation on a terminal of some columns."""
    confusion = torch.full((10, 10), 10).fill_diagonal_(1100)
    result = EvaluationResult(loss_sum=0.25, confusion=confusion)

    def shown(columns: int) -> list[str]:
        monkeypatch.setenv("COLUMNS", str(columns))
        stream = io.StringIO()
        eval_table.print_metrics(result, stream, augmented_by(2))
        return [line.rstrip() for line in stream.getvalue().splitlines()]

    return shown


@pytest.mark.parametrize("columns", [40, 60, 80])
def test_no_row_is_folded_or_cut_off(columns: int, show: Callable[[int], list[str]]) -> None:
    lines = show(columns)
    assert max(map(len, lines)) <= columns
    assert "…" not in "".join(lines)
    interval = r"(.*; 95 % confidence interval|95 % confidence:) 0\.\d{4} to 0\.\d{4}"
    assert len([line for line in lines if re.fullmatch(interval, line)]) == 2
    augmented = lines[lines.index("With test-time augmentation:") + 1]
    assert augmented.startswith("11,002 of 11,900 correct;")
    (heading,) = [line for line in lines if "recall" in line]
    rows = [line.split() for line in lines if re.match(r" +\d +1,190 ", line)]
    assert [len(row) for row in rows] == [len(heading.split())] * 10
    if columns == 40:
        assert "Most frequent mistakes, true → predicted" in lines
        assert "  0 → 1  10" in lines
    else:
        matrix = [line.split() for line in lines if re.match(r" \d( +\d+){10}$", line)]
        assert [row[0] for row in matrix] == [str(digit) for digit in range(10)]


def test_names_of_classes_are_no_markup() -> None:
    names = ("[/red]x", "[b]y", "き")
    confusion = torch.tensor([[5, 1, 0], [0, 6, 0], [0, 2, 4]])
    stream = io.StringIO()
    eval_table.print_metrics(EvaluationResult(3.0, confusion, names), stream)
    shown = stream.getvalue()
    assert [line.split()[0] for line in shown.splitlines() if " 6 " in line][:3] == [*names]
