"""The environment of every command: streams, signals, exit codes and error messages."""

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
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, TextIO

import typer

from mnist_cli.cli.entry_points import exit_at_once_on_signals
from mnist_cli.cli.usage_errors import format_usage_error
from mnist_cli.config.quoting import escape_controls, quote
from mnist_cli.errors import (
    SIGNAL_CODES,
    ExitCode,
    MachineError,
    MnistError,
    ReaderGoneError,
    UsageError,
    lack_of_memory,
)
from mnist_cli.runtime.cores import BusyCores, usable_cores
from mnist_cli.runtime.distributed.ranks import RankInfo, is_launched
from mnist_cli.runtime.files import can_write, write_standard_output
from mnist_cli.runtime.terminals import can_animate

if sys.platform != "win32":  # which sets no such limits
    import resource

if TYPE_CHECKING:
    from mnist_cli.runtime.distributed.group import ProcessGroup

# Seconds for rank 0 to report an error. The first rank of another machine waits this long before
# it reports the error itself, other ranks twice as long.
_REPORT_TIMEOUT = 3.0
_WRITE_TIMEOUT = 0.5  # seconds for a reader of stdout or stderr, once a signal ended the program
# Bytes of address space to import PyTorch and scipy, and to read one image.
_MIN_ADDRESS_SPACE = 900 << 20
_MIN_OPEN_FILES = 20  # which POSIX promises to every process
_SIGNALLED = (ExitCode.INTERRUPTED, ExitCode.TERMINATED)
# What stands for characters on a terminal that lacks them. Those of drawings are as wide.
_ASCII = {
    **dict(zip("░▒▓█▀▁▂▃▄▅▆▇", ".:#@^_.-=+*#", strict=True)),
    **{"→": "->", "…": "...", "±": "+-", "·": "*", "├": "|", "└": "`", "─": "-", "│": "|"},
    **dict.fromkeys("┌┐┘┤┬┴┼", "+"),  # with what follows, those of charts
    **dict.fromkeys("▌▐▖▗▘▙▚▛▜▝▞▟━", "*"),
}

_log = logging.getLogger("mnist_cli")


def run_program(app: Callable[..., int | None], name: str) -> None:
    """Run a program and exit with its exit code."""
    embedded = "torch" in sys.modules  # the interpreter also runs other code
    _prepare_streams()
    raise_on_signals()
    if not sys.stdout.isatty():  # otherwise Typer writes colours to pipes on some CI hosts
        os.environ.setdefault("_TYPER_FORCE_DISABLE_TERMINAL", "1")
    for size in ("COLUMNS", "LINES"):
        if not os.environ.get(size, "1").strip("0"):  # rich would print nothing in no columns
            del os.environ[size]
    if any(key.startswith("_MNIST_") and key.endswith("_COMPLETE") for key in os.environ):
        os.environ["COLUMNS"] = "10000"  # the shell reads one line of help for each completion
    code = _run(app, name)
    try:
        write_standard_output("")
    except ReaderGoneError:
        code = ExitCode.BROKEN_PIPE
    except MnistError as error:
        code = code or _fail(error)
    for stream in (sys.stdout, sys.stderr):
        _close(stream, _write_timeout(code))
    if "torch" in sys.modules and not embedded:
        os._exit(code)  # freeing the objects of torch one by one takes 0.2 s
    sys.exit(code)


def _write_timeout(code: int) -> float | None:
    """Return how long a program that ends with this code waits for readers of its output."""
    return _WRITE_TIMEOUT if code in _SIGNALLED else None


def _close(stream: TextIO, timeout: float | None) -> None:
    """Flush a stream; if that fails, redirect it, or the interpreter would fail at exit.

    It is redirected as well if nobody reads it within `timeout` seconds.
    """
    with contextlib.suppress(OSError):
        if can_write(stream, timeout):
            stream.flush()
            return
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _prepare_streams() -> None:
    """Open the null device for standard streams that are closed, and let them encode any text."""
    sys.stdin = sys.stdin or open(os.devnull)  # noqa: PTH123, SIM115
    sys.stdout = sys.stdout or open(os.devnull, "w")  # noqa: PTH123, SIM115
    sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: PTH123, SIM115
    codecs.register_error("mnist_cli.data", partial(_encode_error, keep_bytes=True))
    codecs.register_error("mnist_cli.text", partial(_encode_error, keep_bytes=False))
    for stream, errors in ((sys.stdout, "mnist_cli.data"), (sys.stderr, "mnist_cli.text")):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=errors)


def _encode_error(error: UnicodeError, *, keep_bytes: bool) -> tuple[bytes, int]:
    """Return what stands for characters that a stream's encoding lacks: ASCII, or escapes.

    If `keep_bytes`, the undecodable bytes of a path are written as they were.
    """
    if not isinstance(error, UnicodeEncodeError):
        raise error
    replaced = [
        char.encode(errors="surrogateescape")
        if keep_bytes and "\udc80" <= char <= "\udcff"
        else _ASCII.get(char, char).encode("ascii", "backslashreplace")
        for char in error.object[error.start : error.end]
    ]
    return b"".join(replaced), error.end


def raise_on_signals() -> None:
    """Make SIGINT, SIGTERM and SIGHUP end the program by an exception, so that it cleans up.

    An ignored SIGINT stays ignored, as in a script's `mnist-eval … &`; so does an ignored SIGHUP,
    which is what `nohup` is for.
    """
    with contextlib.suppress(ValueError):  # not in the main thread
        for number, code in SIGNAL_CODES.items():
            if number == signal.SIGTERM or signal.getsignal(number) is not signal.SIG_IGN:
                is_interrupt = code is ExitCode.INTERRUPTED
                signal.signal(number, signal.default_int_handler if is_interrupt else _terminate)


def default_handlers() -> None:
    """Let signals end the process at once, whatever it does; ignored ones stay ignored."""
    for number in SIGNAL_CODES:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)


def _terminate(_number: int, _frame: FrameType | None) -> None:
    sys.exit(ExitCode.TERMINATED)


def _run(app: Callable[..., int | None], name: str) -> int:
    try:
        return int(app(standalone_mode=False, prog_name=name) or 0)
    except MnistError as error:
        return _fail(error)
    except (KeyboardInterrupt, typer.Abort):
        return ExitCode.INTERRUPTED
    except SystemExit as stop:  # Typer exits with 1 when the reader of its help goes away
        return ExitCode.BROKEN_PIPE if stop.code == ExitCode.BUG else int(stop.code or 0)
    except Exception as error:
        return _fail_unexpectedly(error)


def _fail_unexpectedly(error: Exception) -> int:
    """Report a usage error of Typer, a lack of memory, or a bug; return the exit code."""
    if hasattr(error, "format_message"):
        if message := format_usage_error(error):
            _wait_for_main_rank()
            print_error(message)
        return ExitCode.USAGE
    if reason := lack_of_memory(error):
        traceback.clear_frames(error.__traceback__)  # they hold what fills the memory
        return _fail(reason)
    traceback.print_exc()
    return ExitCode.BUG


def _fail(error: MnistError) -> int:
    if not error.already_reported:
        _wait_for_main_rank()
        print_error(str(error), timeout=_write_timeout(error.code))
    return error.code


def _wait_for_main_rank() -> None:
    """Wait so that rank 0 reports the error; torchrun then terminates this process."""
    with contextlib.suppress(MnistError):
        rank_info = RankInfo.from_env()
        if not rank_info.is_main:
            time.sleep(2 * _REPORT_TIMEOUT if rank_info.local_rank else _REPORT_TIMEOUT)


def print_error(message: str, *, timeout: float | None = None) -> None:
    """Print an error message on stderr, unless nobody reads it within `timeout` seconds."""
    with contextlib.suppress(OSError):
        if can_write(sys.stderr, timeout):
            sys.stderr.write(f"error: {escape_controls(message, keep_lines=True)}\n")


@contextlib.contextmanager
def quick_imports(*, quiet: bool = True) -> Iterator[None]:
    """Disable garbage collection and clean-up on signals while the block imports modules.

    PyTorch creates a quarter of a million objects that stay, so they are excluded from later
    collections too. A signal ends the program at once: an exception in the middle of an import
    could turn into another one. PyTorch reads the limit of OpenMP's spinning when it is imported.

    Unless `quiet`, a terminal shows meanwhile that PyTorch is being loaded.

    Raises:
        MachineError: see `check_machine`.
        UsageError: PyTorch refuses the variable TORCH_LOGS.

    """
    check_machine()
    embedded = "torch" in sys.modules
    gc.disable()
    if not embedded:
        exit_at_once_on_signals()
        limit_openmp_spinning()
    is_shown = not (quiet or embedded) and can_animate(sys.stderr)
    if is_shown:
        sys.stderr.write("Loading PyTorch ...")
        sys.stderr.flush()
    try:
        yield
    except ValueError as error:
        if not (logs := os.environ.get("TORCH_LOGS")):
            raise
        raise UsageError(
            f"TORCH_LOGS={quote(logs)}: PyTorch refuses it; correct it, or unset it"
        ) from error
    finally:
        if is_shown:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
        gc.freeze()
        gc.enable()
        if not embedded:
            raise_on_signals()


def check_machine() -> None:
    """Check what libraries need in order to be imported.

    oneMKL ends the process where the working folder was deleted. OpenBLAS waits for ever where it
    cannot allocate memory. PyTorch logs pages of errors where it cannot open files.

    Raises:
        MachineError: the working folder was deleted, or the memory or the number of open files is
            limited to too little.

    """
    try:
        Path.cwd()
    except FileNotFoundError:
        raise MachineError("the working folder was deleted; change to another one") from None
    if sys.platform == "win32":
        return
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    if 0 <= limit < _MIN_ADDRESS_SPACE:
        raise MachineError(
            f"memory is limited to {limit >> 20} MiB, and {_MIN_ADDRESS_SPACE >> 20} are needed; "
            f"raise the limit: ulimit -v {_MIN_ADDRESS_SPACE >> 10}"
        )
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if 0 <= files < _MIN_OPEN_FILES:
        raise MachineError(
            f"open files are limited to {files}, and {_MIN_OPEN_FILES} are needed; raise the "
            "limit: ulimit -n 256"
        )


def limit_openmp_spinning() -> None:
    """Make waiting OpenMP threads sleep soon, unless the environment says otherwise.

    By default GNU OpenMP spins 300,000 times first, which keeps the core busy: two trainings at the
    same time took 7 to 70 times as long as one. This limit costs a single training hardly any time:
    https://gcc.gnu.org/onlinedocs/libgomp/GOMP_005fSPINCOUNT.html
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "5000")


def exit_unless_main() -> None:
    """Exit in all ranks but 0, in programs that gain nothing from several ranks."""
    if is_launched() and not RankInfo.from_env().is_main:
        raise typer.Exit


@contextlib.contextmanager
def process_group() -> Iterator["ProcessGroup | None"]:
    """Join the process group that torchrun started; yield None for a single process."""
    if RankInfo.from_env().size == 1:
        yield None
        return
    # Without this, PyTorch prints a page of its stack for every connection that breaks.
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "FATAL")
    with quick_imports():
        from mnist_cli.runtime.distributed.torch_group import join  # noqa: PLC0415 (torch)
    default_handlers()  # Python's handlers do not run while PyTorch waits
    group = join(print_error)
    raise_on_signals()
    with group:
        yield group


def note_busy_cores(cores: BusyCores, threads: int | None) -> None:
    """Log a note if other programs keep the cores busy that a training would use."""
    if cores.leave_too_few(threads or usable_cores()):
        advice = "" if threads == 1 else ", or use --threads 1"
        _log.info("The cores are busy: expect longer%s", advice)


class _StderrHandler(logging.StreamHandler[TextIO]):
    """A handler for the current `sys.stderr`, which a progress display may have replaced."""

    @property
    def stream(self) -> TextIO:
        """The current `sys.stderr`."""
        return sys.stderr

    @stream.setter
    def stream(self, _stream: TextIO) -> None:
        pass

    def format(self, record: logging.LogRecord) -> str:
        """Return the message, in which a name cannot steer the terminal."""
        return escape_controls(super().format(record), keep_lines=True)


@contextlib.contextmanager
def log_to_stderr(*, quiet: bool) -> Iterator[None]:
    """Print log messages on stderr: all of them, or only warnings if `quiet`."""
    logger = logging.getLogger("mnist_cli")
    handler = _StderrHandler()
    handler.setFormatter(logging.Formatter("%(message)s"))
    logger.addHandler(handler)
    level = logging.WARNING if quiet else logging.INFO
    logger.setLevel(level if RankInfo.from_env().is_main else logging.CRITICAL)
    try:
        yield
    finally:
        logger.removeHandler(handler)
