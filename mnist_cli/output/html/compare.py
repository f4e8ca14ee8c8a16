"""The self-contained web page of a comparison."""

import math
from pathlib import Path
from typing import Any

from mnist_cli.comparison.events import Point
from mnist_cli.comparison.results import Results
from mnist_cli.output.compare_findings import sentence
from mnist_cli.output.compare_table import cells, format_seeds
from mnist_cli.output.figures import colour
from mnist_cli.runtime.html_templates import render_page

_TEMPLATE = Path(__file__).with_name("compare.html")


def render(results: Results) -> str:
    """Return the page: curves, table, conclusions and command."""
    start, config = results.start, results.start.config
    title = f"Batch sizes {config['batch_sizes'].replace(',', ', ')}: {config['model']}"
    facts = [
        f"{config['model']}, {start.parameters:,} parameters",
        f"{config['dataset']}: {start.samples:,} samples to train on, "
        f"{start.val_samples:,} held out, {start.test_samples:,} to test",
        f"{config['optimizer']}, momentum {config['momentum']:g}, "
        f"{config['schedule']} learning rate, rule: {config['lr_rule']}",
        f"{format_seeds(config['seeds'])}, from {config['seed']} on",
        f"{start.machine}; mnist_cli {start.version}",
    ]
    return render_page(
        _TEMPLATE, title=title, command=start.command, facts=facts, data=_data(results)
    )


def _data(results: Results) -> dict[str, Any]:
    """Return the data that the page's script draws."""
    sizes = results.batch_sizes
    rows = [cells(summary) for summary in results.summaries()]
    headings = list(dict.fromkeys(heading for row in rows for heading in row))
    return {
        "sizes": [{"name": str(s), "colour": colour(index)} for index, s in enumerate(sizes)],
        "runs": [
            {
                "size": sizes.index(run.end.batch_size),
                "seed": run.end.seed,
                "points": [_point(point) for point in run.points],
                "sharpness": [
                    [p.update, p.sharpness, p.stable_up_to]
                    for p in run.sharpness
                    if math.isfinite(p.sharpness)
                ],
                "alignment": [
                    [p.update, p.batch_size, p.as_if_independent / p.gradient_norm]
                    for p in run.alignment
                    if p.gradient_norm and math.isfinite(p.deviation)
                ],
            }
            for run in results.runs
        ],
        "highestLoss": results.highest_loss(),
        "headings": headings,
        "rows": [[row.get(heading, "") for heading in headings] for row in rows],
        "findings": [
            {"about": found.about, "text": found.text}
            for found in map(sentence, results.conclusions.findings if results.conclusions else ())
        ],
    }


def _point(point: Point) -> list[float]:
    return [
        point.update,
        point.samples_seen,
        round(point.train_seconds, 4),
        round(point.train_loss, 6),
        round(point.test_accuracy, 6),
    ]
