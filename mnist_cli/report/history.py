"""The course of a training, as a checkpoint tells it; its history is a stranger's until checked."""

import math
from dataclasses import dataclass
from typing import Any

CURVES = tuple(
    f"{split}_{what}" for what in ("loss", "accuracy") for split in ("train", "test", "val")
)


@dataclass(frozen=True)
class History:
    """Points of each curve: its epoch, from 1 on, and its value; curves without any left out."""

    curves: dict[str, list[tuple[int, float]]]


def history_of(entries: list[dict[str, Any]]) -> History:
    """Return the curves in a checkpoint's history; what is no plausible number is left out."""
    curves: dict[str, list[tuple[int, float]]] = {}
    for entry in entries:
        epoch = entry.get("epoch")
        if entry.get("event") != "epoch" or type(epoch) is not int or not 0 < epoch < 1 << 31:
            continue
        for name in CURVES:
            value = entry.get(name)
            most = 1.0 if name.endswith("accuracy") else math.inf
            if isinstance(value, int | float) and math.isfinite(value) and 0 <= value <= most:
                curves.setdefault(name, []).append((epoch, float(value)))
    return History(curves)
