"""Which columns of a table are labels, an index and pixels: what is not certain is refused."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mnist_cli.config.own_data import MAX_CLASSES
from mnist_cli.data.own.arrays import named_as_emnist
from mnist_cli.data.own.emnist import emnist_split
from mnist_cli.data.own.samples import (
    MIN_CLASSES,
    Labels,
    Part,
    labels_of_names,
    labels_of_numbers,
    plain_name,
    side_of,
)
from mnist_cli.data.own.tables import Table
from mnist_cli.errors import DataError

# Pixels are correlated with their neighbours at least so much, and by more standard deviations than
# a small table has by chance.
_CORRELATED, _DEVIATIONS = 0.5, 3.0
_MOST_ROWS = 20_000  # that a correlation is computed from
# Of the samples: more have the ground where images are rarely written on, and more in a corner.
_GROUND, _CORNER = 0.5, 0.95
_SAMPLES_OF_A_CLASS = 3
_INDEX_NAMES = {"", "id", "index", "imageid", "image_id", "unnamed: 0"}
_DISTINCT_ROWS = MAX_CLASSES  # a counted column of more rows is an index


@dataclass(frozen=True)
class _Choice:
    """What the columns are: the numeric ones from `first` up to `last` are the pixels.

    The labels are a column of text, or the numeric one at the place `label`.
    """

    first: int
    last: int
    label: int | None = None
    text: int | None = None
    index: int | None = None


def part_of(table: Table, *, label: int | None) -> tuple[Part, tuple[str, ...]]:
    """Return the samples of a table, and what to tell about it; `label` is a known column.

    Raises:
        DataError: it is not certain what the columns are.

    """
    choice = _choose(table, label)
    side = math.isqrt(choice.last - choice.first)
    labels = _labels(table, choice)
    pixels = table.values(choice.first, choice.last).reshape(len(table), side, side)
    header = "with a header" if table.dialect.header else "without a header"
    notes = [f"table {header}, {len(table):,} rows of {side * side:,} pixels"]
    if labels is not None:
        place = choice.text if choice.text is not None else table.numeric[choice.label or 0]
        notes.append(f"labels: {table.name_of(place)}")
    if choice.index is not None:
        name = table.name_of(table.numeric[choice.index])
        notes.append(f"{name} counts the rows and is left out")
    return Part(table.place, pixels, labels), tuple(notes)


def _choose(table: Table, label: int | None) -> _Choice:
    count = len(table.numeric)
    if table.texts:
        text = label if label is not None else next(iter(table.texts))
        others = [table.name_of(column) for column in table.texts if column != text]
        if others:
            raise DataError(
                f"{table.place}: {' and '.join(others)} and {table.name_of(text)} hold words; "
                "remove those that are not the labels, or choose with --label-column"
            )
        if side_of(count):
            return _Choice(0, count, text=text)
        if side_of(count - 1) and _counts_rows(table):
            return _Choice(1, count, text=text, index=0)
        raise _no_square(table, count, labelled=True)
    if side_of(count):
        return _Choice(0, count)
    if side_of(count - 1):
        is_counted = len(table) > _DISTINCT_ROWS and _is_counted(table.ends[0])
        if is_counted or _is_named_index(table):
            return _Choice(1, count, index=0)
        return _choose_end(table, 0)
    if side_of(count - 2) and _counts_rows(table):
        return _choose_end(table, 1)
    raise _no_square(table, count, labelled=False)


def _choose_end(table: Table, first: int) -> _Choice:
    """Return the choice of the first or the last numeric column as the labels."""
    last = len(table.numeric) - 1
    side = side_of(last - first) or 1
    index = 0 if first else None
    starts = _looks(table, first, first + 1, first + side)
    ends = _looks(table, last, last - 1, last - side)
    if (starts, ends) == ("label", "pixel"):
        return _Choice(first + 1, last + 1, label=first, index=index)
    if (starts, ends) == ("pixel", "label"):
        return _Choice(first, last, label=last, index=index)
    names = [table.name_of(table.numeric[place]) for place in (first, last)]
    raise DataError(
        f"{table.place}: {names[0]} and {names[1]} could both be the labels, or neither; say it "
        f"with --label-column {table.numeric[first] + 1} or --label-column -1"
    )


def _looks(table: Table, place: int, beside: int, above: int) -> str:
    """Return whether a column looks like a `label` or a `pixel`, or is `open`.

    Labels are whole numbers from 0, of at least two and at most 62 kinds, with three samples each
    on average, and not correlated with the columns where the next pixels would be. A column that
    hardly ever differs from the ground of the one beside it, but then much, is a corner of the
    images.
    """
    step = max(1, len(table) // _MOST_ROWS)
    column = table.ends[place]
    here = column[::step]
    neighbours = [_column(table, at, step) for at in (beside, above)]
    ground = _ground_of(neighbours[0])
    if ground is not None and np.isclose(here, ground).mean() > _CORNER:
        is_corner = np.isclose(here, ground).all() or column.max() > MAX_CLASSES
        return "pixel" if is_corner else "open"  # or the label of a rare class
    if (column < 0).any() or (column % 1).any():
        return "pixel"
    by_chance = _DEVIATIONS / math.sqrt(len(here))
    correlation = max(_correlation(here, neighbour) for neighbour in neighbours)
    if correlation > max(_CORRELATED, by_chance):
        return "pixel"
    kinds = len(np.unique(column))
    fits = MIN_CLASSES <= kinds <= min(MAX_CLASSES, len(column) / _SAMPLES_OF_A_CLASS)
    return "label" if fits else "open"


def _column(table: Table, place: int, step: int) -> NDArray[np.float64]:
    if place in table.ends:
        return table.ends[place][::step]
    values = np.concatenate([block[:, place] for block in table.blocks])
    return values[::step].astype(np.float64)


def _ground_of(column: NDArray[np.float64]) -> float | None:
    """Return the value that most samples have, or None."""
    values, counts = np.unique(column, return_counts=True)
    is_ground = counts.max() > _GROUND * len(column)
    return float(values[counts.argmax()]) if is_ground else None


def _correlation(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """Return the absolute correlation of two columns; 0 if one is constant."""
    one, other = one - one.mean(), other - other.mean()
    norm = float(np.sqrt((one @ one) * (other @ other)))
    return abs(float(one @ other)) / norm if norm > 0 else 0.0


def _is_named_index(table: Table) -> bool:
    """Return True if the header says that the first numeric column counts the rows."""
    header = table.dialect.header
    return header is not None and header[table.numeric[0]].lower() in _INDEX_NAMES


def _counts_rows(table: Table) -> bool:
    """Return True if the first numeric column has another whole number in each row."""
    column = table.ends[0]
    return len(np.unique(column)) == len(column) and not (column % 1).any()


def _is_counted(column: NDArray[np.float64]) -> bool:
    return column[0] in (0, 1) and bool((np.diff(column) == 1).all())


def _labels(table: Table, choice: _Choice) -> Labels | None:
    if choice.text is not None:
        labels = labels_of_names(_decoded(table, choice.text), table.place)
    elif choice.label is not None:
        labels = labels_of_numbers(table.ends[choice.label], table.place)
    else:
        return None
    split = emnist_split(table.place)
    return labels if split is None else named_as_emnist(labels, split, table.place)


def _decoded(table: Table, column: int) -> list[str]:
    """Return the cells of a column of words."""
    cells = table.texts[column]
    known: dict[bytes, str] = {}
    for cell in dict.fromkeys(cells):
        try:
            known[cell] = plain_name(cell.decode())
        except UnicodeDecodeError:
            known[cell] = ""
        if not known[cell]:
            line = table.lines[cells.index(cell)]
            what = "is not UTF-8; save the file as UTF-8" if cell else "has no label; give it one"
            raise DataError(f"{table.place}, line {line:,}, {table.name_of(column)} {what}")
    return [known[cell] for cell in cells]


def _no_square(table: Table, count: int, *, labelled: bool) -> DataError:
    """Return the error for a table whose rows are no square images."""
    place, rows = table.place, len(table)
    if count <= 3:
        what = "labels, predictions or names, but no pixels"
        return DataError(
            f"{place} has {what}; name the file with the pixels (a sample_submission.csv is for "
            "answers)"
        )
    if (
        side_of(count) is None
        and any(side_of(size) for size in (rows, rows - 1) if size >= 49)
        and not side_of(count - 1)
    ):
        return DataError(
            f"{place} has {rows:,} rows of {count:,} cells: it seems to have one column a sample; "
            "transpose it: python -c \"import numpy; numpy.savetxt('data.csv', "
            "numpy.loadtxt('FILE', delimiter=',').T, '%g', ',')\""
        )
    tail = _one_hot_tail(table, count)
    if tail:
        return DataError(
            f"{place} ends with {tail} columns of which one is 1, a label written as one-hot; "
            "write it as one number: python -c \"import numpy; a = numpy.loadtxt('FILE'); "
            f"numpy.savez('data.npz', x=a[:, :-{tail}], y=a[:, -{tail}:].argmax(1))\""
        )
    if count % 3 == 0 and side_of(count // 3):
        return DataError(f"{place} has three colours for each pixel; make its images gray")
    beside = " beside the label" if labelled else ""
    return DataError(
        f"{place} has {count:,} numbers a row{beside}, which are no square image (784 are 28 by "
        "28), nor one and a label; check the columns, or crop the images to squares"
    )


def _one_hot_tail(table: Table, count: int) -> int:
    """Return the length of a tail of which one number is 1 and the others 0, behind a square."""
    block = table.blocks[0]
    for tail in range(2, MAX_CLASSES + 1):
        if side_of(count - tail):
            values = block[:, count - tail :]
            if ((values == 0) | (values == 1)).all() and (values.sum(axis=1) == 1).all():
                return tail
    return 0
