"""The files of the data sets: find, read and verify them. This module does not import PyTorch."""

import hashlib
import stat
import zlib
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from mnist_cli.config.quoting import quote
from mnist_cli.config.reading import expand_home
from mnist_cli.data.catalogue import CATALOGUE, MNIST_SHA256
from mnist_cli.errors import DataError, UsageError

PACKAGE = Path(__file__).with_name("mnist")  # the folder of MNIST's files, compressed
DOWNLOADS = "data"  # the folder for other data sets if no --data-dir is given
ADVICE = "replace or delete it"
_MAX_BYTES = 1 << 26  # of a file, packed or not, unless said; the largest of MNIST's has 47 MB
_MAX_MEMBERS = 100  # of a gzip file; mostly there is one

_prefetched: dict[Path, "Future[bytearray]"] = {}


def folder_of(name: str, data_dir: str | Path | None) -> Path:
    """Return the folder of a data set's files: in torchvision's layout, or in the package.

    Raises:
        UsageError: the folder has no name.

    """
    if data_dir is None and name == "mnist":
        return PACKAGE
    if data_dir is None:
        data_dir = DOWNLOADS
    if not isinstance(data_dir, str | Path) or not str(data_dir):
        raise UsageError(f"--data-dir {quote(data_dir)}: name a folder")
    return CATALOGUE[name].raw(Path(expand_home(data_dir)))


def prefetch(name: str, data_dir: str | None) -> None:
    """Begin to read the files of a data set in other threads if they are in the package.

    That takes a core a tenth of a second. Importing PyTorch, meanwhile, keeps only one core busy.
    """
    if name in CATALOGUE and folder_of(name, data_dir) == PACKAGE:
        paths = [PACKAGE / f"{file}.zst" for file in CATALOGUE[name].files]
        threads = ThreadPoolExecutor(len(paths), "prefetch")
        _prefetched.update({path: threads.submit(read_file, path) for path in paths})
        threads.shutdown(wait=False)


def read_packaged(file: str) -> bytearray:
    """Return the contents of one of MNIST's files in the package, with the right checksum.

    Raises:
        DataError: the package is damaged.

    """
    path = PACKAGE / f"{file}.zst"
    reading = _prefetched.pop(path, None)
    try:
        contents = read_file(path) if reading is None else reading.result()
        verify(file, contents, source=str(path))
    except DataError as error:
        raise DataError(f"the installed package is damaged: {error}; install it again") from error
    return contents


def find_file(folder: Path, file: str) -> Path | None:
    """Return the path of a file or, if there is none, of its .gz.

    Raises:
        DataError: the folder cannot be read, or has something else of this name.

    """
    try:
        # Each is looked at once: a file may appear at any moment, made by another program.
        modes = {path: _mode(path) for path in (folder / file, folder / f"{file}.gz")}
        there = {path: mode for path, mode in modes.items() if mode is not None}
        found = next((path for path, mode in there.items() if stat.S_ISREG(mode)), None)
        if found is None and there:  # a FIFO would be waited for
            raise DataError(f"{folder / file} is not a regular file; {ADVICE}")
        return found
    except OSError as error:  # no permission, or a name that is too long
        raise DataError(
            f"cannot look into {folder}: {error.strerror}; name another folder with --data-dir"
        ) from error


def _mode(path: Path) -> int | None:
    """Return the type and permissions of what a path names, or None if there is nothing."""
    try:
        return path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return None


def read_file(path: Path, most: int = _MAX_BYTES) -> bytearray:
    """Return the contents of a file, those of a .gz or .zst decompressed.

    Raises:
        DataError: it cannot be read, or has more than `most` bytes, packed or not.

    """
    try:
        contents = bytearray(min(path.stat().st_size, most + 1))
        with path.open("rb") as file:
            del contents[file.readinto(contents) :]
        if len(contents) <= most:
            match path.suffix:
                case ".gz":
                    contents = gunzip(contents, most)
                case ".zst":
                    contents = _decompress_zstd(contents, most)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"cannot read {path}: {error}; {ADVICE}") from error
    if len(contents) > most:
        raise DataError(f"{path} holds more than {most:,} bytes: not a data set like MNIST")
    return contents


def gunzip(packed: bytes | bytearray, most: int) -> bytearray:
    """Return the contents of a gzip file, up to a byte more than allowed.

    `gzip` limits neither the members that it reads nor the zeros behind them.
    """
    contents = bytearray()
    for _ in range(_MAX_MEMBERS):
        unpacker = zlib.decompressobj(16 + zlib.MAX_WBITS)
        contents += unpacker.decompress(packed, most + 1 - len(contents))
        if len(contents) > most:
            return contents
        if not unpacker.eof:
            raise EOFError("it is truncated")
        packed = unpacker.unused_data.lstrip(b"\0")
        if not packed:
            return contents
    raise EOFError(f"it has more than {_MAX_MEMBERS} members")


def _decompress_zstd(packed: bytearray, most: int) -> bytearray:
    """Return the contents of a zstd frame that names its size, up to a byte more than allowed."""
    import zstandard  # noqa: PLC0415 (doctor works without it)

    try:
        size = zstandard.frame_content_size(packed)
        contents = bytearray(min(max(size, 0), most + 1))
        with zstandard.ZstdDecompressor().stream_reader(packed) as reader:
            if reader.readinto(contents) < len(contents):
                raise EOFError("it is truncated")
    except zstandard.ZstdError as error:
        raise EOFError(str(error)) from error
    return contents


def verify(file: str, contents: bytes | bytearray, source: str) -> None:
    """Raise DataError unless `contents` are those of one of MNIST's files."""
    if hashlib.sha256(contents).hexdigest() != MNIST_SHA256[file]:
        raise DataError(f"{source} is not the MNIST file: its SHA-256 differs; {ADVICE}")
