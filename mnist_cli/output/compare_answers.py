"""The questions of the experiments among the presets, and their answers from the results."""

import math
from collections.abc import Callable, Iterator
from functools import partial
from itertools import product
from typing import TypeVar

from mnist_cli.comparison.events import RunEnd
from mnist_cli.comparison.findings import (
    EDGE_TOLERANCE,
    CriticalBatchSize,
    Finding,
    LearningRates,
    LossIncreases,
    Ranked,
    Ranking,
    Sharpness,
)
from mnist_cli.comparison.results import Results
from mnist_cli.comparison.stats import SIGNIFICANCE_LEVEL, MeanAndDeviation, paired_difference
from mnist_cli.comparison.variants import Variant
from mnist_cli.config.compare import FULL, varied
from mnist_cli.config.options import OFF
from mnist_cli.output.compare_findings import Answer, and_, difference
from mnist_cli.output.compare_table import format_mean, format_seeds

_Kind = TypeVar("_Kind", bound=Finding)
_ROUNDING = 1e-4  # of a loss: what the order of sums may change in a short training
_FOR_A_WHILE = 0.25  # of the probes: near the edge of stability, though not at the end
_TOLERANCE = 0.01  # of the accuracy: what a larger batch may lose and still do as well
_AS_GOOD = 0.002  # of the accuracy: a difference that does not count


def answer(preset: str | None, results: Results) -> Answer | None:
    """Return the answer to the question of a preset.

    It is None for a preset that asks nothing, or if the runs cannot answer, such as with other
    batch sizes or other varied options than those of the preset.
    """
    if preset not in _EXPERIMENTS:
        return None
    vary = results.start.config.get("vary")
    if (tuple(varied(vary)) if vary else ()) != _VARIED.get(preset, ()):
        return None
    question, find = _EXPERIMENTS[preset]
    text = find(results)
    return None if text is None else Answer(question.format(**results.start.config), text)


def _steady(results: Results) -> str | None:
    """Compare the shares of monitored updates on which the loss rose, smallest against largest."""
    finding = next(_findings(results, LossIncreases), None)
    found = finding.increases if finding else []
    if len(found) < max(2, len(results.variants)):
        return None
    ends = sorted(found, key=lambda each: results.update_size(each.variant))
    runs = [results.runs_of(each.variant) for each in (ends[0], ends[-1])]
    watched = [run.end.watched for each in runs for run in each]
    if not all(watched) or any(run.end.reason == "diverged" for each in runs for run in each):
        return None
    small, large = ([run.end.rises / run.end.watched for run in each] for each in runs)
    rises = [
        f"on {each.increased} of {each.monitored} updates {_where(each.variant)}"
        for each in (ends[-1], ends[0])
    ]
    rates = " at equal rates" if results.start.config["lr_rule"] == "fixed" else ""
    text = f"the loss over the whole training set rose {and_(rises)}."
    tested = paired_difference(small, large, 1 / min(watched))
    if not tested.mean:
        return f"No difference{rates}: {text}"
    if tested.p is None or tested.p >= SIGNIFICANCE_LEVEL:
        return f"{format_seeds(tested.count)} cannot tell{rates}: {text}"
    return f"{'Yes' if tested.mean > 0 else 'No'}{rates and ','}{rates}: {text}"


def _small_batches(results: Results) -> str | None:
    searches = [f for f in _findings(results, LearningRates) if f.has_range]
    if not searches:
        return None
    by_size = sorted(searches, key=lambda found: results.update_size(found.variant))
    unstable = [found.variant.phrase for found in by_size if found.tuned.stable_to is None]
    if by_size[0].tuned.stable_to is None:
        return f"Yes, within this budget: no rate trained stably with {and_(unstable)}."
    ends = [by_size[0]]
    widest = max(by_size, key=lambda found: found.tuned.stable_to or 0.0)
    if widest is not ends[0]:
        ends.append(widest)
    each = [f"up to {found.tuned.stable_to:g} with {found.variant.phrase}" for found in ends]
    none = f", but at none with {and_(unstable)}" if unstable else ""
    return f"No, at a rate that fits: training is stable at rates of {and_(each)}{none}."


def _seconds(results: Results) -> str | None:
    return _batch_mode_first(results, "seconds", lambda value: f"{value:.2f} s")


def _optimum(results: Results) -> str | None:
    text = _batch_mode_first(results, "equal training loss", lambda value: f"{100 * value:.2f} %")
    if text is None:
        return None
    swapped = {"Yes": "No", "No": "Yes"}  # the question is whether batch mode is worse
    first, colon, rest = text.partition(":")
    return f"{swapped.get(first, first)}{colon}{rest}"


def _batch_mode_first(results: Results, quantity: str, form: Callable[[float], str]) -> str | None:
    """Return whether batch mode is ahead of the best of the mini-batches, with both estimates."""
    ranking = _ranking(results, quantity)
    if ranking is None:
        return None
    is_batch = [each.variant.batch_size == FULL for each in ranking.ranked]
    if len(set(is_batch)) < 2:
        return None
    batch, other = (ranking.ranked[is_batch.index(kind)] for kind in (True, False))
    estimates = and_(
        [f"{format_mean(each.estimate, form)} {_where(each.variant)}" for each in (batch, other)]
    )
    if ranking.seeds < 2:
        return f"1 seed cannot tell: {estimates}."
    pair = ranking.pair(batch.variant, other.variant)
    text = f"{estimates} ({difference(ranking, pair)})."
    if not pair.is_significant:
        return f"{format_seeds(ranking.seeds)} cannot tell: {text}"
    return f"{'Yes' if pair.ahead == batch.variant else 'No'}: {text}"


def _where(variant: Variant) -> str:
    return ("in " if variant.batch_size == FULL else "with ") + variant.phrase


def _edge(results: Results) -> str | None:
    found = next((f for f in _findings(results, Sharpness) if f.variant.batch_size == FULL), None)
    if found is None or found.edge is None:
        return None
    verdict = "No, not within this budget"
    if abs(found.last.mean / found.edge - 1) <= EDGE_TOLERANCE:
        verdict = "Yes"
    elif found.near_edge >= _FOR_A_WHILE * found.probes:
        verdict = "For a while"
    return (
        f"{verdict}: in batch mode {found.near_edge} of {found.probes} probes are within "
        f"{100 * EDGE_TOLERANCE:.0f} % of the edge of stability, {found.edge:.0f}; at the end the "
        f"sharpness is {found.last.mean:.0f}."
    )


def _steps(results: Results) -> str | None:
    ranking = _ranking(results, "updates")
    if ranking is None:
        return None
    ranked = _by_size(results, ranking)
    ends = [
        f"{each.estimate.mean:,.0f} updates {_where(each.variant)}"
        for each in (ranked[0], ranked[-1])
    ]
    fit = next(_findings(results, CriticalBatchSize), None)
    saved = ""
    if fit and fit.batch_size:
        size = f"{fit.batch_size:,.0f}"
        saved = f"In proportion well below batches of {size}, hardly any beyond: "
    return f"{saved}{'the' if saved else 'The'} target took {and_(ends)}."


def _cost_of_the_smallest(results: Results) -> str | None:
    """Compare what the target took with the smallest and the largest batches."""
    texts = []
    for quantity, form in (("samples", "{:,.0f} samples"), ("seconds", "{:.2f} s")):
        ranking = _ranking(results, quantity)
        if ranking is None:
            return None
        ranked = _by_size(results, ranking)
        small, large = ranked[0], ranked[-1]
        ends = [
            f"{form.format(each.estimate.mean)} {_where(each.variant)}" for each in (small, large)
        ]
        tested = difference(ranking, ranking.pair(small.variant, large.variant))
        texts.append(f"{and_(ends)} ({tested})")
    return f"The target took {'; '.join(texts)}."


def _scaling(results: Results) -> str | None:
    ranking = _ranking(results, "test accuracy")
    diverged = [
        variant.phrase
        for variant in results.variants
        if any(run.end.reason == "diverged" for run in results.runs_of(variant))
    ]
    if ranking is None:
        return None
    ranked = _by_size(results, ranking)
    values = [f"{100 * each.estimate.mean:.2f} % {_where(each.variant)}" for each in ranked]
    limit = ""
    if diverged:
        named = and_(diverged)
        limit = f" {named[0].upper()}{named[1:]} diverged."
    pairs = [pair for pair in ranking.pairs if pair.ahead == ranked[0].variant]
    losses = [pair.difference for pair in pairs if pair.difference.mean > _TOLERANCE]
    possible = [each.high for pair in pairs if (each := pair.difference).high is not None]
    if diverged or any(pair.is_significant and pair.difference in losses for pair in pairs):
        verdict = "Only so far"
    elif losses or any(high > _TOLERANCE for high in possible):
        verdict = f"{format_seeds(ranking.seeds)} cannot tell"
    else:
        verdict = "Yes, in this range"
    return f"{verdict}: {and_(values)}.{limit}"


def _does_it_matter(results: Results, quantity: str = "test accuracy") -> str | None:
    """Return whether another setting clearly differs from the first one in a quantity."""
    ranking = _ranking(results, quantity)
    if ranking is None or ranking.seeds < 2:
        return None
    first = results.variants[0]
    by_variant = {each.variant: each for each in ranking.ranked}
    if first not in by_variant or len({each.batch_size for each in results.variants}) > 1:
        return None
    clear: list[str] = []
    unclear: list[str] = []
    for variant, each in by_variant.items():
        if variant == first:
            continue
        pair = ranking.pair(first, variant)
        text = f"{_valued(ranking, each)} ({difference(ranking, pair)})"
        (clear if pair.is_significant else unclear).append(text)
    texts = [_valued(ranking, by_variant[first])]
    if clear:
        texts.append(f"clearly different from {and_(clear)}")
    if unclear:
        texts.append(f"{format_seeds(ranking.seeds)} cannot tell it from {and_(unclear)}")
    lost = [_diverged(results, each) for each in results.variants if each not in by_variant]
    texts += [text for text, _ in lost]
    if clear or any(every for _, every in lost):
        return f"Yes: {'; '.join(texts)}."
    doubt = f"{format_seeds(ranking.seeds)} cannot tell" if lost else "Not that it could be seen"
    return f"{doubt}: {'; '.join(texts)}."


def _diverged(results: Results, variant: Variant) -> tuple[str, bool]:
    """Return how many seeds of a variant diverged, and whether all did."""
    ends = [run.end for run in results.runs_of(variant)]
    count = sum(end.reason == "diverged" for end in ends)
    name = variant.setting or variant.phrase
    return f"{name} diverged with {count} of {format_seeds(len(ends))}", count == len(ends)


def _same_but_rounding(results: Results) -> str | None:
    """Return by how much the runs of a seed differ that should be the same."""
    by_seed: dict[int, list[RunEnd]] = {}
    for end in results.ends:
        by_seed.setdefault(end.seed, []).append(end)
    losses = [[end.train_loss for end in ends if end.train_loss] for ends in by_seed.values()]
    variants = results.variants
    if len(variants) < 2 or len({each.batch_size for each in variants}) > 1:
        return None
    if any(len(each) < len(variants) for each in losses):
        return None
    apart = max((max(each) - min(each)) / min(each) for each in losses)
    digests = {
        variant: str(results.runs_of(variant)[0].end.weights_sha256)[:8]
        for variant in results.variants
    }
    named = and_([f"{digest} ({variant.phrase})" for variant, digest in digests.items()])
    first = f"seed {results.ends[0].seed}"
    if apart > _ROUNDING:
        return f"No: the training losses at the end differ by {100 * apart:.2g} %."
    same = "the same" if len(set(digests.values())) == 1 else "not the same, to the last bit"
    return (
        f"Yes, up to rounding: at the end the training losses of a seed differ by {apart:.1g} of "
        f"their value at most; the digests of the weights are {same}: {named}, {first}."
    )


def _valued_alone(ranked: Ranked) -> str:
    return f"{_percent(ranked.estimate)} with {ranked.variant.setting}"


def _valued(ranking: Ranking, ranked: Ranked) -> str:
    value = _percent(ranked.estimate)
    if not ranking.higher:
        value = "a training loss of " + format_mean(ranked.estimate, lambda loss: f"{loss:.4f}")
    return f"{ranked.variant.phrase} {value}"


def _does_it_help(results: Results) -> str | None:
    """Return for each batch size whether the second setting is ahead of the first."""
    ranking = _ranking(results, "test accuracy")
    if ranking is None:
        return None
    accuracies = {each.variant: each for each in ranking.ranked}
    by_size: dict[int | str, list[Variant]] = {}
    for variant in results.variants:
        by_size.setdefault(variant.batch_size, []).append(variant)
    texts, helped = [], False
    for size, variants in by_size.items():
        if len(variants) != 2:
            return None
        lost = [_diverged(results, each) for each in variants if each not in accuracies]
        if lost:  # it helps if all seeds diverge without it, and none does with it
            helped = helped or (variants[1] in accuracies and lost[0][1])
            kept = [_valued_alone(accuracies[each]) for each in variants if each in accuracies]
            texts.append(f"{size}: {and_(kept + [text for text, _ in lost])}")
            continue
        pair = ranking.pair(*variants)
        helped = helped or (pair.is_significant and pair.ahead == variants[1])
        values = [_valued_alone(accuracies[each]) for each in variants]
        texts.append(f"{size}: {and_(values)} ({difference(ranking, pair)})")
    return f"{'Yes' if helped else 'Not that it could be seen'}: {'; '.join(texts)}."


def _gap(results: Results) -> str | None:
    """Return how far batch mode is behind at the end with each setting; the last one decides."""
    ranking = _ranking(results, "test accuracy")
    if ranking is None or ranking.seeds < 2:
        return None
    estimates = {each.variant: each.estimate for each in ranking.ranked}
    by_setting: dict[str | None, list[Variant]] = {}
    for variant in results.variants:
        by_setting.setdefault(variant.setting, []).append(variant)
    texts, verdict = [], ""
    for setting, variants in by_setting.items():
        if [each.batch_size == FULL for each in variants] != [False, True]:
            return None
        if not all(each in estimates for each in variants):
            return None
        pair = ranking.pair(*variants)
        ends = " and ".join(_percent(estimates[each]) for each in variants)
        texts.append(f"{ends} with {setting} ({difference(ranking, pair)})")
        verdict = "Not that it could be seen"
        if pair.is_significant:
            verdict = "Yes" if pair.behind == variants[1] else "No"
        size = variants[0].batch_size
    return f"{verdict}: batches of {size} and batch mode end at {and_(texts)}."


def _critical_batch_sizes(results: Results) -> str | None:
    """Compare the critical batch size of the second setting with that of the first, by seed."""
    found = [each for each in _findings(results, CriticalBatchSize) if each.setting]
    if len(found) != 2:
        return None
    sizes = [
        f"none among these with {each.setting}"
        if each.batch_size is None
        else f"{each.batch_size:,.0f} with {each.setting}"
        for each in found
    ]
    text = f"the critical batch size is {and_(sizes)}"
    first, second = found
    seeds = first.seeds
    if seeds < 2 or not seeds == len(first.by_seed) == len(second.by_seed):
        return f"{format_seeds(max(seeds, 1))} cannot tell: {text}."
    second_logs, first_logs = (
        [math.log(size) for size in each.by_seed] for each in (second, first)
    )
    tested = paired_difference(second_logs, first_logs)
    low, mean, high = (math.exp(each or 0.0) for each in (tested.low, tested.mean, tested.high))
    text = f"{text}; by seed a factor of {mean:.2f} (95 %: {low:.2f} to {high:.2f})"
    if tested.p is None or tested.p >= SIGNIFICANCE_LEVEL:
        return f"{format_seeds(seeds)} cannot tell: {text}."
    return f"{'Yes' if tested.mean > 0 else 'No'}: {text}."


def _growing_batch(results: Results) -> str | None:
    """Return whether a growing batch does as well as a falling rate, and what neither does."""
    ranking = _ranking(results, "test accuracy")
    values = [*product(*varied(results.start.config["vary"]).values())]
    if ranking is None or len(values) != len(results.variants):
        return None
    kinds = dict(zip(values, results.variants, strict=True))
    batch = next((batch for _, batch in values if batch != OFF), OFF)
    asked = [kinds.get(kind) for kind in (("constant", batch), ("step", OFF), ("constant", OFF))]
    growing, falling, constant = asked
    if growing is None or falling is None or constant is None or growing == constant:
        return None
    accuracies = {each.variant: each.estimate for each in ranking.ranked}
    lost = [_diverged(results, each)[0] for each in asked if each and each not in accuracies]
    if lost:
        return f"{format_seeds(len(results.runs_of(growing)))} cannot tell: {and_(lost)}."
    pair = ranking.pair(growing, falling)
    text = (
        f"{_percent(accuracies[growing])} with a growing batch and {_percent(accuracies[falling])} "
        f"with a falling rate ({difference(ranking, pair)})"
    )
    updates = [results.runs_of(each)[0].end.update for each in (growing, falling)]
    text += f", in {updates[0]:,} instead of {updates[1]:,} updates"
    places = []
    for name, each in (("the growing batch", growing), ("the falling rate", falling)):
        other = ranking.pair(constant, each)
        place = "clearly ahead of" if other.ahead == constant else "clearly behind"
        place = place if other.is_significant else "not to be told from"
        places.append(f"{place} {name} ({difference(ranking, other)})")
    text += f"; with neither {_percent(accuracies[constant])}, {and_(places)}."
    ends = (pair.difference.low, pair.difference.high)
    verdict = f"{format_seeds(ranking.seeds)} cannot tell"
    if pair.is_significant and pair.ahead == falling:
        verdict = "No"
    elif all(end is not None and abs(end) <= _AS_GOOD for end in ends):
        verdict = f"Yes, to within {100 * _AS_GOOD:g} points"
    elif pair.is_significant:
        verdict = "Yes"
    return f"{verdict}: {text}"


def _percent(value: MeanAndDeviation) -> str:
    return format_mean(value, lambda number: f"{100 * number:.2f} %")


def _by_size(results: Results, ranking: Ranking) -> list[Ranked]:
    return sorted(ranking.ranked, key=lambda each: results.update_size(each.variant))


def _findings(results: Results, kind: type[_Kind]) -> Iterator[_Kind]:
    found = results.conclusions.findings if results.conclusions else []
    return (finding for finding in found if isinstance(finding, kind))


def _ranking(results: Results, quantity: str) -> Ranking | None:
    rankings = _findings(results, Ranking)
    return next((ranking for ranking in rankings if ranking.quantity == quantity), None)


# The options that the presets vary.
_VARIED: dict[str, tuple[str, ...]] = {
    "shuffling": ("shuffle", "sort_by_class"),
    "last-batch": ("last_batch",),
    "replacement": ("replacement",),
    "warm-up": ("warm_up",),
    "accumulation": ("micro_batch_size",),
    "momentum": ("momentum",),
    "generalisation": ("weight_decay",),
    "optimizers": ("optimizer",),
    "growing-batch": ("schedule", "batch_schedule"),
}
# By the name of the preset. A question may name options of the comparison.
_EXPERIMENTS: dict[str, tuple[str, Callable[[Results], str | None]]] = {
    "claim-steady": ("Are batch steps steadier?", _steady),
    "claim-small-batch-unstable": ("Do small batches make training unstable?", _small_batches),
    "claim-data-size": ("Is batch mode quicker on {subset} samples?", _seconds),
    "claim-local-optimum": ("Does the noise of mini-batches find better optima?", _optimum),
    "edge-of-stability": ("Does batch mode sharpen the loss up to its limit?", _edge),
    "steps-to-target": ("How many updates does a larger batch save?", _steps),
    "along-the-way": ("How many updates does a larger batch save from here on?", _steps),
    "stochastic": ("What does it cost to train on one sample at a time?", _cost_of_the_smallest),
    "linear-scaling": ("Should the learning rate grow with the batch?", _scaling),
    "shuffling": ("Does the order of the samples matter?", _does_it_matter),
    "last-batch": (
        "Does it matter what becomes of the last batch?",
        partial(_does_it_matter, quantity="equal samples"),
    ),
    "replacement": ("Does drawing with replacement make a difference?", _does_it_matter),
    "warm-up": ("Does a warm-up let the learning rate grow further with the batch?", _does_it_help),
    "generalisation": (
        "Does batch mode still read fewer of the test images with momentum and weight decay?",
        _gap,
    ),
    "momentum": ("Does momentum carry the gain further to larger batches?", _critical_batch_sizes),
    "optimizers": (
        "Does AdamW carry the gain further to larger batches than SGD?",
        _critical_batch_sizes,
    ),
    "growing-batch": ("Can the batch grow instead of the learning rate falling?", _growing_batch),
    "accumulation": ("Is gradient accumulation the same as a large batch?", _same_but_rounding),
}
