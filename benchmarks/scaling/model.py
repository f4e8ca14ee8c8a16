"""The model of `docs/scaling.md`: what an update costs, fitted to `results/scaling.json`.

T(B, p) = c0 + c1 ceil(B / p) + packing + 2 (p - 1) a + 2 (p - 1) / p n b, where a is the seconds of
a message, b the seconds of a byte, n the bytes of the vector, and p the number of ranks.
"""

import json
import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy.optimize import nnls

RESULT = Path(__file__).parents[1] / "results" / "scaling.json"
NETWORKS = ("linear", "mlp", "cnn")
ALL = 60_000  # samples of MNIST: an update in batch mode
EXTRA = 5  # floats in the vector beside the gradient: see `mnist_cli.training.loop`
BYTES = 4  # of a float32
MAX_RANKS = 1024


@dataclass(frozen=True)
class What:
    """What a time is of.

    share: computing an update of `size` samples in one process, optimizer included, while `ranks`
    processes do so independently. sum: an all-reduce of `size` floats over `ranks`. packing:
    copying a gradient of `size` values to a vector and back. update: a whole update of `size`
    samples by `ranks` processes of `threads` threads.
    """

    kind: str
    size: int
    network: str = ""
    ranks: int = 1
    threads: int = 1


@dataclass(frozen=True)
class Link:
    """A network between ranks: seconds of a message, and of a byte."""

    latency: float
    per_byte: float


# Assumed, not measured: the latency and the full bandwidth of the wire.
WIRES = {"10 Gbit/s": Link(25e-6, 0.8e-9), "100 Gbit/s": Link(5e-6, 0.08e-9)}
AllReduce = Callable[[int, float, Link], float]


def ring(ranks: int, size: float, link: Link) -> float:
    """Return the seconds of a ring all-reduce, gloo's default (Patarasuk & Yuan 2009)."""
    steps = 2 * (ranks - 1)
    return steps * link.latency + steps / ranks * size * link.per_byte


def logarithmic(ranks: int, size: float, link: Link) -> float:
    """Return the seconds of the faster of recursive doubling and Rabenseifner's algorithm.

    MPI libraries choose between them (Thakur, Rabenseifner & Gropp 2005). Exact for powers of two.
    """
    rounds = math.ceil(math.log2(ranks))
    doubling = rounds * (link.latency + size * link.per_byte)
    halving = 2 * rounds * link.latency + 2 * (ranks - 1) / ranks * size * link.per_byte
    return min(doubling, halving)


ALGORITHMS: dict[str, AllReduce] = {"ring": ring, "logarithmic": logarithmic}


class Line(NamedTuple):
    """Seconds of an update, and of each sample in it."""

    fixed: float
    each: float

    def at(self, size: float) -> float:
        """Return the seconds of `size` samples."""
        return self.fixed + self.each * size


class Fitted(NamedTuple):
    """A measured time and the fitted or predicted one."""

    what: What
    measured: float
    fitted: float

    @property
    def error(self) -> float:
        """The relative error of the fit."""
        return self.fitted / self.measured - 1


def fit(terms: Sequence[Sequence[float]], seconds: Sequence[float]) -> list[float]:
    """Return the coefficients c >= 0 with the least sum of ((terms · c - seconds) / seconds)²."""
    weighted = np.asarray(terms) / np.asarray(seconds)[:, None]
    scale = np.linalg.norm(weighted, axis=0)  # sizes span many orders of magnitude
    found, _ = nnls(weighted / scale, np.ones(len(seconds)))
    return [float(value) for value in found / scale]


@dataclass(frozen=True)
class Training:
    """The costs of a network's updates."""

    line: Line
    packing: float
    size: float  # bytes of the vector

    def seconds(self, batch: int, ranks: int, link: Link, all_reduce: AllReduce = ring) -> float:
        """Return the seconds of an update when each rank has a machine like the measured one."""
        compute = self.line.at(math.ceil(batch / ranks))
        if ranks == 1:
            return compute
        return compute + self.packing + all_reduce(ranks, self.size, link)

    def speedup(self, batch: int, ranks: int, link: Link, all_reduce: AllReduce = ring) -> float:
        """Return the speed relative to one process."""
        return self.line.at(batch) / self.seconds(batch, ranks, link, all_reduce)

    def best(self, batch: int, link: Link, all_reduce: AllReduce = ring) -> int:
        """Return the fastest number of ranks among the powers of two."""
        return min(powers(batch), key=lambda ranks: self.seconds(batch, ranks, link, all_reduce))


def powers(batch: int) -> list[int]:
    """Return 1, 2, 4 ... ranks, at most one for each sample."""
    return [2**power for power in range(MAX_RANKS.bit_length()) if 2**power <= batch]


class Model:
    """The measured times and the coefficients fitted to them."""

    def __init__(self, times: dict[What, float], parameters: dict[str, int]) -> None:
        self.times, self.parameters = times, parameters
        self.lines = {
            (name, ranks): self._line(name, ranks) for name in NETWORKS for ranks in (1, 2)
        }
        sums = self.of("sum", ranks=2)
        terms = [[ring(2, BYTES * w.size, link) for link in (Link(1, 0), Link(0, 1))] for w in sums]
        self.link = Link(*fit(terms, [times[what] for what in sums]))

    def of(self, kind: str, **properties: object) -> list[What]:
        """Return what was measured of a kind, sorted by ranks and size."""
        chosen = [
            what
            for what in self.times
            if what.kind == kind
            and all(getattr(what, name) == value for name, value in properties.items())
        ]
        return sorted(chosen, key=lambda what: (what.ranks, what.size))

    def training(self, network: str, ranks: int = 1) -> Training:
        """Return the costs of a network's updates while `ranks` processes compute."""
        (packing,) = self.of("packing", network=network)
        size = BYTES * (self.parameters[network] + EXTRA)
        return Training(self.lines[network, ranks], self.times[packing], size)

    def shares(self, network: str, ranks: int) -> list[Fitted]:
        """Return the times of computing, with the fitted line."""
        line = self.lines[network, ranks]
        whats = self.of("share", network=network, ranks=ranks)
        return [Fitted(what, self.times[what], line.at(what.size)) for what in whats]

    def sums(self) -> list[Fitted]:
        """Return the times of all-reduces over two ranks, with the fitted ring."""
        return [
            Fitted(what, self.times[what], ring(2, BYTES * what.size, self.link))
            for what in self.of("sum", ranks=2)
        ]

    def updates(self) -> list[Fitted]:
        """Return the times of whole updates of two ranks, with the prediction."""
        return [
            Fitted(what, self.times[what], self.training(name, 2).seconds(what.size, 2, self.link))
            for name in NETWORKS
            for what in self.of("update", network=name, ranks=2)
        ]

    def _line(self, network: str, ranks: int) -> Line:
        whats = self.of("share", network=network, ranks=ranks)
        return Line(*fit([(1, what.size) for what in whats], [self.times[w] for w in whats]))


def read() -> tuple[Model, dict[str, Any]]:
    """Return the model of the kept measurement, and the machine that it was made on."""
    content = json.loads(RESULT.read_text())
    times = {}
    for point in content["points"]:
        seconds = statistics.median(point.pop("rounds"))
        point.pop("seconds", None)
        times[What(**point)] = seconds
    return Model(times, content["parameters"]), content["machine"]
