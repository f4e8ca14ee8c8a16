"""The files of a data set: in a folder, in a zip, or one alone; opened only if they are safe to.

What a file is follows from its first bytes, never from its ending. No file is read beyond
`MAX_BYTES`, packed or not, and nothing but regular files is opened: a FIFO would be waited for.
"""

import contextlib
import os
import stat
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path
from typing import IO

from mnist_cli.config.quoting import printable
from mnist_cli.data.own.samples import MAX_BYTES, MAX_SAMPLES
from mnist_cli.errors import DataError

_HEAD = 1024  # bytes that tell what a file is
_PACKED_CHUNK = 1 << 16
_MAX_MEMBERS = 1 << 16  # of a gzip file; bgzip makes one of every 64 KiB
_MAX_DEPTH = 6  # of folders in folders
_MAX_FILES = MAX_SAMPLES + 10_000
_MAX_DIRECTORY = 1 << 24  # bytes of a zip's list of its files: 100,000 files or so
_MAX_UNPACKED = 1 << 32  # bytes of all files in a zip
_GZIP, _ZIP = b"\x1f\x8b", b"PK\x03\x04"
# Files that systems and editors leave in folders; hidden ones are left out, too.
_LITTER = {"thumbs.db", "ehthumbs.db", "desktop.ini", "__macosx", "__pycache__", "@eadir"}
_DAMAGED = (OSError, EOFError, RuntimeError, ValueError, NotImplementedError, OverflowError)
_NONBLOCK = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)


class Kind(Enum):
    """What a file holds that may be a data set, or part of one."""

    TEXT = auto()
    IDX = auto()
    NPY = auto()
    ZIP = auto()


_PANDAS = "python -c \"import pandas; pandas.read_{0}({1}).to_csv('data.csv', index=False)\""
# First bytes of what is not read: where they are, what it is, what to do.
_REFUSED: tuple[tuple[int, bytes, str, str], ...] = (
    (
        0,
        b"version https://git-lfs.github.com",
        "a Git LFS pointer, which stands in a clone in place of the file",
        "run `git lfs pull` in the clone",
    ),
    (
        0,
        b"PAR1",
        "a Parquet file",
        "convert it, one pixel a column: " + _PANDAS.format("parquet", "'FILE'"),
    ),
    (
        0,
        b"\x89HDF\r\n\x1a\n",
        "an HDF5 file",
        "convert it: python -c \"import h5py, numpy; f = h5py.File('FILE'); "
        "numpy.savez('data.npz', images=f['IMAGES'][:], labels=f['LABELS'][:])\"",
    ),
    (
        0,
        b"MATLAB",
        "a MATLAB file",
        "convert it: python -c \"import numpy, scipy.io; f = scipy.io.loadmat('FILE'); "
        "numpy.savez('data.npz', images=f['IMAGES'], labels=f['LABELS'].ravel())\"",
    ),
    (
        0,
        b"\xd0\xcf\x11\xe0",
        "a spreadsheet or another document of Office",
        "save it as CSV",
    ),
    (0, b"ARROW1", "an Arrow file", "convert it: " + _PANDAS.format("feather", "'FILE'")),
    (0, b"SQLite format 3", "a database", "export its table as CSV"),
    (0, b"\xff\xfe", "text in UTF-16", "save it as UTF-8"),
    (0, b"\xfe\xff", "text in UTF-16", "save it as UTF-8"),
    (0, b"BZh", "packed by bzip2", "unpack it"),
    (0, b"\xfd7zXZ\0", "packed by xz", "unpack it"),
    (0, b"\x28\xb5\x2f\xfd", "packed by zstd", "unpack it"),
    (0, b"7z\xbc\xaf\x27\x1c", "packed by 7-Zip", "unpack it"),
    (0, b"Rar!", "packed by RAR", "unpack it"),
    (0, _GZIP, "packed by gzip twice", "unpack it once"),
    (257, b"ustar", "a tar archive", "unpack it, and name the folder"),
    (0, b"%PDF", "a PDF", "give tables, arrays or pictures"),
    *(
        (
            0,
            magic,
            "one picture",
            "put pictures into a folder for each class and name the folder above; mnist-predict "
            "reads single pictures",
        )
        for magic in (b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"II*\0", b"MM\0*", b"RIFF")
    ),
)
_PICKLE = (
    "convert it where you trust it: python -c \"import numpy, pickle; d = pickle.load(open('FILE', "
    "'rb')); print(type(d))\", then numpy.savez('data.npz', images=…, labels=…)"
)
_WEB_PAGE = "a web page, not the data: a download that went wrong"
_TEXTS = (
    (b"<!doctype html", _WEB_PAGE, "download the file itself"),
    (b"<html", _WEB_PAGE, "download the file itself"),
    (b"<?xml", "XML", "give tables, arrays or pictures"),
    (b"{", "JSON", "give tables, arrays or pictures"),
    (b"[", "JSON", "give tables, arrays or pictures"),
    (
        b"@relation",
        "an ARFF file",
        'convert it: python -c "import pandas, scipy.io.arff as a; '
        "pandas.DataFrame(a.loadarff('FILE')[0]).to_csv('data.csv', index=False)\"",
    ),
)


class Stream:
    """The bytes of a file, unpacked if it is a gzip file; at most `MAX_BYTES` of them."""

    def __init__(self, file: IO[bytes], place: str) -> None:
        self._file, self._place = file, place
        self._count = 0
        self._start = self._of_file(2)
        self._unpacker = zlib.decompressobj(16 + zlib.MAX_WBITS) if self._start == _GZIP else None
        self._members = 1

    def read(self, size: int) -> bytes:
        """Return the next `size` bytes; fewer at the end.

        Raises:
            DataError: the file is damaged, or larger than `MAX_BYTES`.

        """
        size = min(size, MAX_BYTES + 1)
        parts: list[bytes] = []
        missing = size
        while missing:
            part = self._next(missing)
            if not part:
                break
            parts.append(part)
            missing -= len(part)
        self._count += size - missing
        if self._count > MAX_BYTES:
            raise DataError(
                f"{self._place} holds more than {MAX_BYTES:,} bytes; take fewer samples, or "
                "smaller images"
            )
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _next(self, most: int) -> bytes:
        """Return some of the next bytes, up to `most`; nothing at the end."""
        if self._unpacker is None:
            part, self._start = self._start[:most], self._start[most:]
            return part or self._of_file(most)
        while True:
            if self._unpacker.eof:
                self._start = (self._start or self._of_file(_PACKED_CHUNK)).lstrip(b"\0")
                if not self._start:
                    if self._file_ended:
                        return b""
                    continue
                self._members += 1
                if self._members > _MAX_MEMBERS:
                    raise DataError(f"{self._place} has too many gzip members; pack it again")
                self._unpacker = zlib.decompressobj(16 + zlib.MAX_WBITS)
            packed = self._start or self._of_file(_PACKED_CHUNK)
            try:
                part = self._unpacker.decompress(packed, most)
            except zlib.error as error:
                raise _damaged(self._place, error) from error
            at_end = self._unpacker.eof
            self._start = self._unpacker.unused_data if at_end else self._unpacker.unconsumed_tail
            if part:
                return part
            if not packed and not at_end:
                raise _damaged(self._place, EOFError("it is truncated"))

    _file_ended = False

    def _of_file(self, size: int) -> bytes:
        try:
            part = self._file.read(size)
        except (*_DAMAGED, zlib.error, zipfile.BadZipFile) as error:
            raise _damaged(self._place, error) from error
        self._file_ended = not part
        return part


@dataclass(frozen=True)
class Entry:
    """A regular file: its name below the folder or zip, and how to open it.

    Attributes:
        name: with `/` between folders.
        place: for messages.
        path: None in a zip.

    """

    name: str
    place: str
    size: int
    opener: Callable[[], IO[bytes]]
    path: Path | None = None

    @property
    def parts(self) -> tuple[str, ...]:
        """The names of the folders, and of the file."""
        return tuple(self.name.split("/"))

    @contextlib.contextmanager
    def open(self) -> Iterator[Stream]:
        """Open the file.

        Raises:
            DataError: it cannot be opened, is too large, or is not a regular file.

        """
        if self.size > MAX_BYTES:
            raise DataError(
                f"{self.place} has {self.size:,} bytes, more than the {MAX_BYTES:,} that are read; "
                "take fewer samples, or smaller images"
            )
        try:
            file = self.opener()
        except (*_DAMAGED, zlib.error, zipfile.BadZipFile) as error:
            raise _damaged(self.place, error) from error
        with file:
            yield Stream(file, self.place)

    def packed_bytes(self, most: int) -> bytes:
        """Return the first bytes of the file as it is.

        Raises:
            DataError: it cannot be read.

        """
        try:
            with self.opener() as file:
                return file.read(most)
        except (*_DAMAGED, zlib.error, zipfile.BadZipFile) as error:
            raise _damaged(self.place, error) from error

    def head(self) -> bytes:
        """Return the first bytes, unpacked."""
        with self.open() as stream:
            return stream.read(_HEAD)

    def kind(self) -> Kind:
        """Return what the file is, by its first bytes.

        Raises:
            DataError: it is nothing that is read; the message says what it is and what to do.

        """
        return kind_of(self.head(), self.place)


def kind_of(head: bytes, place: str) -> Kind:
    """Return what a file is that begins with `head`.

    Raises:
        DataError: it is nothing that is read; the message says what it is and what to do.

    """
    if not head:
        raise DataError(f"{place} is empty; give tables, arrays or pictures")
    for start, magic, what, advice in _REFUSED:
        if head[start : start + len(magic)] == magic:
            raise DataError(f"{place} is {what}; {advice}")
    if head[:1] == b"\x80" and head[1:2] in (b"\2", b"\3", b"\4", b"\5"):
        raise DataError(
            f"{place} is a pickle, which can run any program when it is read; {_PICKLE}"
        )
    if head.startswith(_ZIP):
        return Kind.ZIP
    if head.startswith(b"\x93NUMPY"):
        return Kind.NPY
    if head[:2] == b"\0\0" and head[2:3] in b"\x08\x09\x0b\x0c\x0d\x0e" and len(head) > 4:
        return Kind.IDX
    if b"\0" in head:
        hexadecimal = head[:4].hex(" ")
        raise DataError(
            f"{place} is of an unknown kind: it begins with '{hexadecimal}'; give tables (CSV), "
            "IDX, .npz, .npy or folders of pictures"
        )
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    text = b"\n".join(  # comments of ARFF
        line for line in text.split(b"\n") if not line.startswith(b"%")
    ).lower()
    for words, what, advice in _TEXTS:
        if text.startswith(words):
            raise DataError(f"{place} is {what}; {advice}")
    return Kind.TEXT


@dataclass(frozen=True)
class Source:
    """The files at a path, without those that systems leave: a folder's, a zip's, or one alone."""

    path: Path
    entries: tuple[Entry, ...]
    is_alone: bool

    @property
    def place(self) -> str:
        """The path, for messages."""
        return printable(self.path)


@contextlib.contextmanager
def opened(path: Path) -> Iterator[Source]:
    """Open a folder, a zip or a file.

    Raises:
        DataError: there is nothing, it cannot be read, has far too many files, or links out of it.

    """
    place = printable(path)
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise DataError(f"cannot read {place}: {reason}; name a file or folder of data") from error
    if stat.S_ISDIR(mode):
        walked = sorted(_walk(path), key=lambda entry: entry.name)
        yield Source(path, tuple(walked), is_alone=False)
        return
    entry = entry_of(path)
    if entry.packed_bytes(4) != _ZIP:
        yield Source(path, (entry,), is_alone=True)
        return
    with opened_zip(entry) as entries:
        yield Source(path, entries, is_alone=False)


def entry_of(path: Path, name: str | None = None) -> Entry:
    """Return the entry of a file on the disk.

    Raises:
        DataError: it cannot be looked at, or is not a regular file.

    """
    place = printable(path)
    try:
        status = path.stat()
    except OSError as error:
        raise _damaged(place, error) from error
    if not stat.S_ISREG(status.st_mode):
        raise DataError(f"{place} is not a regular file; name a file or folder of data")

    def open_file() -> IO[bytes]:
        handle = os.open(path, os.O_RDONLY | _NONBLOCK)
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            os.close(handle)
            raise OSError("it is not a regular file")
        return os.fdopen(handle, "rb")

    return Entry(path.name if name is None else name, place, status.st_size, open_file, path)


def _walk(folder: Path) -> Iterator[Entry]:
    """Yield the files of a folder and those below."""
    root = folder.resolve()
    count = 0
    pending = [(folder, "")]
    while pending:
        here, prefix = pending.pop()
        for item in _items(here):
            name = prefix + item.name
            path = here / item.name
            if is_litter(item.name):
                continue
            if item.is_symlink():
                _check_link(path, root)
            if item.is_dir():
                if name.count("/") >= _MAX_DEPTH:
                    raise DataError(
                        f"{printable(path)} lies deeper than {_MAX_DEPTH} folders; name a folder "
                        "nearer to the data"
                    )
                pending.append((path, name + "/"))
            elif item.is_file():
                count += 1
                if count > _MAX_FILES:
                    raise DataError(f"{printable(folder)} has more than {_MAX_FILES:,} files")
                yield entry_of(path, name)


def _items(folder: Path) -> "list[os.DirEntry[str]]":
    try:
        with os.scandir(folder) as items:
            return sorted(items, key=lambda item: item.name)
    except OSError as error:
        raise _damaged(printable(folder), error) from error


def _check_link(path: Path, root: Path) -> None:
    """Raise DataError if a link leads out of the folder, nowhere, or to a folder."""
    advice = "put the file itself there, or remove the link"
    try:
        target = path.resolve(strict=True)
    except (OSError, RuntimeError) as error:
        raise DataError(f"{printable(path)} is a link to nothing; {advice}") from error
    if not target.is_relative_to(root):
        raise DataError(f"{printable(path)} is a link out of the folder; {advice}")
    if target.is_dir():
        raise DataError(f"{printable(path)} is a link to a folder; {advice}")


def is_litter(name: str) -> bool:
    """Return True for hidden files and others that systems leave in folders."""
    return name.startswith(".") or name.lower() in _LITTER


class _LimitedReads:
    """A zip, of which no more is read at once than the list of its files, until that is read."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.most = _MAX_DIRECTORY
        self.seek, self.tell, self.seekable = file.seek, file.tell, file.seekable

    def read(self, size: int = -1) -> bytes:
        """Return the next `size` bytes."""
        if size > self.most:
            raise zipfile.BadZipFile("it has far too many files; unpack it, and name the folder")
        return self._file.read(size)


@contextlib.contextmanager
def opened_zip(entry: Entry) -> Iterator[tuple[Entry, ...]]:
    """Open a zip on the disk, and yield the files in it, sorted by name.

    Raises:
        DataError: it is damaged, encrypted, a checkpoint or a spreadsheet, or would be too large.

    """
    with contextlib.ExitStack() as stack:
        try:
            file = stack.enter_context(entry.opener())
            limited = _LimitedReads(file)
            archive = stack.enter_context(zipfile.ZipFile(limited))
            members = archive.infolist()
            limited.most = _MAX_UNPACKED  # the files themselves have limits of their own
        except (*_DAMAGED, zipfile.BadZipFile) as error:
            raise _damaged(entry.place, error) from error
        names = {member.filename for member in members}
        if any(name.endswith("data.pkl") for name in names):
            raise DataError(
                f"{entry.place} is a file of torch.save, which can run any program when it is "
                "read; convert it where you trust it: numpy.savez('data.npz', images=…, labels=…)"
            )
        if "[Content_Types].xml" in names or "mimetype" in names:
            raise DataError(f"{entry.place} is a spreadsheet or another document; save it as CSV")
        total = sum(member.file_size for member in members)
        if total > _MAX_UNPACKED:
            raise DataError(
                f"{entry.place} would have {total:,} bytes unpacked, more than {_MAX_UNPACKED:,}; "
                "unpack it, and name the folder"
            )
        yield tuple(_members(entry, archive, members))


def _members(
    entry: Entry, archive: zipfile.ZipFile, members: list[zipfile.ZipInfo]
) -> Iterator[Entry]:
    for member in sorted(members, key=lambda member: member.filename):
        name = "/".join(part for part in member.filename.split("/") if part not in ("", "."))
        if member.is_dir() or any(map(is_litter, name.split("/"))):
            continue
        place = f"{entry.place}/{printable(name)}"
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise DataError(f"{place} is packed in a rare way; unpack {entry.place}")

        def open_member(member: zipfile.ZipInfo = member) -> IO[bytes]:
            return archive.open(member)

        yield Entry(name, place, member.file_size, open_member)


def _damaged(place: str, error: BaseException) -> DataError:
    reason = getattr(error, "strerror", None) or " ".join(str(error).split())[:200]
    return DataError(f"cannot read {place}: {reason or type(error).__name__}; replace it")
