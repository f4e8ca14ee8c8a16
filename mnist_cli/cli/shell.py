"""The frame of every program: errors to exit codes, streams, messages."""

import contextlib
import logging
import os
import sys
import traceback
from collections.abc import Iterator

import typer

from mnist_cli.errors import ExitCode, MnistError, ReaderGoneError


def run_program(app: typer.Typer, name: str | None = None) -> None:
    """Run a program to its end, and exit with its code."""
    code = _run(app, name)
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        code = ExitCode.BROKEN_PIPE
    if code == ExitCode.BROKEN_PIPE:  # or the interpreter would complain when it flushes
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(code)


def _run(app: typer.Typer, name: str | None) -> int:
    try:
        return int(app(standalone_mode=False, prog_name=name) or 0)
    except ReaderGoneError as error:
        return error.code
    except MnistError as error:
        complain(str(error))
        return error.code
    except (KeyboardInterrupt, typer.Abort):
        return ExitCode.INTERRUPTED
    except Exception as error:
        if hasattr(error, "format_message"):  # Typer's errors of usage
            complain(_usage(error))
            return ExitCode.USAGE
        traceback.print_exc()
        return ExitCode.BUG


def complain(message: str) -> None:
    """Print an error on stderr."""
    print(f"error: {message}", file=sys.stderr)  # noqa: T201


def _usage(error: Exception) -> str:
    """Return Typer's message in one line, with the nearest option that exists."""
    message = " ".join(error.format_message().split())  # type: ignore[attr-defined]
    near = getattr(error, "possibilities", None)
    if near:
        message = f"{error.message}; did you mean {' or '.join(sorted(near))}?"  # type: ignore[attr-defined]
    context = getattr(error, "ctx", None)
    return message + (f" (see {context.command_path} --help)" if context else "")


@contextlib.contextmanager
def notices(*, quiet: bool) -> Iterator[None]:
    """Show on stderr what the rooms below log: notices, or only warnings when quiet."""
    logger = logging.getLogger("mnist_cli")
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(message)s"))
    logger.addHandler(handler)
    logger.setLevel(logging.WARNING if quiet else logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)
