"""The pages of `docs/zh/` say what the English ones say: the same commands, figures and numbers."""

import re
from collections import Counter
from pathlib import Path

import pytest

from tests.helpers.pages import blocks

DOCS = Path(__file__).parents[2] / "docs"
PAGES = sorted(path.name for path in (DOCS / "zh").glob("*.md"))


def sections(name: str) -> list[tuple[str, str]]:
    """Return the sections of a page in both languages, in pairs."""
    english, chinese = (
        re.split(r"^## ", (DOCS / folder / name).read_text(), flags=re.M) for folder in ("", "zh")
    )
    return list(zip(english, chinese, strict=True))


def numbers(text: str) -> Counter[str]:
    return Counter(re.findall(r"\d(?:[\d,.]*\d)?", text))


def table_rows(text: str) -> list[Counter[str]]:
    return [numbers(row) for row in re.findall(r"^\|.*", text, re.M)]


def test_the_pages_for_learners_are_translated() -> None:
    assert PAGES == ["batch-vs-mini-batch.md", "what-is-a-batch.md"]


@pytest.mark.parametrize("name", PAGES)
def test_a_translation_has_the_numbers_of_the_english_page(name: str) -> None:
    for english, chinese in sections(name):
        title = english.partition("\n")[0]
        assert numbers(chinese) == numbers(english), title
        assert table_rows(chinese) == table_rows(english), title


@pytest.mark.parametrize("name", PAGES)
def test_a_translation_has_the_commands_figures_and_parts_of_the_english_page(name: str) -> None:
    for english, chinese in sections(name):
        title = english.partition("\n")[0]
        assert blocks(chinese, "sh", "console") == blocks(english, "sh", "console"), title
        figures = [re.findall(r"figures/([\w-]+\.svg)", text) for text in (chinese, english)]
        assert figures[0] == figures[1], title
        for mark in (r"^- ", r"^\|", r"\[\d\]"):
            counts = [len(re.findall(mark, text, re.M)) for text in (chinese, english)]
            assert counts[0] == counts[1], (title, mark)


@pytest.mark.parametrize("name", PAGES)
def test_both_pages_link_to_each_other(name: str) -> None:
    assert f"[简体中文](zh/{name})" in (DOCS / name).read_text()
    assert f"[English](../{name})" in (DOCS / "zh" / name).read_text()
