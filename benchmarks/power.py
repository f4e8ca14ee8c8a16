"""`python -m benchmarks.power`: level and power of the tests of a comparison, by simulation.

The values of a seed share a part, as those of runs with the same weights and order do;
`correlation` is its share of the variance. The standard deviation over seeds is 1. The level is
how often a comparison of equal variants calls one clearly ahead, the power how often one that is
better by `effect` is called so. Each comparison is judged by `mnist-compare`'s own `rank`, and
beside it by Welch's test of the means, which ignores that the seeds are shared.
"""

import argparse
import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtr

from mnist_cli.comparison.findings import rank
from mnist_cli.comparison.stats import SIGNIFICANCE_LEVEL, holm
from mnist_cli.comparison.variants import Variant

CORRELATIONS, EFFECTS, SEEDS, VARIANTS = (0.0, 0.5, 0.8, 0.9), (0.0, 1.0, 2.0), (3, 5), (2, 4)


@dataclass(frozen=True)
class Case:
    """What is simulated: equal variants, of which the first is better by `effect`."""

    variants: int
    seeds: int
    effect: float
    correlation: float


def main() -> None:
    """Simulate, and print a table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.power", description=__doc__)
    parser.add_argument("--comparisons", type=int, default=4000, help="of each case (%(default)s)")
    options = parser.parse_args()
    print(
        f"Called clearly ahead, of {options.comparisons:,} comparisons: Welch's test, paired test\n"
    )
    rows = [["variants", "seeds", "effect", *(f"correlation {each:g}" for each in CORRELATIONS)]]
    rows.append(["---:"] * len(rows[0]))
    for variants in VARIANTS:
        for seeds in SEEDS:
            for effect in EFFECTS:
                cases = [Case(variants, seeds, effect, each) for each in CORRELATIONS]
                found = [shares(case, options.comparisons) for case in cases]
                cells = [f"{100 * welch:.1f}, {100 * paired:.1f} %" for welch, paired in found]
                what = f"{effect:g}, power" if effect else "0, level"
                rows.append([str(variants), str(seeds), what, *cells])
    for row in rows:
        print(f"| {' | '.join(row)} |")


def shares(case: Case, comparisons: int) -> tuple[float, float]:
    """Return in which shares of comparisons Welch's test, and ours, call a variant clearly ahead.

    With an effect, it has to be the first that is ahead of the second.
    """
    welch = paired = 0
    for values in simulated(case, comparisons):
        welch += _is_clear(case, *_by_welch(values))
        paired += _is_clear(case, *_by_rank(values))
    return welch / comparisons, paired / comparisons


def simulated(case: Case, comparisons: int) -> Iterator[NDArray[np.float64]]:
    """Yield the values of each comparison, `float64 [variants, seeds]`."""
    random = np.random.default_rng(0)
    shared, own = math.sqrt(case.correlation), math.sqrt(1 - case.correlation)
    for _ in range(comparisons):
        values = shared * random.standard_normal(case.seeds)
        values = values + own * random.standard_normal((case.variants, case.seeds))
        values[0] += case.effect
        yield values


Clear = set[tuple[int, int]]  # pairs of variants, the first clearly ahead of the second


def _is_clear(case: Case, best: int, clear: Clear) -> bool:
    if case.effect:
        return (0, 1) in clear
    return any(ahead == best for ahead, _ in clear)


def _by_rank(values: NDArray[np.float64]) -> tuple[int, Clear]:
    """Return the best variant, and the clear differences, as `mnist-compare` finds them."""
    each = {Variant(n): row.tolist() for n, row in enumerate(values)}
    found = rank("test accuracy", each, higher=True)
    pairs = [
        (int(pair.ahead.batch_size), int(pair.behind.batch_size))
        for pair in found.pairs
        if pair.is_significant
    ]
    return int(found.best.variant.batch_size), set(pairs)


def _by_welch(values: NDArray[np.float64]) -> tuple[int, Clear]:
    """Return the same by Welch's test of the means (1947), corrected after Holm."""
    means, errors = values.mean(1), values.var(1, ddof=1) / values.shape[1]
    order = np.argsort(-means).tolist()
    pairs = list(combinations(order, 2))
    tests = []
    for a, b in pairs:
        error = errors[a] + errors[b]
        degrees = error**2 / ((errors[a] ** 2 + errors[b] ** 2) / (values.shape[1] - 1))
        tests.append(float(2 * stdtr(degrees, -abs(means[a] - means[b]) / math.sqrt(error))))
    clear = {pair for pair, p in zip(pairs, holm(tests), strict=True) if p < SIGNIFICANCE_LEVEL}
    return order[0], clear


if __name__ == "__main__":
    main()
