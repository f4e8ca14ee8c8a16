"""`mnist-train`."""

import os
import sys
from contextlib import ExitStack, suppress
from dataclasses import asdict, fields, replace
from typing import TYPE_CHECKING, Any

import typer

from mnist_cli.cli.listings import has_listed
from mnist_cli.cli.options import AUTO, TrainQuestions, add_command, config_parameter, layers_of
from mnist_cli.cli.program import (
    exit_unless_main,
    notices,
    process_group,
    quick_imports,
    run_program,
)
from mnist_cli.cli.show_config import show_config
from mnist_cli.config import sources
from mnist_cli.config.options import names_where
from mnist_cli.config.presets import TRAIN
from mnist_cli.config.program import Display, Recording, Resume
from mnist_cli.config.provenance import DEFAULT, resolved_training
from mnist_cli.config.train import TrainConfig
from mnist_cli.errors import UsageError

if TYPE_CHECKING:
    from mnist_cli.models.checkpoint import Checkpoint
    from mnist_cli.output.log_file import Recorder
    from mnist_cli.runtime.distributed.group import ProcessGroup

app = typer.Typer(pretty_exceptions_enable=False)


def train(given: dict[str, Any], config: str | None) -> None:
    """Train a classifier of handwritten digits and write one checkpoint.

    In mini-batch mode every --batch-size samples make an update; in batch mode all samples make
    one, once an epoch.

      mnist-train                                       the defaults, five epochs
      mnist-train --config fast                         a preset: seconds
      mnist-train --batch-size 256 --epochs 10 -o my.pt
      mnist-train --mode batch --model mlp --epochs 200
      mnist-train --resume my.pt --epochs 20            go on where it stopped
      mnist-eval my.pt                                  what came of it

    An option can also be set in the environment (MNIST_BATCH_SIZE=128) or in a TOML file
    (batch_size = 128); a flag comes before the environment, and that before the file.

    Standard output is the path of the checkpoint. Exit codes: 0 done, 2 usage, 3 data,
    4 checkpoint, 5 accuracy not reached, 6 diverged, 7 output, 130 or 143 interrupted.
    """
    questions = sources.build(TrainQuestions, [sources.Layer(given, sources.flag)])
    if has_listed(questions, TRAIN, given):
        return
    if questions.show_config:
        exit_unless_main()
    known = (TrainConfig, Resume, Display, Recording)
    layers = layers_of(given, config, *known)
    display = sources.build(Display, layers)
    resume = sources.build(Resume, layers).resume
    display, recording = _log_on_stdout(display, sources.build(Recording, layers))
    fresh = _fresh(layers, display) if resume in (None, AUTO) else TrainConfig()
    if resume == AUTO and fresh.output == "-":
        raise UsageError("--resume auto goes on with the file that --output names, and that is -")
    if resume == "-" == (config or os.environ.get("MNIST_CONFIG")):
        raise UsageError("--config - and --resume - both want standard input; use a file")
    with process_group() as group:
        options, checkpoint = fresh, None
        origins: dict[str, str] = {}
        if resume is not None:
            path = fresh.output if resume == AUTO else resume
            checkpoint = _checkpoint(path, group, optional=resume == AUTO)
            if checkpoint is not None:
                options = _resumed(checkpoint, path, layers, display)
                origins = {f.name: f"checkpoint {path}" for f in fields(options)}
                origins |= dict.fromkeys(_not_restored(path), DEFAULT)
                origins |= {} if resume in (AUTO, "-") else {"output": "--resume"}
        _keep_apart(recording, output=options.output, resume=resume, config=config)
        if questions.show_config:
            pairs = (options, resolved_training(options)), (recording, recording)
            show_config(TRAIN, layers, display, *pairs, origins=origins)
            return
        # A file may spell out every default. A flag or a variable is there to be seen.
        asked_for_steps = any("log_interval" in layer.values for layer in layers[:2])
        shows_steps = asked_for_steps or options.log_interval != TrainConfig.log_interval
        _run(options, checkpoint, display, recording, group, shows_steps=shows_steps)


def _keep_apart(recording: Recording, **named: str | None) -> None:
    """Raise if the log would be written over a file that another option names."""
    log = recording.log_file
    for option, name in named.items():
        if log and name and os.path.realpath(log) == os.path.realpath(name):
            raise UsageError(f"--log-file {log} is what --{option} names; choose another")


def _log_on_stdout(display: Display, recording: Recording) -> tuple[Display, Recording]:
    """Return both, where a log on standard output is what `--json` asks for."""
    if recording.log_file not in ("-", "/dev/stdout"):
        return display, recording
    if display.json:
        raise UsageError("--json and --log-file - both want standard output; leave one of them out")
    return replace(display, json=True), replace(recording, log_file=None)


def _fresh(layers: list[sources.Layer], display: Display) -> TrainConfig:
    """Return the options of a training that begins."""
    options = sources.build(TrainConfig, layers)
    sources.check(options)
    return _streams(options, display)


def _streams(options: TrainConfig, display: Display) -> TrainConfig:
    """Return the options with one name for standard output, which only one thing can go to."""
    if options.output == "/dev/stdout":
        options = replace(options, output="-")
    if display.json and options.output == "-":
        raise UsageError("-o - and --json both want standard output; give one of them a file")
    return options


def _checkpoint(path: str, group: "ProcessGroup | None", *, optional: bool) -> "Checkpoint | None":
    """Return the checkpoint in a file, or `None` if it may be missing and is.

    Of many ranks, on machines that may lack the file, the first hands it out. One that may be
    missing is looked for by all, since the rank that wrote it need not be the first any more; that
    of the most updates counts.
    """
    with quick_imports():
        from mnist_cli.models.checkpoint import decode, encode, load_checkpoint  # noqa: PLC0415 (torch)

    is_sought = group is None or group.is_main or optional
    missing = optional and not os.path.exists(path)  # noqa: PTH110 (no error where a name is too long)
    own = load_checkpoint(path) if is_sought and not missing else None
    if group is None:
        return own
    source = group.argmax_rank(own.position.update + 1 if own else 0) if optional else 0
    data = group.broadcast(None if own is None else encode(own), source)
    if group.rank_info.rank == source or data is None:
        return own
    return decode(data, path)


def _not_restored(path: str) -> dict[str, Any]:
    """Return the values of the options that are never taken from a checkpoint."""
    names = names_where(TrainConfig, lambda about: not about.restored)
    fresh = {name: getattr(TrainConfig(), name) for name in names}
    return fresh if path == "-" else fresh | {"output": path}


def _resumed(
    checkpoint: "Checkpoint", path: str, layers: list[sources.Layer], display: Display
) -> TrainConfig:
    """Return a checkpoint's config, changed by what was given now."""
    base = TrainConfig(**{**asdict(checkpoint.config), **_not_restored(path)})
    if base.max_updates and base.max_updates <= checkpoint.position.update:
        base = replace(base, max_updates=None)  # a budget that was spent
    return _streams(sources.build(TrainConfig, layers, base), display)


def _run(
    config: TrainConfig,
    checkpoint: "Checkpoint | None",
    display: Display,
    recording: Recording,
    group: "ProcessGroup | None",
    *,
    shows_steps: bool,
) -> None:
    with quick_imports():
        from mnist_cli.output.renderers import JsonLines, PathLine, Renderer  # noqa: PLC0415
        from mnist_cli.output.train_display import for_people  # noqa: PLC0415 (--help is quick)
        from mnist_cli.runtime.device import keep_freed_memory  # noqa: PLC0415 (torch)
        from mnist_cli.training.train import train as run  # noqa: PLC0415 (torch)

    keep_freed_memory()

    silent = group is not None and not group.is_main
    # Lines of data would be torn by a bar that is redrawn on the same terminal.
    plain = display.json and sys.stdout.isatty()
    with ExitStack() as stack:
        stack.enter_context(notices(quiet=display.quiet))
        people = stack.enter_context(
            for_people(
                sys.stderr, quiet=display.quiet or silent, plain=plain, shows_steps=shows_steps
            )
        )
        data = Renderer() if silent else JsonLines() if display.json else PathLine()
        recorders = [] if silent else _recorders(recording, config, resumed=checkpoint is not None)
        for recorder in recorders:
            stack.enter_context(recorder)
        for event in run(config, checkpoint, group):
            for recorder in recorders:
                recorder.show(event)
            with suppress(OSError):  # nobody reads standard error: that is no reason to stop
                people.show(event)
            data.show(event)
        for recorder in recorders:
            recorder.check()


def _recorders(recording: Recording, config: TrainConfig, *, resumed: bool) -> "list[Recorder]":
    """Return what keeps the events of a training, ready to write."""
    with quick_imports():
        from mnist_cli.output.log_file import LogFile  # noqa: PLC0415 (--help is quick)

        recorders: list[Recorder] = []
        if recording.tensorboard is not None:
            from mnist_cli.output.tensorboard import TensorBoard  # noqa: PLC0415 (an optional package)

            recorders.append(TensorBoard(recording.tensorboard))
    if recording.log_file is not None:
        log = LogFile(recording.log_file, appending=resumed, no_clobber=config.no_clobber)
        recorders.append(log)
    return recorders


add_command(
    app,
    train,
    (TrainConfig, Resume, Recording, Display, TrainQuestions),
    (config_parameter(TRAIN),),
    name="train",
)


def main() -> None:
    """Run `mnist-train`."""
    run_program(app, "mnist-train")
