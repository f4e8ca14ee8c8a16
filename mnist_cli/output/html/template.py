"""Pages that need nothing else: a template, its style and script, and the data that it draws."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_HERE = Path(__file__).parent
_SHARED = {"STYLE": "base.css", "CHARTS": "charts.js"}


def filled(template: str, parts: Mapping[str, str], data: dict[str, Any]) -> str:
    """Return a page: a file of this folder with its [[PARTS]], which are HTML, and its [[DATA]].

    What is no Unicode, as a path of other bytes, is written as an escape.
    """
    text = json.dumps(data, allow_nan=False, separators=(",", ":"))
    found = {name: _read(file) for name, file in _SHARED.items()} | dict(parts)
    found["DATA"] = text.replace("<", "\\u003c")  # or a text could end the script
    page = re.sub(r"\[\[([A-Z]+)\]\]", lambda place: found[place[1]], _read(template))
    return page.encode(errors="backslashreplace").decode()


def _read(name: str) -> str:
    return (_HERE / name).read_text(encoding="utf-8")
