"""The course of a training, as a checkpoint tells it; its history is a stranger's until checked."""

from typing import Any

_MOST = {"loss": 1e6, "accuracy": 1.0}


def history_of(entries: list[dict[str, Any]]) -> dict[str, list[tuple[int, float]]]:
    """Return the curves in a checkpoint's history, such as `train_loss`: epochs, from 1 on, values.

    What is no plausible number is left out, and so are curves without any.
    """
    curves: dict[str, list[tuple[int, float]]] = {}
    for entry in entries:
        epoch = entry.get("epoch")
        if entry.get("event") != "epoch" or type(epoch) is not int or not 0 < epoch < 1 << 31:
            continue
        for what, most in _MOST.items():
            for split in ("train", "test", "val"):
                value: Any = entry.get(f"{split}_{what}")
                if type(value) in (int, float) and 0 <= value <= most:
                    curves.setdefault(f"{split}_{what}", []).append((epoch, float(value)))
    return curves
