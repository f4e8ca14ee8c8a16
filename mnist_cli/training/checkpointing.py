"""Write the checkpoints of a run, and return hints on how to resume from them."""

import logging
import shlex
import sys
from contextlib import nullcontext
from pathlib import Path

from mnist_cli.config.network_file import is_named, named_file
from mnist_cli.config.quoting import printable
from mnist_cli.config.train import ResolvedConfig, TrainConfig
from mnist_cli.errors import OutputError, UsageError
from mnist_cli.models.checkpoint import HISTORY_BYTES, Checkpoint, Position, encode
from mnist_cli.runtime.files import (
    NoReaderError,
    OutputLock,
    is_standard_output_closed,
    write_standard_output,
)
from mnist_cli.runtime.signals import StopRequested, StopSignals

_log = logging.getLogger(__name__)


class Saver:
    """Writes the checkpoints of a run to its locked output, or only the last one to a stream.

    `resumed` is the checkpoint that the training was resumed from. A lock of `None` stands for
    standard output. With `writing=False`, as on all ranks but the first, nothing is written.
    `teacher` is the file of the teacher, of which the config has only the SHA-256.

    Raises:
        OutputError: the output is the file that was resumed from, and has changed since.

    """

    def __init__(
        self,
        lock: OutputLock | None,
        config: ResolvedConfig,
        resumed: Checkpoint | None,
        signals: StopSignals,
        *,
        writing: bool = True,
        teacher: str | None = None,
    ) -> None:
        self.saved: Position | None = None
        self._lock = lock
        self._config = config
        self._resumed = resumed
        self._signals = signals
        self._is_writing = writing
        self._teacher = teacher
        self._is_stream = writing and (lock is None or lock.is_special)
        origin = resumed.origin if resumed and lock and not self._is_stream else None
        if origin and lock and origin.is_at(lock.target) and origin.was_replaced():
            raise OutputError(f"{lock.path} was written to since it was read; run this again")

    @property
    def output(self) -> str | None:
        """The file that was written, or `-`; `None` if nothing was."""
        return None if self.saved is None else self._config.output

    def check_disk_space(self, checkpoint: Checkpoint) -> None:
        """Raise OutputError if the disk has no space for a checkpoint of this size.

        Raises:
            UsageError: the checkpoint would be too large to be read again.

        """
        if self._is_writing:
            size = len(encode(checkpoint, spare=HISTORY_BYTES))
            if self._lock is not None:
                self._lock.check_disk_space(size)

    def needs_save(self, checkpoint: Checkpoint, *, last: bool) -> bool:
        """Return True if `save` would write: a stream gets only the last checkpoint."""
        return checkpoint.position != self.saved and (last or not self._is_stream)

    def save(self, checkpoint: Checkpoint) -> None:
        """Write a checkpoint, and remember its position.

        Raises:
            StopRequested: there was a signal, and nobody reads the FIFO to write to.

        """
        if self._is_writing:
            try:
                self._write(encode(checkpoint))
            except NoReaderError:
                raise StopRequested from None
        self.saved = checkpoint.position

    def _write(self, data: bytes) -> None:
        # A FIFO waits for its reader. A signal ends that, also one that was received just before
        # the handlers were replaced.
        with self._signals.default_handlers() if self._is_stream else nullcontext():
            if self._lock is None:
                write_standard_output(data)
            else:
                self._lock.write(data, wait=self._signals.error is None)

    def resume_hint(self) -> str:
        """Return how to resume after an interruption."""
        origin = self._resumed.origin if self._resumed else None
        path = self.output if self.saved else str(origin.path) if origin else None
        if path is None:
            return "nothing new was written"
        command = ["mnist-train", "--resume", path]
        # These are never taken from a checkpoint.
        if is_named(self._config.model):
            command += ["--model", named_file(self._config.model).model]
        if self._teacher is not None:
            command += ["--teacher", self._teacher]
        if self._config.data_dir is not None:
            command += ["--data-dir", self._config.data_dir]
        return f"go on with: {shlex.join(command)}"

    def recovery_hint(self) -> str:
        """Return which checkpoint is left after a divergence."""
        if self.saved is not None:
            return (
                f"the last good checkpoint, of update {self.saved.update}, is kept in {self.output}"
            )
        if self._resumed is not None:
            return f"the checkpoint of update {self._resumed.position.update} is as it was"
        if self._lock and self._lock.path.exists():
            return f"nothing was written; the earlier {self._lock.path} is as it was"
        return "nothing was written"


def lock_output(config: TrainConfig, resume: Checkpoint | None = None) -> OutputLock | None:
    """Lock the output file; return `None` if the output is standard output.

    Raises:
        OutputError, UsageError: a checkpoint could not be written there.

    """
    if config.output == "-":
        if is_standard_output_closed():
            raise OutputError("cannot write -o - : standard output is closed")
        if sys.stdout.isatty():
            raise UsageError("-o - would write a binary file to the terminal; redirect stdout")
        return None
    if not config.output or config.output.endswith("/"):
        raise OutputError(f"--output '{config.output}' is not the name of a file")
    path = Path(config.output)
    lock = OutputLock(path)
    if config.no_clobber and path.exists():
        lock.close()
        raise OutputError(f"{path} exists, and --no-clobber keeps it; choose another --output")
    if path.exists() and not (resume and resume.origin and resume.origin.path.samefile(path)):
        _log.info("%s exists, and this training will replace it", printable(path))
    return lock
