"""The folder of a comparison whose runs were made in several other folders."""

import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path

from mnist_cli.comparison.events import RunOptions
from mnist_cli.comparison.path import max_bytes
from mnist_cli.comparison.records import (
    PATH_ENDING,
    RunFolder,
    belongs_to,
    contents_of,
    decode_record,
    read_record,
)
from mnist_cli.comparison.run import Run
from mnist_cli.config.options import names_in
from mnist_cli.config.quoting import printable
from mnist_cli.config.reading import expand_home
from mnist_cli.data.catalogue import number_of_classes
from mnist_cli.errors import DataError, UsageError
from mnist_cli.events import Event
from mnist_cli.models.networks import build_model, count_parameters
from mnist_cli.runtime.files import FileVersion, write_atomic

_MAX_FILES = 10_000  # of a folder, that an error message looks at
_NAME = re.compile(r"(\d+|full)-seed(\d+)-lr.*\.jsonl")  # of the record of a compared run


class MergedFolder(RunFolder):
    """A folder to which the records of runs are copied from other folders when they are needed.

    Each is screened as if this program had found it in its own folder. Nothing is trained: a run
    that is missing or damaged is an error.
    """

    def __init__(self, folder: str, merged: Sequence[str]) -> None:
        """Create the folder if it does not exist.

        Raises:
            DataError: one of the others does not exist, or cannot be read.
            OutputError: it cannot be created.

        """
        self._named = f"--merge {printable(','.join(merged))}"
        self._merged = [Path(expand_home(name)) for name in merged]
        for path in self._merged:
            try:
                next(path.iterdir(), None)
            except OSError as error:
                raise DataError(
                    f"{self._named}: cannot read the folder {printable(path)}: {error.strerror}; "
                    "name the --output of comparisons"
                ) from error
        self._taken: set[str] = set()
        super().__init__(folder)

    def finished(self, run: Run) -> list[Event]:
        """Return the record of a run.

        Raises:
            UsageError: no folder has the run; the message says which options differ.
            DataError: the record is damaged, or two folders have different ones.
            OutputError: it cannot be copied.

        """
        if run.name not in self._taken:
            self._take(run)
            self._taken.add(run.name)
        record = super().finished(run)
        if record is None:
            raise DataError(f"{printable(self._path(run.name, '.jsonl'))} was changed meanwhile")
        return record

    def _take(self, run: Run) -> None:
        """Copy the record of a run to this folder, unless it is there, and its path."""
        own = self._path(run.name, ".jsonl")
        found: dict[Path, bytes] = {}
        for folder in self._merged:
            path = folder / own.name
            with suppress(FileNotFoundError):
                found[path] = _screened(path, run)
        with suppress(FileNotFoundError, DataError):  # a damaged one here is replaced
            found[own] = _screened(own, run)
        if not found:
            raise UsageError(f"{self._named}: {self._what_is_missing(run)}")
        first, *others = found
        for path in others:
            if found[path] != found[first]:
                raise DataError(
                    f"{printable(first)} and {printable(path)} are records of the same run that "
                    "differ, if only in their seconds; keep one of them"
                )
        if own not in found:
            self._take_path(run, first.parent)  # before the record, which tells that all is there
            write_atomic(own, found[first])
        self._initial[own] = FileVersion.of(own, own.stat())

    def _take_path(self, run: Run, folder: Path) -> None:
        """Copy the snapshots of a run's weights, if there are any; they are checked when read."""
        name = run.name + PATH_ENDING
        if "path" in names_in(run.config.probe) and (folder / name).exists():
            classes = number_of_classes(run.config.dataset)
            most = max_bytes(count_parameters(build_model(run.config.model, classes=classes)))
            try:
                write_atomic(self._folder / name, contents_of(folder / name, most))
            except (OSError, ValueError) as error:
                raise DataError(f"{printable(folder / name)} is damaged ({error})") from error

    def _what_is_missing(self, run: Run) -> str:
        """Return which run no folder has, and what they have instead."""
        what = f"{run.variant.phrase}, seed {run.config.seed}"
        nearest: tuple[Path, list[str], list[str]] | None = None
        for path in self._records(f"{run.kind}-seed{run.config.seed}-lr"):
            with suppress(OSError, ValueError, LookupError):
                event = decode_record(read_record(path))[0]
                if isinstance(event, RunOptions):
                    asked = [each for each in run.options if each not in event.options]
                    there = [each for each in event.options if each not in run.options]
                    if nearest is None or len(there) < len(nearest[2]):
                        nearest = path, asked, there
        if nearest is not None:
            path, asked, there = nearest
            return (
                f"no run of {what} with these options: {_listed(asked)} differs from "
                f"{printable(_listed(there))} of {printable(path)}"
            )
        names = [_NAME.fullmatch(path.name) for path in self._records("")]
        sizes = sorted({name[1] for name in names if name}, key=lambda size: (len(size), size))
        seeds = sorted({int(name[2]) for name in names if name})
        there_is = f"; there are batch sizes {_listed(sizes)} and seeds {_listed(seeds)}"
        return (
            f"no run of {what}{there_is if sizes else ''}; give the --batch-sizes, --seed and "
            "--seeds of all folders together, and else the options that they were made with"
        )

    def _records(self, start: str) -> Iterator[Path]:
        """Yield the records of the merged folders whose names begin with `start`."""
        for folder in self._merged:
            for path in islice(folder.iterdir(), _MAX_FILES):
                is_record = path.suffix == ".jsonl" and not path.name.endswith(".part.jsonl")
                if path.name.startswith(start) and is_record:
                    yield path


def _screened(path: Path, run: Run) -> bytes:
    """Return the contents of a file, after checking that it is the record of a run.

    Raises:
        FileNotFoundError: it is missing.
        DataError: it is damaged, or not that record.

    """
    try:
        contents = read_record(path)
        if not belongs_to(run, decode_record(contents)):
            raise ValueError("it is not the record of its run")
    except FileNotFoundError:
        raise
    except (OSError, ValueError) as error:
        raise DataError(
            f"{printable(path)} is damaged ({printable(str(error)[:200])}); delete it, and make "
            f"the run again: mnist-compare --output {printable(path.parent)}"
        ) from error
    return contents


def _listed(values: Sequence[object]) -> str:
    """Return values as a list of at most five."""
    more = f" and {len(values) - 5} more" if values[5:] else ""
    return ", ".join(map(str, values[:5])) + more
