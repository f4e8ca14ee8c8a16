"""What can go wrong, and the exit code that says so."""

from enum import IntEnum


class ExitCode(IntEnum):
    """The exit codes of every program; what each means, docs/reference.md tells from `MEANINGS`."""

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


MEANINGS = {
    ExitCode.DONE: "done",
    ExitCode.BUG: "a bug: a traceback is shown",
    ExitCode.USAGE: "usage: an option, key, preset or value that cannot be used",
    ExitCode.DATA: "data: missing, damaged, or could not be downloaded; an unreadable image",
    ExitCode.CHECKPOINT: "checkpoint: missing, damaged, of another format, or unsafe to load",
    ExitCode.THRESHOLD: "a threshold was not met (`--min-accuracy`, `--until-accuracy`)",
    ExitCode.DIVERGED: "training diverged: loss or weights no longer finite",
    ExitCode.OUTPUT: "the output could not be written",
    ExitCode.INTERRUPTED: "interrupted by SIGINT (Ctrl-C), after the state was saved",
    ExitCode.BROKEN_PIPE: "the reader of standard output went away",
    ExitCode.TERMINATED: "ended by SIGTERM or SIGHUP, after the state was saved",
}


class MnistError(Exception):
    """An error that is not a bug: one or two lines that say what is wrong and what to do.

    `already_reported`: the message was shown already. `raised_on_all_ranks`: every rank of a
    training raises it.
    """

    code: int
    already_reported = False
    raised_on_all_ranks = False


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
    raised_on_all_ranks = True


class DivergedError(MnistError):
    """A loss or a weight that is no longer finite."""

    code = ExitCode.DIVERGED
    raised_on_all_ranks = True


class OutputError(MnistError):
    """An output that could not be written."""

    code = ExitCode.OUTPUT


class ReaderGoneError(MnistError):
    """The reader of standard output went away; there is nobody to tell."""

    code = ExitCode.BROKEN_PIPE
    already_reported = True


class InterruptedRunError(MnistError):
    """A run that SIGINT stopped, after its state was saved."""

    code = ExitCode.INTERRUPTED
    raised_on_all_ranks = True


class TerminatedRunError(MnistError):
    """A run that SIGTERM stopped, after its state was saved."""

    code = ExitCode.TERMINATED
    raised_on_all_ranks = True


class PeerError(MnistError):
    """Another rank of a training failed with this, or was lost."""

    def __init__(self, text: str, code: int) -> None:
        super().__init__(text)
        self.code = code
