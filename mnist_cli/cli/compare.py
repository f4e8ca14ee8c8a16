"""The command `mnist-compare`."""

import logging
import sys
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from mnist_cli.cli.listings import print_requested_list
from mnist_cli.cli.pages import check_open, open_page, write_file
from mnist_cli.cli.parameters import (
    InfoFlags,
    add_command,
    check_outputs,
    command_sources,
    config_file,
    config_file_source,
    config_parameter,
    model_source,
)
from mnist_cli.cli.program import (
    exit_unless_main,
    log_to_stderr,
    note_busy_cores,
    quick_imports,
    run_program,
)
from mnist_cli.cli.show_config import show_config
from mnist_cli.config.compare import COLUMNS, CompareConfig, initial_weights, resolve
from mnist_cli.config.options import names_in
from mnist_cli.config.programs import Display
from mnist_cli.config.sources import COMPARE, Source, build_config
from mnist_cli.data.files import prefetch
from mnist_cli.errors import MnistError, UsageError
from mnist_cli.runtime.cores import BusyCores
from mnist_cli.runtime.distributed.ranks import RankInfo
from mnist_cli.runtime.files import (
    check_distinct,
    check_writable,
    write_standard_output,
)

if TYPE_CHECKING:
    from mnist_cli.comparison.results import Results

_log = logging.getLogger(__name__)
app = typer.Typer(pretty_exceptions_enable=False)


def compare(given: dict[str, Any], config: str | None) -> None:
    """Train the same network with several batch sizes and compare the results.

    Each batch size starts from the same weights and sees the same samples; full is batch mode.

      mnist-compare --batch-sizes 64,1024,full --report report.html
      mnist-compare --config claim-steady               an experiment; a preset
      mnist-compare --batch-sizes 64,1024 --vary momentum=0,0.9
      mnist-compare --until-accuracy 0.95 --lr-rule tuned --plot target.svg

    Finished runs are kept in --output, so the same command continues where it was interrupted. To
    use more cores or machines, give --jobs, or start the same command several times on one folder:
    each run is trained once. Standard output is a table, or with --json every event.

    Exit codes: 0 done, 2 usage, 3 data, 5 no run reached --until-accuracy, 6 every run diverged,
    7 output, 130 or 143 interrupted.
    """
    info = build_config(InfoFlags, command_sources(given))
    if print_requested_list(info, COMPARE, given):
        return
    types = (CompareConfig, Display)
    sources = command_sources(given, *types) + config_file_source(config, COMPARE, *types)
    display = build_config(Display, sources)
    options = build_config(CompareConfig, sources)
    check_outputs(given, options, json=display.json)
    if options.open:
        check_open(options.report, "--report report.html")
    resolved = resolve(options)
    initial = initial_weights(options)
    if initial:
        options = _with_model_of(initial[0], sources)
        resolved = resolve(options)
    outputs = {"--report": options.report, "--plot": options.plot, "--export": options.export}
    check_distinct(outputs, {"--config": config_file(config)})
    for checkpoint in initial:
        check_distinct(outputs, {"--init": checkpoint})
    earlier: dict[str, str | None] = {}
    for name, path in outputs.items():
        check_distinct({name: path}, earlier)
        earlier[name] = path
    for path in outputs.values():
        if path is not None and path != "-":
            check_writable(Path(path))
    if info.show_config:
        exit_unless_main()
        show_config(COMPARE, sources, display, (options, resolved))
        return
    if RankInfo.from_env().size > 1:
        raise UsageError(
            "mnist-compare has no ranks: start it without torchrun, with --jobs 2, or start the "
            "same command several times on one --output"
        )
    if options.profile:
        _profile(options, display)
        return
    file = config_file(config)
    _run(options, display, None if file is None else Path(file).stem)


def _with_model_of(path: str, sources: list[Source]) -> CompareConfig:
    """Return the options with the network of a checkpoint as the last of their sources."""
    with quick_imports():
        from mnist_cli.models.checkpoint import load_checkpoint  # noqa: PLC0415 (torch)

    sources.append(model_source(path, load_checkpoint(path)))
    return build_config(CompareConfig, sources)


def _run(config: CompareConfig, display: Display, preset: str | None) -> None:
    prefetch(config.dataset, config.data_dir)
    cores = BusyCores()
    with quick_imports(quiet=display.quiet):
        from mnist_cli.comparison.compare import compare as run  # noqa: PLC0415 (torch)
        from mnist_cli.comparison.findings import Conclusions  # noqa: PLC0415 (torch)
        from mnist_cli.comparison.results import Results  # noqa: PLC0415 (torch)
        from mnist_cli.output import (  # noqa: PLC0415 (--help is quick)
            compare_answers,
            compare_display,
        )
        from mnist_cli.output.compare_findings import verdict  # noqa: PLC0415 (--help is quick)
        from mnist_cli.output.renderers import JsonLines, Renderer  # noqa: PLC0415 (--help is quick)
        from mnist_cli.runtime.device import keep_freed_memory  # noqa: PLC0415 (torch)

        if config.plot is not None:  # fails now, not after the training, without matplotlib
            import mnist_cli.output.figures.compare  # noqa: F401, PLC0415
        if config.export is not None and config.export.lower().endswith(".parquet"):
            from mnist_cli.output.measurements import import_pyarrow  # noqa: PLC0415 (an extra)

            import_pyarrow()

    keep_freed_memory()
    results = Results()
    plain = display.json and sys.stdout.isatty()
    failure = None
    with ExitStack() as stack:
        stack.enter_context(log_to_stderr(quiet=display.quiet))
        note_busy_cores(cores, config.threads)
        progress = stack.enter_context(
            compare_display.human_renderer(sys.stderr, results, quiet=display.quiet, plain=plain)
        )
        data = JsonLines() if display.json else Renderer()
        try:
            for event in run(config, results, estimating=not display.quiet):
                with suppress(OSError):  # stderr is closed: no reason to stop
                    progress.show(event)
                if isinstance(event, Conclusions):
                    data.show(verdict(event, compare_answers.answer(preset, results)))
                else:
                    data.show(event)
        except MnistError as error:
            if results.conclusions is None:
                raise
            failure = error  # the comparison is complete: show its results first
    try:
        with log_to_stderr(quiet=display.quiet):
            _show_results(results, config, display, preset)
    finally:
        if failure is not None:
            raise failure


def _profile(config: CompareConfig, display: Display) -> None:
    """Measure the speed and the memory of batch sizes, and write the results."""
    prefetch(config.dataset, config.data_dir)
    with quick_imports(quiet=display.quiet):
        from mnist_cli.comparison.events import (  # noqa: PLC0415 (torch)
            ProfileEnd,
            ProfileRound,
            Throughput,
        )
        from mnist_cli.comparison.profiling import profile  # noqa: PLC0415 (torch)
        from mnist_cli.output import profile_display  # noqa: PLC0415 (--help is quick)
        from mnist_cli.output.renderers import JsonLines, Renderer  # noqa: PLC0415 (--help is quick)

        if config.plot is not None:  # fails now, not after the measurements, without matplotlib
            import mnist_cli.output.figures.profile  # noqa: F401, PLC0415
    data = JsonLines() if display.json else Renderer()
    found: list[Throughput] = []
    streamed = display.json or config.plot == "-"
    with log_to_stderr(quiet=display.quiet):
        for event in profile(config):
            data.show(event)
            match event:
                case ProfileRound():
                    _log.info("Round [%d/%d], %.0f s", event.number, event.rounds, event.seconds)
                case Throughput():
                    found.append(event)
                case ProfileEnd() if not streamed and sys.stdout.isatty():
                    profile_display.print_profile(found, event, sys.stdout)
                case ProfileEnd():
                    if not streamed:
                        write_standard_output(profile_display.table(found))
                    if not display.quiet:
                        with suppress(OSError):
                            profile_display.print_sentences(event, sys.stderr)
        if config.plot is not None:
            from mnist_cli.output.figures import profile as figure  # noqa: PLC0415 (matplotlib)

            write_file(config.plot, figure.draw(found, config.plot))


def _show_results(
    results: "Results", config: CompareConfig, display: Display, preset: str | None
) -> None:
    """Write the table, and the page and the figure if they are requested."""
    from mnist_cli.output import compare_answers, compare_display  # noqa: PLC0415 (--help is quick)
    from mnist_cli.output.compare_table import table  # noqa: PLC0415 (--help is quick)

    answer = compare_answers.answer(preset, results)
    streamed = "-" in (config.report, config.plot)
    if not display.json and not streamed:
        if sys.stdout.isatty():
            compare_display.print_results(results, sys.stdout, answer)
        else:
            columns = COLUMNS if config.columns is None else names_in(config.columns)
            write_standard_output(table(results, columns))
            if not display.quiet:
                with suppress(OSError):
                    compare_display.print_conclusions(results, sys.stderr, answer)
    if config.report is not None:
        from mnist_cli.output.html import compare as page  # noqa: PLC0415 (jinja2)

        write_file(config.report, page.render(results, answer).encode())
        if config.open:
            open_page(config.report)
    if config.plot is not None:
        from mnist_cli.output.figures import compare as figure  # noqa: PLC0415 (matplotlib)

        write_file(config.plot, figure.draw(results, config.plot, config.panel))
    if config.export is not None:
        from mnist_cli.output.measurements import encode  # noqa: PLC0415 (--help is quick)

        write_file(config.export, encode(results, config.export))


add_command(
    app,
    compare,
    (CompareConfig, Display, InfoFlags),
    (config_parameter(COMPARE),),
    name="compare",
)


def main() -> None:
    """Run `mnist-compare`."""
    run_program(app, "mnist-compare")
