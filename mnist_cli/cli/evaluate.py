"""The command `mnist-eval`."""

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from mnist_cli.cli.pages import check_figure, check_open, open_page, write_file
from mnist_cli.cli.parameters import (
    add_command,
    check_outputs,
    checkpoint_argument,
    command_sources,
)
from mnist_cli.cli.program import exit_unless_main, log_to_stderr, quick_imports, run_program
from mnist_cli.config.programs import Display, EvalConfig
from mnist_cli.config.sources import build_config
from mnist_cli.errors import ThresholdNotMetError, UsageError
from mnist_cli.runtime.files import (
    check_distinct,
    check_writable,
    write_standard_output,
)

if TYPE_CHECKING:
    from mnist_cli.evaluation.metrics import CheckpointEvaluation

_PAGE_ENDINGS = (".html", ".htm")
_log = logging.getLogger("mnist_cli")
app = typer.Typer(pretty_exceptions_enable=False)


def evaluate(given: dict[str, Any], checkpoint: str) -> None:
    """Evaluate a checkpoint on the test set: print its accuracy, and on a terminal tables.

    - as CHECKPOINT reads standard input: mnist-train -q -o - | mnist-eval -

    --tta adds a line with the accuracy with test-time augmentation: the probabilities are averaged
    over the image and its eight shifts by one pixel. Everything else stays that of the plain score.

    --corruptions evaluates the images shifted, rotated, scaled, sheared, blurred, noisy, with less
    contrast, thicker, thinner and partly hidden, too, and lists the labels that the network doubts.

    --mistakes 12 draws the most confident mistakes (on stderr, if stdout is not a terminal),
    --report report.html writes a page, --plot confusion.svg a figure: confusion, calibration,
    mistakes or history, by its name or by --panel. --report - writes the page to stdout instead of
    the accuracy.

    Exit codes: 0 done, 2 usage, 3 data, 4 checkpoint, 5 accuracy below --min-accuracy, 7 a page or
    figure could not be written.
    """
    exit_unless_main()
    sources = command_sources(given, EvalConfig, Display)
    config = build_config(EvalConfig, sources)
    display = build_config(Display, sources)
    check_outputs(given, config, json=display.json)
    report = _check_files(config)
    if config.open:
        check_open(report, "--report report.html")
    check_distinct({"--report": report, "--plot": config.plot}, {"CHECKPOINT": checkpoint})
    check_distinct({"--plot": config.plot}, {"--report": report})

    with quick_imports(quiet=display.quiet):
        from mnist_cli.evaluation.evaluate import evaluate_checkpoint  # noqa: PLC0415 (torch)

        if config.plot is not None:  # fails now, not after the evaluation, without matplotlib
            import mnist_cli.output.figures.evaluation  # noqa: F401, PLC0415

    with log_to_stderr(quiet=display.quiet):
        result = evaluate_checkpoint(checkpoint, config)
        files = list(_files(result, config, report))  # raises if there is nothing to draw
        _show(result, config, display)
        for path, data in files:
            write_file(path, data)
        if config.open:
            open_page(str(report))
    accuracy = result.accuracy
    if config.min_accuracy is not None and accuracy < config.min_accuracy:
        raise ThresholdNotMetError(
            f"{config.split} accuracy {accuracy:.4f} is below --min-accuracy {config.min_accuracy}"
        )


def _check_files(config: EvalConfig) -> str | None:
    """Return the path of the page, if one is requested.

    Raises:
        OutputError: the page or the figure could not be written.
        UsageError: a name has a wrong ending.

    """
    if config.plot is not None and config.plot != "-":
        check_figure(config.plot)
    return config.report if config.report in (None, "-") else _report_path(config.report)


def _report_path(report: str) -> str:
    """Return the file that `--report` names: index.html in a folder, which may not exist yet."""
    path = Path(report)
    if not report:
        raise UsageError("--report '': its name is empty; name it report.html, for one")
    is_folder = os.path.isdir(report)  # noqa: PTH112 (a Path would raise for a name too long)
    if is_folder or report.endswith("/") or not path.suffix:
        path /= "index.html"
    elif path.suffix.lower() not in _PAGE_ENDINGS:
        raise UsageError(
            f"--report {report}: its ending is not .html; name it report.html, for one, "
            "or a folder, with a / behind it"
        )
    else:
        check_writable(path)
        return report
    outermost = path  # the first of the folders that will be made
    while not os.path.lexists(outermost.parent):
        outermost = outermost.parent
    check_writable(outermost)
    return str(path)


def _show(result: "CheckpointEvaluation", config: EvalConfig, display: Display) -> None:
    """Print the metrics, as JSON or as text and tables."""
    from mnist_cli.output.renderers import JsonLines  # noqa: PLC0415 (--help is quick)

    on_terminal = sys.stdout.isatty() and not display.json
    if display.json:
        JsonLines().show(result.event)
    elif "-" not in (config.report, config.plot):
        write_standard_output(_accuracies(result))
    tables = on_terminal and not display.quiet and "-" not in (config.report, config.plot)
    if tables or config.mistakes or result.corrupted:
        from mnist_cli.output.eval_table import (  # noqa: PLC0415
            print_corruptions,
            print_metrics,
            print_mistakes,
        )

        if tables:
            print_metrics(result, sys.stdout, result.augmented)
        if result.corrupted and not display.quiet:
            with suppress(OSError):  # stderr is closed: no reason to stop
                print_corruptions(result, sys.stdout if tables else sys.stderr)
        if config.mistakes:
            with suppress(OSError):  # stderr is closed: no reason to stop
                stream = sys.stdout if tables else sys.stderr
                print_mistakes(result, config.mistakes, stream)


def _accuracies(result: "CheckpointEvaluation") -> str:
    """Return the line of the accuracy, and one of that with test-time augmentation."""
    name = f"{result.split.capitalize()} Accuracy"
    lines = f"{name}: {result.accuracy:.4f}\n"
    if result.augmented:
        lines += f"{name} with test-time augmentation: {result.augmented.accuracy:.4f}\n"
    return lines


def _files(
    result: "CheckpointEvaluation", config: EvalConfig, report: str | None
) -> Iterator[tuple[str, bytes]]:
    """Yield the path and the contents of the page and the figure, if they are requested."""
    if report is not None:
        from mnist_cli.output.html import evaluation as page  # noqa: PLC0415 (jinja2)

        yield report, page.render(result).encode()
    if config.plot is not None:
        from mnist_cli.output.figures import evaluation as figure  # noqa: PLC0415 (matplotlib)

        yield config.plot, figure.draw(result, config.plot, config.panel)


add_command(
    app,
    evaluate,
    (EvalConfig, Display),
    (checkpoint_argument(),),
    name="eval",
)


def main() -> None:
    """Run `mnist-eval`."""
    run_program(app, "mnist-eval")
