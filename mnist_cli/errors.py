"""What can go wrong, and the exit code that says so."""

from enum import IntEnum
from typing import ClassVar


class ExitCode(IntEnum):
    """The exit codes of every program, as the README lists them."""

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


class MnistError(Exception):
    """An error that is not a bug: one or two lines that say what is wrong and what to do."""

    code: ClassVar[ExitCode]


class UsageError(MnistError):
    """An option, a key, a preset or a value that cannot be used."""

    code = ExitCode.USAGE


class DataError(MnistError):
    """A data set that is missing, damaged or could not be downloaded."""

    code = ExitCode.DATA


class CheckpointError(MnistError):
    """A checkpoint that is missing, damaged, of another format, or unsafe to load."""

    code = ExitCode.CHECKPOINT


class ThresholdNotMetError(MnistError):
    """An accuracy that was asked for and not reached."""

    code = ExitCode.THRESHOLD


class DivergedError(MnistError):
    """A loss or a weight that is no longer finite."""

    code = ExitCode.DIVERGED


class OutputError(MnistError):
    """An output that could not be written."""

    code = ExitCode.OUTPUT


class ReaderGoneError(MnistError):
    """The reader of standard output went away; there is nobody to tell."""

    code = ExitCode.BROKEN_PIPE


class InterruptedRunError(MnistError):
    """A run that SIGINT stopped, after its state was saved."""

    code = ExitCode.INTERRUPTED


class TerminatedRunError(MnistError):
    """A run that SIGTERM stopped, after its state was saved."""

    code = ExitCode.TERMINATED
