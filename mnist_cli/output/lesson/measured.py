"""What the commands of the lesson's tour showed on the whole data set."""

import json
from pathlib import Path
from typing import Any

FILE = Path(__file__).with_name("measured.json")  # written by benchmarks/lesson.py


def load_measured() -> dict[str, Any]:
    """Return the recorded results: for each step of the tour, commands and numbers."""
    results: dict[str, Any] = json.loads(FILE.read_text(encoding="utf-8"))
    return results
