"""The records of arms in a folder: finished ones, and ones that were cut off.

A finished arm is `NAME.jsonl`, an event a line. One that was cut off is `NAME.part.jsonl`, whose
last line says where it stands, and `NAME.part.pt`, a checkpoint. A record that is damaged, or does
not fit its checkpoint, is made anew: it costs time, and no result.
"""

import json
import logging
import math
from dataclasses import dataclass, fields, replace
from pathlib import Path
from types import UnionType
from typing import Any, ClassVar, Union, get_args, get_origin, get_type_hints

from mnist_cli.comparison.arm_run import RunTraining, SharedData
from mnist_cli.comparison.events import REASONS, Change, Point, RunEnd
from mnist_cli.comparison.plan import PLACES, Run
from mnist_cli.data.batches import epoch_shape
from mnist_cli.errors import CheckpointError, OutputError
from mnist_cli.events import AlignmentProbe, Event, NoiseProbe, SharpnessProbe, to_dict
from mnist_cli.models.checkpoint import load_checkpoint, save_checkpoint
from mnist_cli.runtime.files import OutputLock, OutputLockedError, write_atomic
from mnist_cli.training.state import TrainingState, versions_on

_log = logging.getLogger(__name__)
_MAX_BYTES = 1 << 30


@dataclass(frozen=True)
class Saved(Event):
    """Where an arm that was cut off stands."""

    name: ClassVar[str] = "saved"
    update: int
    train_seconds: float


_KINDS: dict[tuple[str, str | None], type[Event]] = {
    **{(kind.name, None): kind for kind in (Point, Change, RunEnd, Saved)},
    ("probe", "noise"): NoiseProbe,
    ("probe", "alignment"): AlignmentProbe,
    ("probe", "sharpness"): SharpnessProbe,
}


class Store:
    """A folder with the records of arms.

    Of the ranks of a comparison, which may share the folder, only the first is `claiming` it.
    """

    def __init__(self, folder: str, *, claiming: bool = True) -> None:
        self._folder = Path(folder)
        self._is_locking = claiming
        self._lock: OutputLock | None = None

    def __enter__(self) -> "Store":
        """Make the folder if it is not there, and keep other comparisons out of it.

        Raises:
            OutputError: it cannot be made or written to, or another comparison is using it.

        """
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(
                f"--output {self._folder}: cannot make this folder: {error.strerror}; "
                "choose another one"
            ) from error
        try:
            if self._is_locking:
                self._lock = OutputLock(self._folder / "arms")
        except OutputLockedError:
            raise OutputError(
                f"--output {self._folder}: another comparison is using it; "
                "name another folder, or wait for it"
            ) from None
        return self

    def __exit__(self, *_: object) -> None:
        if self._lock is not None:
            self._lock.close()

    def finished(self, arm: Run) -> list[Event] | None:
        """Return the record of a finished arm, if there is one."""
        path = self._path(arm.name, ".jsonl")
        record = self._read(path)
        if record is None or _is_of(arm, record):
            return record
        _log.warning("%s is not the record of its arm; this arm is run again", path)
        return None

    def open(self, arm: Run, material: SharedData) -> RunTraining:
        """Return an arm that goes on where it was cut off, or begins."""
        record = self._read(self._path(arm.name, ".part.jsonl")) or []
        saved = record.pop() if record else None
        path = self._path(arm.name, ".part.pt")
        if isinstance(saved, Saved) and path.is_file():
            state = TrainingState(arm.config, material.train.device)
            try:
                checkpoint = load_checkpoint(path)
                places = {place: getattr(arm.config, place) for place in PLACES}
                same = replace(checkpoint.config, **places) == arm.config
                if checkpoint.position.update != saved.update or not same:
                    raise CheckpointError("its checkpoint does not fit its record")
                state.restore(checkpoint, epoch_shape(arm.config, len(material.train)))
                return RunTraining(arm, material, state, record, saved.train_seconds)
            except CheckpointError as error:
                _log.warning("%s begins anew: %s", arm.name, error)
        return RunTraining(arm, material, TrainingState(arm.config, material.train.device), [], 0.0)

    def save(self, run: RunTraining) -> None:
        """Write how far an arm has come; the checkpoint last, since it vouches for the record."""
        saved = Saved(run.clock(), run.state.update, run.train_seconds)
        self._write(self._path(run.arm.name, ".part.jsonl"), [*run.record, saved])
        path = self._path(run.arm.name, ".part.pt")
        versions = versions_on(next(run.state.model.parameters()).device)
        save_checkpoint(run.state.checkpoint(run.arm.config, versions), str(path))

    def finish(self, name: str, record: list[Event]) -> None:
        """Write the record of the finished arm of that name, and remove what it needs no more."""
        self._write(self._path(name, ".jsonl"), record)
        for ending in (".part.jsonl", ".part.pt"):
            self._path(name, ending).unlink(missing_ok=True)

    def _path(self, name: str, ending: str) -> Path:
        return self._folder / f"{name}{ending}"

    def _write(self, path: Path, record: list[Event]) -> None:
        lines = [json.dumps(to_dict(event), allow_nan=False) + "\n" for event in record]
        write_atomic(path, "".join(lines).encode())

    def _read(self, path: Path) -> list[Event] | None:
        """Return the events in a file, or `None` if it is not there or damaged."""
        try:
            with path.open("rb") as file:
                data = file.read(_MAX_BYTES + 1)
            if len(data) > _MAX_BYTES:
                raise ValueError("it is too large")
            lines = data.decode().splitlines()
            return [event_of(json.loads(line, parse_constant=_refuse)) for line in lines]
        except FileNotFoundError:
            return None
        except (
            OSError,
            ArithmeticError,
            LookupError,
            RecursionError,
            TypeError,
            ValueError,
        ) as error:
            _log.warning("%s is damaged (%s); this arm is run again", path, error)
            return None


def event_of(values: Any) -> Event:  # noqa: ANN401
    """Return the event that the object of a line stands for.

    Raises:
        ArithmeticError, LookupError, TypeError, ValueError: it stands for none.

    """
    values = dict(values)
    name = values.pop("event")
    kind = _KINDS[name, values.get("probe")]
    hints = get_type_hints(kind)
    known = {field.name: hints[field.name] for field in fields(kind)}
    for key, value in values.items():
        if not _fits(value, known[key]):
            raise ValueError(f"its {key} is {str(value)[:40]}")
    return kind(**{key: _as_float(value, known[key]) for key, value in values.items()})


def _fits(value: object, hint: Any) -> bool:  # noqa: ANN401
    if get_origin(hint) in (UnionType, Union):
        return any(_fits(value, part) for part in get_args(hint))
    if get_origin(hint) is list:
        return isinstance(value, list) and all(_fits(item, get_args(hint)[0]) for item in value)
    if hint is float:  # null stands for a number that is not finite
        if isinstance(value, bool) or not isinstance(value, float | int | None):
            return False
        return value is None or math.isfinite(value)
    return type(value) is hint


def _as_float(value: Any, hint: Any) -> Any:  # noqa: ANN401
    if value is None and hint is float:
        return float("inf")
    return float(value) if hint is float or (type(value) is int and hint == float | None) else value


def _refuse(constant: str) -> None:
    raise ValueError(f"it holds {constant}")


def _is_of(arm: Run, record: list[Event]) -> bool:
    """Tell whether a record is whole, and that of an arm."""
    end = record[-1] if record else None
    if not isinstance(end, RunEnd) or end.reason not in REASONS:
        return False
    if (end.arm, end.batch_size, end.seed) != (arm.name, arm.batch_size, arm.config.seed):
        return False
    figures = (end.train_loss, end.train_accuracy, end.test_loss, end.test_accuracy)
    if end.reason != "diverged" and None in figures:
        return False
    points = [event for event in record if isinstance(event, Point)]
    whole = end.reason == "diverged" or (bool(points) and points[-1].update == end.update)
    return end.lr == arm.config.lr and (whole or arm.purpose == "trial")
