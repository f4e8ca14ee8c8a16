"""The conclusions of a comparison in sentences."""

from collections.abc import Callable
from typing import assert_never

from mnist_cli.comparison.events import Sentence, Verdict
from mnist_cli.comparison.findings import (
    EDGE_TOLERANCE,
    Conclusions,
    CriticalBatchSize,
    Diverged,
    FewSeeds,
    Finding,
    GradientExponent,
    LearningRates,
    LossIncreases,
    PathShare,
    Ranking,
    SameLearningRate,
    SeveralMachines,
    Sharpness,
    TargetsMissed,
)
from mnist_cli.comparison.stats import MeanAndDeviation
from mnist_cli.config.compare import FULL
from mnist_cli.output.compare_table import format_mean, format_seeds


def verdict(conclusions: Conclusions) -> Verdict:
    """Return the conclusions as sentences, the form in which JSON has them."""
    return Verdict(conclusions.seconds, [sentence(finding) for finding in conclusions.findings])


def sentence(finding: Finding) -> Sentence:  # noqa: PLR0911 (one for each kind)
    """Return the sentence for a finding."""
    match finding:
        case Diverged():
            return Sentence("divergence", _divergence(finding))
        case TargetsMissed():
            return Sentence("target", _missed(finding))
        case Ranking():
            return Sentence(finding.quantity, _ranking(finding), finding.p)
        case CriticalBatchSize():
            return Sentence("knee", _critical_batch_size(finding))
        case LossIncreases():
            return Sentence("steadiness", _loss_increases(finding))
        case LearningRates():
            return Sentence("rates", _learning_rates(finding))
        case Sharpness():
            return Sentence("sharpness", _sharpness(finding))
        case GradientExponent():
            return Sentence("exponent", _gradient_exponent(finding))
        case PathShare():
            return Sentence("path", _path_share(finding))
        case SameLearningRate() | SeveralMachines() | FewSeeds():
            return Sentence("caveat", _caveat(finding))
        case _:
            assert_never(finding)


def _divergence(finding: Diverged) -> str:
    every = finding.diverged == finding.seeds
    seeds = "every seed" if every else f"{finding.diverged} of {finding.seeds} seeds"
    return f"Diverged with {seeds}: {batch_name(finding.batch_size)}, at a rate of {finding.lr:g}."


def _missed(finding: TargetsMissed) -> str:
    sizes = [
        f"{batch_name(one.batch_size)} ({one.missed} of {one.seeds}, at {_percent(one.accuracy)})"
        for one in finding.missed
    ]
    return f"Missed the target: {', '.join(sizes)}."


def _ranking(finding: Ranking) -> str:
    title, form = _title(finding)
    ranked = [finding.best, *finding.others]
    listed = ", ".join(f"{batch_name(each.batch_size)} {form(each.estimate)}" for each in ranked)
    if all(each.estimate.count < 2 for each in ranked):
        return f"{title} (one seed, no test): {listed}."
    behind = [batch_name(each.batch_size) for each in finding.others if each.is_significant]
    unclear = [
        batch_name(each.batch_size) + ("" if each.p is None else f" (p = {each.p:.2g})")
        for each in finding.others
        if not each.is_significant
    ]
    doubt = f"not certain with {format_seeds(min(each.estimate.count for each in ranked))}"
    if not behind:
        return f"{title}: {doubt} ({listed})."
    best = f"{batch_name(finding.best.batch_size)}, {form(finding.best.estimate)}"
    text = f"{title}: {best}; clearly ahead of {and_(behind)}"
    return text + (f"; {doubt}: {and_(unclear)}." if unclear else ".")


def _title(finding: Ranking) -> tuple[str, Callable[[MeanAndDeviation], str]]:
    """Return the title of a ranking, and the function that formats its estimates."""
    at = MeanAndDeviation(finding.at or 0.0, 0.0, 1)
    costs = {"updates": _count, "samples": _count, "seconds": _seconds}
    if finding.quantity == "test accuracy":
        return "Highest test accuracy at the end of the budget", _percent
    if finding.quantity == "equal training loss":
        return f"Highest test accuracy at an equal training loss ({_loss(at)})", _percent
    if finding.quantity in costs:
        return f"Fewest {finding.quantity} to the target", costs[finding.quantity]
    form = costs[finding.quantity.removeprefix("equal ")]
    return f"Lowest training loss at {finding.quantity} ({form(at)})", _loss


def _critical_batch_size(finding: CriticalBatchSize) -> str:
    if finding.batch_size is None or finding.updates is None:
        return "Updates to the target show no critical batch size among these."
    critical = f"{finding.batch_size:,.0f}"
    text = (
        f"Fitted to all, updates to the target are {finding.updates:,.0f} · (1 + {critical} / B): "
        f"doubling the batch halves them well below the critical batch size, {critical} samples, "
        "and saves next to none well above."
    )
    if finding.noise_scales:
        first, last = finding.noise_scales
        text += (
            f" The noise scale is {first:,.0f} samples at the start of the runs and {last:,.0f} at "
            "their end (medians)."
        )
    return text


def _loss_increases(finding: LossIncreases) -> str:
    spread = "evenly spread" if finding.evenly_spread else "early ones mostly"
    parts = [
        f"{increased} of {monitored} with {batch_name(size)}"
        for size, (increased, monitored) in finding.increases.items()
    ]
    return (
        f"Updates on which the full training loss increased, of those monitored ({spread}): "
        f"{', '.join(parts)}."
    )


def _learning_rates(finding: LearningRates) -> str:
    tuned = finding.tuned
    tried = ", ".join(f"{trial.lr:g}" for trial in tuned.tried)
    text = f"For {batch_name(tuned.batch_size)} the rates {tried} were tried"
    best = next(trial for trial in tuned.tried if trial.lr == tuned.lr)
    if best.reason == "diverged":
        text += "; all diverged"
    elif finding.is_used:
        by = "updates to the target" if best.reason == "until-accuracy" else "held-out samples"
        text += f"; {tuned.lr:g} was best by {by}"
        text += ", at the edge of the search" if tuned.at_edge else ""
    if tuned.stable_from is not None and tuned.stable_to is not None:
        text += (
            f"; {tuned.stable_from:g} to {tuned.stable_to:g} trained stably within the budget "
            f"(1 : {tuned.stable_to / tuned.stable_from:g})"
        )
    elif finding.has_range:
        text += "; none trained stably within the budget"
    return f"{text}. It took {tuned.train_seconds:.1f} s with one seed, counted apart."


def _sharpness(finding: Sharpness) -> str:
    text = (
        f"With {batch_name(finding.batch_size)} the sharpness ended at {finding.last.mean:.1f} "
        f"(on {finding.samples:,} samples)"
    )
    if finding.edge is not None:
        momentum = f" · (1 + {finding.momentum:g})" if finding.momentum else ""
        text += (
            f", where the edge of stability, 2 / learning rate{momentum}, is {finding.edge:.1f}; "
            f"{finding.near_edge} of {finding.probes} probes are within "
            f"{100 * EDGE_TOLERANCE:.0f} % of that"
        )
    return f"{text}."


def _gradient_exponent(finding: GradientExponent) -> str:
    fit = finding.exponent
    return (
        "The deviation of a batch's gradient from the full one falls as B to the power "
        f"{fit.mean:.3f} ± {fit.deviation:.3f} (in {fit.count} states of the network, corrected "
        "for drawing without replacement); for independent samples it is -0.5."
    )


def _path_share(finding: PathShare) -> str:
    return (
        f"The plane of the paths (seed {finding.seed}) holds {100 * finding.share:.0f} % of the "
        "way: of the variance of the weights; the rest is not seen in it."
    )


def _caveat(finding: SameLearningRate | SeveralMachines | FewSeeds) -> str:
    match finding:
        case SameLearningRate():
            return (
                f"All runs had the same learning rate, {finding.lr:g}; such a comparison mostly "
                "measures the rate (Shallue et al. 2019). --lr-rule tuned gives each its own."
            )
        case SeveralMachines():
            machines = "; ".join(finding.machines)
            return f"The seconds were measured on several machines: {machines}."
        case FewSeeds(seeds=1):
            return "With one seed a difference cannot be told from chance: add --seeds 3."
        case FewSeeds():
            return "Two seeds can show large differences only: add --seeds 3 or more."
        case _:
            assert_never(finding)


def batch_name(size: int | str) -> str:
    """Return the name of a batch size in a sentence."""
    return "batch mode" if size == FULL else f"batches of {size:,}"


def and_(names: list[str]) -> str:
    """Return names as an enumeration."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _percent(value: MeanAndDeviation) -> str:
    return format_mean(value, lambda number: f"{100 * number:.2f} %")


def _count(value: MeanAndDeviation) -> str:
    return format_mean(value, lambda number: f"{number:,.0f}")


def _seconds(value: MeanAndDeviation) -> str:
    return format_mean(value, lambda number: f"{number:.2f} s")


def _loss(value: MeanAndDeviation) -> str:
    return format_mean(value, lambda number: f"{number:.4f}")
