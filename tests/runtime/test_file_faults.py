"""Tests of every system call that saves a file, failing in every way."""

import errno
import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from mnist_cli.errors import OutputError
from mnist_cli.runtime import files
from mnist_cli.runtime.files import OutputLock, write_atomic

OLD, NEW = b"old" * 1000, b"new" * 1001
CALLS = "open fstat stat listdir write chmod fsync close replace unlink".split()


class Power(BaseException):
    """The power failed or the process was killed: no code runs any more, not even clean-up."""


class System:
    """A stand-in for `os` that counts the calls and makes the nth one fail."""

    def __init__(self, fails_at: int, failure: BaseException | str) -> None:
        self.calls: list[str] = []
        self._fails_at, self._failure = fails_at, failure
        self._is_off = False
        self._handles: list[int] = []

    def end(self) -> None:
        """Close the files, as the system does for a process that ended."""
        for handle in self._handles:
            with suppress(OSError):
                os.close(handle)

    def __getattr__(self, name: str) -> Any:
        real = getattr(os, name)
        if name not in CALLS:
            return real

        def call(*arguments: Any, **options: Any) -> Any:
            if self._is_off:
                raise Power
            self.calls.append(name)
            if len(self.calls) != self._fails_at:
                result = real(*arguments, **options)
                if name == "open":
                    self._handles.append(result)
                return result
            if name == "close":
                real(*arguments, **options)  # Linux closes it, whatever it says
            if self._failure == "short write":
                if name == "write":
                    return real(arguments[0], bytes(arguments[1])[:7])
                return None if name == "close" else real(*arguments, **options)
            if isinstance(self._failure, Power):
                self._is_off = True
            if self._failure == "crash after":
                result = None if name == "close" else real(*arguments, **options)
                if name == "open":
                    self._handles.append(result)
                self._is_off = True
                raise Power
            assert isinstance(self._failure, BaseException)
            raise self._failure

        return call


def steps_of(path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    system = System(0, "nothing")
    with monkeypatch.context() as patch:
        patch.setattr(files, "os", system)
        with OutputLock(path) as made:
            made.write(NEW)
    return system.calls


def test_the_calls_are_those_that_are_documented(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lock; write and sync the temporary file; rename; sync the folder; release the lock."""
    path = tmp_path / "file"
    path.write_bytes(OLD)
    calls = [call for call in steps_of(path, monkeypatch) if call not in ("fstat", "stat")]
    lock, write = ["open", "listdir"], ["open", "chmod", "write", "fsync", "close"]
    rename, release = ["replace", "open", "fsync", "close"], ["unlink", "unlink", "close"]
    assert calls == [*lock, *write, *rename, *release]
    assert path.read_bytes() == NEW
    assert list(tmp_path.iterdir()) == [path]


FAILURES = {
    "disk full": OSError(errno.ENOSPC, "No space left on device"),
    "broken disk": OSError(errno.EIO, "Input/output error"),
    "interrupted call": InterruptedError(errno.EINTR, "Interrupted system call"),
    "Ctrl-C": KeyboardInterrupt(),
    "crash before": Power(),
    "crash after": "crash after",
    "short write": "short write",
}


@pytest.mark.parametrize("existed", [True, False], ids=["over a file", "new"])
@pytest.mark.parametrize("kind", FAILURES)
def test_whatever_fails_the_old_file_or_the_new_one_is_whole(
    kind: str, existed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "trial").mkdir()
    trial = tmp_path / "trial" / "file"
    if existed:
        trial.write_bytes(OLD)
    names = steps_of(trial, monkeypatch)
    for number, name in enumerate(names, start=1):
        folder = tmp_path / str(number)
        folder.mkdir()
        path = folder / "file"
        if existed:
            path.write_bytes(OLD)
        raised: BaseException | None = None
        with monkeypatch.context() as patch:
            system = System(number, FAILURES[kind])
            patch.setattr(files, "os", system)
            try:
                with OutputLock(path) as made:
                    made.write(NEW)
            except (OutputError, OSError, KeyboardInterrupt, Power) as error:
                raised = error
        found = path.read_bytes() if path.exists() else None
        assert found in ((OLD if existed else None), NEW), (number, name)
        if raised is None:
            assert found == NEW, (number, name)
        elif isinstance(raised, OutputError):
            assert str(raised).startswith(f"cannot write {path}: "), (number, name)
        crashed = kind.startswith("crash")
        if crashed:
            system.end()
        elif name not in ("unlink", "fstat", "stat"):
            assert set(folder.iterdir()) <= {path}, (number, name)
        # Whatever was left, the next program can write.
        with OutputLock(path) as made:
            made.write(NEW)
        assert path.read_bytes() == NEW
        assert list(folder.iterdir()) == [path], (number, name)


KILLED = """
import os, sys
from pathlib import Path
from mnist_cli.runtime import files

class System:
    left = int(sys.argv[2])
    def __getattr__(self, name):
        real = getattr(os, name)
        if not callable(real) or name.startswith("O_"):
            return real
        def call(*arguments, **options):
            System.left -= 1
            if System.left < 0:
                os.kill(os.getpid(), 9)
            return real(*arguments, **options)
        return call

files.os = System()
with files.OutputLock(Path(sys.argv[1])) as made:
    made.write(sys.argv[3].encode() * 1000)
print("done")
"""


@pytest.mark.slow
def test_killed_before_any_call_the_file_is_the_old_or_the_new_one(tmp_path: Path) -> None:
    """With a real process and SIGKILL; no lock outlives its process."""
    path = tmp_path / "file"
    path.write_bytes(b"old" * 1000)
    before, finished = b"old" * 1000, False
    for left in range(30):
        contents = f"new{left}"
        done = subprocess.run(
            [sys.executable, "-c", KILLED, path, str(left), contents],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        new = contents.encode() * 1000
        assert path.read_bytes() in (before, new), left
        before = path.read_bytes()
        if done.returncode == 0:
            finished = True
            break
        assert done.returncode == -9, done.stderr
    assert finished
    assert left > 10
    assert before == new
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("module", "name"),
    [
        *((os, name) for name in ("open", "fstat", "stat", "listdir", "unlink", "close")),
        (files.fcntl, "flock"),
    ],
)
def test_a_signal_after_any_call_leaves_no_lock_file(
    module: ModuleType, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Python sees a signal when a call of the system returns, before its result has a name."""
    real = getattr(module, name)
    for nth in range(1, 20):
        calls = 0

        def interrupted(*arguments: object, **options: object) -> object:
            nonlocal calls
            result = real(*arguments, **options)
            calls += 1
            if calls == nth:  # noqa: B023
                raise SystemExit(143)
            return result

        with monkeypatch.context() as patch, suppress(SystemExit):
            patch.setattr(module, name, interrupted)
            with OutputLock(tmp_path / "file", wait=True):
                pass
        assert list(tmp_path.iterdir()) == [], nth
        if calls < nth:
            break
    assert nth > 1


def test_a_file_system_without_locks_is_written_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def flock(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    fake = SimpleNamespace(flock=flock, LOCK_EX=2, LOCK_NB=4)
    monkeypatch.setattr(files, "fcntl", fake)
    write_atomic(tmp_path / "file", NEW)
    assert (tmp_path / "file").read_bytes() == NEW


def test_without_locks_two_programs_do_not_tear_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each has its own temporary file; the last one wins."""

    def flock(*_: object) -> None:
        raise OSError(errno.ENOTSUP, "Operation not supported")

    monkeypatch.setattr(files, "fcntl", SimpleNamespace(flock=flock, LOCK_EX=2, LOCK_NB=4))
    path = tmp_path / "file"
    first, second = OutputLock(path), OutputLock(path)  # perhaps of two machines, or threads
    parts = []
    real = os.replace

    def replace(source: Any, target: Any) -> None:
        parts.append(Path(source).name)
        if len(parts) == 1:
            first.write(OLD)  # while the other one writes
        real(source, target)

    monkeypatch.setattr(os, "replace", replace)
    second.write(NEW)
    assert path.read_bytes() == NEW
    assert parts == [second._temp.name, first._temp.name]
    assert len(set(parts)) == 2


def test_a_removed_lock_file_does_not_release_the_next_lock(tmp_path: Path) -> None:
    path = tmp_path / "file"
    first = OutputLock(path)
    (tmp_path / ".file.lock").unlink()
    second = OutputLock(path)
    first.close()
    with pytest.raises(OutputError, match="is being written by another program"):
        OutputLock(path)
    second.close()


def test_a_lock_file_that_is_removed_before_it_is_locked_locks_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_files = len([*Path("/dev/fd").iterdir()])
    holders = [OutputLock(tmp_path / "file")]
    real = files.fcntl.flock

    def flock(handle: int, operation: int) -> None:
        while holders:
            holders.pop().close()  # between this program's open and its lock
        real(handle, operation)

    monkeypatch.setattr(files.fcntl, "flock", flock)
    with (
        OutputLock(tmp_path / "file"),
        pytest.raises(OutputError, match="is being written by another program"),
    ):
        OutputLock(tmp_path / "file")
    assert len([*Path("/dev/fd").iterdir()]) == open_files


def test_a_link_in_the_place_of_the_temporary_file_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "other").write_bytes(OLD)
    with OutputLock(tmp_path / "file") as lock:
        lock._temp.symlink_to(tmp_path / "other")
        with pytest.raises(OutputError, match="File exists"):
            lock.write(NEW)
    assert (tmp_path / "other").read_bytes() == OLD


def test_stale_temporary_files_are_removed_and_nothing_else(tmp_path: Path) -> None:
    stale = (".file.12.tmp", ".file.0123456789abcdef.tmp")
    for name in (*stale, ".file.x.tmp", ".file2.1.tmp", "file.1.tmp"):
        (tmp_path / name).touch()
    OutputLock(tmp_path / "file").close()
    left = sorted(path.name for path in tmp_path.iterdir())
    assert left == [".file.x.tmp", ".file2.1.tmp", "file.1.tmp"]
