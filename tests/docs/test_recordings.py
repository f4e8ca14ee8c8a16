"""The recordings in the README are of the programs, and safe to show: no script, no link."""

import json
import re
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

DOCS = Path(__file__).parents[2] / "docs"
NAMES = ("training", "comparison")


@pytest.mark.parametrize("name", NAMES)
def test_a_recording_is_an_animation_without_script_font_or_link(name: str) -> None:
    text = (DOCS / "figures" / f"{name}.svg").read_text()
    root = ET.fromstring(text)
    tags = {element.tag.rpartition("}")[2] for element in root.iter()}
    assert tags == {"svg", "title", "style", "rect", "g", "text"}
    assert re.findall(r"https?://[^\"]*", text) == ["http://www.w3.org/2000/svg"]
    assert not re.search(r"@font-face|@import|url\(|href| on\w+=", text)
    assert "@media (prefers-reduced-motion:no-preference)" in text, "or else the last frame"
    assert len(text) < 150_000


@pytest.mark.parametrize("name", NAMES)
def test_a_cast_is_one_of_asciinema_and_names_no_place_of_a_machine(name: str) -> None:
    text = (DOCS / "figures" / f"{name}.cast").read_text()
    header, *events = map(json.loads, text.splitlines())
    assert header["version"] == 2
    assert {kind for _, kind, _ in events} == {"o"}
    times = [seconds for seconds, _, _ in events]
    assert times == sorted(times)
    shown = "".join(data for _, _, data in events)
    assert shown.startswith(f"$ {header['command']}\r\n")
    assert not re.search(r"/(tmp|home|root|work|Users|var)/", shown)
    wanted = "checkpoint.pt" if name == "training" else "Highest test accuracy"
    assert wanted in shown


def test_the_last_frame_is_what_is_seen_without_animation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(DOCS))
    import filmstrip

    def frame(seconds: float, *rows: str) -> object:
        cells = tuple(tuple(filmstrip.Cell(c, "green", False) for c in row) for row in rows)
        return filmstrip.Frame(seconds, cells)

    frames = [frame(0, "$ <a>", "     "), frame(1, "$ <a>", "one  "), frame(2, "$ <a>", "two&&")]
    svg = filmstrip.draw(frames, "a < b")
    root = ET.fromstring(svg)
    names = {"s": "http://www.w3.org/2000/svg"}
    still = [g for g in root.findall("s:g", names) if "end" in g.attrib["class"].split()]
    assert ["".join(g.itertext()) for g in still] == ["$ <a>", "two&&"]
    assert len(root.findall("s:g", names)) == 3, "a row that stays the same is one element"
    assert "g{visibility:hidden}g.end{visibility:visible}" in svg
    del sys.modules["filmstrip"]
