"""The options of a program besides what it computes: resuming, recording and display."""

from dataclasses import dataclass

from mnist_cli.config.options import option


@dataclass(frozen=True)
class Resume:
    """Where a training goes on from."""

    resume: str | None = option(
        None,
        "Go on exactly where it stopped; auto: at --output if that is there, or else begin.",
        metavar="CHECKPOINT|auto",
        panel="What is trained",
    )


@dataclass(frozen=True)
class Recording:
    """What is kept of a training besides its checkpoint; none of it decides what is trained."""

    log_file: str | None = option(
        None,
        "Also write the events of --json to a file; a resumed training appends to it.",
        metavar="PATH",
        panel="Run and output",
    )
    tensorboard: str | None = option(
        None,
        "Write curves for TensorBoard to a new folder in this one.",
        metavar="DIR",
        panel="Run and output",
    )


@dataclass(frozen=True)
class Display:
    """What a program shows."""

    quiet: bool = option(False, "Nothing on stderr but warnings and errors.", short="-q")
    json: bool = option(False, "JSON Lines on stdout.")
