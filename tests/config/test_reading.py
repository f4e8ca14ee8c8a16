"""Reading of files, FIFOs and standard input."""

import os
import select
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from mnist_cli.config.reading import read_input


@pytest.fixture
def fifo(tmp_path: Path) -> Path:
    os.mkfifo(tmp_path / "fifo")
    return tmp_path / "fifo"


@pytest.fixture
def _terminating() -> Iterator[None]:
    """Make SIGTERM raise, as the programs do."""
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.mark.parametrize("size", [0, 1, 100, 3_000_000])
def test_all_of_a_file_or_fifo_is_read_up_to_the_limit(
    size: int, fifo: Path, tmp_path: Path
) -> None:
    data = os.urandom(size)
    (tmp_path / "file").write_bytes(data)
    for most in (size // 2, size, size + 1):
        assert read_input(tmp_path / "file", most)[0] == data[:most]
    writer = threading.Thread(target=fifo.write_bytes, args=(data,))
    writer.start()
    assert read_input(str(fifo), size + 1)[0] == data
    writer.join()


@pytest.mark.usefixtures("_terminating")
def test_a_signal_just_before_the_wait_for_a_writer_is_not_lost(
    fifo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The handler in C has run by then; Python's runs when the system call has returned."""
    real = select.select

    def signal_and_select(*arguments: object) -> object:
        thread = threading.Thread(target=lambda: os.kill(os.getpid(), signal.SIGTERM))
        thread.start()
        return real(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr("mnist_cli.config.reading.select.select", signal_and_select)
    with pytest.raises(SystemExit, match="143"):
        read_input(fifo, 10)


def test_a_folder_and_a_missing_file_are_errors_of_the_system(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError):
        read_input(tmp_path, 10)
    for missing in ("", tmp_path / "missing"):
        with pytest.raises(FileNotFoundError):
            read_input(missing, 10)
