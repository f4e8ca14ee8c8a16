"""Options for resuming, recording and display."""

from dataclasses import dataclass

from mnist_cli.config.options import option


@dataclass(frozen=True)
class Resume:
    """The checkpoint that a training continues."""

    resume: str | None = option(
        None,
        "Resume a checkpoint exactly; auto resumes --output if it exists, and else begins.",
        metavar="CHECKPOINT|auto",
        panel="What is trained",
    )


@dataclass(frozen=True)
class Recording:
    """Records of a training besides its checkpoint; they do not affect the result."""

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
    """The output of a program."""

    quiet: bool = option(False, "Nothing on stderr but warnings and errors.", short="-q")
    json: bool = option(False, "JSON Lines on stdout.")
