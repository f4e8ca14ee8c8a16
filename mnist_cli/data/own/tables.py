"""Tables of text: CSV and its relatives, a sample a line.

Blocks of lines are parsed by NumPy, and accepted only if it understood as many numbers as there are
cells. Any other block is parsed cell by cell, and the first one that is no number is told with its
line.
"""

import csv
import re
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from mnist_cli.config.quoting import quote
from mnist_cli.data.own.samples import MAX_BYTES, MAX_SAMPLES, MAX_SIDE, MIN_SIDE, Values, side_of
from mnist_cli.data.own.sources import Entry, Stream
from mnist_cli.errors import DataError, UsageError

_BLOCK = 1 << 22  # bytes
_MAX_LINE = 1 << 22
_MAX_COLUMNS = MAX_SIDE**2 + 2  # an image, an index and a label
_MIN_COLUMNS = MIN_SIDE**2
_SAMPLE = 50  # lines that tell how a table is written
_LARGEST = 1e15  # number, such as one that counts rows
_SHOWN = 40  # characters of a cell in a message
_NUMBER = re.compile(rb"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d{1,3})?")
_LABEL_NAMES = {
    *("label", "labels", "class", "classes", "target", "targets", "y"),
    *("digit", "digits", "category", "letter", "character"),
}
_LIBSVM = re.compile(rb"\S+(?: +\d+:\S+)+")


Dtype = type[np.uint8] | type[np.int64] | type[np.float64]
_DTYPES: tuple[Dtype, ...] = (np.uint8, np.int64, np.float64)  # the quick and small one first


@dataclass(frozen=True)
class Dialect:
    """How a table is written.

    Attributes:
        separator: a comma, semicolon or tab; None for spaces.
        trailing: every line ends with a separator.
        columns: how many cells a line has.
        header: the names of the columns, if the first line has them.

    """

    separator: bytes | None
    trailing: bool
    columns: int
    header: tuple[str, ...] | None

    def cells(self, line: bytes) -> list[bytes]:
        """Return the cells of a line without quotes and without spaces around them."""
        if self.separator is None:
            return line.split()
        if b'"' in line:
            text = line.decode("utf-8", "surrogateescape")
            delimiter = self.separator.decode()
            try:
                row = next(csv.reader([text], delimiter=delimiter, skipinitialspace=True), [])
            except csv.Error:  # such as a quote that is never closed
                return []
            cells = [cell.strip().encode("utf-8", "surrogateescape") for cell in row]
        else:
            cells = [cell.strip() for cell in line.split(self.separator)]
        return cells[:-1] if self.trailing and cells and not cells[-1] else cells


@dataclass
class Table:
    """The rows of a table.

    Attributes:
        place: the file, for messages.
        dialect: how it is written.
        numeric: the columns that hold numbers.
        blocks: their values, `uint8` or `float32` `[n, columns]` each. Those of `ends` may be cut
            off at 255.
        ends: the values of the first two numeric columns and of the last, which may be no pixels.
        texts: the cells of each other column.
        lines: the number of each row's line.

    """

    place: str
    dialect: Dialect
    numeric: tuple[int, ...]
    blocks: list[Values] = field(default_factory=list)
    ends: dict[int, NDArray[np.float64]] = field(default_factory=dict)
    texts: dict[int, list[bytes]] = field(default_factory=dict)
    lines: list[int] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.lines)

    def name_of(self, column: int) -> str:
        """Return what a message calls a column."""
        header = self.dialect.header
        return f"column {column + 1}" + (f" ({quote(header[column])})" if header else "")

    def values(self, first: int, last: int) -> Values:
        """Return the numeric columns from `first` up to `last`, by their places, `[N, columns]`."""
        for place in self.ends:
            if first <= place < last and (
                self.ends[place].max() > 255
                or self.ends[place].min() < 0
                or (self.ends[place] % 1).any()
            ):
                self._widen(place)
        is_bytes = all(block.dtype == np.uint8 for block in self.blocks)
        dtype = np.uint8 if is_bytes else np.float32
        return np.concatenate([b[:, first:last].astype(dtype, copy=False) for b in self.blocks])

    def _widen(self, place: int) -> None:
        """Put the exact values of one of the `ends` back into the blocks."""
        start = 0
        for number, block in enumerate(self.blocks):
            wide = block.astype(np.float32)
            wide[:, place] = self.ends[place][start : start + len(block)]
            self.blocks[number] = wide
            start += len(block)


def is_wide(entry: Entry) -> bool:
    """Return True if one of the first lines of a text has as many cells as an image has pixels.

    Raises:
        DataError: it cannot be read.

    """
    return max(_cells_of_first_lines(entry)) >= _MIN_COLUMNS


def has_pixels_only(entry: Entry) -> bool:
    """Return True if the first lines of a text have as many cells as a square image has pixels.

    Then there is no column left for labels, which the first lines tell.

    Raises:
        DataError: it cannot be read.

    """
    return side_of(max(_cells_of_first_lines(entry))) is not None


def _cells_of_first_lines(entry: Entry) -> list[int]:
    """Return the number of cells in each of the first lines, by each of the separators."""
    with entry.open() as stream:
        lines = stream.read(1 << 16).split(b"\n")[:20]
    return [line.count(b) + 1 for line in lines for b in (b",", b";", b"\t", b" ")]


def read_table(
    entry: Entry, label_column: str | None, *, needs_labels: bool = True
) -> tuple[Table, int | None]:
    """Return the rows of a table, and the column of the labels if option or header tells it.

    That column is text. If no labels are needed, the column of the option need not be there.

    Raises:
        DataError: a line or a cell is not like the others; the message names both.
        UsageError: the table has no column `label_column`.

    """
    with entry.open() as stream:
        blocks = _blocks(stream, entry.place)
        first = next(blocks, (1, []))
        reader = _Reader(entry.place, _significant(first), label_column, needs_labels=needs_labels)
        reader.add(*first)
        for block in blocks:
            reader.add(*block)
    return reader.finish(), reader.label


def _blocks(stream: Stream, place: str) -> Iterator[tuple[int, list[bytes]]]:
    """Yield lines in blocks, each with the number of its first line."""
    rest, number, end = b"", 1, b"\n"
    while block := stream.read(_BLOCK):
        if number == 1 and not rest:
            block = block.removeprefix(b"\xef\xbb\xbf")
            if b"\n" not in block:
                end = b"\r"
        if b"\0" in block:
            raise DataError(f"{place} has zero bytes: it is damaged, or no text; save it as UTF-8")
        lines = (rest + block).split(end)
        rest = lines.pop()
        if len(rest) > _MAX_LINE:
            raise DataError(
                f"{place}: line {number + len(lines):,} has more than {_MAX_LINE:,} bytes; give a "
                "line for each sample"
            )
        if lines:
            yield number, lines
            number += len(lines)
    if rest:
        yield number, [rest]


def _significant(block: tuple[int, list[bytes]]) -> list[tuple[int, bytes]]:
    """Return the lines of a block with their numbers, without blank ones and comments."""
    number, lines = block
    stripped = ((number + place, line.strip(b" \r")) for place, line in enumerate(lines))
    return [(at, line) for at, line in stripped if line and line[:1] != b"#"]


class _Reader:
    """Collects the rows of a table, block by block."""

    def __init__(
        self,
        place: str,
        lines: Sequence[tuple[int, bytes]],
        option: str | None,
        *,
        needs_labels: bool,
    ) -> None:
        if not lines:
            raise DataError(f"{place} has no lines with numbers; give a line for each sample")
        sample = lines[: _SAMPLE + 1]
        _refuse_other_text(place, sample)
        self._dialect = dialect = _dialect_of(place, sample)
        self._has_header = dialect.header is not None
        rows = [dialect.cells(line) for _, line in sample[self._has_header :]]
        rows = [row for row in rows if len(row) == dialect.columns]
        words = {
            column
            for column in range(dialect.columns)
            if 2 * sum(not _NUMBER.fullmatch(row[column]) for row in rows) > len(rows)
        }
        if not needs_labels and _lacks(dialect, option):
            option = None
        self.label = label_of(dialect, option, place)
        texts = words if self.label is None else words | {self.label}
        if len(texts) > 3:
            raise _not_numbers(place, sample[self._has_header], dialect)
        numeric = tuple(column for column in range(dialect.columns) if column not in texts)
        self._table = Table(place, dialect, numeric, texts={column: [] for column in texts})
        count = len(numeric)
        self._ends = sorted({*range(min(2, count)), *range(max(0, count - 1), count)})
        self._end_values: list[NDArray[np.float64]] = []
        self._bytes = 0
        self._dtype: Dtype = np.uint8

    def add(self, number: int, lines: list[bytes]) -> None:
        """Add the rows of a block of lines."""
        block = _significant((number, lines))
        if self._has_header:
            block, self._has_header = block[1:], False
        if not block:
            return
        table, dialect = self._table, self._dialect
        if len(table) + len(block) > MAX_SAMPLES:
            raise DataError(
                f"{table.place} has more than the {MAX_SAMPLES:,} samples that are read; take fewer"
            )
        values = self._parse(block) if table.numeric else np.empty((len(block), 0))
        table.lines.extend(at for at, _ in block)
        if not table.numeric:
            return
        self._end_values.append(values[:, self._ends].astype(np.float64))
        inner = values[:, len([e for e in self._ends if e < 2]) : -1]
        if values.dtype == np.uint8:
            kept = values
        elif values.dtype == np.int64 and (
            not inner.size or (inner.min() >= 0 and inner.max() <= 255)
        ):
            kept = values.clip(0, 255).astype(np.uint8)
        else:
            kept = values.astype(np.float32)
        table.blocks.append(kept)
        self._bytes += kept.nbytes
        if self._bytes > MAX_BYTES:
            raise DataError(
                f"{table.place} has more than {MAX_BYTES:,} bytes of numbers in "
                f"{dialect.columns:,} columns; take fewer samples, or whole numbers from 0 to 255"
            )

    def finish(self) -> Table:
        """Return the table."""
        table = self._table
        if not len(table):
            raise DataError(f"{table.place} has a header, but no rows; give a line for each sample")
        if self._end_values:
            ends = np.concatenate(self._end_values)
            table.ends = {place: ends[:, at] for at, place in enumerate(self._ends)}
        return table

    def _parse(self, block: list[tuple[int, bytes]]) -> Values:
        """Return the numbers of a block, `[rows, numeric columns]`, of one of the `_DTYPES`."""
        dialect, columns = self._dialect, self._dialect.columns
        separator = dialect.separator or b","
        rows = []
        for at, whole in block:
            line = whole
            if dialect.separator is None or b'"' in line:
                cells = dialect.cells(line)
                line, count = separator.join(cells), len(cells)
                if self._table.texts and count == columns:  # they may have separators in them
                    for column, found in self._table.texts.items():
                        found.append(cells[column])
                    cells = [cells[column] for column in self._table.numeric]
                    rows.append(separator.join(cells))
                    continue
            else:
                if dialect.trailing and line.endswith(separator):
                    line = line[:-1]
                count = line.count(separator) + 1
            if count != columns:
                raise self._ragged(at, count)
            for column in sorted(self._table.texts, reverse=True):
                cell, line = _cut(line, separator, column, columns)
                self._table.texts[column].append(cell)
                columns -= 1
            columns = dialect.columns
            rows.append(line)
        for dtype in _DTYPES[_DTYPES.index(self._dtype) :]:
            numbers = _numbers(rows, separator, dtype)
            if (
                numbers is not None
                and numbers.shape == (len(rows), len(self._table.numeric))
                and (dtype != np.float64 or np.abs(numbers).max() <= _LARGEST)  # and not NaN
            ):
                self._dtype = dtype
                return numbers
        return self._parse_cells(block, rows, separator)

    def _parse_cells(
        self, block: list[tuple[int, bytes]], rows: list[bytes], separator: bytes
    ) -> Values:
        """Return the numbers of a block, parsed one by one."""
        values = np.empty((len(rows), len(self._table.numeric)))
        for number, row in enumerate(rows):
            cells = [cell.strip() for cell in row.split(separator)]
            broken = [
                place
                for place, cell in enumerate(cells)
                if not _NUMBER.fullmatch(cell) or abs(float(cell)) > _LARGEST
            ]
            if broken:
                raise self._no_number(block[number][0], broken[0], cells[broken[0]])
            values[number] = [float(cell) for cell in cells]
        return values

    def _no_number(self, line: int, place: int, cell: bytes) -> DataError:
        """Return the error for a cell in one of the numeric columns."""
        numeric = self._table.numeric
        column = numeric[min(place, len(numeric) - 1)]
        text = cell.decode("utf-8", "replace")
        what, advice = "not a number", "give each pixel a number"
        if _NUMBER.fullmatch(cell):
            what = "far too large"
        elif place in self._ends:
            advice += f", or say with --label-column {column + 1} that these are labels"
        place_of_cell = f"{self._table.place}, line {line:,}, {self._table.name_of(column)}"
        return DataError(f"{place_of_cell}: {_cell(text)} is {what}; {advice}")

    def _ragged(self, line: int, cells: int) -> DataError:
        return DataError(
            f"{self._table.place}, line {line:,} has {cells:,} cells, but the lines before have "
            f"{self._dialect.columns:,}; give all lines the same number"
        )


def _numbers(rows: list[bytes], separator: bytes, dtype: Dtype) -> Values | None:
    """Return the numbers in rows, or None if something in them is none of that type."""
    lines = [row.decode("latin-1") for row in rows]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            return np.loadtxt(lines, dtype, delimiter=separator.decode(), comments=None, ndmin=2)
    except (ValueError, OverflowError, Warning):
        return None


def _cut(line: bytes, separator: bytes, column: int, columns: int) -> tuple[bytes, bytes]:
    """Return one of the cells of a line, and the line without it."""
    if 2 * column < columns:
        cells = line.split(separator, column + 1)
        cell = cells.pop(column)
    else:
        cells = line.rsplit(separator, columns - column)
        cell = cells.pop(1 if column else 0)
    return cell.strip(), separator.join(cells)


def _lacks(dialect: Dialect, option: str | None) -> bool:
    """Return True if a table has no labels, so that the option for their column is for others.

    Its cells are a square image, or its header does not have the name.
    """
    is_name = option is not None and not re.fullmatch(r"-?[0-9]+", option)
    no_such = is_name and dialect.header is not None and option not in dialect.header
    return no_such or side_of(dialect.columns) is not None


def label_of(dialect: Dialect, option: str | None, place: str) -> int | None:
    """Return the column of the labels, by the option or else the header; None if neither tells.

    Raises:
        UsageError: there is no such column.
        DataError: the header has several.

    """
    header, columns = dialect.header, dialect.columns
    if option is not None:
        if header and option in header:
            return header.index(option)
        number = int(option) if re.fullmatch(r"-?[0-9]{1,6}", option) else 0
        if 1 <= abs(number) <= columns:
            return number - 1 if number > 0 else columns + number
        names = f", whose header begins with {', '.join(header[:4])}" if header else ""
        raise UsageError(
            f"--label-column {quote(option)}: {place} has no such column{names}; name one, or give "
            f"its number, 1 to {columns:,}; -1 is the last"
        )
    if not header:
        return None
    named = [place for place, name in enumerate(header) if name.lower() in _LABEL_NAMES]
    if len(named) > 1:
        found = " and ".join(quote(header[place]) for place in named[:3])
        raise DataError(f"{place}: {found} may be the labels; choose one with --label-column")
    return named[0] if named else None


def _dialect_of(place: str, sample: Sequence[tuple[int, bytes]]) -> Dialect:
    """Return how a table is written, from its first lines."""
    lines = [line for _, line in sample]
    body = lines[1:] or lines
    separator = _separator_of(lines)
    trailing = separator is not None and all(line.endswith(separator) for line in body)
    first = Dialect(separator, trailing, 0, None)
    cells, columns = first.cells(lines[0]), len(first.cells(body[0]))
    header = _header_of(place, cells)
    if header is None:
        columns = len(cells)
    elif len(header) != columns:
        raise DataError(
            f"{place}, line {sample[0][0]}: the header has {len(header):,} names for {columns:,} "
            "columns; give each column one name"
        )
    if columns > _MAX_COLUMNS:
        raise DataError(
            f"{place} has {columns:,} columns, more than images of {MAX_SIDE} by {MAX_SIDE} have; "
            "scale the images down"
        )
    return Dialect(separator, trailing, columns, header)


def _separator_of(lines: Sequence[bytes]) -> bytes | None:
    """Return what separates the cells of the lines; None for spaces."""
    body = lines[1:] or lines
    for separator in (b"\t", b";", b","):
        if all(separator in line for line in body[:5]):
            return separator
    return None


def _header_of(place: str, cells: Sequence[bytes]) -> tuple[str, ...] | None:
    """Return the names in the first line if it is a header: most of its cells are no numbers.

    Tables of pandas may have the numbers of the columns there.
    """
    words = [cell for cell in cells if not _NUMBER.fullmatch(cell)]
    numbers = [int(cell) for cell in cells if cell.isdigit() and len(cell) < 7]
    counted = len(numbers) >= _MIN_COLUMNS and numbers == list(
        range(numbers[0], numbers[0] + len(numbers))
    )
    if not (2 * len(words) > len(cells) or (counted and len(words) + len(numbers) == len(cells))):
        return None
    try:
        return tuple(cell.decode() for cell in cells)
    except UnicodeDecodeError as error:
        raise DataError(f"{place}: its header is not UTF-8; save it as UTF-8") from error


def _refuse_other_text(place: str, sample: Sequence[tuple[int, bytes]]) -> None:
    if all(_LIBSVM.fullmatch(line) for _, line in sample):
        raise DataError(
            f'{place} is a libsvm file; convert it: python -c "import numpy, sklearn.datasets as s;'
            " x, y = s.load_svmlight_file('FILE', n_features=784); "
            "numpy.savez('data.npz', x=x.toarray(), y=y)\""
        )


def _not_numbers(place: str, line: tuple[int, bytes], dialect: Dialect) -> DataError:
    cell = next(c for c in dialect.cells(line[1]) if not _NUMBER.fullmatch(c))
    if re.fullmatch(rb"-?\d+,\d+", cell):
        return DataError(
            f"{place}, line {line[0]:,}: {_cell(cell.decode())} is not a number; write numbers "
            "with a decimal point"
        )
    return DataError(
        f"{place}, line {line[0]:,}: {_cell(cell.decode('utf-8', 'replace'))} is not a number; "
        "give a line for each sample, with a number for each pixel"
    )


def _cell(text: str) -> str:
    return quote(text if len(text) <= _SHOWN else text[:_SHOWN] + "…")
