"""What was measured of many ranks, point by point, as it is kept in a file."""

import json
import statistics
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

NETWORKS = ("linear", "mlp", "cnn")
ALL = 60_000  # samples of MNIST: an update in batch mode
OWN = 5  # floats that are added up beside the gradient: see `mnist_cli.training.distributed`


@dataclass(frozen=True)
class What:
    """One point: what is timed, and of which size.

    share: computing an update of `size` samples in one process, optimizer included, while `ranks`
    processes do so, without a word between them.
    sum: an all-reduce of `size` floats over `ranks`.
    packing: putting the gradient of `size` values into a vector, and taking the sums out.
    update: a whole update of `size` samples by `ranks` processes of so many `threads`.
    start: from the start of `ranks` processes until they have met and have the data.
    """

    kind: str
    size: int
    network: str = ""
    ranks: int = 1
    threads: int = 1


@dataclass(frozen=True)
class Point:
    """The seconds of a point, in each round; each is a median of several, where it is short."""

    what: What
    rounds: tuple[float, ...]

    @property
    def seconds(self) -> float:
        """Their median."""
        return statistics.median(self.rounds)


@dataclass(frozen=True)
class Measurement:
    """All points, the machine that they are of, and the parameters of each network."""

    machine: dict[str, Any]
    parameters: dict[str, int]
    points: tuple[Point, ...]

    def of(self, kind: str, **about: object) -> list[Point]:
        """Return the points of a kind, smallest first, that have these properties."""
        chosen = [
            point
            for point in self.points
            if point.what.kind == kind
            and all(getattr(point.what, name) == value for name, value in about.items())
        ]
        return sorted(chosen, key=lambda point: (point.what.ranks, point.what.size))

    def floats(self, network: str) -> int:
        """Return the length of the vector that is added up in an update."""
        return self.parameters[network] + OWN


def merged(points: Iterable[Point]) -> tuple[Point, ...]:
    """Return a point for each thing that was measured, with the rounds of all."""
    rounds: dict[What, list[float]] = {}
    for point in points:
        rounds.setdefault(point.what, []).extend(point.rounds)
    return tuple(Point(what, tuple(seconds)) for what, seconds in rounds.items())


def to_json(points: Iterable[Point]) -> list[dict[str, Any]]:
    """Return points as JSON has them, medians included."""
    return [
        {**asdict(point.what), "seconds": point.seconds, "rounds": list(point.rounds)}
        for point in points
    ]


def from_json(entries: Iterable[dict[str, Any]]) -> tuple[Point, ...]:
    """Return the points that `to_json` wrote."""
    return tuple(
        Point(
            What(**{k: v for k, v in entry.items() if k not in ("seconds", "rounds")}),
            tuple(entry["rounds"]),
        )
        for entry in entries
    )


def write(measurement: Measurement, path: Path) -> None:
    """Write full_batch, a line for each point."""
    head = {"machine": measurement.machine, "parameters": measurement.parameters}
    lines = ",\n".join(f"  {json.dumps(entry)}" for entry in to_json(measurement.points))
    path.write_text(f'{json.dumps(head, indent=1)[:-2]},\n "points": [\n{lines}\n ]\n}}\n')


def read(path: Path) -> Measurement:
    """Return what `write` wrote."""
    content = json.loads(path.read_text())
    return Measurement(content["machine"], content["parameters"], from_json(content["points"]))
