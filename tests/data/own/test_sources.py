"""Hostile files: read or refused within bounded memory and time, and never waited for."""

import gzip
import io
import os
import struct
import time
import tracemalloc
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mnist_cli.data.own import samples, sources
from mnist_cli.data.own.reading import read_own
from mnist_cli.errors import DataError
from tests.data.own.conftest import Few
from tests.helpers.own_data import class_folders, idx, npy, npz, packed, rows, write, zipped

LIMIT = 1 << 20


@pytest.fixture
def small_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lower the limits, so that tests need not make gigabytes."""
    for module in ("samples", "sources", "tables", "arrays"):
        monkeypatch.setattr(f"mnist_cli.data.own.{module}.MAX_BYTES", LIMIT)
    monkeypatch.setattr("mnist_cli.data.own.tables._MAX_LINE", LIMIT // 4)
    monkeypatch.setattr("mnist_cli.data.own.tables._BLOCK", LIMIT // 4)
    monkeypatch.setattr("mnist_cli.data.own.sources._MAX_DIRECTORY", LIMIT // 4)
    monkeypatch.setattr("mnist_cli.data.own.sources._MAX_MEMBERS", 1000)


def npy_of(header: str, data: bytes = b"", version: bytes = b"\1\0") -> bytes:
    """Return a .npy with a header made by hand."""
    text = header.encode() + b"\n"
    size = len(text).to_bytes(2 if version == b"\1\0" else 4, "little")
    return b"\x93NUMPY" + version + size + text + data


def of(shape: str, kind: str = "'|u1'", order: str = "False") -> str:
    return f"{{'descr': {kind}, 'fortran_order': {order}, 'shape': {shape}}}"


def stored(files: dict[str, bytes]) -> bytes:
    """Return a zip of files that are not packed."""
    return zipped(files, zipfile.ZIP_STORED)


def with_size(archive: bytes, size: int) -> bytes:
    """Return a zip whose list of files promises other sizes."""
    out = bytearray(archive)
    at = out.index(b"PK\1\2")
    out[at + 24 : at + 28] = struct.pack("<I", size)
    return bytes(out)


def xz_zip() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("a.csv", "1,2\n")
    return buffer.getvalue()


def encrypted() -> bytes:
    out = bytearray(stored({"a.csv": b"1,2\n"}))
    out[6] |= 1
    out[out.index(b"PK\1\2") + 8] |= 1
    return bytes(out)


HOSTILE: dict[str, tuple[Callable[[], bytes], str]] = {
    "a gzip bomb": (lambda: packed(bytes(LIMIT)) * 200, "unknown kind|more than"),
    "a gzip bomb of text": (
        lambda: packed(b"0," * 392 + b"\n") + packed((b"0," * 784 + b"0\n") * 2000),
        "more than|cells",
    ),
    "gzip members without end": (lambda: packed(b"") * 40_000, "too many gzip members"),
    "zeros behind gzip": (lambda: packed(b"1,2\n") + bytes(LIMIT // 2), "no pixels"),
    "a truncated gzip": (lambda: packed(os.urandom(5000))[:3000], "truncated|unknown kind"),
    "a damaged gzip": (lambda: packed(b"1,2\n" * 99)[:-8] + b"12345678", "replace it"),
    "gzip twice": (lambda: packed(packed(b"1,2\n")), "gzip twice; unpack"),
    "a long line": (lambda: b"1," * LIMIT, "bytes"),
    "a long line behind good ones": (
        lambda: (b"0," * 783 + b"1\n") * 10 + b"1" * (LIMIT // 2),
        "line 11 has more than",
    ),
    "a long line, packed": (lambda: packed(b"1," * LIMIT * 9), "bytes"),
    "a million columns": (lambda: b"1," * 100_000 + b"1\n", "100,001 columns"),
    "lines of nothing": (lambda: b"\n" * LIMIT, "no lines|more than"),
    "lines of comments": (lambda: b"#\n" * (LIMIT // 2), "no lines|more than"),
    "an open quote": (lambda: b'"' + b"1,2,3\n" * 9, "1 names for 3 columns"),
    "an open quote without end": (lambda: (b'1,"2,3' * 40_000 + b"\n") * 2, "cells|number|columns"),
    "digits without end": (lambda: (b"9" * 5000 + b",1\n") * 9, "pixels|number|square"),
    "a zip bomb": (lambda: zipped({"a.csv": b"0," * 50 * LIMIT}), "bytes"),
    "a zip of more than it says": (
        lambda: with_size(zipped({"a.csv": b"0,1\n" * 99}), 8),
        "replace it|pixels",
    ),
    "a zip that promises terabytes": (
        lambda: with_size(zipped({"a.csv": b"0,1\n" * 99}), 0xFFFFFFFE),
        "bytes|replace",
    ),
    "a zip of many files": (
        lambda: stored({f"{n:0200}": b"" for n in range(2000)}),
        "far too many files; unpack",
    ),
    "a zip with a strange packing": (xz_zip, "rare way"),
    "an encrypted zip": (encrypted, "encrypted|password"),
    "an empty zip": (lambda: b"PK\5\6" + bytes(18), "unknown kind|is empty"),
    "a truncated zip": (lambda: zipped({"a.csv": os.urandom(999)})[:-40], "replace it"),
    "a zip in a gzip": (lambda: packed(zipped({"a.csv": b"1"})), "by zip and by gzip"),
    "names that lead out": (lambda: zipped({"../../etc/x.csv": b"1,2\n"}), "is empty"),
    "npy of terabytes": (lambda: npy_of(of("(1099511627776, 28, 28)")), "promises .* bytes"),
    "npy of a huge number of dimensions": (lambda: npy_of(of("(1,) * 99")), "damaged header"),
    "npy of many dimensions": (lambda: npy_of(of(str((1,) * 60)), b"\0"), "no images"),
    "npy with a negative size": (lambda: npy_of(of("(-1, 28, 28)")), "type|damaged"),
    "npy with a fraction": (lambda: npy_of(of("(1.5, 28, 28)")), "damaged header"),
    "npy with True for a size": (
        lambda: npy_of(of("(True, 28, 28)"), bytes(784)),
        "no labels|damaged",
    ),
    "npy that overflows": (lambda: npy_of(of(f"({2**33}, {2**33}, 28)")), "promises"),
    "npy of nothing": (lambda: npy_of(of("(0, 28, 28)")), "empty|no labels"),
    "npy with a program": (
        lambda: npy_of("__import__('os').system('touch /tmp/hacked')"),
        "damaged header",
    ),
    "npy with a deep header": (lambda: npy_of("(" * 5000 + ")" * 4000), "damaged"),
    "npy with a long header": (lambda: npy_of(" " * 60_000 + of("(1,)")), "damaged .npy"),
    "npy of objects": (lambda: npy_of(of("(2, 28, 28)", "'|O'"), b"\x80\4."), "Python objects"),
    "npy of records": (lambda: npy_of(of("(2,)", "[('a', '<f4')]"), bytes(8)), "type"),
    "npy of times": (lambda: npy_of(of("(2, 28, 28)", "'<M8[s]'"), bytes(9)), "type"),
    "npy of void": (lambda: npy_of(of("(2, 28, 28)", "'|V0'")), "type|damaged"),
    "npy of texts without length": (lambda: npy_of(of("(9,)", "'<U0'")), "no images"),
    "npy of version 3": (lambda: npy_of(of("(1,)"), version=b"\3\0"), "damaged .npy"),
    "npy, truncated": (lambda: npy_of(of("(2, 28, 28)"), bytes(900)), "no labels"),
    "npz, truncated": (
        lambda: stored(
            {"x.npy": npy_of(of("(2, 28, 28)"), bytes(900)), "y.npy": npy_of(of("(2,)"), bytes(2))}
        ),
        "truncated: it has 900 bytes of the 1,568",
    ),
    "npz, too long": (
        lambda: stored(
            {"x.npy": npy_of(of("(2, 28, 28)"), bytes(1569)), "y.npy": npy_of(of("(2,)"), bytes(2))}
        ),
        "longer than the 1,568",
    ),
    "npz of two arrays of one name": (
        lambda: zipped({"x.npy": npy(np.zeros((2, 28, 28))), "a/x.npy": npy(np.ones((2, 28, 28)))}),
        "several arrays",
    ),
    "IDX of gigabytes": (lambda: b"\0\0\x08\3" + b"\xff" * 12, "promises"),
    "IDX that overflows": (lambda: b"\0\0\x0e\3" + struct.pack(">3I", 2**31, 2**31, 4), "promises"),
    "IDX of no dimension": (lambda: b"\0\0\x08\0\0\0", "damaged IDX"),
    "IDX of many dimensions": (lambda: b"\0\0\x08\xff" + bytes(1020), "damaged IDX"),
    "IDX, truncated header": (lambda: b"\0\0\x08\3\0\0", "damaged IDX"),
    "IDX of a strange type": (lambda: b"\0\0\x0a\1" + bytes(8), "unknown kind"),
    "random bytes": (lambda: bytes(range(253, 0, -1)) * 9, "not UTF-8|number|cells|pixels|names"),
}


@pytest.mark.usefixtures("small_limits")
@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_file_is_refused_within_bounds(kind: str, tmp_path: Path) -> None:
    make, words = HOSTILE[kind]
    path = write(tmp_path / "hostile", make())
    began = time.perf_counter()
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match=words) as raised:
            read_own(path)
        assert tracemalloc.get_traced_memory()[1] < 16 * LIMIT
    finally:
        tracemalloc.stop()
    assert time.perf_counter() - began < 5
    assert "\n" not in str(raised.value)
    assert len(str(raised.value)) < 500
    assert "hostile" in str(raised.value)


def test_a_file_of_terabytes_is_refused_before_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    with path.open("wb") as file:
        file.truncate(1 << 41)
    began = time.perf_counter()
    with pytest.raises(DataError, match=r"2,199,023,255,552 bytes, more than the 1,073,741,824"):
        read_own(path)
    assert time.perf_counter() - began < 1


def test_an_unrelated_large_file_in_a_folder_does_no_harm(some: Few, tmp_path: Path) -> None:
    folder = class_folders(tmp_path / "d", some.images, some.labels)
    with (folder / "video.mp4").open("wb") as file:
        file.truncate(1 << 41)
    assert some.is_in(read_own(folder).train, tuple("0123456789"))


def test_too_many_samples_are_refused(
    some: Few, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("tables", "arrays", "pictures"):
        monkeypatch.setattr(f"mnist_cli.data.own.{module}.MAX_SAMPLES", 150)
    for path in (
        write(tmp_path / "a.csv", rows(some.images, some.labels)),
        write(tmp_path / "a.npz", npz(x=some.images, y=some.labels)),
        class_folders(tmp_path / "d", some.images, some.labels),
    ):
        with pytest.raises(DataError, match="more than .*150"):
            read_own(path)


def test_too_many_numbers_are_refused(
    some: Few, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fractions take four times the memory of bytes."""
    monkeypatch.setattr("mnist_cli.data.own.tables.MAX_BYTES", 785 * 200)
    read_own(write(tmp_path / "a.csv", rows(some.images, some.labels)))
    with pytest.raises(DataError, match="bytes of numbers in 785 columns"):
        read_own(write(tmp_path / "b.csv", rows(some.images / 255, some.labels)))


def test_folders_that_are_too_deep_are_refused(some: Few, tmp_path: Path) -> None:
    write(tmp_path.joinpath(*"abcdefghi") / "x.csv", rows(some.images, some.labels))
    with pytest.raises(DataError, match="deeper than 6 folders"):
        read_own(tmp_path)


def test_a_folder_of_many_other_files_is_refused(tmp_path: Path) -> None:
    for number in range(300):
        write(tmp_path / f"{number}.txt", "x")
    with pytest.raises(DataError, match="300 files, but no pictures"):
        read_own(tmp_path)


def test_a_file_without_permission_or_with_a_zero_in_its_name(tmp_path: Path) -> None:
    for name in ("a\0b", "x" * 5000):
        with pytest.raises(DataError, match="cannot read"):
            read_own(Path(name))


def test_gzip_is_read_in_pieces_of_any_size(some: Few) -> None:
    content = b"".join(idx(some.images) for _ in range(2))
    file = packed(content[:1000]) + packed(b"") + packed(content[1000:]) + bytes(3)
    for size in (1, 7, 4096, 1 << 20):
        stream = sources.Stream(io.BytesIO(file), "x")
        first = stream.read(size)
        rest = stream.read(len(content))
        assert first + rest == content
        assert stream.read(1) == b""
    raw = zlib.compressobj(9, wbits=31)
    bomb = raw.compress(bytes(10**6)) + raw.flush()
    assert len(sources.Stream(io.BytesIO(bomb), "x").read(10**6 + 1)) == 10**6
    assert len(gzip.decompress(bomb)) == 10**6


def test_limits_fit_each_other() -> None:
    assert samples.MAX_SAMPLES * 28 * 28 < samples.MAX_BYTES
