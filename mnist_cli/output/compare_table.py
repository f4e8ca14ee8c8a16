"""The table of a comparison: a row for each variant, as tab-separated values and as cells."""

from collections.abc import Callable, Sequence

from mnist_cli.comparison.events import Summary
from mnist_cli.comparison.results import Results
from mnist_cli.comparison.stats import MeanAndDeviation
from mnist_cli.config.compare import COLUMNS, MEASURED

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
    "noise_scale": "noise scale",
    "sharpness": "sharpness",
}


def table(results: Results, columns: Sequence[str] = COLUMNS) -> str:
    """Return a tab-separated table with a heading and a row for each variant."""
    lines = ["\t".join(columns)]
    for summary in results.summaries():
        values: dict[str, object] = {name: getattr(summary, name, None) for name in COLUMNS}
        for name in MEASURED:
            value: MeanAndDeviation | None = getattr(summary, name)
            values[name] = value and value.mean
            values[f"{name}_std"] = value and value.deviation
        lines.append("\t".join(_plain(values[name]) for name in columns))
    return "\n".join(lines) + "\n"


def cells(summary: Summary) -> dict[str, str]:
    """Return the cells of a summary by their headings: mean ± standard deviation."""
    rate = f"{summary.lr:g}"
    row = {"batch size": str(summary.batch_size)}
    if summary.setting is not None:
        row["setting"] = summary.setting
    row["learning rate"] = rate
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
