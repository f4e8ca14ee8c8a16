"""Tests of atomic writes and of the output lock."""

import errno
import io
import logging
import os
import resource
import stat
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from unittest.mock import Mock

import pytest

from mnist_cli.errors import OutputError, UsageError
from mnist_cli.runtime import files
from mnist_cli.runtime.files import (
    FileVersion,
    NoReaderError,
    OutputLock,
    can_write,
    check_distinct,
    check_writable,
    try_lock,
    write_atomic,
    write_output,
    write_standard_output,
)

BOTH: list[Callable[[Path], None]] = [lambda path: write_atomic(path, b"new"), check_writable]
both = pytest.mark.parametrize("call", BOTH, ids=["write_atomic", "check_writable"])


@pytest.mark.parametrize("step", ["fsync", "replace"])
@pytest.mark.parametrize("failure", [OSError(errno.ENOSPC, "disk full"), KeyboardInterrupt()])
def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, failure: BaseException
) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    seen = []

    def fail(*_: object) -> None:
        seen.append(path.read_bytes())
        raise failure

    monkeypatch.setattr(os, step, fail)
    expected = OutputError if isinstance(failure, OSError) else KeyboardInterrupt
    with pytest.raises(expected):
        write_atomic(path, b"new")
    assert seen == [b"old"]  # a reader at that moment sees the old file
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_cannot_be_synced_does_not_undo_the_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.fsync

    def only_files(handle: int) -> None:
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            raise OSError(errno.EINVAL, "not here")  # some network drives
        real(handle)

    monkeypatch.setattr(os, "fsync", only_files)
    write_atomic(tmp_path / "file", b"new")
    assert (tmp_path / "file").read_bytes() == b"new"


@pytest.mark.parametrize("mode", [0o600, 0o664])
def test_a_file_keeps_its_mode(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    path.chmod(mode)
    write_atomic(path, b"new")
    assert path.read_bytes() == b"new"
    assert stat.S_IMODE(path.stat().st_mode) == mode


def test_a_new_file_has_the_mode_that_open_gives(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_atomic(tmp_path / "file", b"new")
        after = os.umask(0o027)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o640  # 0o666 without 0o027
    assert after == 0o027  # as it was


def test_a_link_stays_and_its_target_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    target, link = tmp_path / "real" / "file", tmp_path / "link"
    link.symlink_to(Path("real") / "file")  # relative, and to nothing yet
    for data in (b"first", b"second"):
        write_atomic(link, data)
        assert link.is_symlink()
        assert not target.is_symlink()
        assert target.read_bytes() == data
    assert [path.name for path in target.parent.iterdir()] == ["file"]


@both
@pytest.mark.parametrize("name", ["folder", "missing/file", "file/below", "loop"])
def test_a_place_that_cannot_hold_a_file_is_an_error_that_names_it(
    tmp_path: Path, call: Callable[[Path], None], name: str
) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(OutputError) as raised:
        call(tmp_path / name)
    assert str(tmp_path / name) in str(raised.value)
    assert sorted(tmp_path.rglob("*")) == before


def test_waiting_for_a_lock_prints_a_notice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "mnist_cli")
    path, notices = tmp_path / "file", []
    holder = OutputLock(path)

    class Release(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            notices.append(record.getMessage())
            holder.close()

    monkeypatch.setattr(files, "_NOTICE_AFTER", 0)
    handler = Release()
    logging.getLogger("mnist_cli").addHandler(handler)
    try:
        write_atomic(path, b"new")
    finally:
        logging.getLogger("mnist_cli").removeHandler(handler)
    assert notices == [f"Waiting for another program that is writing {path}"]
    assert list(tmp_path.iterdir()) == [path]


def test_checking_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"old")
    check_writable(tmp_path / "file")
    check_writable(tmp_path / "new")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_bytes() == b"old"


def device(name: str, folder: Path) -> Path:
    """Return a device in a folder: if the code is wrong, root would replace that of the system."""
    system, path = Path("/dev") / name, folder / name
    try:
        os.mknod(path, 0o666 | stat.S_IFCHR, system.stat().st_rdev)
    except PermissionError:
        return system
    return path


def test_a_full_device_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="/full: No space left"):
        write_atomic(device("full", tmp_path), b"new")


@both
def test_a_device_is_written_to_and_stays_one(tmp_path: Path, call: Callable[[Path], None]) -> None:
    path = device("null", tmp_path)
    call(path)
    assert stat.S_ISCHR(path.stat().st_mode)


def test_the_space_on_the_disk_is_checked_to_the_last_byte(tmp_path: Path) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    with OutputLock(tmp_path / "file") as lock:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
        try:
            lock.check_disk_space(1000)
            with pytest.raises(OutputError, match="File too large"):
                lock.check_disk_space(1001)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert [path.name for path in tmp_path.iterdir()] == [".file.lock"]


def test_a_fifo_passes_the_bytes_on_and_stays_one(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    check_writable(fifo)
    received: list[bytes] = []
    reader = threading.Thread(target=lambda: received.append(fifo.read_bytes()), daemon=True)
    reader.start()
    data = bytes(range(256)) * 4000  # more than a pipe holds
    write_atomic(fifo, data)
    reader.join(timeout=10)
    assert received == [data]
    assert stat.S_ISFIFO(fifo.stat().st_mode)


def test_a_pipe_of_the_shell_is_written_to() -> None:
    reading, writing = os.pipe()  # as in `--output >(gzip > file)`
    try:
        check_writable(Path(f"/dev/fd/{writing}"))
        write_atomic(Path(f"/dev/fd/{writing}"), b"new")
        assert os.read(reading, 100) == b"new"
    finally:
        os.close(reading)
        os.close(writing)


def test_a_fifo_that_nobody_reads_is_waited_for_only_if_told(tmp_path: Path) -> None:
    path = tmp_path / "fifo"
    os.mkfifo(path)
    with OutputLock(path) as lock:
        with pytest.raises(NoReaderError):
            lock.write(b"data", wait=False)
        reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        lock.write(b"data", wait=False)
        assert os.read(reader, 10) == b"data"
        os.close(reader)


def test_a_fifo_that_cannot_be_opened_is_an_error_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.mkfifo(tmp_path / "fifo")
    with OutputLock(tmp_path / "fifo") as lock:
        monkeypatch.setattr(os, "open", Mock(side_effect=OSError(errno.EIO, "broken")))
        with pytest.raises(OutputError, match="fifo: broken"):
            lock.write(b"data")


def test_an_open_file_is_locked_once(tmp_path: Path) -> None:
    with (tmp_path / "file").open("w") as first, (tmp_path / "file").open("w") as second:
        assert try_lock(first.fileno())
        assert not try_lock(second.fileno())


def test_a_file_that_is_replaced_written_to_or_removed_has_another_version(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    (tmp_path / "link").symlink_to(path)
    version = FileVersion.of(tmp_path / "link", path.stat())
    assert version.is_at(path)
    assert not version.is_at(tmp_path / "link")
    assert not version.was_replaced()
    write_atomic(path, b"new")
    assert version.was_replaced()
    version = FileVersion.of(path, path.stat())
    os.utime(path, ns=(0, 0))
    assert version.was_replaced()
    path.unlink()
    assert version.was_replaced()


def test_an_output_is_no_other_file_of_the_run(tmp_path: Path) -> None:
    path, link = tmp_path / "file", tmp_path / "link"
    path.touch()
    link.symlink_to(path)
    for output, other in ((path, path), (link, path), (path, link)):
        with pytest.raises(UsageError, match=f"--output {output} is what --config names"):
            check_distinct({"--output": str(output)}, {"--config": str(other)})
    below = str(path / "below")  # what cannot be looked at is left to what opens it
    for name in (None, "", "-", os.devnull, below):
        check_distinct({"--output": name}, {"--config": name})
    check_distinct({"--output": str(path)}, {"--config": str(tmp_path / "other"), "--plot": None})


def test_an_output_is_a_file_or_standard_output(
    tmp_path: Path, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    write_output(str(tmp_path / "-"), b"to a file")
    write_output("-", b"to the ")
    write_standard_output("screen")
    assert (tmp_path / "-").read_bytes() == b"to a file"
    assert capsysbinary.readouterr().out == b"to the screen"


def test_a_full_pipe_takes_no_text(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    assert can_write(writing)
    with suppress(BlockingIOError):
        while True:
            os.write(writing, bytes(1 << 16))
    assert not can_write(writing)
    os.close(reading)
    os.close(writing)
    assert can_write(io.StringIO())


@pytest.mark.parametrize("unbuffered", [False, True])
@pytest.mark.parametrize("data", [b"\0\1" * 200_000, "é" * 200_000])
def test_all_is_written_though_standard_output_takes_little_at_a_time(
    data: str | bytes, unbuffered: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    raw = open(writing, "wb", buffering=0)  # noqa: PTH123, SIM115
    binary = raw if unbuffered else io.BufferedWriter(raw)
    stream = io.TextIOWrapper(binary, "utf-8", write_through=unbuffered)  # type: ignore[arg-type]
    monkeypatch.setattr(sys, "stdout", stream)
    with ThreadPoolExecutor(1) as thread, open(reading, "rb") as file:  # noqa: PTH123
        received = thread.submit(file.read)
        try:
            write_standard_output(data)
        finally:
            stream.close()
        assert received.result() == (data.encode() if isinstance(data, str) else data)
