"""What a comparison has found so far, in the order of its batch sizes."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from mnist_cli.events import AlignmentProbe, Event, NoiseProbe, SharpnessProbe
from mnist_cli.lab.events import (
    ArmEnd,
    Change,
    CompareStart,
    Point,
    Summary,
    Tuned,
    Verdict,
)
from mnist_cli.lab.options import FULL
from mnist_cli.lab.statistics import Sample, reading, sample

AXES: dict[str, Callable[[Point], float]] = {
    "updates": lambda point: point.update,
    "samples": lambda point: point.samples_seen,
    "seconds": lambda point: point.train_seconds,
}


@dataclass(frozen=True)
class ArmRecord:
    """What was measured of an arm."""

    points: list[Point]
    changes: list[Change]
    noise: list[NoiseProbe]
    alignment: list[AlignmentProbe]
    sharpness: list[SharpnessProbe]
    end: ArmEnd


@dataclass
class Results:
    """The arms that ended, and what was said of the comparison."""

    start: CompareStart | None = None
    arms: list[ArmRecord] = field(default_factory=list)
    tuned: list[Tuned] = field(default_factory=list)
    verdict: Verdict | None = None

    @property
    def ends(self) -> list[ArmEnd]:
        """How the arms ended."""
        return [arm.end for arm in self.arms]

    @property
    def batch_sizes(self) -> list[int | str]:
        """The batch sizes in the order in which they were given."""
        return list(dict.fromkeys(arm.end.batch_size for arm in self.arms))

    def of(self, batch_size: int | str) -> list[ArmRecord]:
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
        elif isinstance(event, Verdict):
            self.verdict = event

    def add_arm(self, record: Sequence[Event]) -> None:
        """Take in the record of an arm that ended."""
        end = record[-1]
        assert isinstance(end, ArmEnd)
        self.arms.append(
            ArmRecord(
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

    def readings(
        self, axis: str, value: Callable[[Point], float]
    ) -> tuple[float, dict[int | str, Sample]]:
        """Return a place on an axis that all arms came to, and there the mean of a value of each.

        It is the farthest such place. Arms that diverged are left out.
        """
        along = AXES[axis]
        whole = [arm for arm in self.arms if arm.end.reason != "diverged"]
        x = min((along(arm.points[-1]) for arm in whole), default=0.0)
        return x, self._at(x, along, value, whole)

    def at_equal_loss(
        self, value: Callable[[Point], float]
    ) -> tuple[float, dict[int | str, Sample]]:
        """Return the lowest training loss that all arms came to, and the mean of a value there."""
        whole = [arm for arm in self.arms if arm.end.reason != "diverged"]
        lowest = max((min(p.train_loss for p in arm.points) for arm in whole), default=0.0)
        return lowest, self._at(lowest, lambda point: point.train_loss, value, whole)

    def _at(
        self,
        x: float,
        along: Callable[[Point], float],
        value: Callable[[Point], float],
        arms: list[ArmRecord],
    ) -> dict[int | str, Sample]:
        found: dict[int | str, list[float]] = {}
        for arm in arms:
            height = reading([(along(p), value(p)) for p in arm.points], x)
            if height is not None:
                found.setdefault(arm.end.batch_size, []).append(height)
        return {size: sample(values) for size, values in found.items()}

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
            two_over_lr=sharp[-1].two_over_lr if sharp else None,
        )


def _mean(values: Sequence[float | None]) -> Sample | None:
    present = [value for value in values if value is not None]
    return sample(present) if present else None
