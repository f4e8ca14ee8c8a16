"""Learning curves from the history in a checkpoint, which is untrusted input."""

from typing import Any

_MAX = {"loss": 1e6, "accuracy": 1.0}


def history_of(entries: list[dict[str, Any]]) -> dict[str, list[tuple[int, float]]]:
    """Return the curves in a checkpoint's history, such as `train_loss`, as (epoch, value) pairs.

    Implausible numbers are left out, and so are curves without a plausible one.
    """
    curves: dict[str, list[tuple[int, float]]] = {}
    for entry in entries:
        epoch = entry.get("epoch")
        if entry.get("event") != "epoch" or type(epoch) is not int or not 0 < epoch < 1 << 31:
            continue
        for metric, maximum in _MAX.items():
            for split in ("train", "test", "val"):
                value: Any = entry.get(f"{split}_{metric}")
                if type(value) in (int, float) and 0 <= value <= maximum:
                    curves.setdefault(f"{split}_{metric}", []).append((epoch, float(value)))
    return curves
