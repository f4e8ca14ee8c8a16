"""What a comparison has found so far, in the order of its batch sizes."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from mnist_cli.comparison.events import (
    Change,
    CompareStart,
    Conclusions,
    Point,
    RunEnd,
    Summary,
    Tuned,
)
from mnist_cli.comparison.stats import Sample, median, reading, sample
from mnist_cli.config.compare import FULL
from mnist_cli.events import AlignmentProbe, Event, NoiseProbe, SharpnessProbe

Values = dict[int | str, list[float]]  # by batch size, a value a seed

AXES: dict[str, Callable[[Point], float]] = {
    "updates": lambda point: point.update,
    "samples": lambda point: point.samples_seen,
    "seconds": lambda point: point.train_seconds,
}


@dataclass(frozen=True)
class RunRecord:
    """What was measured of an arm."""

    points: list[Point]
    changes: list[Change]
    noise: list[NoiseProbe]
    alignment: list[AlignmentProbe]
    sharpness: list[SharpnessProbe]
    end: RunEnd


@dataclass
class Results:
    """The arms that ended, and what was said of the comparison."""

    start: CompareStart | None = None
    arms: list[RunRecord] = field(default_factory=list)
    tuned: list[Tuned] = field(default_factory=list)
    verdict: Conclusions | None = None

    @property
    def ends(self) -> list[RunEnd]:
        """How the arms ended."""
        return [arm.end for arm in self.arms]

    @property
    def batch_sizes(self) -> list[int | str]:
        """The batch sizes in the order in which they were given."""
        return list(dict.fromkeys(arm.end.batch_size for arm in self.arms))

    def of(self, batch_size: int | str) -> list[RunRecord]:
        """Return the arms of a batch size, by seed."""
        return [arm for arm in self.arms if arm.end.batch_size == batch_size]

    def samples_in(self, batch_size: int | str) -> int:
        """Return the number of samples in an update."""
        assert self.start
        return self.start.samples if batch_size == FULL else int(batch_size)

    def add(self, event: Event) -> None:
        """Take in what was said of the comparison."""
        if isinstance(event, CompareStart):
            self.start = event
        elif isinstance(event, Tuned):
            self.tuned.append(event)
        elif isinstance(event, Conclusions):
            self.verdict = event

    def add_run(self, record: Sequence[Event]) -> None:
        """Take in the record of an arm that ended."""
        end = record[-1]
        assert isinstance(end, RunEnd)
        self.arms.append(
            RunRecord(
                points=[event for event in record if isinstance(event, Point)],
                changes=[event for event in record if isinstance(event, Change)],
                noise=[event for event in record if isinstance(event, NoiseProbe)],
                alignment=[event for event in record if isinstance(event, AlignmentProbe)],
                sharpness=[event for event in record if isinstance(event, SharpnessProbe)],
                end=end,
            )
        )

    def summaries(self, seconds: float) -> Iterator[Summary]:
        """Yield a summary for each batch size."""
        for batch_size in self.batch_sizes:
            yield self._summary(batch_size, seconds)

    def readings(self, axis: str, value: Callable[[Point], float]) -> tuple[float, Values]:
        """Return a place on an axis that all arms came to, and there a value of each.

        It is the farthest such place. Batch sizes that diverged with any seed are left out. Between
        two points a curve is taken to be straight where both scales are logarithmic.
        """
        along = AXES[axis]
        whole = self._whole()
        x = min((along(arm.points[-1]) for arm in whole), default=0.0)
        if x <= 0:
            return x, {}
        found = self._at(
            math.log(x),
            lambda point: math.log(along(point)) if along(point) > 0 else -math.inf,
            lambda point: math.log(max(value(point), 1e-30)),
            whole,
        )
        return x, {size: [math.exp(v) for v in values] for size, values in found.items()}

    def at_equal_loss(self, value: Callable[[Point], float]) -> tuple[float, Values]:
        """Return the lowest training loss that all arms came to, and a value of each there."""
        whole = self._whole()
        lowest = max((min(p.train_loss for p in arm.points) for arm in whole), default=0.0)
        if lowest <= 0:
            return lowest, {}
        found = self._at(
            math.log(lowest), lambda point: math.log(max(point.train_loss, 1e-30)), value, whole
        )
        return lowest, found

    def highest_loss(self) -> float:
        """Return the training loss above which a curve is merely one that diverges."""
        return 3 * max(arm.points[0].train_loss for arm in self.arms if arm.points)

    def of_ends(self, value: Callable[[RunEnd], float | None]) -> Values:
        """Return a figure of the arms' ends, for the batch sizes that have it with every seed."""
        found: Values = {}
        for size in self.batch_sizes:
            values = [value(arm.end) for arm in self.of(size)]
            present = [v for v in values if v is not None]
            if len(present) == len(values):  # or the lucky seeds would stand for all
                found[size] = present
        return found

    def to_target(self, name: str) -> Values:
        """Return a figure of the arms' ends, for the batch sizes that always got to the target."""
        return self.of_ends(
            lambda end: getattr(end, name) if end.reason == "until-accuracy" else None
        )

    def noise_scales(self) -> tuple[float, float] | None:
        """Return the medians of the noise scales that were measured first and last in the arms."""
        probes = [(arm.noise[0], arm.noise[-1]) for arm in self.arms if arm.noise]
        if not probes:
            return None
        first = median([first.noise_scale for first, _ in probes])
        return first, median([last.noise_scale for _, last in probes])

    def _whole(self) -> list[RunRecord]:
        """Return the arms of the batch sizes of which none diverged."""
        lost = {arm.end.batch_size for arm in self.arms if arm.end.reason == "diverged"}
        return [arm for arm in self.arms if arm.end.batch_size not in lost]

    def _at(
        self,
        x: float,
        along: Callable[[Point], float],
        value: Callable[[Point], float],
        arms: list[RunRecord],
    ) -> Values:
        found: Values = {}
        for arm in arms:
            places = [(along(p), value(p)) for p in arm.points if along(p) > -math.inf]
            height = reading(places, x)
            if height is not None:
                found.setdefault(arm.end.batch_size, []).append(height)
        return found

    def _summary(self, batch_size: int | str, seconds: float) -> Summary:
        arms = self.of(batch_size)
        ends = [arm.end for arm in arms]
        finished = [end for end in ends if end.reason not in ("diverged", "gave-up")]
        scored = [end for end in ends if end.reason != "diverged"]
        assert self.start
        target = self.start.config["until_accuracy"] is not None
        tuned = next((t for t in self.tuned if t.batch_size == batch_size), None)
        noise = [arm.noise[-1].noise_scale for arm in arms if arm.noise]
        sharp = [arm.sharpness[-1] for arm in arms if arm.sharpness]
        return Summary(
            seconds=seconds,
            batch_size=batch_size,
            lr=ends[0].lr,
            seeds=len(ends),
            diverged=len(ends) - len(scored),
            reached=len(finished) if target else None,
            updates=_mean([end.update for end in finished]),
            samples_seen=_mean([end.samples_seen for end in finished]),
            train_seconds=_mean([end.train_seconds for end in finished]),
            train_loss=_mean([end.train_loss for end in scored]),
            train_accuracy=_mean([end.train_accuracy for end in scored]),
            test_loss=_mean([end.test_loss for end in scored]),
            test_accuracy=_mean([end.test_accuracy for end in scored]),
            val_accuracy=_mean([end.val_accuracy for end in scored]),
            rise_share=_mean([end.rises / end.watched if end.watched else None for end in scored]),
            change_deviation=_mean([end.change_deviation for end in scored]),
            watched=sum(end.watched for end in scored),
            stable_from=tuned.stable_from if tuned else None,
            stable_to=tuned.stable_to if tuned else None,
            tuning_seconds=tuned.train_seconds if tuned else None,
            noise_scale=_mean(noise),
            sharpness=_mean([probe.sharpness for probe in sharp]),
            stable_up_to=sharp[-1].stable_up_to if sharp else None,
        )


def _mean(values: Sequence[float | None]) -> Sample | None:
    present = [value for value in values if value is not None]
    return sample(present) if present else None
