"""A desk that the ranks of a comparison share: jobs to be done lie on it, and what was found.

Whoever is free takes the next job. The desk is the store by which the ranks met, so they need no
disk in common.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from mnist_cli.comparison.records import event_of
from mnist_cli.events import Event, to_dict
from mnist_cli.runtime.distributed.group import ProcessGroup


@dataclass(frozen=True)
class Job:
    """An arm to be trained, or the search of a batch size's learning rate, from `lr` on.

    A size of `None` is batch mode.
    """

    size: int | None
    seed: int
    lr: float
    is_search: bool = False


@dataclass(frozen=True)
class Found:
    """The record of an arm; it is fresh if it was not there before this comparison."""

    record: list[Event]
    is_fresh: bool


class Desk:
    """What lies there is laid out in rounds: the jobs of one may need what another one found.

    Raises:
        PeerError: the connection to the others was lost.

    """

    def __init__(self, group: ProcessGroup) -> None:
        self._group = group
        self._round = 0
        self._jobs: list[Job] = []
        self._read = 0

    def lay_out(self, jobs: Sequence[Job]) -> None:
        """Lay out the jobs of a round, the first one to be taken first; none ends the work."""
        self._round += 1
        self._jobs = list(jobs)
        self._group.put(f"jobs/{self._round}", json.dumps([asdict(job) for job in jobs]).encode())

    def look(self) -> list[Job] | None:
        """Return the jobs of the next round, or `None` while these are not laid out."""
        data = self._group.get(f"jobs/{self._round + 1}")
        if data is None:
            return None
        self._round += 1
        self._jobs = [Job(**values) for values in json.loads(data)]
        return self._jobs

    def take(self) -> Job | None:
        """Return a job of this round that nobody has taken, or `None` if there is none left."""
        number = self._group.count(f"taken/{self._round}")
        return self._jobs[number - 1] if number <= len(self._jobs) else None

    def report(self, report: Found | Job) -> None:
        """Tell the first rank of the record of an arm, or of a job that is done."""
        if isinstance(report, Job):
            values: dict[str, Any] = {"job": asdict(report)}
        else:
            record = [to_dict(event) for event in report.record]
            values = {"record": record, "is_fresh": report.is_fresh}
        number = self._group.count("reports")
        self._group.put(f"report/{number}", json.dumps(values, allow_nan=False).encode())

    def reports(self) -> Iterator[Found | Job]:
        """Yield what was told and not yet read, in its order."""
        while (data := self._group.get(f"report/{self._read + 1}")) is not None:
            self._read += 1
            told: dict[str, Any] = json.loads(data)
            if "job" in told:
                yield Job(**told["job"])
            else:
                yield Found([event_of(values) for values in told["record"]], told["is_fresh"])
