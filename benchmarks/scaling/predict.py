"""What an update takes with many ranks: formulas, networks that are assumed, and the best number.

In the formulas a is the latency, the seconds of a message; b the seconds of a byte; n the bytes of
the vector; p the ranks. The processors' part, to add and to copy, is left out.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

BYTES = 4  # of a float32
MOST = 1024  # ranks
# Updates of `mlp` to a validation accuracy of 93 %: docs/batch-vs-mini-batch.md, experiment 5.
FLOOR, KNEE = 67, 124
TARGET_SAMPLES = 20_000


@dataclass(frozen=True)
class Link:
    """What connects the ranks: seconds of a message, and of a byte."""

    latency: float
    per_byte: float


@dataclass(frozen=True)
class Wire:
    """A network that is assumed, and not measured: Gbit/s, and seconds of a message."""

    gigabits: float
    latency: float
    about: str

    @property
    def link(self) -> Link:
        """The link of which the wire is the narrowest place."""
        return Link(self.latency, 8 / (self.gigabits * 1e9))

    @property
    def name(self) -> str:
        """A few words."""
        return f"{self.gigabits:g} Gbit/s"


WIRES = (Wire(10, 25e-6, "TCP over Ethernet"), Wire(100, 5e-6, "RDMA, such as InfiniBand"))
AllReduce = Callable[[int, float, Link], float]


def ring(ranks: int, size: float, link: Link) -> float:
    """Return 2 (p - 1) a + 2 (p - 1) / p n b: what gloo does.

    Every rank sends 2 (p - 1) pieces of n / p bytes to its neighbour: the fewest bytes possible
    (Patarasuk & Yuan 2009), in the most messages. `allreduce.cc` of gloo has a ring by default,
    and PyTorch leaves it at that.
    """
    steps = 2 * (ranks - 1)
    return steps * link.latency + steps / ranks * size * link.per_byte


def doubling(ranks: int, size: float, link: Link) -> float:
    """Return ⌈log₂ p⌉ (a + n b): recursive doubling, the fewest messages.

    Thakur, Rabenseifner & Gropp 2005. Exact for powers of two.
    """
    return math.ceil(math.log2(ranks)) * (link.latency + size * link.per_byte)


def halving(ranks: int, size: float, link: Link) -> float:
    """Return 2 ⌈log₂ p⌉ a + 2 (p - 1) / p n b: recursive halving, then doubling.

    Rabenseifner's algorithm (Thakur, Rabenseifner & Gropp 2005): as few bytes as with a ring, and
    twice the messages of `doubling`. Exact for powers of two.
    """
    steps = 2 * math.ceil(math.log2(ranks))
    return steps * link.latency + 2 * (ranks - 1) / ranks * size * link.per_byte


def logarithmic(ranks: int, size: float, link: Link) -> float:
    """Return the time of the quicker of `doubling` and `halving`, as MPI libraries choose."""
    return min(doubling(ranks, size, link), halving(ranks, size, link))


ALGORITHMS: dict[str, AllReduce] = {"ring": ring, "logarithmic": logarithmic}


@dataclass(frozen=True)
class Line:
    """Seconds that grow in proportion to a size, from a fixed part on."""

    fixed: float
    each: float

    def at(self, size: float) -> float:
        """Return the seconds for a size."""
        return self.fixed + self.each * size


@dataclass(frozen=True)
class Training:
    """Updates of a network: the seconds of a share, of packing, and the bytes to add up."""

    share: Line
    packing: float
    size: float

    def seconds(self, batch: int, ranks: int, link: Link, all_reduce: AllReduce = ring) -> float:
        """Return the seconds of an update, if every rank has a machine like this one.

        The largest share decides; nothing is sent meanwhile, as the gradient is not there before.
        """
        compute = self.share.at(math.ceil(batch / ranks))
        if ranks == 1:
            return compute
        return compute + self.packing + all_reduce(ranks, self.size, link)

    def speedup(self, batch: int, ranks: int, link: Link, all_reduce: AllReduce = ring) -> float:
        """Return how many times as fast as one process an update is."""
        return self.share.at(batch) / self.seconds(batch, ranks, link, all_reduce)

    def best(self, batch: int, link: Link, all_reduce: AllReduce = ring) -> int:
        """Return the number of ranks, of the powers of two, beyond which more do not help."""
        return min(numbers(batch), key=lambda ranks: self.seconds(batch, ranks, link, all_reduce))

    def efficient(self, batch: int, link: Link, all_reduce: AllReduce = ring) -> int:
        """Return the largest such number with which each rank does half of its best, or more."""
        return max(
            ranks
            for ranks in numbers(batch)
            if self.speedup(batch, ranks, link, all_reduce) >= ranks / 2
        )


def numbers(batch: int) -> list[int]:
    """Return 1, 2, 4 ... ranks, up to one for each sample and `MOST`."""
    return [2**power for power in range(MOST.bit_length()) if 2**power <= min(batch, MOST)]


def updates_to_target(batch: int) -> float:
    """Return S (1 + K / B), the updates that reach the target (McCandlish et al. 2018, eq. 2.11).

    The floor S and the knee K were measured with plain gradient descent at tuned rates.
    """
    return FLOOR * (1 + KNEE / batch)
