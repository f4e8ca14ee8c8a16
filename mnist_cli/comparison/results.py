"""The results of a comparison, and quantities derived from them by variant."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import TYPE_CHECKING

from mnist_cli.comparison.events import (
    BatchLosses,
    Change,
    CompareStart,
    PathPlane,
    Point,
    RunEnd,
    Summary,
    Tuned,
)
from mnist_cli.comparison.stats import MeanAndDeviation, interpolate, mean_and_deviation
from mnist_cli.comparison.variants import Variant
from mnist_cli.config.compare import FULL
from mnist_cli.events import Event
from mnist_cli.training.probes.alignment import AlignmentProbe
from mnist_cli.training.probes.losses import LossesProbe
from mnist_cli.training.probes.noise import NoiseProbe
from mnist_cli.training.probes.path import PathProbe
from mnist_cli.training.probes.sharpness import SharpnessProbe

if TYPE_CHECKING:
    from mnist_cli.comparison.findings import Conclusions

Values = dict[Variant, list[float]]  # a value a seed, in the order of the seeds

AXES: dict[str, Callable[[Point], float]] = {
    "updates": lambda point: point.update,
    "samples": lambda point: point.samples_seen,
    "seconds": lambda point: point.train_seconds,
}


@dataclass(frozen=True)
class RunMeasurements:
    """The measurements of a run."""

    variant: Variant
    points: list[Point]
    noise: list[NoiseProbe]
    alignment: list[AlignmentProbe]
    sharpness: list[SharpnessProbe]
    batch_losses: list[tuple[int, float]]  # by update
    end: RunEnd
    changes: list[Change] = field(default_factory=list)
    path: list[PathProbe] = field(default_factory=list)
    losses: list[LossesProbe] = field(default_factory=list)


@dataclass
class Results:
    """The finished runs and the other events of a comparison, from its start on."""

    runs: list[RunMeasurements] = field(default_factory=list)
    tuned: list[Tuned] = field(default_factory=list)
    conclusions: "Conclusions | None" = None
    plane: PathPlane | None = None
    _start: CompareStart | None = field(default=None, init=False)

    @property
    def start(self) -> CompareStart:
        """The first event of the comparison."""
        if self._start is None:
            raise RuntimeError("the comparison has not started")
        return self._start

    @start.setter
    def start(self, event: CompareStart) -> None:
        self._start = event

    @property
    def ends(self) -> list[RunEnd]:
        """The last events of the runs."""
        return [run.end for run in self.runs]

    @property
    def variants(self) -> list[Variant]:
        """The variants in the order in which they were given."""
        return list(dict.fromkeys(run.variant for run in self.runs))

    def variant(self, batch_size: int | str, setting: str | None) -> Variant:
        """Return the variant with a batch size and a setting."""
        return next(v for v in self.variants if (v.batch_size, v.setting) == (batch_size, setting))

    def runs_of(self, variant: Variant) -> list[RunMeasurements]:
        """Return the runs of a variant, by seed."""
        return [run for run in self.runs if run.variant == variant]

    def update_size(self, variant: Variant) -> int:
        """Return the number of samples in an update."""
        if variant.batch_size != FULL:
            return int(variant.batch_size)
        subset: int | None = self.start.value_of(variant, "subset")
        return subset or self.start.samples

    def places(self) -> list[int] | None:
        """Return the variants' places on a scale: by batch size, or with `--vary` in order.

        It is None for settings of one batch size, which have no order.
        """
        if len({variant.batch_size for variant in self.variants}) == 1 < len(self.variants):
            return None
        if any(variant.setting is not None for variant in self.variants):
            return [*range(len(self.variants))]
        return [self.update_size(variant) for variant in self.variants]

    def add_run(self, variant: Variant, record: Sequence[Event]) -> None:
        """Add the record of a finished run."""
        self.runs.append(
            RunMeasurements(
                variant=variant,
                points=[event for event in record if isinstance(event, Point)],
                noise=[event for event in record if isinstance(event, NoiseProbe)],
                alignment=[event for event in record if isinstance(event, AlignmentProbe)],
                sharpness=[event for event in record if isinstance(event, SharpnessProbe)],
                batch_losses=[
                    pair
                    for event in record
                    if isinstance(event, BatchLosses)
                    for pair in zip(event.updates, event.losses, strict=True)
                ],
                end=end_of(record),
                changes=[event for event in record if isinstance(event, Change)],
                path=[event for event in record if isinstance(event, PathProbe)],
                losses=[event for event in record if isinstance(event, LossesProbe)],
            )
        )

    def summaries(self, seconds: float = 0.0) -> Iterator[Summary]:
        """Yield a summary for each variant."""
        for variant in self.variants:
            yield self._summary(variant, seconds)

    def at_equal(self, axis: str, value: Callable[[Point], float]) -> tuple[float, Values]:
        """Return the last position on an axis that all runs reached, and each run's value there.

        `axis` is one of `AXES`; `value` returns the quantity of a point, such as its loss.
        Variants that diverged with any seed are left out. Interpolation is linear on logarithmic
        scales.
        """
        position = AXES[axis]
        runs = self._undiverged()
        x = min((position(run.points[-1]) for run in runs), default=0.0)
        if x <= 0:
            return x, {}
        logarithms = self._interpolated(
            runs,
            math.log(x),
            lambda point: math.log(position(point)) if position(point) > 0 else -math.inf,
            lambda point: math.log(max(value(point), 1e-30)),
        )
        return x, {each: [math.exp(v) for v in values] for each, values in logarithms.items()}

    def at_equal_loss(self, value: Callable[[Point], float]) -> tuple[float, Values]:
        """Return the lowest training loss that all runs reached, and a value of each there."""
        runs = self._undiverged()
        lowest = max((min(p.train_loss for p in run.points) for run in runs), default=0.0)
        if lowest <= 0:
            return lowest, {}
        values = self._interpolated(
            runs, math.log(lowest), lambda p: math.log(max(p.train_loss, 1e-30)), value
        )
        return lowest, values

    def highest_loss(self) -> float:
        """Return a training loss for the top of plots: three times the highest initial loss."""
        return 3 * max(run.points[0].train_loss for run in self.runs if run.points)

    def end_values(self, value: Callable[[RunEnd], float | None]) -> Values:
        """Return a value of the runs' ends, for the variants that have it with every seed."""
        return self._complete(self.runs, lambda run: value(run.end))

    def _complete(
        self, runs: list[RunMeasurements], value: Callable[[RunMeasurements], float | None]
    ) -> Values:
        """Return a value of each run, for the variants that have it with every seed.

        The seeds that have a value would be biased.
        """
        found: dict[Variant, list[float | None]] = {}
        for run in runs:
            found.setdefault(run.variant, []).append(value(run))
        return {
            variant: present
            for variant, values in found.items()
            if len(present := [v for v in values if v is not None]) == len(values)
        }

    def target_costs(self, name: str) -> Values:
        """Return a field of the runs' ends, for the variants that always reached the target."""
        return self.end_values(
            lambda end: getattr(end, name) if end.reason == "until-accuracy" else None
        )

    def noise_scales(self) -> dict[Variant, tuple[float, float]]:
        """Return the medians over the seeds of the noise scales measured first and last.

        Runs that diverged are left out: their last probe is one from the middle or the start. Each
        variant goes its own way through the weights, so the last ones are those of different
        places.
        """
        found = {}
        for variant in self.variants:
            completed = [run for run in self.runs_of(variant) if run.end.reason != "diverged"]
            probes = [run.noise for run in completed if run.noise]
            if probes:
                first, last = ([each[n].noise_scale for each in probes] for n in (0, -1))
                found[variant] = (median(first), median(last))
        return found

    def _interpolated(
        self,
        runs: list[RunMeasurements],
        x: float,
        position: Callable[[Point], float],
        value: Callable[[Point], float],
    ) -> Values:
        """Return the value of each run at the position `x`, by variant."""

        def height(run: RunMeasurements) -> float | None:
            curve = [(position(p), value(p)) for p in run.points if position(p) > -math.inf]
            return interpolate(curve, x)

        return self._complete(runs, height)

    def _undiverged(self) -> list[RunMeasurements]:
        """Return the runs of the variants without a diverged run."""
        diverged = {run.variant for run in self.runs if run.end.reason == "diverged"}
        return [run for run in self.runs if run.variant not in diverged]

    def _summary(self, variant: Variant, seconds: float) -> Summary:
        runs = self.runs_of(variant)
        ends = [run.end for run in runs]
        finished = [end for end in ends if end.reason not in ("diverged", "gave-up")]
        scored = [end for end in ends if end.reason != "diverged"]
        target = self.start.config["until_accuracy"] is not None
        key = (variant.batch_size, variant.setting)
        tuned = next((t for t in self.tuned if (t.batch_size, t.setting) == key), None)
        completed = [run for run in runs if run.end.reason != "diverged"]
        noise = [run.noise[-1].noise_scale for run in completed if run.noise]
        sharp = [run.sharpness[-1] for run in completed if run.sharpness]
        return Summary(
            seconds=seconds,
            batch_size=variant.batch_size,
            setting=variant.setting,
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


def end_of(record: Sequence[Event]) -> RunEnd:
    """Return the last event of a finished run's record."""
    end = record[-1]
    if not isinstance(end, RunEnd):
        raise TypeError(f"a record ends with {end!r}")
    return end


def _mean(values: Sequence[float | None]) -> MeanAndDeviation | None:
    present = [value for value in values if value is not None]
    return mean_and_deviation(present) if present else None
