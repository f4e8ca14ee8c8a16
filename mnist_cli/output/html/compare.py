"""The self-contained web page of a comparison."""

import math
from pathlib import Path
from string import ascii_uppercase
from typing import Any

from mnist_cli.comparison.events import PathPlane, Point
from mnist_cli.comparison.findings import Ranking
from mnist_cli.comparison.results import Results
from mnist_cli.comparison.variants import Variant
from mnist_cli.output.compare_findings import Answer, headline, sentence
from mnist_cli.output.compare_table import cells, format_seeds
from mnist_cli.output.figures import ordered_colours
from mnist_cli.runtime.html_templates import render_page

_LONGEST_MARK = 8  # of a label that stands at the end of a curve
_MAX_DOTS = 1500  # losses of single updates that are drawn for a variant
# What a reader may ask about: the headings of the table, and words in the sentences.
_HEADINGS = {
    "batch size": "The number of images in an update; full is batch mode, all of them.",
    "learning rate": "How far an update goes along the gradient.",
    "updates": "Each update changes the weights once, by the mean gradient of one batch.",
    "samples": "The training images that the updates have seen, repetitions included.",
    "seconds": "The seconds of the updates alone; measuring is not counted.",
    "train loss": "The mean loss over the whole training set at the end (cross-entropy, in nats).",
    "test loss": "The mean loss over the test set at the end (cross-entropy, in nats).",
    "test accuracy": "The share of the test images that are read right at the end.",
    "loss rose": "The share of the monitored updates, up to twelve a run, after which the loss "
    "over the whole training set was higher than before. A steady step never raises it.",
    "noise scale": "The batch size at which the noise of a batch's gradient is as large as the "
    "gradient itself. Far larger batches gain little.",
    "sharpness": "The largest curvature of the loss: the largest eigenvalue of its Hessian.",
    "stable rates": "The learning rates at which training went well within the budget.",
}
_WORDS = {
    "±": "The mean over the seeds ± their standard deviation: how far single runs lie from it.",
    "p =": "How often chance alone would make a difference as large as this one: 0.05 is once in "
    "twenty. Below that it counts as clear (t-test of the differences within each seed, corrected "
    "after Holm for the number of pairs).",
    "95 %": "The confidence interval of the difference: in 95 of 100 such comparisons it has the "
    "true one.",
    "cannot tell": "With so few seeds, chance could have made this difference. There may be one: "
    "more seeds would tell.",
    "Clearly ahead": "A difference so large would come by chance in less than one case of twenty.",
    "critical batch size": "Far smaller batches: twice the batch, half the updates. Far larger "
    "ones: hardly fewer updates.",
    "sharpness": _HEADINGS["sharpness"],
    "noise scale": _HEADINGS["noise scale"],
    "to the power": "With four times the batch, a deviation that falls as B to the power -0.5 is "
    "half as large.",
}
_TEMPLATE = Path(__file__).with_name("compare.html")


def render(results: Results, answer: Answer | None = None) -> str:
    """Return the page: curves, race, table, conclusions and command.

    An experiment's page is headed by its question, and begins with its `answer`.
    """
    start, config = results.start, results.start.config
    compared = f"Batch sizes {config['batch_sizes'].replace(',', ', ')}"
    if config["vary"]:
        compared += f" and {config['vary'].replace(',', ', ')}"
    title = f"{compared}: {config['model']}"
    facts = [
        *([title] if answer else []),
        f"{config['model']}, {start.parameters:,} parameters",
        f"{config['dataset']}: {start.samples:,} samples to train on, "
        f"{start.val_samples:,} held out, {start.test_samples:,} to test",
        f"{config['optimizer']}, momentum {config['momentum']:g}, "
        f"{config['schedule']} learning rate, rule: {config['lr_rule']}",
        f"{format_seeds(config['seeds'])}, from {config['seed']} on",
        f"{start.machine}; mnist_cli {start.version}",
    ]
    return render_page(
        _TEMPLATE,
        title=answer.question if answer else title,
        command=start.command,
        varied=config["vary"] is not None,
        facts=facts,
        shades=_shades(results),
        path=_about_path(results.plane) if results.plane else "",
        data=_data(results, answer),
    )


def _shades(results: Results) -> list[tuple[str, str]]:
    """Return the colours of each variant on a light and on a dark background."""
    places = results.places()
    return list(zip(ordered_colours(places), ordered_colours(places, dark=True), strict=True))


def _data(results: Results, answer: Answer | None) -> dict[str, Any]:
    """Return the data that the page's script draws."""
    variants = results.variants
    rows = [cells(summary) for summary in results.summaries()]
    headings = list(dict.fromkeys(heading for row in rows for heading in row))
    conclusions = results.conclusions.findings if results.conclusions else ()
    findings = [
        {
            "about": sentence(found).about,
            "text": sentence(found).text,
            "short": headline(found) if isinstance(found, Ranking) else sentence(found).text,
        }
        for found in conclusions
    ]
    lead = _verdict_first(answer.text) if answer else [findings[0]["short"]] if findings else []
    return {
        "lead": lead,
        "terms": {"headings": _HEADINGS, "words": _WORDS},
        "sizes": [
            {
                "name": variant.label,
                "mark": mark,
                "samples": results.update_size(variant),
                "colour": f"var(--size-{n})",
            }
            for n, (variant, mark) in enumerate(zip(variants, _marks(variants), strict=True))
        ],
        "runs": [
            {
                "size": variants.index(run.variant),
                "seed": run.end.seed,
                "diverged": run.end.reason == "diverged",
                "points": [_point(point) for point in run.points],
                "batches": run.batch_losses[:: _stride(results, run.variant)],
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
        "findings": findings,
        "plane": _plane(results.plane, results) if results.plane else None,
    }


def _marks(variants: list[Variant]) -> list[str]:
    """Return what stands at the curve of each variant: its label, or a letter if one is long."""
    labels = [variant.label for variant in variants]
    if max(map(len, labels), default=0) <= _LONGEST_MARK:
        return labels
    turns = [""] + [str(n) for n in range(2, 2 + len(labels) // len(ascii_uppercase))]
    return [letter + turn for turn in turns for letter in ascii_uppercase][: len(labels)]


def _verdict_first(text: str) -> list[str]:
    """Return the verdict of an answer, such as “Yes”, and its numbers, if it is so divided."""
    verdict, colon, numbers = text.partition(": ")
    return [f"{verdict}:", numbers] if colon and "(" not in verdict else [text]


def _plane(plane: PathPlane, results: Results) -> dict[str, Any]:
    def rounded(rows: list[list[float]]) -> list[list[float]]:
        return [[float(f"{value:.4g}") for value in row] for row in rows]

    return {
        "sizes": [results.variants.index(results.variant(*run)) for run in plane.runs],
        "updates": plane.updates,
        "across": rounded(plane.across),
        "up": rounded(plane.up),
        "gridAcross": plane.grid_across,
        "gridUp": plane.grid_up,
        "losses": rounded(plane.losses),
    }


def _about_path(plane: PathPlane) -> str:
    return (
        f"The weights of the runs with seed {plane.seed}, from the same start, on the plane of "
        "their two largest principal directions, both at one scale; a dot is a recorded update. "
        f"This plane holds {100 * plane.share:.0f} % of the way (of the variance); what the runs "
        "do in all other directions is not seen. Contours: the training loss measured on the "
        f"plane, over {plane.samples:,} samples, each a constant factor above the next one down. "
        "The runs themselves leave the plane, so their own losses differ."
    )


def _stride(results: Results, variant: Variant) -> int:
    """Return of how many losses of single updates one is drawn."""
    count = sum(len(run.batch_losses) for run in results.runs_of(variant))
    return max(1, math.ceil(count / _MAX_DOTS))


def _point(point: Point) -> list[float]:
    return [
        point.update,
        point.samples_seen,
        round(point.train_seconds, 4),
        round(point.train_loss, 6),
        round(point.test_accuracy, 6),
    ]
