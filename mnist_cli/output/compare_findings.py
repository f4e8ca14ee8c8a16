"""The conclusions of a comparison in sentences."""

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import assert_never

from mnist_cli.comparison.events import Sentence, Verdict
from mnist_cli.comparison.findings import (
    EDGE_TOLERANCE,
    BusyMachine,
    Conclusions,
    CriticalBatchSize,
    Diverged,
    FewSeeds,
    Finding,
    GradientExponent,
    LearningRates,
    LossIncreases,
    Pair,
    PathShare,
    Ranking,
    RateExponent,
    SameLearningRate,
    SeveralMachines,
    Sharpness,
    TargetsMissed,
    TunedWithFewSeeds,
)
from mnist_cli.comparison.stats import MOST_PAIRS, MeanAndDeviation
from mnist_cli.output.compare_table import format_mean, format_seeds


@dataclass(frozen=True)
class Answer:
    """The question of an experiment, and the answer in a sentence."""

    question: str
    text: str


def verdict(conclusions: Conclusions, answer: Answer | None = None) -> Verdict:
    """Return the conclusions as JSON has them: sentences, each with its numbers.

    The answer to the question of an experiment is the first, if there is one.
    """
    first = [] if answer is None else [Sentence("answer", f"{answer.question} {answer.text}")]
    sentences = [
        replace(sentence(finding), numbers=asdict(finding)) for finding in conclusions.findings
    ]
    return Verdict(conclusions.seconds, first + sentences)


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
        case RateExponent():
            return Sentence("rates", _rate_exponent(finding))
        case Sharpness():
            return Sentence("sharpness", _sharpness(finding))
        case GradientExponent():
            return Sentence("exponent", _gradient_exponent(finding))
        case PathShare():
            return Sentence("path", _path_share(finding))
        case (
            SameLearningRate()
            | SeveralMachines()
            | BusyMachine()
            | TunedWithFewSeeds()
            | FewSeeds()
        ):
            return Sentence("caveat", _caveat(finding))
        case _:
            assert_never(finding)


def _divergence(finding: Diverged) -> str:
    every = finding.diverged == finding.seeds
    seeds = "every seed" if every else f"{finding.diverged} of {finding.seeds} seeds"
    return f"Diverged with {seeds}: {finding.variant.phrase}, at a rate of {finding.lr:g}."


def _missed(finding: TargetsMissed) -> str:
    sizes = [
        f"{one.variant.phrase} ({one.missed} of {one.seeds}, at {_percent(one.accuracy)})"
        for one in finding.missed
    ]
    return f"Missed the target: {', '.join(sizes)}."


def _ranking(finding: Ranking) -> str:
    title, form = _title(finding)
    values = [f"{each.variant.phrase} {form(each.estimate)}" for each in finding.ranked]
    listed = ", ".join(values)
    means = [each.estimate.mean for each in finding.ranked]
    if not finding.higher and means != sorted(means):  # logarithms are what is compared
        listed += ", in the order of their geometric means"
    if finding.seeds < 2:
        return f"{title} (one seed, no test): {listed}."
    pairs = [pair for pair in finding.pairs if pair.ahead == finding.best.variant]
    clear = [_behind(finding, pair) for pair in pairs if pair.is_significant]
    unclear = [_behind(finding, pair) for pair in pairs if not pair.is_significant]
    if not clear:
        return f"{title}: {format_seeds(finding.seeds)} cannot tell ({listed}). {_nearest(finding)}"
    text = f"{title}: {listed}. Clearly ahead of {and_(clear)}"
    return (
        f"{text}; {format_seeds(finding.seeds)} cannot tell: {and_(unclear)}."
        if unclear
        else f"{text}."
    )


def headline(finding: Finding) -> str:
    """Return the result of a finding, without the values of all variants or tried rates."""
    if isinstance(finding, LearningRates):
        # At the edge of the search, where all rates may have diverged, the whole sentence says so.
        is_simple = finding.is_used and not finding.has_range and not finding.tuned.at_edge
        if is_simple:
            return f"For {finding.variant.phrase} a rate of {finding.tuned.lr:g} was best."
    if not isinstance(finding, Ranking):
        return sentence(finding).text
    title, form = _title(finding)
    best = f"{finding.best.variant.phrase}, {form(finding.best.estimate)}"
    if finding.seeds < 2:
        return f"{title} (one seed, no test): {best}."
    pairs = [pair for pair in finding.pairs if pair.ahead == finding.best.variant]
    clear = sum(pair.is_significant for pair in pairs)
    if not clear:
        return f"{title}: {format_seeds(finding.seeds)} cannot tell."
    others = f"{clear} of the {len(pairs)} others" if clear < len(pairs) else "all others"
    behind = pairs[0].behind.phrase if len(pairs) == 1 else others
    return f"{title}: {best}. Clearly ahead of {behind}."


def _behind(finding: Ranking, pair: Pair) -> str:
    """Return the variant that is behind the best, and by how much."""
    return f"{pair.behind.phrase} ({difference(finding, pair)})"


def _nearest(finding: Ranking) -> str:
    """Return the difference of the best from the worst, for a ranking without a clear one."""
    pair = finding.pair(finding.best.variant, finding.ranked[-1].variant)
    which = "The first and the last differ" if finding.ranked[2:] else "They differ"
    return f"{which} by {difference(finding, pair)}."


def difference(finding: Ranking, pair: Pair) -> str:
    """Return a difference with its confidence interval, p-value and what would decide it."""
    found, tests = pair.difference, []
    if found.low is not None and found.high is not None:
        if finding.higher:
            ends = [f"{100 * end:.2f}" for end in (found.low, found.high)]
        else:
            ends = [f"{math.exp(end):.2f}" for end in sorted((-found.low, -found.high))]
        tests.append(f"95 %: {ends[0]} to {ends[1]}")
    if pair.p is not None:
        tests.append("p < 0.001" if pair.p < 0.001 else f"p = {pair.p:.2g}")
        if not pair.is_significant:
            tests.append(_seeds_needed(found.needed))
    if finding.higher:
        size = f"{100 * found.mean:.2f} points"
    else:
        size = f"a factor of {math.exp(-found.mean):.2f}"
    return f"{size}; {', '.join(tests)}" if tests else size


def _seeds_needed(needed: int | None) -> str:
    if needed is None:
        return f"if it is real, {MOST_PAIRS} seeds would hardly tell"
    return f"if it is real, about {needed} seeds would tell"


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
    of = f" with {finding.setting}" if finding.setting else ""
    if finding.batch_size is None or finding.updates is None:
        return f"Updates to the target{of} show no critical batch size among these."
    critical = f"{finding.batch_size:,.0f}"
    seeds = ", ".join(f"{each:,.0f}" for each in finding.by_seed)
    fitted = f" (by {len(finding.by_seed)} of {finding.seeds} seeds: {seeds})" if seeds else ""
    text = (
        f"Fitted to all, updates to the target{of} are {finding.updates:,.0f} · (1 + {critical} / "
        f"B): doubling the batch halves them well below the critical batch size, {critical} samples"
        f"{fitted}, and saves next to none well above."
    )
    if finding.noise_scales:
        firsts = {f"{first:,.0f}" for _, first, _ in finding.noise_scales}
        last = ", ".join(f"{each:,.0f} ({v.phrase})" for v, _, each in finding.noise_scales)
        text += (
            f" The noise scale is {' or '.join(sorted(firsts))} samples at the start of the runs; "
            f"at their end, medians over the seeds: {last}."
        )
    return text


def _loss_increases(finding: LossIncreases) -> str:
    spread = "evenly spread" if finding.evenly_spread else "early ones mostly"
    parts = [
        f"{each.increased} of {each.monitored} with {each.variant.phrase}"
        for each in finding.increases
    ]
    return (
        f"Updates on which the full training loss increased, of those monitored ({spread}): "
        f"{', '.join(parts)}."
    )


def _learning_rates(finding: LearningRates) -> str:
    tuned = finding.tuned
    first = [trial for trial in tuned.tried if trial.seed in (None, tuned.seed)]
    tried = ", ".join(f"{trial.lr:g}" for trial in first)
    text = f"For {finding.variant.phrase} the rates {tried} were tried"
    best = next(trial for trial in first if trial.lr == tuned.lr)
    if best.reason == "diverged":
        text += "; all diverged"
    elif finding.is_used:
        by = "updates to the target" if best.reason == "until-accuracy" else "held-out samples"
        text += f"; {tuned.lr:g} was best by {by}"
        text += f" over {format_seeds(tuned.seeds)}" if tuned.seeds > 1 else ""
        text += ", at the edge of the search" if tuned.at_edge else ""
        if tuned.flat_from is not None and tuned.flat_to is not None:
            flat = f"{tuned.flat_from:g} to {tuned.flat_to:g} are"
            text += f" ({'no other is' if tuned.flat_from == tuned.flat_to else flat} within 10 %)"
    if tuned.stable_from is not None and tuned.stable_to is not None:
        text += (
            f"; {tuned.stable_from:g} to {tuned.stable_to:g} trained stably within the budget "
            f"(1 : {tuned.stable_to / tuned.stable_from:g})"
        )
    elif finding.has_range:
        text += "; none trained stably within the budget"
    return f"{text}. It took {tuned.train_seconds:.1f} s, counted apart."


def _rate_exponent(finding: RateExponent) -> str:
    of = f" with {finding.setting}" if finding.setting else ""
    return (
        f"From batches of {finding.smallest:,} to {finding.largest:,} the best learning rate{of} "
        f"grows as B to the power {finding.exponent:.2f} ± {finding.error:.2f} (standard error of "
        "the fit); in proportion would be 1, with the square root 0.5."
    )


def _sharpness(finding: Sharpness) -> str:
    text = (
        f"With {finding.variant.phrase} the sharpness ended at {finding.last.mean:.1f} "
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
        f"{fit.mean:.4f} ± {fit.deviation:.4f} (over {format_seeds(fit.count)}, "
        f"{finding.states} states of the network, corrected for drawing without replacement); for "
        "independent samples it is -0.5."
    )


def _path_share(finding: PathShare) -> str:
    return (
        f"The plane of the paths (seed {finding.seed}) holds {100 * finding.share:.0f} % of the "
        "way: of the variance of the weights; the rest is not seen in it."
    )


def _caveat(
    finding: SameLearningRate | SeveralMachines | BusyMachine | TunedWithFewSeeds | FewSeeds,
) -> str:
    match finding:
        case SameLearningRate():
            return (
                f"All runs had the same learning rate, {finding.lr:g}; such a comparison mostly "
                "measures the rate (Shallue et al. 2019). --lr-rule tuned gives each its own."
            )
        case SeveralMachines():
            machines = "; ".join(finding.machines)
            return f"The seconds were measured on several machines: {machines}."
        case BusyMachine():
            runs = "the run" if finding.runs == 1 else f"{finding.busy} of {finding.runs} runs"
            return (
                f"Seconds are not comparable: during {runs} other programs kept the machine busy, "
                f"with up to {100 * finding.share:.0f} % of the time of the cores that a run uses."
            )
        case TunedWithFewSeeds():
            return (
                f"The learning rates were chosen with {format_seeds(finding.seeds)}; the tests "
                "take them as given, so they do not cover the chance in that choice."
            )
        case FewSeeds(seeds=1):
            return "With one seed a difference cannot be told from chance: add --seeds 5."
        case FewSeeds():
            return "Two seeds can show large differences only: add --seeds 5 or more."
        case _:
            assert_never(finding)


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
