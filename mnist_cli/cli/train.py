"""The command `mnist-train`."""

import os
import sys
from contextlib import ExitStack, suppress
from dataclasses import asdict, fields, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import typer

from mnist_cli.cli.listings import print_requested_list
from mnist_cli.cli.pages import check_figure
from mnist_cli.cli.parameters import (
    AUTO,
    TrainInfoFlags,
    add_command,
    command_sources,
    config_file,
    config_file_source,
    config_name,
    config_parameter,
    model_source,
)
from mnist_cli.cli.program import (
    exit_unless_main,
    log_to_stderr,
    note_busy_cores,
    process_group,
    quick_imports,
    run_program,
)
from mnist_cli.cli.repeating import (
    check_weights,
    expected_digest,
    is_checkpoint,
    options_source,
)
from mnist_cli.cli.show_config import DEFAULT, resolved_training, show_config
from mnist_cli.config.options import names_where
from mnist_cli.config.own_data import is_data_path
from mnist_cli.config.programs import Display, Expectation, Recording, Resume
from mnist_cli.config.quoting import printable, quote
from mnist_cli.config.sources import TRAIN, Source, build_config, check_consistency
from mnist_cli.config.train import TrainConfig
from mnist_cli.data.files import prefetch
from mnist_cli.errors import UsageError
from mnist_cli.runtime.cores import BusyCores
from mnist_cli.runtime.files import check_distinct
from mnist_cli.runtime.terminals import can_animate

if TYPE_CHECKING:
    from collections.abc import Callable

    from mnist_cli.events import End, Start
    from mnist_cli.models.checkpoint import Checkpoint
    from mnist_cli.output.renderers import Recorder
    from mnist_cli.runtime.distributed.group import ProcessGroup

app = typer.Typer(pretty_exceptions_enable=False)


def train(given: dict[str, Any], config: str | None) -> None:
    """Train a classifier of handwritten digits and write one checkpoint.

    In mini-batch mode every batch of --batch-size samples makes an update; in batch mode there is
    one update per epoch, from all samples.

      mnist-train                                       the defaults, five epochs
      mnist-train --config fast                         a preset: seconds
      mnist-train --batch-size 256 --epochs 10 -o my.pt
      mnist-train --mode batch --model mlp --epochs 200
      mnist-train --resume my.pt --epochs 20            continue where it stopped
      mnist-train --init my.pt --lr 0.01 -o other.pt    begin anew with its weights
      mnist-eval my.pt                                  evaluate the result

    An option can also be set by an environment variable (MNIST_BATCH_SIZE=128) or in a TOML file
    (batch_size = 128); flags take precedence over the environment, and that over the file.

    Standard output is the path of the checkpoint. Exit codes: 0 done, 2 usage, 3 data,
    4 checkpoint, 5 accuracy not reached, 6 diverged, 7 output, 130 or 143 interrupted.
    """
    info = build_config(TrainInfoFlags, command_sources(given))
    if print_requested_list(info, TRAIN, given):
        return
    if info.show_config:
        exit_unless_main()
    types = (TrainConfig, Resume, Display, Recording, Expectation)
    sources, before = _sources(given, config, *types)
    display = build_config(Display, sources)
    resume = build_config(Resume, sources).resume
    display, recording = _log_on_stdout(display, build_config(Recording, sources))
    expected = expected_digest(build_config(Expectation, sources).expect_weights)
    if resume not in (None, AUTO) and any("init" in source.values for source in sources):
        raise UsageError(
            f"--init contradicts --resume {quote(resume)}, which goes on with the weights of that "
            "checkpoint; leave one of them out"
        )
    fresh = _fresh(sources, display) if resume in (None, AUTO) else TrainConfig()
    if resume == AUTO and fresh.output == "-":
        raise UsageError("--resume auto goes on with the file that --output names, and that is -")
    teacher = next((s.values["teacher"] for s in sources if "teacher" in s.values), None)
    _check_standard_input(
        {"--config": config_name(config), "--resume": resume, "--teacher": teacher}
    )
    with process_group() as group:
        options, checkpoint = fresh, None
        origins: dict[str, str] = {}
        if resume is not None:
            path = fresh.output if resume == AUTO else resume
            checkpoint = _checkpoint(path, group, optional=resume == AUTO)
            if checkpoint is not None:
                _check_initial(fresh.init, checkpoint, path, group)
                sources = [_without_init(source) for source in sources]
                options = _resumed(checkpoint, path, sources, display)
                origins = {f.name: f"checkpoint {path}" for f in fields(options)}
                origins |= dict.fromkeys(_not_restored(path), DEFAULT)
                origins |= {} if resume in (AUTO, "-") else {"output": "--resume"}
        initial = None if checkpoint is not None else options.init
        if initial is not None:
            read = _checkpoint(initial, group, optional=False)
            sources += [model_source(initial, read)] if read else []
            options = _fresh(sources, display)
        _check_files(options, recording, config, initial, resume)
        if info.show_config:
            # The digest that a checkpoint has instead of the file cannot be given as an option.
            options = options if checkpoint is None else replace(options, init=None)
            pairs = (options, resolved_training(options)), (recording, recording)
            show_config(TRAIN, sources, display, *pairs, origins=origins)
            return
        # Flags and variables are set on purpose; a file may also list options with their defaults.
        is_given = any("log_interval" in source.values for source in sources[:2])
        shows_steps = is_given or options.log_interval != TrainConfig.log_interval
        check = partial(check_weights, expected, before)
        _run(options, checkpoint, display, recording, group, shows_steps=shows_steps, check=check)


def _sources(
    given: dict[str, Any], config: str | None, *types: type
) -> "tuple[list[Source], Checkpoint | None]":
    """Return where options come from, and the checkpoint that `--config` names, if it does."""
    sources = command_sources(given, *types)
    name = config_name(config)
    if name is None or not is_checkpoint(name):
        return sources + config_file_source(config, TRAIN, *types), None
    with quick_imports():
        from mnist_cli.models.checkpoint import load_checkpoint  # noqa: PLC0415 (torch)

    before = load_checkpoint(name)
    return [*sources, options_source(name, before, sources)], before


def _check_files(
    options: TrainConfig,
    recording: Recording,
    config: str | None,
    initial: str | None,
    resume: str | None,
) -> None:
    """Raise UsageError if an output is an input or another output, or no figure could be drawn."""
    named = {
        "--config": config_file(config),
        "--init": initial,
        "--teacher": options.teacher,
        "--dataset": options.dataset if is_data_path(options.dataset) else None,
    }
    check_distinct({"--output": options.output}, named)
    named |= {"--output": options.output, "--resume": resume}
    check_distinct({"--log-file": recording.log_file, "--plot": recording.plot}, named)
    check_distinct({"--plot": recording.plot}, {"--log-file": recording.log_file})
    if recording.plot is not None:
        check_figure(recording.plot)


def _check_standard_input(inputs: dict[str, object]) -> None:
    """Raise UsageError if several inputs, by the names of their options, are `-`."""
    if len(names := [name for name, path in inputs.items() if path == "-"]) > 1:
        raise UsageError(f"{names[0]} - and {names[1]} - both want standard input; use a file")


def _check_initial(
    init: str | None, checkpoint: "Checkpoint", path: str, group: "ProcessGroup | None"
) -> None:
    """Raise UsageError if the training that goes on did not begin with the weights in `init`.

    That file is not needed any more: if it is gone, nothing is compared with it.
    """
    if init is None:
        return
    with quick_imports():
        from mnist_cli.models.networks import weights_sha256  # noqa: PLC0415 (torch)

    began = checkpoint.config.init
    initial = None if began is None else _checkpoint(init, group, optional=True)
    if began is None or (initial is not None and weights_sha256(initial.weights) != began):
        raise UsageError(
            f"--init {printable(init)} has other weights than the training in {printable(path)} "
            "began with; leave --init out to go on, or begin anew with another --output"
        )


def _without_init(source: Source) -> Source:
    """Return a source without `init`: a training that goes on has begun."""
    values = {name: value for name, value in source.values.items() if name != "init"}
    return replace(source, values=values)


def _log_on_stdout(display: Display, recording: Recording) -> tuple[Display, Recording]:
    """Return the options with `--log-file -` turned into the equivalent `--json`."""
    if recording.log_file not in ("-", "/dev/stdout"):
        return display, recording
    if display.json:
        raise UsageError("--json and --log-file - both want standard output; leave one of them out")
    return replace(display, json=True), replace(recording, log_file=None)


def _fresh(sources: list[Source], display: Display) -> TrainConfig:
    """Return the options of a new training."""
    options = build_config(TrainConfig, sources)
    check_consistency(options)
    return _check_stdout(options, display)


def _check_stdout(options: TrainConfig, display: Display) -> TrainConfig:
    """Return the options with `-` for /dev/stdout; raise UsageError if `--json` uses it too."""
    if options.output == "/dev/stdout":
        options = replace(options, output="-")
    if display.json and options.output == "-":
        raise UsageError("-o - and --json both want standard output; give one of them a file")
    return options


def _checkpoint(path: str, group: "ProcessGroup | None", *, optional: bool) -> "Checkpoint | None":
    """Return the checkpoint in a file, or None if it is `optional` and missing.

    Rank 0 reads the file and broadcasts it, since other machines may not have it. If the file is
    optional, every rank looks for it, because another rank may have been rank 0 when it was
    written; the checkpoint with the most updates is broadcast.
    """
    with quick_imports():
        from mnist_cli.models.checkpoint import decode, encode, load_checkpoint  # noqa: PLC0415 (torch)

    is_reader = group is None or group.is_main or optional
    missing = optional and not os.path.exists(path)  # noqa: PTH110 (no error where a name is too long)
    own = load_checkpoint(path) if is_reader and not missing else None
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
    defaults = {name: getattr(TrainConfig(), name) for name in names}
    return defaults if path == "-" else defaults | {"output": path}


def _resumed(
    checkpoint: "Checkpoint", path: str, sources: list[Source], display: Display
) -> TrainConfig:
    """Return a checkpoint's config with the changes that the sources make."""
    base = TrainConfig(**{**asdict(checkpoint.config), **_not_restored(path)})
    if base.max_updates and base.max_updates <= checkpoint.position.update:
        base = replace(base, max_updates=None)  # the budget is spent
    return _check_stdout(build_config(TrainConfig, sources, base), display)


def _run(
    config: TrainConfig,
    checkpoint: "Checkpoint | None",
    display: Display,
    recording: Recording,
    group: "ProcessGroup | None",
    *,
    shows_steps: bool,
    check: "Callable[[Start, End, dict[str, str]], None]",
) -> None:
    prefetch(config.dataset, config.data_dir)
    cores = BusyCores()
    with quick_imports(quiet=display.quiet):
        import torch  # noqa: PLC0415 (--help is quick)

        from mnist_cli.events import End, Start  # noqa: PLC0415
        from mnist_cli.output.renderers import JsonLines, PathLine, Renderer  # noqa: PLC0415
        from mnist_cli.output.train_display import human_renderer  # noqa: PLC0415
        from mnist_cli.runtime.device import keep_freed_memory  # noqa: PLC0415 (torch)
        from mnist_cli.training.state import versions_on  # noqa: PLC0415 (torch)
        from mnist_cli.training.train import train as run  # noqa: PLC0415 (torch)

    keep_freed_memory()

    silent = group is not None and not group.is_main
    # A progress bar on the same terminal would garble the JSON lines.
    plain = display.json and sys.stdout.isatty()
    with ExitStack() as stack:
        stack.enter_context(log_to_stderr(quiet=display.quiet))
        if group is None:
            note_busy_cores(cores, config.threads)
        progress = stack.enter_context(
            human_renderer(
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
            with suppress(OSError):  # stderr is closed: no reason to stop
                progress.show(event)
            data.show(event)
            if isinstance(event, Start):
                start = event
            elif isinstance(event, End):
                end = event
        for recorder in recorders:
            recorder.raise_failure()
            if not display.quiet and can_animate(sys.stderr, plain=plain):
                with suppress(OSError):
                    recorder.print_on(sys.stderr)
        now = versions_on(torch.device(start.device), start.world_size)
        check(start, end, {**now, "threads": str(start.threads)})


def _recorders(recording: Recording, config: TrainConfig, *, resumed: bool) -> "list[Recorder]":
    """Return the log file and the TensorBoard writer, if they are requested, opened."""
    with quick_imports():
        from mnist_cli.output.renderers import LogFile  # noqa: PLC0415 (--help is quick)

        recorders: list[Recorder] = []
        if recording.tensorboard is not None:
            from mnist_cli.output.tensorboard import TensorBoard  # noqa: PLC0415 (an optional package)

            recorders.append(TensorBoard(recording.tensorboard))
        if recording.plot is not None:
            from mnist_cli.output.figures.training import TrainingFigure  # noqa: PLC0415 (matplotlib)

            recorders.append(TrainingFigure(recording.plot))
    if recording.log_file is not None:
        log = LogFile(recording.log_file, appending=resumed, no_clobber=config.no_clobber)
        recorders.append(log)
    return recorders


add_command(
    app,
    train,
    (TrainConfig, Resume, Recording, Expectation, Display, TrainInfoFlags),
    (config_parameter(TRAIN),),
    name="train",
)


def main() -> None:
    """Run `mnist-train`."""
    run_program(app, "mnist-train")
