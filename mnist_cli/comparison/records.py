"""The folder of a comparison: the records of its runs, and the lock of each.

A finished run is `NAME.jsonl`, one event per line. An unfinished run is `NAME.part.jsonl`, whose
last line is its position, and the checkpoint `NAME.UPDATE.part.pt` of that position. `NAME.lock` is
locked by the process that trains the run; the system releases the lock when the process ends,
however it ends. On a file system without locks several processes may train the same run. A run
whose record is damaged, or does not match its checkpoint, is trained again.
"""

import errno
import hashlib
import json
import logging
import math
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, fields, replace
from pathlib import Path
from types import UnionType
from typing import Any, ClassVar, Union, get_args, get_origin, get_type_hints

from filelock import FileLock, Timeout
from torch import Tensor, nn

from mnist_cli.comparison.events import (
    REASONS,
    BatchLosses,
    Change,
    PathPlane,
    Point,
    RunEnd,
    RunOptions,
)
from mnist_cli.comparison.path import Path as WeightPath
from mnist_cli.comparison.path import max_bytes
from mnist_cli.comparison.run import WITHOUT_EFFECT, Run
from mnist_cli.comparison.run_training import RunTraining, SharedData
from mnist_cli.config.registry import PROBES
from mnist_cli.data.batches import training_shape
from mnist_cli.errors import CheckpointError, OutputError
from mnist_cli.events import Event, ProbeEvent, values_of
from mnist_cli.models.checkpoint import encode, load_checkpoint
from mnist_cli.models.networks import count_parameters
from mnist_cli.runtime.files import FileVersion, write_atomic
from mnist_cli.training.probes.probes import probe_class
from mnist_cli.training.state import versions_on

PATH_ENDING = ".path.npy"
_log = logging.getLogger(__name__)
_NO_LOCKS = {errno.ENOLCK, errno.ENOTSUP}  # of file systems that cannot lock
_MAX_BYTES = 1 << 25  # of a record; one with 50,000 probes has 19 MB
_MAX_STRING = 1000  # characters
_NOT_FINITE = ("inf", "-inf", "nan")  # written as strings, since JSON has no such numbers
# The ranges of numbers, both ends included. Other integers count something, from 0 on; the squares
# and sums of other numbers have to be finite.
_RANGES: dict[str, tuple[float, float]] = {
    **dict.fromkeys(("train_accuracy", "test_accuracy", "val_accuracy"), (0.0, 1.0)),
    **dict.fromkeys(("seconds", "train_seconds"), (0.0, 1e12)),
    **dict.fromkeys(("update_seconds", "update_seconds_iqr"), (0.0, 1e12)),
    "share": (0.0, 1.001),  # with rounding errors
    "busy_share": (0.0, 1.0),
    **dict.fromkeys(("batch_size", "samples", "population", "draws"), (1, 2**63 - 1)),
    "lr": (0.0, sys.float_info.max),
    **dict.fromkeys(("stable_up_to", "two_over_lr"), (sys.float_info.min, sys.float_info.max)),
}
_COUNTS, _NUMBERS = (0, 2**63 - 1), (-1e100, 1e100)
# The loss, and what is measured, may be infinite or no number where a run diverges.
_MAY_BE_INFINITE = ("loss", "before", "after", "deviation", "noise_scale", "sharpness", "norm")


@dataclass(frozen=True)
class Saved(Event):
    """The position of an unfinished run."""

    name: ClassVar[str] = "saved"
    update: int
    train_seconds: float


_KINDS: dict[str, type[Event]] = {
    kind.name: kind for kind in (RunOptions, Point, Change, BatchLosses, PathPlane, RunEnd, Saved)
}


class RunFolder:
    """A folder with the records of runs, on which several processes may work at once."""

    def __init__(self, folder: str) -> None:
        """Create the folder if it does not exist.

        Raises:
            OutputError: it cannot be created.

        """
        self._folder = Path(folder)
        self._reported: set[Path] = set()  # damaged records, each of which is reported once
        self._initial: dict[Path, FileVersion] = {}  # the records there when this process began
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            for path in self._folder.glob("*.jsonl"):
                with suppress(FileNotFoundError):  # another process has just removed it
                    self._initial[path] = FileVersion.of(path, path.stat())
        except OSError as error:
            raise OutputError(
                f"--output {self._folder}: cannot make this folder: {error.strerror}; "
                "choose another one"
            ) from error

    @contextmanager
    def lock(self, run: Run) -> Iterator[bool]:
        """Lock a run while this process trains it; yield False if another process has it locked.

        Raises:
            OutputError: the folder cannot be written to.

        """
        # Other users of a shared folder have to be able to lock the run.
        lock = FileLock(self._path(run.name, ".lock"), timeout=0, mode=0o666)
        try:
            lock.acquire()
        except Timeout:
            yield False
            return
        except OSError as error:
            if error.errno in _NO_LOCKS:  # this process trains the run, whatever others do
                yield True
                return
            raise OutputError(
                f"--output {self._folder}: cannot write to this folder: {error.strerror}; "
                "choose another one"
            ) from error
        try:
            yield True
        finally:
            if self.finished(run) is not None:  # nobody needs the lock any more
                with suppress(OSError):  # Windows keeps a file that is open
                    self._path(run.name, ".lock").unlink()
            lock.release()

    def has_record(self, run: Run) -> bool:
        """Return True if a run has a record, which may be damaged."""
        return self._path(run.name, ".jsonl").exists()

    def finished(self, run: Run) -> list[Event] | None:
        """Return the record of a run, or `None` if it is missing or damaged."""
        path = self._path(run.name, ".jsonl")
        record = self._read(path)
        if record is None or belongs_to(run, record):
            return record
        self._report(path, "it is not the record of its run")
        return None

    def finished_before(self, run: Run) -> bool:
        """Return True if a finished run was finished when this process began.

        A record that was damaged then has been replaced since.
        """
        initial = self._initial.get(self._path(run.name, ".jsonl"))
        return initial is not None and not initial.was_replaced()

    def open(self, run: Run, data: SharedData) -> RunTraining:
        """Return the training of a run, resumed where it was interrupted or new."""
        record = self._read(self._path(run.name, ".part.jsonl")) or []
        saved = record.pop() if record else None
        if isinstance(saved, Saved):
            path = self._checkpoint(run.name, saved.update)
            state = data.new_state(run)
            try:
                checkpoint = load_checkpoint(path)
                elsewhere = {name: getattr(run.config, name) for name in WITHOUT_EFFECT}
                same = replace(checkpoint.config, **elsewhere) == run.config
                if checkpoint.position.update != saved.update or not same:
                    raise CheckpointError("its checkpoint does not fit its record")
                state.restore(checkpoint, training_shape(run.config, len(data.train)))
                snapshots = {
                    update: weights
                    for update, weights in self.snapshots(run, state.model).items()
                    if update <= saved.update
                }
                return RunTraining(
                    run, data, state, record, saved.train_seconds, snapshots=snapshots
                )
            except CheckpointError as error:
                _log.warning("%s: %s; this run begins again", path, error)
        return RunTraining(run, data, data.new_state(run), [], 0.0)

    def save(self, training: RunTraining) -> None:
        """Save an unfinished run: its checkpoint, and then the record that names it.

        Until the record is replaced, it names the checkpoint that was saved before.
        """
        name, update = training.run.name, training.state.update
        versions = versions_on(next(training.state.model.parameters()).device)
        checkpoint = training.state.checkpoint(training.run.config, versions)
        write_atomic(self._checkpoint(name, update), encode(checkpoint))
        self.save_path(training)
        saved = Saved(training.clock(), update, training.train_seconds)
        self._write(
            self._path(name, ".part.jsonl"), [*training.record, training.batch_losses(), saved]
        )
        self._remove_checkpoints(name, kept=update)

    def snapshots(self, run: Run, model: nn.Module) -> dict[int, Tensor]:
        """Return the snapshots of a run's weights; none if they are missing or damaged."""
        path = self._path(run.name, PATH_ENDING)
        try:
            parameters = count_parameters(model)
            return WeightPath.decode(contents_of(path, max_bytes(parameters)), parameters)
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            if path not in self._reported:
                self._reported.add(path)
                _log.warning("%s is damaged (%.200r); its path is left out", str(path), str(error))
            return {}

    def plane(self, runs: list[Run]) -> PathPlane | None:
        """Return the plane that was measured for the paths of these runs, if it was."""
        record = self._read(self._plane_path(runs))
        plane = record[0] if record else None
        known = {(run.batch_size, run.variant.setting) for run in runs}
        if isinstance(plane, PathPlane) and known.issuperset(plane.runs):
            return plane
        return None

    def save_plane(self, runs: list[Run], plane: PathPlane) -> None:
        """Write the plane of the paths of these runs."""
        self._write(self._plane_path(runs), [plane])

    def _plane_path(self, runs: list[Run]) -> Path:
        names = json.dumps([run.name for run in runs])
        return self._path("plane-" + hashlib.sha256(names.encode()).hexdigest()[:10], ".jsonl")

    def save_path(self, training: RunTraining, *, ended: bool = False) -> None:
        """Write the snapshots of a run's weights, if it records them: of an ended run, the last."""
        if training.path is not None:
            last = (training.state.update, training.state.model) if ended else None
            write_atomic(self._path(training.run.name, PATH_ENDING), training.path.encode(last))

    def finish(self, run: Run, record: list[Event]) -> None:
        """Write the record of a finished run, and remove its other files."""
        name = run.name
        options = RunOptions(record[-1].seconds, name, run.options)
        self._write(self._path(name, ".jsonl"), [options, *record])
        self._path(name, ".part.jsonl").unlink(missing_ok=True)
        self._remove_checkpoints(name)

    def _checkpoint(self, name: str, update: int) -> Path:
        return self._path(name, f".{update}.part.pt")

    def _remove_checkpoints(self, name: str, kept: int | None = None) -> None:
        """Remove the checkpoints of a run, except for that after `kept` updates."""
        for path in self._folder.glob(f"{name}.*.part.pt"):
            if kept is None or path != self._checkpoint(name, kept):
                path.unlink(missing_ok=True)

    def _path(self, name: str, ending: str) -> Path:
        return self._folder / f"{name}{ending}"

    def _write(self, path: Path, record: list[Event]) -> None:
        lines = [json.dumps(_to_json(event), allow_nan=False) + "\n" for event in record]
        write_atomic(path, "".join(lines).encode())

    def _read(self, path: Path) -> list[Event] | None:
        """Return the events in a file, or `None` if it is missing or damaged."""
        try:
            return decode_record(read_record(path))
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            self._report(path, str(error))
            return None

    def _report(self, path: Path, reason: str) -> None:
        if path not in self._reported:
            self._reported.add(path)
            _log.warning("%s is damaged (%.200r); this run is made again", str(path), reason)


def read_record(path: Path) -> bytes:
    """Return the contents of a record's file.

    Raises:
        OSError, ValueError: see `contents_of`.

    """
    return contents_of(path, _MAX_BYTES)


def decode_record(contents: bytes) -> list[Event]:
    """Return the events in the contents of a record's file, after checking them.

    Raises:
        ValueError: it is damaged.

    """
    try:
        return [event_from_json(json.loads(line)) for line in contents.decode().splitlines()]
    except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError) as error:
        raise ValueError(str(error)) from error


def contents_of(path: Path, most: int) -> bytes:
    """Return the contents of a file of at most so many bytes.

    Raises:
        OSError: it cannot be read.
        ValueError: it is too large, or a pipe or a device, which might never end.

    """
    status = path.stat()
    if not (stat.S_ISREG(status.st_mode) and status.st_size <= most):
        raise ValueError("it is not a file, or too large")
    return path.read_bytes()


def _to_json(event: Event) -> dict[str, Any]:
    """Return the JSON object of an event; numbers that are not finite are written as strings."""
    values = {
        key: str(value) if isinstance(value, float) and not math.isfinite(value) else value
        for key, value in values_of(event).items()
    }
    return {"event": event.name, **values}


def event_from_json(values: Any) -> Event:  # noqa: ANN401
    """Return the event of a JSON object.

    Raises:
        ArithmeticError, AttributeError, LookupError, TypeError, ValueError: it is invalid.

    """
    values = dict(values)
    name = values.pop("event")
    if name == ProbeEvent.name and values["probe"] not in PROBES:
        raise ValueError(f"its probe is {str(values['probe'])[:40]}")
    kind = probe_class(values["probe"]) if name == ProbeEvent.name else _KINDS[name]
    hints = get_type_hints(kind)
    known = {field.name: hints[field.name] for field in fields(kind)}
    return kind(**{key: _checked(key, value, known[key]) for key, value in values.items()})


def _checked(key: str, value: Any, hint: Any) -> Any:  # noqa: ANN401
    """Return the value of a field, after checking it against the field's annotation.

    Raises:
        ArithmeticError, TypeError, ValueError: it has another type, or is out of range.

    """
    if get_origin(hint) in (UnionType, Union):
        if value is None and type(None) in get_args(hint):
            return None
        hints = [each for each in get_args(hint) if each is not type(None)]
        hint = str if str in hints and isinstance(value, str) else hints[0]
    if get_origin(hint) is list and isinstance(value, list):
        return [_checked(key, item, get_args(hint)[0]) for item in value]
    if hint is float and value in _NOT_FINITE and key.endswith(_MAY_BE_INFINITE):
        return float(value)
    if hint in (int, float) and type(value) in (int, hint):
        least, most = _RANGES.get(key, _COUNTS if hint is int else _NUMBERS)
        if least <= value <= most:  # false for NaN
            return hint(value)
    elif hint is str and isinstance(value, str):
        if value.isprintable() and len(value) <= _MAX_STRING:
            return value
    elif hint is bool and isinstance(value, bool):
        return value
    raise ValueError(f"its {key} is {str(value)[:40]}")


def belongs_to(run: Run, record: list[Event]) -> bool:
    """Return True if a record is complete and belongs to a run."""
    end = record[-1] if record else None
    if not isinstance(end, RunEnd) or end.reason not in REASONS:
        return False
    if (end.arm, end.batch_size, end.seed) != (run.name, run.batch_size, run.config.seed):
        return False
    if any(getattr(event, "arm", run.name) != run.name for event in record):
        return False
    points = [event for event in record if isinstance(event, Point)]
    if end.reason != "diverged":
        results = (end.train_loss, end.train_accuracy, end.test_loss, end.test_accuracy)
        losses = [loss for point in points for loss in (point.train_loss, point.test_loss)]
        if not all(value is not None and math.isfinite(value) for value in (*results, *losses)):
            return False
    complete = end.reason == "diverged" or (bool(points) and points[-1].update == end.update)
    return end.lr == run.config.lr and (complete or run.is_trial)
