"""Read a data set from files of one's own: tables, arrays or pictures, told apart by content."""

import contextlib
import re
from collections import Counter
from collections.abc import Container, Iterable, Sequence
from pathlib import Path

import numpy as np

from mnist_cli.config.own_data import MAX_CLASSES
from mnist_cli.config.quoting import printable, quote
from mnist_cli.data.own.arrays import ArrayFile, arrays_of, pair
from mnist_cli.data.own.columns import part_of
from mnist_cli.data.own.emnist import emnist_split
from mnist_cli.data.own.fitting import Fitted, fit_parts
from mnist_cli.data.own.layout import is_picture, layout_of
from mnist_cli.data.own.samples import (
    MIN_CLASSES,
    Images,
    Labels,
    OwnData,
    Part,
    Parts,
    ReadOptions,
    Samples,
    labels_of_names,
    natural_key,
)
from mnist_cli.data.own.sources import Entry, Kind, Source, entry_of, opened
from mnist_cli.data.own.tables import has_pixels_only, is_wide, read_table
from mnist_cli.errors import DataError, UsageError

__all__ = ["OwnData", "ReadOptions", "Samples", "read_images", "read_own"]

_NO_OPTIONS = ReadOptions()
_MAX_SIBLINGS = 1000
_MAX_DATA_FILES = 200  # of a folder without pictures
# What is put in place of `train` in a name, to find the test samples beside the training samples.
_TESTS = {"train": ("test", "t10k"), "training": ("testing", "test"), "tra": ("tes",)}
_TRAIN = re.compile(r"training|train|(?<=\.)tra$", re.IGNORECASE)


def read_own(path: Path, options: ReadOptions = _NO_OPTIONS) -> OwnData:
    """Return the data set at a path: a file, a folder or a zip.

    Raises:
        DataError: it is none, or something in it is not certain; the message says what to do.
        UsageError: an option does not fit it.

    """
    _check(options)
    with opened(path) as source, contextlib.ExitStack() as stack:
        fitted, labels, notes = _read(source, options, stack)
        return _finished(source.place, fitted, labels, notes)


def read_images(
    path: Path, options: ReadOptions = _NO_OPTIONS, *, light_ground: bool | None = None
) -> Images:
    """Return the images in one table or array, `uint8 [N, 28, 28]`, whether it has labels or not.

    `light_ground` is the polarity of the training samples; it is found if it is None.

    Raises:
        DataError: it is no such file, or something in it is not certain.
        UsageError: an option does not fit it.

    """
    _check(options)
    with opened(path) as source, contextlib.ExitStack() as stack:
        if not source.is_alone and any(map(is_picture, source.entries)):
            raise DataError(f"{source.place} has pictures; name these, one by one or as a pattern")
        found = _found(source, options, stack, needs_labels=False)
        if found.test is not None:
            raise DataError(
                f"{source.place} has training and test images; save those to be predicted in a "
                "file of their own"
            )
        options = _with_orientation(found, options)
        return fit_parts(found.train, None, options, light_ground=light_ground).train


def _check(options: ReadOptions) -> None:
    value = options.max_value
    if value is not None and not (np.isfinite(value) and value > 0):
        raise UsageError(f"--max-value {value:g}: it must be more than 0, such as 16")


def _read(
    source: Source, options: ReadOptions, stack: contextlib.ExitStack
) -> tuple[Fitted, list[Labels], tuple[str, ...]]:
    """Return the images, the labels of each part, and what to tell."""
    if not source.is_alone and any(map(is_picture, source.entries)):
        from mnist_cli.data.own.pictures import fit_pictures  # noqa: PLC0415 (torch)

        _refuse_label_column(source, options)
        layout = layout_of(source)
        fitted = fit_pictures(layout, options)
        parts = [layout.train] if layout.test is None else [layout.train, layout.test]
        labels = [labels_of_names(part.labels or (), part.place) for part in parts]
        return fitted, labels, layout.notes
    found = _found(source, options, stack, needs_labels=True)
    notes = list(found.notes)
    if (split := emnist_split(found.train.place)) is not None:
        notes.append(f"EMNIST's {split}: labels named, and images turned upright")
    fitted = fit_parts(found.train, found.test, _with_orientation(found, options))
    both = [found.train] if found.test is None else [found.train, found.test]
    return fitted, [part.labels for part in both if part.labels is not None], tuple(notes)


def _with_orientation(found: Parts, options: ReadOptions) -> ReadOptions:
    """Return the options, with the orientation that the name of the set tells."""
    is_emnist = emnist_split(found.train.place) is not None
    return ReadOptions(options.label_column, options.max_value, options.transposed or is_emnist)


def _refuse_label_column(source: Source, options: ReadOptions) -> None:
    if options.label_column is not None:
        raise UsageError(
            f"--label-column {quote(options.label_column)}: {source.place} is no table"
        )


def _found(
    source: Source, options: ReadOptions, stack: contextlib.ExitStack, *, needs_labels: bool
) -> Parts:
    """Return the samples of tables or arrays."""
    if source.is_alone:
        entry = source.entries[0]
        kind = entry.kind()
        if kind is Kind.TEXT:
            tests = _tests_beside(entry) if needs_labels else []
            return _tables(entry, tests[0] if tests else None, options, needs_labels=needs_labels)
        _refuse_label_column(source, options)
        if kind is Kind.ZIP:
            raise DataError(f"{source.place} is packed by zip and by gzip; unpack it")
        arrays = list(arrays_of([(entry, kind)], stack))
        if needs_labels:
            arrays += arrays_of(_siblings(entry), stack)
            arrays = [a for a in arrays if a.key == arrays[0].key]
        return pair(arrays, source.place, needs_labels=needs_labels)
    kinds = _kinds(source)
    arrays = list(arrays_of(kinds, stack))
    tables = [entry for entry, kind in kinds if kind is Kind.TEXT and is_wide(entry)]
    if arrays:
        _refuse_label_column(source, options)
        return pair(_of_one_split(arrays, source), source.place, needs_labels=needs_labels)
    if not tables:
        raise DataError(
            f"{source.place} has neither tables with pixels nor arrays nor pictures; name what has "
            "them"
        )
    return _tables(*_train_and_test(tables, source), options, needs_labels=needs_labels)


def _of_one_split(arrays: list[ArrayFile], source: Source) -> list[ArrayFile]:
    """Return the arrays, of which no two may be of different splits of EMNIST."""
    splits = {emnist_split(array.name) for array in arrays}
    if len(splits) > 1:
        names = ", ".join(sorted(split for split in splits if split))
        raise DataError(
            f"{source.place} has several splits of EMNIST ({names}); name one of the files of one, "
            "such as its training images"
        )
    return arrays


def _kinds(source: Source) -> list[tuple[Entry, Kind]]:
    """Return the files of a folder or zip that may be read, with what they are.

    Raises:
        DataError: there are none, or one is a pointer of Git LFS.

    """
    names = {entry.name for entry in source.entries}
    entries = [e for e in source.entries if not _is_packed_twin(e.name, names)]
    # Checkpoints may lie beside the data that they were trained on.
    entries = [e for e in entries if not e.name.lower().endswith((".pt", ".pth"))] or entries
    if len(entries) > _MAX_DATA_FILES:
        raise DataError(
            f"{source.place} has {len(entries):,} files, but no pictures; name the data themselves"
        )
    kinds, refused = [], []
    for entry in entries:
        try:
            kinds.append((entry, entry.kind()))
        except DataError as error:
            if "Git LFS" in str(error):
                raise
            refused.append(error)
    if not kinds:
        raise refused[0] if refused else DataError(f"{source.place} is empty; name data")
    return kinds


def _is_packed_twin(name: str, names: Container[str]) -> bool:
    """Return True for `data.gz` if there is `data`, too."""
    return name.endswith(".gz") and name.removesuffix(".gz") in names


def _siblings(entry: Entry) -> list[tuple[Entry, Kind]]:
    """Return the arrays beside a file, without it and without the same, packed."""
    if entry.path is None:
        return []
    files = beside(entry.path)
    names = {path.name for path in files} | {entry.name}
    found = []
    for path in files:
        is_same = path.name.removesuffix(".gz") == entry.name.removesuffix(".gz")
        if not is_same and not _is_packed_twin(path.name, names):
            sibling = entry_of(path)
            with contextlib.suppress(DataError):
                found.append((sibling, sibling.kind()))
    return [(sibling, kind) for sibling, kind in found if kind in (Kind.IDX, Kind.NPY)]


def beside(path: Path) -> list[Path]:
    """Return the regular files beside a file, with no more than a thousand of them, sorted."""
    try:
        files = sorted(p for p in path.parent.iterdir() if p != path and p.is_file())
    except OSError:
        return []
    return [file for file in files if not file.name.startswith(".")][:_MAX_SIBLINGS]


def read_with(path: Path) -> list[Path]:
    """Return the files beside a file that are read with it: test samples, or arrays."""
    try:
        entry = entry_of(path)
        is_text = entry.kind() is Kind.TEXT
    except DataError:
        return []
    entries = _tests_beside(entry) if is_text else [each for each, _ in _siblings(entry)]
    return [each.path for each in entries if each.path is not None]


def _tests_beside(entry: Entry) -> list[Entry]:
    """Return the files beside `train.csv` that may be its test samples, as `test.csv` is."""
    if entry.path is None:
        return []
    names = {path.name: path for path in beside(entry.path)}
    return [entry_of(names[name]) for name in test_names(entry.name) if name in names]


def test_names(name: str) -> list[str]:
    """Return the names that the test samples beside a file of this name may have."""
    found = _TRAIN.search(name)
    if not found:
        return []
    word = found[0]
    spellings = []
    for test in _TESTS[word.lower()]:
        spelled = test.upper() if word.isupper() else test.title() if word.istitle() else test
        spellings.append(name[: found.start()] + spelled + name[found.end() :])
    packed = [s.removesuffix(".gz") if s.endswith(".gz") else f"{s}.gz" for s in spellings]
    return spellings + packed


def _train_and_test(tables: Sequence[Entry], source: Source) -> tuple[Entry, Entry | None]:
    """Return the tables of the training and of the test samples."""
    if len(tables) == 1:
        return tables[0], None
    names = {table.name: table for table in tables}
    pairs = [
        (table, names[test]) for table in tables for test in test_names(table.name) if test in names
    ]
    if len(pairs) != 1 or len(tables) > 2:
        shown = ", ".join(printable(name) for name in list(names)[:6])
        raise DataError(
            f"{source.place} has several tables ({shown}); name the one of the training samples"
        )
    return pairs[0]


def _tables(train: Entry, test: Entry | None, options: ReadOptions, *, needs_labels: bool) -> Parts:
    """Return the samples of one table, or of a pair."""
    part, notes = _table(train, options, needs_labels=needs_labels)
    if part.labels is None and needs_labels:
        raise DataError(
            f"{train.place} has pixels but no labels; training needs a column of labels, and "
            "mnist-predict CHECKPOINT FILE reads such a file"
        )
    if test is None:
        return Parts(part, None, notes)
    said = f"{test.place} has no labels, so it is no test set; mnist-predict reads it"
    if has_pixels_only(test):
        return Parts(part, None, (*notes, said))
    other, more = _table(test, options, needs_labels=False)
    if other.labels is None:
        return Parts(part, None, (*notes, said))
    return Parts(part, other, (*notes, *(f"{test.place}: {note}" for note in more)))


def _table(
    entry: Entry, options: ReadOptions, *, needs_labels: bool
) -> tuple[Part, tuple[str, ...]]:
    table, label = read_table(entry, options.label_column, needs_labels=needs_labels)
    return part_of(table, label=label)


def _finished(
    place: str, fitted: Fitted, labels: Sequence[Labels], notes: Iterable[str]
) -> OwnData:
    """Return the data set, its labels as indices of all classes."""
    classes = tuple(sorted({name for part in labels for name in part.names}, key=natural_key))
    if not MIN_CLASSES <= len(classes) <= MAX_CLASSES:
        what = "one class" if len(classes) == 1 else f"{len(classes)} classes"
        raise DataError(
            f"{place} has {what} ({', '.join(classes[:6])}); {MIN_CLASSES} to {MAX_CLASSES} can be "
            "trained"
        )
    train = _samples(fitted.train, labels[0], classes)
    test = None if fitted.test is None else _samples(fitted.test, labels[1], classes)
    size = (
        f"{len(train):,} samples"
        if test is None
        else (f"{len(train):,} training and {len(test):,} test samples")
    )
    found = [f"{place}: {size}", *notes, *fitted.notes, *_words_of_classes(labels, classes)]
    return OwnData(train, test, classes, tuple(found), fitted.light_ground)


def _samples(images: Images, labels: Labels, classes: tuple[str, ...]) -> Samples:
    order = np.array([classes.index(name) for name in labels.names], dtype=np.uint8)
    return Samples(images, order[labels.numbers])


def _words_of_classes(labels: Sequence[Labels], classes: tuple[str, ...]) -> list[str]:
    """Return what to tell about the classes."""
    counts = dict(zip(labels[0].names, np.bincount(labels[0].numbers).tolist(), strict=False))
    shown = ", ".join(f"{name} ({counts.get(name, 0):,})" for name in classes)
    words = [f"{len(classes)} classes: {shown}"]
    for here, other, where in (
        (labels[0], labels[-1], "training samples, but in no test sample"),
        (labels[-1], labels[0], "test samples, but in no training sample"),
    ):
        missing = sorted(set(here.names) - set(other.names), key=natural_key)
        if missing:
            words.append(f"only in {where}: {', '.join(missing)}")
    folded = Counter(name.casefold() for name in classes)
    alike = [name for name in classes if folded[name.casefold()] > 1]
    if alike and len(alike) < len(classes) / 2:
        words.append(f"classes that differ by capitals alone: {', '.join(alike)}")
    return words
