"""The frame of every program: streams, errors to exit codes, messages."""

import codecs
import contextlib
import gc
import io
import logging
import os
import signal
import sys
import time
import traceback
from collections.abc import Iterator
from types import FrameType
from typing import TYPE_CHECKING, TextIO

import typer

from mnist_cli.cli.entry_points import leave_quietly
from mnist_cli.cli.usage_errors import usage_in_words
from mnist_cli.errors import ExitCode, MnistError, ReaderGoneError
from mnist_cli.runtime.distributed.ranks import is_launched, rank_info_from_env
from mnist_cli.runtime.files import write_standard_output

if TYPE_CHECKING:
    from mnist_cli.runtime.distributed.group import ProcessGroup

_PATIENCE = 3.0  # seconds, of the first rank on a machine; others wait twice as long


def run_program(app: typer.Typer, name: str) -> None:
    """Run a program to its end, and exit with its code."""
    hosted = "torch" in sys.modules  # by an interpreter that has other things to do
    _open_streams()
    stop_tidily()
    if not sys.stdout.isatty():  # Typer would colour a pipe on some continuous-integration hosts
        os.environ.setdefault("_TYPER_FORCE_DISABLE_TERMINAL", "1")
    if any(key.startswith("_MNIST_") and key.endswith("_COMPLETE") for key in os.environ):
        os.environ["COLUMNS"] = "10000"  # or Rich would fold help that a shell reads by lines
    code = _run(app, name)
    try:
        write_standard_output("")
    except ReaderGoneError:
        code = ExitCode.BROKEN_PIPE
    except MnistError as error:
        code = code or _fail(error)
    for stream in (sys.stdout, sys.stderr):
        _close(stream)
    if "torch" in sys.modules and not hosted:
        os._exit(code)  # to free its objects one by one would take a fifth of a second
    sys.exit(code)


def _close(stream: TextIO) -> None:
    """Flush a stream; where that fails, keep the interpreter from trying once more and failing."""
    try:
        stream.flush()
    except OSError:
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _open_streams() -> None:
    """Give a program that was started with closed streams harmless ones."""
    sys.stdin = sys.stdin or open(os.devnull)  # noqa: PTH123, SIM115
    sys.stdout = sys.stdout or open(os.devnull, "w")  # noqa: PTH123, SIM115
    sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: PTH123, SIM115
    if isinstance(sys.stdout, io.TextIOWrapper):
        codecs.register_error("mnist", _encoded)
        sys.stdout.reconfigure(errors="mnist")


def _encoded(error: UnicodeError) -> tuple[str | bytes, int]:
    """Return the bytes of a path, which may be any, or the number of a letter of another code."""
    escaped = codecs.lookup_error("surrogateescape")
    try:
        return escaped(error)
    except UnicodeError:
        return codecs.lookup_error("backslashreplace")(error)


def stop_tidily() -> None:
    """Have signals end the program by an exception: what is under way is tidied up, not saved."""
    with contextlib.suppress(ValueError):  # not in the main thread
        if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, _terminate)


def _terminate(_number: int, _frame: FrameType | None) -> None:
    sys.exit(ExitCode.TERMINATED)


def _run(app: typer.Typer, name: str) -> int:
    try:
        return int(app(standalone_mode=False, prog_name=name) or 0)
    except MnistError as error:
        return _fail(error)
    except (KeyboardInterrupt, typer.Abort):
        return ExitCode.INTERRUPTED
    except SystemExit as stop:  # Typer ends with 1 when the reader of its help goes away
        return ExitCode.BROKEN_PIPE if stop.code == ExitCode.BUG else int(stop.code or 0)
    except Exception as error:
        if hasattr(error, "format_message"):  # Typer's errors of usage
            if message := usage_in_words(error):
                _let_the_first_rank_tell()
                complain(message)
            return ExitCode.USAGE
        traceback.print_exc()
        return ExitCode.BUG


def _fail(error: MnistError) -> int:
    if not error.already_reported:
        _let_the_first_rank_tell()
        complain(str(error))
    return error.code


def _let_the_first_rank_tell() -> None:
    """Give the first rank, or the first here, time to fail likewise and to tell.

    Upon that torchrun ends this one.
    """
    with contextlib.suppress(MnistError):
        place = rank_info_from_env()
        if not place.is_main:
            time.sleep(2 * _PATIENCE if place.local_rank else _PATIENCE)


def complain(message: str) -> None:
    """Print an error on stderr."""
    with contextlib.suppress(OSError):
        print(f"error: {message}", file=sys.stderr)  # noqa: T201


@contextlib.contextmanager
def quick_imports() -> Iterator[None]:
    """Import without collecting garbage: PyTorch makes a quarter of a million objects, to stay.

    They are left out of later collections, too. A signal meanwhile ends the program at once: an
    exception in the midst of an import could become another one.
    """
    hosted = "torch" in sys.modules
    gc.disable()
    if not hosted:
        leave_quietly()
        share_cores()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
        if not hosted:
            stop_tidily()


def share_cores() -> None:
    """Have threads that wait for each other sleep soon, unless the environment says otherwise.

    GNU OpenMP's look 300,000 times first, and keep from a core whoever they wait for. Two trainings
    at once took 7 to 70 times as long as one, and cores that compute whole micro-batches were
    slowed by the threads beside them. This many looks cost a training alone hardly any time:
    https://gcc.gnu.org/onlinedocs/libgomp/GOMP_005fSPINCOUNT.html
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "5000")


def exit_unless_main() -> None:
    """End all ranks but the first: what follows takes one process less time than they to meet."""
    if is_launched() and not rank_info_from_env().is_main:
        raise typer.Exit


@contextlib.contextmanager
def joined() -> Iterator["ProcessGroup | None"]:
    """Join the ranks that torchrun has started; `None` stands for a process by itself."""
    if rank_info_from_env().size == 1:
        yield None
        return
    # Or PyTorch would print a page of its stack for every connection that another rank ends.
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "FATAL")
    with quick_imports():
        from mnist_cli.runtime.distributed.torch_group import join  # noqa: PLC0415 (torch)
    for number in (signal.SIGINT, signal.SIGTERM):  # Python would not hear them while it waits
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)
    group = join(complain)
    stop_tidily()
    with group:
        yield group


class _Notices(logging.StreamHandler[TextIO]):
    """Writes to standard error as it is at the time: above a bar that is redrawn there."""

    @property
    def stream(self) -> TextIO:
        """Standard error, or what a display has put in its place."""
        return sys.stderr

    @stream.setter
    def stream(self, _stream: TextIO) -> None:
        pass


@contextlib.contextmanager
def notices(*, quiet: bool) -> Iterator[None]:
    """Show on stderr what the rooms below log: notices, or only warnings when quiet."""
    logger = logging.getLogger("mnist_cli")
    handler = _Notices()
    handler.setFormatter(logging.Formatter("%(message)s"))
    logger.addHandler(handler)
    level = logging.WARNING if quiet else logging.INFO
    logger.setLevel(level if rank_info_from_env().is_main else logging.CRITICAL)
    try:
        yield
    finally:
        logger.removeHandler(handler)
