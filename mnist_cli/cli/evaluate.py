"""`mnist-eval`."""

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from mnist_cli.cli.options import add_command, parameter
from mnist_cli.cli.program import exit_unless_main, notices, quick_imports, run_program
from mnist_cli.config import sources
from mnist_cli.config.inference import EvalConfig
from mnist_cli.config.program import Display
from mnist_cli.errors import OutputError, ThresholdNotMetError, UsageError
from mnist_cli.runtime.files import check_writable, write_atomic, write_standard_output

if TYPE_CHECKING:
    from mnist_cli.evaluation.metrics import CheckpointEvaluation

_PAGES, _FIGURES = (".html", ".htm"), (".png", ".svg", ".pdf")
_log = logging.getLogger("mnist_cli")
app = typer.Typer(pretty_exceptions_enable=False)


def evaluate(given: dict[str, Any], checkpoint: str) -> None:
    """Score a checkpoint on the test set: Test Accuracy, and on a terminal tables.

    - as CHECKPOINT reads standard input: mnist-train -q -o - | mnist-eval -

    What was misread: --mistakes 12 draws the worst of it (on stderr, if stdout is not a terminal),
    --report report.html writes a page, --plot confusion.svg a figure: confusion, calibration,
    mistakes or history, by its name or by --panel. --report - writes the page to stdout instead of
    the accuracy.

    Exit codes: 0 done, 2 usage, 3 data, 4 checkpoint, 5 accuracy below --min-accuracy, 7 a page or
    figure could not be written.
    """
    exit_unless_main()
    layers = [
        sources.Layer(given, sources.flag),
        sources.environment(os.environ, EvalConfig, Display),
    ]
    config = sources.build(EvalConfig, layers)
    display = sources.build(Display, layers)
    if "panel" in given and config.plot is None:
        raise UsageError(f"--panel {config.panel} says what --plot shows; add --plot figure.svg")
    report = _check_places(config, display)

    with quick_imports():
        from mnist_cli.evaluation.evaluate import evaluate_checkpoint  # noqa: PLC0415 (torch)

        if config.plot is not None:  # is matplotlib there? better asked now
            import mnist_cli.output.figures.evaluation  # noqa: F401, PLC0415

    with notices(quiet=display.quiet):
        result = evaluate_checkpoint(checkpoint, config)
        files = list(_files(result, config, report))  # or there is nothing to draw
        _show(result, config, display)
        for path, data in files:
            _put(path, data)
    accuracy = result.accuracy
    if config.min_accuracy is not None and accuracy < config.min_accuracy:
        raise ThresholdNotMetError(
            f"{config.split} accuracy {accuracy:.4f} is below --min-accuracy {config.min_accuracy}"
        )


def _check_places(config: EvalConfig, display: Display) -> str | None:
    """Return where the page goes, if there is one.

    Raises:
        OutputError: a page or figure could not be written.
        UsageError: its name does not do, or two things would go to standard output.

    """
    streamed = [option for option in (config.report, config.plot) if option == "-"]
    if len(streamed) + display.json > 1:
        raise UsageError("--report -, --plot - and --json all want standard output; choose one")
    if config.plot is not None and config.plot != "-":
        kind = Path(config.plot).suffix.lower()
        if kind not in _FIGURES:
            raise UsageError(
                f"--plot {config.plot}: its ending is not one of {', '.join(_FIGURES)}; "
                "name it confusion.svg, for one"
            )
        check_writable(Path(config.plot))
    return config.report if config.report in (None, "-") else _place_of_page(config.report)


def _place_of_page(report: str) -> str:
    """Return the file that `--report` names: for a folder, which need not be there, index.html."""
    path = Path(report)
    if not report:
        raise UsageError("--report '': its name is empty; name it report.html, for one")
    is_there = os.path.isdir(report)  # noqa: PTH112 (a Path would raise for a name too long)
    if is_there or report.endswith("/") or not path.suffix:
        path /= "index.html"
    elif path.suffix.lower() not in _PAGES:
        raise UsageError(
            f"--report {report}: its ending is not .html; name it report.html, for one, "
            "or a folder, with a / behind it"
        )
    else:
        check_writable(path)
        return report
    first = path  # of what will have to be made
    while not os.path.lexists(first.parent):
        first = first.parent
    check_writable(first)
    return str(path)


def _show(result: "CheckpointEvaluation", config: EvalConfig, display: Display) -> None:
    """Print the metrics, as data or for people."""
    from mnist_cli.output.renderers import JsonLines  # noqa: PLC0415 (--help is quick)

    on_terminal = sys.stdout.isatty() and not display.json
    if display.json:
        JsonLines().show(result.event)
    elif "-" not in (config.report, config.plot):
        write_standard_output(f"{config.split.capitalize()} Accuracy: {result.accuracy:.4f}\n")
    tables = on_terminal and not display.quiet and "-" not in (config.report, config.plot)
    if tables or config.mistakes:
        from mnist_cli.output.eval_table import print_metrics, print_mistakes  # noqa: PLC0415

        if tables:
            print_metrics(result, sys.stdout)
        if config.mistakes:
            with suppress(OSError):  # nobody reads standard error: no reason to stop
                stream = sys.stdout if tables else sys.stderr
                print_mistakes(result, config.mistakes, stream)


def _files(
    result: "CheckpointEvaluation", config: EvalConfig, report: str | None
) -> Iterator[tuple[str, bytes]]:
    """Yield the page and the figure that were asked for, and where they go."""
    if report is not None:
        from mnist_cli.output.html import evaluation as page  # noqa: PLC0415 (only where asked for)

        yield report, page.render(result).encode()
    if config.plot is not None:
        from mnist_cli.output.figures import evaluation as figure  # noqa: PLC0415 (matplotlib)

        yield config.plot, figure.draw(result, config.plot, config.panel)


def _put(path: str, data: bytes) -> None:
    if path == "-":
        write_standard_output(data)
        return
    try:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"cannot make the folder of {path}: {error.strerror}; name another"
        ) from error
    write_atomic(Path(path), data)
    _log.info("Wrote %s", path)


add_command(
    app,
    evaluate,
    (EvalConfig, Display),
    (
        parameter(
            "checkpoint",
            str,
            typer.Argument(metavar="CHECKPOINT", help="A file of mnist-train; - is stdin."),
            default=...,
        ),
    ),
    name="eval",
)


def main() -> None:
    """Run `mnist-eval`."""
    run_program(app, "mnist-eval")
