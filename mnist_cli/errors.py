"""Errors and exit codes.

MnistError
├── UsageError              2  an option, a key, a preset or a value that cannot be used
├── DataError               3  data that is missing, damaged or could not be downloaded
├── CheckpointError         4  a checkpoint that is missing, damaged or unsafe to load
├── ThresholdNotMetError    5  an accuracy that was not reached
├── DivergedError           6  a loss or a weight that is no longer finite
├── OutputError             7  an output that could not be written
├── MachineError            7  too little memory, or a working folder that was deleted
├── InterruptedRunError   130  a run stopped by SIGINT, its state saved
├── ReaderGoneError       141  standard output has no reader any more
├── TerminatedRunError    143  a run stopped by SIGTERM or SIGHUP, its state saved
└── PeerError               ?  the failure of another rank, with that rank's exit code
"""

import signal
from enum import IntEnum


class ExitCode(IntEnum):
    """The exit codes of every program."""

    DONE = 0
    BUG = 1
    USAGE = 2
    DATA = 3
    CHECKPOINT = 4
    THRESHOLD = 5
    DIVERGED = 6
    OUTPUT = 7
    INTERRUPTED = 130
    BROKEN_PIPE = 141
    TERMINATED = 143


# The exit code after each signal, in all programs; SIGHUP comes when the terminal is closed.
SIGNAL_CODES: dict[int, ExitCode] = {
    signal.SIGINT: ExitCode.INTERRUPTED,
    signal.SIGTERM: ExitCode.TERMINATED,
}
if hasattr(signal, "SIGHUP"):
    SIGNAL_CODES[signal.SIGHUP] = ExitCode.TERMINATED

# The text of docs/reference.md.
MEANINGS = {
    ExitCode.DONE: "done",
    ExitCode.BUG: "a bug: a traceback is shown",
    ExitCode.USAGE: "usage: an option, key, preset or value that cannot be used",
    ExitCode.DATA: "data: missing, damaged, or could not be downloaded; an unreadable image",
    ExitCode.CHECKPOINT: "checkpoint: missing, damaged, of another format, or unsafe to load",
    ExitCode.THRESHOLD: "a threshold was not met (`--min-accuracy`, `--until-accuracy`)",
    ExitCode.DIVERGED: "training diverged: loss or weights no longer finite",
    ExitCode.OUTPUT: "the output could not be written, or the machine has too little memory",
    ExitCode.INTERRUPTED: "interrupted by SIGINT (Ctrl-C), after the state was saved",
    ExitCode.BROKEN_PIPE: "the reader of standard output went away",
    ExitCode.TERMINATED: "ended by SIGTERM or SIGHUP, after the state was saved",
}


class MnistError(Exception):
    """An error that is not a bug; its message says what is wrong and what to do.

    `already_reported` is true once the message was printed. `raised_on_all_ranks` is true if every
    rank of a training raises the error.
    """

    code: int
    already_reported = False
    raised_on_all_ranks = False


class UsageError(MnistError):
    """An option, a key, a preset or a value that cannot be used."""

    code = ExitCode.USAGE


class DataError(MnistError):
    """Data that is missing, damaged or could not be downloaded."""

    code = ExitCode.DATA


class CheckpointError(MnistError):
    """A checkpoint that is missing, damaged, of another format, or unsafe to load."""

    code = ExitCode.CHECKPOINT


class ThresholdNotMetError(MnistError):
    """An accuracy that was not reached."""

    code = ExitCode.THRESHOLD
    raised_on_all_ranks = True


class DivergedError(MnistError):
    """A loss or a weight that is no longer finite."""

    code = ExitCode.DIVERGED
    raised_on_all_ranks = True


class OutputError(MnistError):
    """An output that could not be written."""

    code = ExitCode.OUTPUT


class MachineError(MnistError):
    """Too little memory, or a working folder that was deleted."""

    code = ExitCode.OUTPUT


class ReaderGoneError(MnistError):
    """Standard output has no reader any more; nothing is printed."""

    code = ExitCode.BROKEN_PIPE
    already_reported = True


class InterruptedRunError(MnistError):
    """A run that SIGINT stopped, after its state was saved."""

    code = ExitCode.INTERRUPTED
    raised_on_all_ranks = True


class TerminatedRunError(MnistError):
    """A run that SIGTERM or SIGHUP stopped, after its state was saved."""

    code = ExitCode.TERMINATED
    raised_on_all_ranks = True


class PeerError(MnistError):
    """The failure of another rank, with that rank's exit code."""

    def __init__(self, text: str, code: int) -> None:
        super().__init__(text)
        self.code = code


# Texts in the messages of PyTorch, C++ and the dynamic loader when there is too little memory.
_LACK_OF_MEMORY = (
    "allocate memory",
    "not enough memory",
    "out of memory",
    "bad_alloc",
    "failed to map segment",
    "can't start new thread",
)


def lack_of_memory(error: BaseException) -> MachineError | None:
    """Return the error to show instead of one that comes from too little memory, or None."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, MnistError):
            return None
        if isinstance(cause, MemoryError) or any(text in str(cause) for text in _LACK_OF_MEMORY):
            return MachineError(
                "too little memory; close other programs, raise the limit of this shell or "
                "container, or use a smaller --micro-batch-size, --threads or --subset"
            )
        cause = cause.__cause__ or cause.__context__
    return None
