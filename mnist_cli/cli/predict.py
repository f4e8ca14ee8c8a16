"""The command `mnist-predict`."""

import csv
import io
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from mnist_cli.cli.pages import write_file
from mnist_cli.cli.parameters import add_command, checkpoint_argument, command_sources, parameter
from mnist_cli.cli.program import (
    exit_unless_main,
    log_to_stderr,
    print_error,
    quick_imports,
    run_program,
)
from mnist_cli.config.programs import Display, PredictConfig
from mnist_cli.config.quoting import printable
from mnist_cli.config.sources import build_config
from mnist_cli.errors import ExitCode, UsageError
from mnist_cli.events import Unreadable
from mnist_cli.runtime.files import check_distinct, check_writable, write_standard_output

if TYPE_CHECKING:
    from mnist_cli.prediction.predict import ImagePrediction

app = typer.Typer(pretty_exceptions_enable=False)
_log = logging.getLogger("mnist_cli")


def predict(given: dict[str, Any], checkpoint: str, images: list[str]) -> None:
    r"""Read the digit in image files: a line PATH, DIGIT, PROBABILITY for each, with tabs between.

    An IMAGE is a photograph or scan of ink on paper, or a screenshot: dark on light or light on
    dark, in any colours, unevenly lit, anywhere in the picture. The digit is cut out, scaled and
    centred as MNIST's were; --show draws what is left, --save-seen saves it. A picture of 28 by 28
    pixels that looks like one of MNIST's is taken as it is. PNG, JPEG, BMP, GIF, TIFF, WebP and PGM
    are read, of several frames the first; HEIC with pip install 'mnist_cli[heic]'.

    If a picture shows several digits, a warning says so. --all predicts each of them, left to
    right, line by line, and adds the digit's box to its line: LEFT,TOP,RIGHT,BOTTOM, in pixels of
    the upright picture. Digits that touch each other count as one.

    A folder stands for the images in it, without those in folders within it; 'scans/**/*.png' in
    quotes for what fits the pattern. - reads standard input: mnist-predict checkpoint.pt - < 7.png

    A CSV or NumPy file has an image in each row, with or without labels; PATH is then FILE:ROW.
    --csv submission.csv writes the predictions to a file, those of a table as Kaggle takes them.

    Where no digit is found, DIGIT is - and PROBABILITY 0.0000. A prediction is uncertain if its
    probability is below --uncertain-below (by default, what 99 % of the correct predictions of
    held-out samples reach). A note on stderr says so, and in --json the key uncertain.

    In a PATH, tabs, line ends and other control characters are written as \t, \n and \x1b, say;
    --json, which also has the probabilities of all ten digits, keeps it as it is.

    Exit codes: 0 done, 2 usage, 3 some image could not be read; the others were, 4 checkpoint, 7
    --save-seen could not be written.
    """
    exit_unless_main()
    sources = command_sources(given, PredictConfig, Display)
    config = build_config(PredictConfig, sources)
    display = build_config(Display, sources)
    if config.csv is not None:
        _check_csv(config, display, checkpoint, images)

    with quick_imports(quiet=display.quiet):
        from mnist_cli.output import predict_display  # noqa: PLC0415 (scipy)
        from mnist_cli.output.renderers import JsonLines  # noqa: PLC0415 (--help is quick)
        from mnist_cli.prediction.predict import predict as predict_images  # noqa: PLC0415 (torch)

    data, drawing = JsonLines(), predict_display.PredictionDisplay(sys.stderr)
    failed = False
    written: list[ImagePrediction] = []
    with log_to_stderr(quiet=display.quiet):
        for result in predict_images(checkpoint, images, config):
            if isinstance(result, Unreadable):
                failed = True
                print_error(result.reason)
                continue
            if config.csv is not None:
                written.append(result)
                continue
            event, image = result.event, result.image
            if display.json:
                data.show(event)
            else:
                line = predict_display.prediction_line(event, with_box=config.all)
                write_standard_output(line)
            if config.show and not display.quiet:
                drawing.show(event, image, result.classes)
            if result.digits > 1 and not config.all:
                _log.warning(predict_display.explain_several(event, result.digits))
            elif event.uncertain:
                _log.info(predict_display.explain_uncertain(event, result.threshold))
        if config.csv is not None and written:
            write_file(config.csv, _as_csv(written))
            uncertain = sum(result.event.uncertain for result in written)
            _log.info("%d predictions, %d of them uncertain", len(written), uncertain)
    if failed:
        raise typer.Exit(ExitCode.DATA)


def _check_csv(config: PredictConfig, display: Display, checkpoint: str, images: list[str]) -> None:
    """Raise an error if the file of `--csv` cannot be written, or other outputs contradict it."""
    others = {"--json": display.json, "--all": config.all, "--show": config.show}
    if given := [name for name, is_given in others.items() if is_given]:
        raise UsageError(f"--csv has a line for each image, and contradicts {', '.join(given)}")
    if not config.csv:
        raise UsageError("--csv '': its name is empty; name it predictions.csv, for one")
    from mnist_cli.prediction.image_files import is_table  # noqa: PLC0415 (Pillow)

    if sum(map(is_table, images)) > 1:
        raise UsageError("--csv numbers the rows of one table; give each table a file of its own")
    for name in (checkpoint, *images):
        check_distinct({"--csv": config.csv}, {printable(name): name})
    if config.csv != "-":
        check_writable(Path(config.csv))


def _as_csv(results: "list[ImagePrediction]") -> bytes:
    """Return predictions as CSV: of the rows of a table as Kaggle takes them, or of pictures."""
    text = io.StringIO(newline="")
    lines = csv.writer(text, lineterminator="\n")
    rows = [result.row for result in results]
    events = [result.event for result in results]
    if None not in rows:
        lines.writerow(["ImageId", "Label"])
        lines.writerows((row, event.label) for row, event in zip(rows, events, strict=True))
    else:
        lines.writerow(["image", "label", "probability"])
        lines.writerows((e.path, e.label or "", f"{e.probability:.4f}") for e in events)
    return text.getvalue().encode("utf-8", "surrogateescape")


add_command(
    app,
    predict,
    (PredictConfig, Display),
    (
        checkpoint_argument(),
        parameter(
            "images",
            list[str],
            typer.Argument(metavar="IMAGE", help="Files, folders or patterns; - is stdin."),
            default=...,
        ),
    ),
    name="predict",
)


def main() -> None:
    """Run `mnist-predict`."""
    run_program(app, "mnist-predict")
