"""The table of a comparison: a row for each batch size, as tab-separated values and as cells."""

from collections.abc import Callable

from mnist_cli.comparison.events import Summary
from mnist_cli.comparison.results import Results
from mnist_cli.comparison.stats import MeanAndDeviation

_QUANTITIES = (
    "updates",
    "samples_seen",
    "train_seconds",
    "train_loss",
    "train_accuracy",
    "test_loss",
    "test_accuracy",
    "rise_share",
    "change_deviation",
    "noise_scale",
    "sharpness",
)
_FORMS: dict[str, Callable[[float], str]] = {
    "updates": lambda value: f"{value:,.0f}",
    "samples_seen": lambda value: f"{value:,.0f}",
    "train_seconds": lambda value: f"{value:.2f}",
    "test_accuracy": lambda value: f"{100 * value:.2f} %",
    "rise_share": lambda value: f"{100 * value:.0f} %",
    "noise_scale": lambda value: f"{value:,.0f}",
    "sharpness": lambda value: f"{value:.1f}",
}
_HEADINGS = {
    "updates": "updates",
    "samples_seen": "samples",
    "train_seconds": "seconds",
    "train_loss": "train loss",
    "test_loss": "test loss",
    "test_accuracy": "test accuracy",
    "rise_share": "loss rose",
    "change_deviation": "step deviation",
    "noise_scale": "noise scale",
    "sharpness": "sharpness",
}


def table(results: Results) -> str:
    """Return a tab-separated table with a heading and a row for each batch size."""
    names = ["batch_size", "lr", "seeds", "diverged", "reached"]
    columns = [f"{name}{suffix}" for name in _QUANTITIES for suffix in ("", "_std")]
    lines = ["\t".join([*names, *columns, "stable_from", "stable_to", "tuning_seconds"])]
    for summary in results.summaries():
        row = [_plain(getattr(summary, name)) for name in names]
        for name in _QUANTITIES:
            value: MeanAndDeviation | None = getattr(summary, name)
            row += [_plain(value.mean), _plain(value.deviation)] if value else ["", ""]
        row += [_plain(summary.stable_from), _plain(summary.stable_to)]
        lines.append("\t".join([*row, _plain(summary.tuning_seconds)]))
    return "\n".join(lines) + "\n"


def cells(summary: Summary) -> dict[str, str]:
    """Return the cells of a summary by their headings: mean ± standard deviation."""
    rate = f"{summary.lr:g}"
    row = {"batch size": str(summary.batch_size), "learning rate": rate}
    if summary.reached is not None:
        row["reached"] = f"{summary.reached} of {summary.seeds}"
    if summary.diverged:
        row["diverged"] = f"{summary.diverged} of {summary.seeds}"
    for name, heading in _HEADINGS.items():
        value: MeanAndDeviation | None = getattr(summary, name)
        if value is not None:
            row[heading] = format_mean(value, _FORMS.get(name, lambda v: f"{v:.4f}"))
    if summary.stable_from is not None:
        row["stable rates"] = f"{summary.stable_from:g} to {summary.stable_to:g}"
    return row


def format_seeds(seeds: int) -> str:
    """Return a number of seeds with its noun."""
    return f"{seeds} seed" + ("" if seeds == 1 else "s")


def format_mean(value: MeanAndDeviation, form: Callable[[float], str]) -> str:
    """Return a mean and, of several seeds that differ, ± the standard deviation."""
    if value.count == 1 or not value.deviation:
        return form(value.mean)
    number, _, _unit = form(value.mean).partition(" ")
    return f"{number} ± {form(value.deviation)}"


def _plain(value: object) -> str:
    return "" if value is None else str(value)
