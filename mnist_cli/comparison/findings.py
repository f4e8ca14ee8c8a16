"""What the numbers of a comparison say, in words, and the tests that the words rest on."""

import math
from collections.abc import Callable, Iterator

from mnist_cli.comparison.arm_run import CHECK_GROWTH
from mnist_cli.comparison.events import Conclusions, Finding
from mnist_cli.comparison.lr_search import STABLE_LOSS
from mnist_cli.comparison.results import Results, Values
from mnist_cli.comparison.stats import (
    SIGNIFICANCE_LEVEL,
    Sample,
    difference,
    holm,
    knee,
    sample,
    slope,
)
from mnist_cli.config.compare import FULL, CompareConfig
from mnist_cli.events import AlignmentProbe

EDGE_TOLERANCE = 0.15  # of 2 / learning rate: what counts as being at the edge of stability


def conclusions(seconds: float, config: CompareConfig, results: Results) -> Conclusions:
    """Return the findings; they follow from the results alone."""
    findings = [
        *_divergence(results),
        *(_target(results) if config.until_accuracy is not None else _outcome(results)),
        *_axes(config, results),
        *_equal_loss(results),
        *_steadiness(config, results),
        *_rates(config, results),
        *_probes(results),
        *_caveats(config, results),
    ]
    return Conclusions(seconds, findings)


def _divergence(results: Results) -> Iterator[Finding]:
    for size in results.batch_sizes:
        ends = [arm.end for arm in results.of(size)]
        lost = sum(end.reason == "diverged" for end in ends)
        if lost:
            seeds = "with every seed" if lost == len(ends) else f"with {lost} of {len(ends)} seeds"
            yield Finding(
                "divergence", f"Diverged {seeds}: {named(size)}, at a rate of {ends[0].lr:g}."
            )


def _outcome(results: Results) -> Iterator[Finding]:
    """Compare accuracies where the budget ended, of batch sizes that came to it with all seeds."""
    accuracies = results.of_ends(lambda end: end.test_accuracy)
    if len(accuracies) > 1:
        where = "Highest test accuracy at the end of the budget"
        yield ranking("test accuracy", accuracies, where, percent, higher=True)


def _target(results: Results) -> Iterator[Finding]:
    """Compare what the target cost."""
    missed = []
    for size in results.batch_sizes:
        ends = [arm.end for arm in results.of(size)]
        short = [end for end in ends if end.reason == "gave-up"]
        if short:
            best = sample([end.val_accuracy or 0.0 for end in short])
            missed.append(f"{named(size)} ({len(short)} of {len(ends)}, at {percent(best)})")
    if missed:
        yield Finding("target", f"Never got to the target: {', '.join(missed)}.")
    for about, name, form in (
        ("updates", "update", whole),
        ("samples", "samples_seen", whole),
        ("seconds", "train_seconds", seconds_taken),
    ):
        found = results.to_target(name)
        if len(found) > 1:
            where = f"Fewest {about} to the target"
            yield ranking(about, found, where, form, higher=False, steps=CHECK_GROWTH - 1)
    yield from _knee(results)


def _knee(results: Results) -> Iterator[Finding]:
    found = results.to_target("update")
    sizes = [float(results.samples_in(size)) for size in found]
    fit = knee(sizes, [sample(values).mean for values in found.values()])
    if fit:
        floor, bend = fit
        text = (
            f"Fitted to all, updates to the target are {floor:,.0f} · (1 + {bend:,.0f} / B): "
            f"doubling the batch halves them well below the knee, B = {bend:,.0f} samples, and "
            "saves next to none well above."
        )
        noise = results.noise_scales()
        if noise:
            text += (
                f" The noise scale is {noise[0]:,.0f} samples at the start of the arms and "
                f"{noise[1]:,.0f} at their end (medians)."
            )
        yield Finding("knee", text)
    elif len(found) > 2:
        yield Finding("knee", "Updates to the target show no knee among these batch sizes.")


def _axes(config: CompareConfig, results: Results) -> Iterator[Finding]:
    """Say who leads when updates, samples or seconds are made equal."""
    if config.until_accuracy is not None:
        return
    for axis, form in (("updates", whole), ("samples", whole), ("seconds", seconds_taken)):
        x, found = results.readings(axis, lambda point: point.train_loss)
        if len(found) > 1 and x > 0:
            yield ranking(
                f"equal {axis}",
                found,
                f"Lowest training loss at equal {axis} ({form(Sample(x, 0, 1))})",
                losses,
                higher=False,
            )


def _equal_loss(results: Results) -> Iterator[Finding]:
    x, found = results.at_equal_loss(lambda point: point.test_accuracy)
    if len(found) > 1 and x <= STABLE_LOSS:
        yield ranking(
            "equal training loss",
            found,
            f"Highest test accuracy at an equal training loss ({x:.4f})",
            percent,
            higher=True,
        )


def _steadiness(config: CompareConfig, results: Results) -> Iterator[Finding]:
    parts = []
    for size in results.batch_sizes:
        ends = [arm.end for arm in results.of(size) if arm.end.reason != "diverged"]
        watched, rises = sum(e.watched for e in ends), sum(e.rises for e in ends)
        if watched:
            parts.append(f"{rises} of {watched} with {named(size)}")
    if parts:
        even = config.epochs is not None or config.updates is not None
        spread = "evenly spread" if even else "early ones mostly"
        yield Finding(
            "steadiness",
            f"Updates on which the full training loss rose, of those watched ({spread}): "
            f"{', '.join(parts)}.",
        )


def _rates(config: CompareConfig, results: Results) -> Iterator[Finding]:
    for tuned in results.tuned:
        tried = ", ".join(f"{trial.lr:g}" for trial in tuned.tried)
        text = f"For {named(tuned.batch_size)} the rates {tried} were tried"
        best = next(trial for trial in tuned.tried if trial.lr == tuned.lr)
        if best.reason == "diverged":
            text += "; all diverged"
        elif config.lr_rule == "tuned":
            by = "updates to the target" if best.reason == "until-accuracy" else "held-out samples"
            text += f"; {tuned.lr:g} was best by {by}"
            text += ", at the edge of the search" if tuned.at_edge else ""
        if tuned.stable_from is not None and tuned.stable_to is not None:
            ratio = tuned.stable_to / tuned.stable_from
            text += (
                f"; {tuned.stable_from:g} to {tuned.stable_to:g} trained stably within the budget "
                f"(1 : {ratio:g})"
            )
        elif config.lr_range:
            text += "; none trained stably within the budget"
        cost = f"It took {tuned.train_seconds:.1f} s with one seed, counted apart."
        yield Finding("rates", f"{text}. {cost}")


def _probes(results: Results) -> Iterator[Finding]:
    yield from _exponent(results)
    for size in results.batch_sizes:
        probes = [probe for arm in results.of(size) for probe in arm.sharpness]
        if not probes:
            continue
        last = sample([arm.sharpness[-1].sharpness for arm in results.of(size) if arm.sharpness])
        text = f"With {named(size)} the sharpness ended at {last.mean:.1f}"
        text += f" (on {probes[0].samples:,} samples)"
        edges = [(p.sharpness, p.stable_up_to) for p in probes if p.stable_up_to is not None]
        if edges:
            near = sum(abs(value / edge - 1) <= EDGE_TOLERANCE for value, edge in edges)
            text += (
                f", where the edge of stability, 2 / learning rate{_momentum(results)}, is "
                f"{edges[-1][1]:.1f}; {near} of {len(edges)} probes are within "
                f"{100 * EDGE_TOLERANCE:.0f} % of that"
            )
        yield Finding("sharpness", f"{text}.")


def _exponent(results: Results) -> Iterator[Finding]:
    """Fit the power of the batch size with which gradients stray from the full one."""
    slopes = exponents(results)
    if slopes:
        fit = sample(slopes)
        yield Finding(
            "exponent",
            f"The deviation of a batch's gradient from the full one falls as B to the power "
            f"{fit.mean:.3f} ± {fit.deviation:.3f} (in {fit.count} states of the network, "
            "corrected for drawing without replacement); for independent samples it is -0.5.",
        )


def exponents(results: Results) -> list[float]:
    """Return, for each state that was probed, the slope of log deviation against log B."""
    states: dict[tuple[int, int, int | str], list[AlignmentProbe]] = {}
    for arm in results.arms:
        for probe in arm.alignment:
            # Before the first update all arms of a seed are in the same state.
            where = arm.end.batch_size if probe.update else ""
            at = states.setdefault((arm.end.seed, probe.update, where), [])
            if probe.deviation > 0 and all(p.batch_size != probe.batch_size for p in at):
                at.append(probe)
    return [
        slope(
            [math.log(p.batch_size) for p in probes],
            [math.log(p.as_if_independent) for p in probes],
        )
        for probes in states.values()
        if len(probes) > 1
    ]


def _caveats(config: CompareConfig, results: Results) -> Iterator[Finding]:
    if config.lr_rule == "fixed" and len(results.batch_sizes) > 1:
        yield Finding(
            "caveat",
            f"All arms had the same learning rate, {results.ends[0].lr:g}; such a comparison "
            "mostly measures the rate (Shallue et al. 2019). --lr-rule tuned gives each its own.",
        )
    machines = sorted({end.machine for end in results.ends})
    if len(machines) > 1:
        yield Finding(
            "caveat", f"The seconds are not of one machine, but of: {'; '.join(machines)}."
        )
    if config.seeds == 2:
        yield Finding("caveat", "Two seeds can show large differences only: add --seeds 3 or more.")
    if config.seeds == 1:
        yield Finding(
            "caveat", "With one seed there is no telling a difference from chance: add --seeds 3."
        )


def _momentum(results: Results) -> str:
    assert results.start
    momentum = results.start.config["momentum"]
    return f" · (1 + {momentum:g})" if momentum else ""


def ranking(
    about: str,
    values: Values,
    where: str,
    form: Callable[[Sample], str],
    *,
    higher: bool,
    steps: float = 0.0,
) -> Finding:
    """Return who is best, and from whom that differs clearly.

    Accuracies, of which the higher is better, are compared as they are. Costs and losses differ by
    factors, and so do their deviations: their logarithms are compared. Those that were read off a
    grid have steps of such a share of them. The correction is for the tests of all pairs, since any
    batch size could have come out best.
    """
    found = {size: sample(numbers) for size, numbers in values.items()}
    order = sorted(found, key=lambda size: -found[size].mean if higher else found[size].mean)
    best, others = order[0], order[1:]
    scaled = found if higher else {s: sample([math.log(v) for v in values[s]]) for s in order}
    tests = [difference(scaled[best], scaled[size], steps) for size in others]
    corrected = holm([test.p for test in tests], len(order) * len(others) // 2)
    clear = [named(s) for s, p in zip(others, corrected, strict=True) if p < SIGNIFICANCE_LEVEL]
    unclear = [
        f"{named(s)} (p = {p:.2g})" if test.degrees else named(s)
        for s, p, test in zip(others, corrected, tests, strict=True)
        if p >= SIGNIFICANCE_LEVEL
    ]
    if all(found[size].count < 2 for size in order):
        spread = ", ".join(f"{named(s)} {form(found[s])}" for s in order)
        return Finding(about, f"{where} (one seed, no test): {spread}.")
    if not clear:
        spread = ", ".join(f"{named(s)} {form(found[s])}" for s in order)
        text = f"{where}: no clear difference ({spread})."
    else:
        text = f"{where}: {named(best)}, {form(found[best])}; clearly ahead of {_and(clear)}"
        text += f", no clear difference from {_and(unclear)}." if unclear else "."
    return Finding(about, text, p=min(corrected) if corrected else None)


def named(size: int | str) -> str:
    """Return a batch size in words."""
    return "batch mode" if size == FULL else f"batches of {size:,}"


def percent(accuracy: Sample) -> str:
    """Return an accuracy with its deviation."""
    deviation = f" ± {100 * accuracy.deviation:.2f}" if accuracy.count > 1 else ""
    return f"{100 * accuracy.mean:.2f}{deviation} %"


def _and(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def whole(s: Sample) -> str:
    """Return a count with its deviation."""
    return f"{s.mean:,.0f}" + (f" ± {s.deviation:,.0f}" if s.count > 1 else "")


def seconds_taken(s: Sample) -> str:
    """Return a time with its deviation."""
    return f"{s.mean:.2f}" + (f" ± {s.deviation:.2f}" if s.count > 1 else "") + " s"


def losses(s: Sample) -> str:
    """Return a loss with its deviation."""
    return f"{s.mean:.4f}" + (f" ± {s.deviation:.4f}" if s.count > 1 else "")
