"""The command `mnist-lesson`."""

import logging
import time
from typing import TYPE_CHECKING, Any

import typer

from mnist_cli.cli.pages import check_open
from mnist_cli.cli.parameters import add_command, command_sources, parameter
from mnist_cli.cli.program import exit_unless_main, log_to_stderr, quick_imports, run_program
from mnist_cli.cli.serving import hand_over, page_server, show_page
from mnist_cli.config.programs import Display, LessonConfig, Serving
from mnist_cli.config.sources import build_config
from mnist_cli.data.files import prefetch
from mnist_cli.errors import UsageError
from mnist_cli.runtime.files import open_output

if TYPE_CHECKING:
    from mnist_cli.events import LessonWritten

OUTPUT = "batch-and-mini-batch.html"

_log = logging.getLogger(__name__)
app = typer.Typer(pretty_exceptions_enable=False)


def lesson(given: dict[str, Any], output: str) -> None:
    """Write a page on which two networks learn side by side: batch beside mini-batch.

    The page trains in the browser, on real images, offline. A tour of seven steps explains what
    there is to see:
    mnist-lesson --open

    For the phones of a class, serve it to the network: mnist-lesson --serve --host 0.0.0.0

    - as OUTPUT writes to standard output.

    Exit codes: 0 done, 2 usage, 3 data, 7 output, 130 or 143 interrupted.
    """
    exit_unless_main()
    output = "-" if output == "/dev/stdout" else output
    sources = command_sources(given, LessonConfig, Serving, Display)
    config = build_config(LessonConfig, sources)
    serving = build_config(Serving, sources)
    display = build_config(Display, sources)
    if display.json and output == "-":
        raise UsageError("- as OUTPUT and --json both want standard output; name a file")
    if config.open and not serving.serve:
        check_open(output, "OUTPUT, or add --serve")

    with page_server(given, serving) as server, log_to_stderr(quiet=display.quiet):
        event, page = _write(output, config, display)
        hand_over(event, output, display)
        show_page(server, event, output, page, display, opened=config.open)


def _write(output: str, config: LessonConfig, display: Display) -> "tuple[LessonWritten, bytes]":
    """Write the page, whole or not at all; return the event, and the page."""
    began = time.perf_counter()
    prefetch(config.dataset, config.data_dir)
    with quick_imports(quiet=display.quiet):
        from mnist_cli.data.datasets import load_dataset  # noqa: PLC0415 (torch)
        from mnist_cli.events import LessonWritten  # noqa: PLC0415 (--help is quick)
        from mnist_cli.output.lesson import page as lesson_page  # noqa: PLC0415 (torch)
        from mnist_cli.output.lesson.measured import load_measured  # noqa: PLC0415 (json)
        from mnist_cli.output.messages import format_lesson  # noqa: PLC0415 (--help is quick)

    with open_output(output, no_clobber=config.no_clobber) as write:
        dataset = load_dataset(config.dataset, config.data_dir)
        test_samples = min(lesson_page.TEST_SAMPLES, len(dataset.test))
        page = lesson_page.render(
            dataset,
            name=config.dataset,
            samples=config.samples,
            test_samples=test_samples,
            measured=load_measured(config.dataset),
        ).encode()
        write(page)
    event = LessonWritten(
        seconds=time.perf_counter() - began,
        output=output,
        bytes=len(page),
        dataset=config.dataset,
        samples=config.samples,
        test_samples=test_samples,
    )
    if output != "-":
        _log.info(format_lesson(event))
    return event, page


add_command(
    app,
    lesson,
    (LessonConfig, Serving, Display),
    (
        parameter(
            "output",
            str,
            typer.Argument(metavar="[OUTPUT]", help="A file that ends in .html; - is stdout."),
            default=OUTPUT,
        ),
    ),
    name="lesson",
)


def main() -> None:
    """Run `mnist-lesson`."""
    run_program(app, "mnist-lesson")
