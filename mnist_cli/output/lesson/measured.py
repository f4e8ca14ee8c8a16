"""What the commands of the lesson's tour showed on the whole data set."""

import json
from pathlib import Path
from typing import Any

FILE = Path(__file__).with_name("measured.json")  # written by benchmarks/lesson.py


def load_measured(dataset: str = "mnist") -> dict[str, Any]:
    """Return the recorded results: for each step of the tour, commands and numbers.

    They were measured on MNIST; of another data set there are only the commands.
    """
    results: dict[str, Any] = json.loads(FILE.read_text(encoding="utf-8"))
    if dataset != "mnist":
        results["steps"] = {
            name: {"commands": [f"{line} --dataset {dataset}" for line in step["commands"]]}
            for name, step in results["steps"].items()
        }
    return results
