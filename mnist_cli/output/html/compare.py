"""The self-contained web page of a comparison."""

import math
from pathlib import Path
from string import ascii_uppercase
from typing import Any

from mnist_cli.comparison.events import PathPlane, Point, Trial, Tuned
from mnist_cli.comparison.findings import CriticalBatchSize
from mnist_cli.comparison.lr_search import FLAT, stable_loss
from mnist_cli.comparison.results import Results, Values
from mnist_cli.comparison.variants import Variant
from mnist_cli.config.own_data import shown_data
from mnist_cli.output.compare_findings import Answer, headline, sentence
from mnist_cli.output.compare_options import (
    describe_extras,
    describe_network,
    describe_samples,
    or_,
    values_of,
)
from mnist_cli.output.compare_table import cells, format_seeds
from mnist_cli.output.figures import colour, variant_colours
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
    title = f"{compared}: {or_(values_of(start, 'model'))}"
    facts = [
        *([title] if answer else []),
        describe_network(start),
        f"{shown_data(config['dataset'])}: {describe_samples(start)} to train on, "
        f"{start.val_samples:,} held out, {start.test_samples:,} to test",
        f"{or_(values_of(start, 'optimizer'))}, momentum {or_(values_of(start, 'momentum'))}, "
        f"{or_(values_of(start, 'schedule'))} learning rate, rule: {config['lr_rule']}",
        *describe_extras(start),
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
        about_rates=_about_rates(results),
        data=_data(results, answer),
    )


def _shades(results: Results) -> list[tuple[str, str]]:
    """Return the colours of each variant on a light and on a dark background."""
    places, count = results.places(), len(results.variants)
    return [
        *zip(
            variant_colours(places, count),
            variant_colours(places, count, dark=True),
            strict=True,
        )
    ]


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
            "short": headline(found),
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
        "target": _target(results),
        "rates": _rates(results),
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


def _target(results: Results) -> dict[str, Any] | None:
    """Return what the target cost, by setting and batch size, or None with fewer than two sizes."""
    updates, seconds = (results.target_costs(name) for name in ("update", "train_seconds"))
    sizes = sorted({results.update_size(variant) for variant in updates})
    if len(sizes) < 2:
        return None
    found = results.conclusions.findings if results.conclusions else ()
    fits = {fit.setting: fit for fit in found if isinstance(fit, CriticalBatchSize)}
    settings = dict.fromkeys(variant.setting for variant in updates)

    def costs(values: Values, setting: str | None) -> list[tuple[int, list[float]]]:
        own = [variant for variant in values if variant.setting == setting]
        return sorted((results.update_size(variant), values[variant]) for variant in own)

    return {
        "sizes": sizes,
        "settings": [
            {
                "name": setting or "all",
                "colour": colour(n) if n else "var(--accent)",
                "updates": costs(updates, setting),
                "seconds": costs(seconds, setting),
                **_fit(setting, fits.get(setting)),
            }
            for n, setting in enumerate(settings)
        ],
    }


def _fit(setting: str | None, fit: CriticalBatchSize | None) -> dict[str, Any]:
    """Return the curve of a critical batch size, and what is said of it."""
    of = f"{setting}: " if setting else ""
    if fit is None or fit.batch_size is None or fit.updates is None:
        return {"fit": None, "about": f"{of}no critical batch size among these"}
    seeds = ", ".join(f"{size:,.0f}" for size in fit.by_seed)
    by_seed = f" (by seed: {seeds})" if seeds else ""
    return {
        "fit": {"updates": fit.updates, "size": fit.batch_size, "bySeed": fit.by_seed},
        "about": f"{of}critical batch size {fit.batch_size:,.0f}{by_seed}, "
        f"at least {fit.updates:,.0f} updates",
    }


def _rates(results: Results) -> dict[str, Any] | None:
    """Return the trials of the learning rates, or None if none were tried."""
    if not results.tuned:
        return None
    cost, unit = _cost_of_a_trial(results)
    return {
        "cost": cost,
        "unit": unit,
        "most": 2 * math.log(results.start.classes) if unit else None,
        "trials": [_trials(results, tuned) for tuned in results.tuned],
    }


def _cost_of_a_trial(results: Results) -> tuple[str, str]:
    """Return by what the trials of learning rates are compared, and its unit."""
    config = results.start.config
    if config["lr_rule"] != "tuned":
        return "Training loss at the end", "nats"
    if config["until_accuracy"] is not None:
        return "Updates to the target", ""
    return "Validation loss at the end", "nats"


def _trials(results: Results, tuned: Tuned) -> dict[str, Any]:
    cost, _ = _cost_of_a_trial(results)

    def value(trial: Trial) -> float | None:
        if cost.startswith("Updates"):
            return trial.update if trial.reason == "until-accuracy" else None
        return trial.val_loss if cost.startswith("Validation") else trial.train_loss

    is_used = results.start.config["lr_rule"] == "tuned"
    ends = (tuned.flat_from, tuned.flat_to) if is_used else (tuned.stable_from, tuned.stable_to)
    points: list[tuple[float, float]] = []
    others: list[tuple[float, float]] = []
    failed: list[float] = []
    for trial in tuned.tried:
        number, is_first = value(trial), trial.seed in (None, tuned.seed)
        if number is not None:
            (points if is_first else others).append((trial.lr, number))
        elif is_first:
            failed.append(trial.lr)
    return {
        "size": results.variants.index(results.variant(tuned.batch_size, tuned.setting)),
        "points": points,
        "others": others,
        "failed": failed,
        "chosen": tuned.lr if is_used else None,
        "flat": None if None in ends else ends,
    }


def _about_rates(results: Results) -> str:
    if not results.tuned:
        return ""
    line = "A line joins the trials of one seed"
    if results.start.config["lr_rule"] != "tuned":
        stable = stable_loss(results.start.classes)
        return (
            f"{line}, each with the budget of a run; shaded: a training loss below "
            f"{stable:.2f}, half of guessing. Cross at the top: diverged."
        )
    shaded = f"shaded: at most {100 * (FLAT - 1):.0f} % more than the best"
    if results.start.config["until_accuracy"] is not None:
        failed = "diverged, or missed the target in the updates that it was given"
    else:
        failed = "diverged"
    return (
        f"{line}, dots are other seeds; ring: the rate that was chosen; {shaded}. "
        f"Cross at the top: {failed}."
    )


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
