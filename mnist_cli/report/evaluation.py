"""An evaluation as one page that needs nothing else: no network, no other file."""

import base64
import html
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mnist_cli import __version__
from mnist_cli.calibration import Calibration, calibration, wilson_interval
from mnist_cli.checkpoint import Checkpoint
from mnist_cli.errors import OutputError
from mnist_cli.events import Evaluated
from mnist_cli.files import check_writable
from mnist_cli.models import count_parameters
from mnist_cli.report.history import history_of
from mnist_cli.report.template import filled
from mnist_cli.score import Examination, Readings

_MOST = 300  # mistakes in the page: a quarter of a megabyte of pixels


def place_of(report: str) -> str:
    """Return the file that `--report` names: for a folder, which is made, its index.html.

    Raises:
        OutputError: it could not be written.

    """
    if report == "-" or report.lower().endswith((".html", ".htm")):
        if report != "-":
            check_writable(Path(report))
        return report
    try:
        Path(report).mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise OutputError(
            f"--report {report}: cannot be made: {reason}; name a folder, or a file in .html"
        ) from error
    place = Path(report) / "index.html"
    check_writable(place)
    return str(place)


def render(examination: Examination) -> str:
    """Return the page: accuracy, digits, confusion, mistakes, calibration, learning curves."""
    event, checkpoint, readings = examination.event, examination.checkpoint, examination.readings
    assert readings is not None
    found = calibration(readings.probabilities, readings.labels)
    mistakes = readings.mistakes(_MOST)
    wrong = event.samples - event.correct
    low, high = wilson_interval(event.correct, event.samples)
    parts = {
        "TITLE": html.escape(f"What {checkpoint.config.model} gets wrong"),
        "ACCURACY": f"{100 * event.accuracy:.2f}",
        "INTERVAL": f"{100 * low:.2f} to {100 * high:.2f} %",
        "COUNTS": f"{event.correct:,} of {event.samples:,} right, {wrong:,} wrong",
        "DIGITS": "".join(_digit_rows(event)),
        "MATRIX": "".join(_matrix(event.confusion)),
        "SHOWN": _shown(len(mistakes), wrong),
        "CALIBRATION": html.escape(calibration_in_words(found)),
        "FACTS": "".join(f"<li>{html.escape(fact)}</li>" for fact in _facts(event, checkpoint)),
    }
    return filled("evaluation.html", parts, _data(readings, mistakes, found, checkpoint))


def calibration_in_words(found: Calibration) -> str:
    """Return whether the probabilities can be taken at their word."""
    gap = found.confidence - found.accuracy
    says = (
        f"On average the network gives its reading {100 * found.confidence:.1f} %, and it is right "
        f"in {100 * found.accuracy:.1f} % of the cases"
    )
    if abs(gap) < 0.005:
        verdict = "its probabilities can be taken at their word"
    elif gap > 0:
        verdict = "it is surer than it should be"
    else:
        verdict = "it is less sure than it could be, as label smoothing makes a network"
        if abs(gap) < 0.02:
            verdict = "it is a little less sure than it could be"
    return f"{says}: {verdict}. The expected calibration error is {100 * found.error:.2f} %."


def _shown(count: int, wrong: int) -> str:
    if not wrong:
        return "None: every sample was read right."
    which = "all of them" if count == wrong else f"the {count:,} surest of {wrong:,}"
    return f"{which[0].upper()}{which[1:]}, the surest first."


def _facts(event: Evaluated, checkpoint: Checkpoint) -> Iterator[str]:
    config = checkpoint.config
    parameters = count_parameters(checkpoint.build_model())
    yield f"{event.checkpoint}: {config.model}, {parameters:,} parameters"
    how = "batch mode" if config.batch_size is None else f"batches of {config.batch_size:,}"
    yield (
        f"trained on {config.dataset} in {how} with {config.optimizer}, "
        f"{checkpoint.position.update:,} updates, seed {config.seed}"
    )
    yield f"scored on the {event.split} samples; mean loss {event.loss:.4f}"
    yield f"weights {event.weights_sha256}"
    yield f"mnist_cli {__version__}"


def _digit_rows(event: Evaluated) -> Iterator[str]:
    for score, row in zip(event.per_class, event.confusion, strict=True):
        others = [(count, read) for read, count in enumerate(row) if read != score.digit]
        count, read = max(others, key=lambda pair: (pair[0], -pair[1]))
        times = "once" if count == 1 else f"{count:,} times"
        misread = f"{read} ({times})" if count else "-"
        cells = (
            f"{score.samples:,}",
            *(f"{100 * value:.2f} %" for value in (score.precision, score.recall, score.f1)),
            misread,
        )
        yield f"<tr><th scope=row>{score.digit}</th>" + "".join(f"<td>{c}</td>" for c in cells)


def _matrix(confusion: list[list[int]]) -> Iterator[str]:
    """Yield the rows of the table; a cell of mistakes is a button that shows these."""
    most = max(
        (
            n
            for true, row in enumerate(confusion)
            for read, n in enumerate(row)
            if n and read != true
        ),
        default=1,
    )
    for true, row in enumerate(confusion):
        total = sum(row)
        yield f"<tr><th scope=row>{true}</th>"
        for read, count in enumerate(row):
            if read == true:
                share = count / total if total else 0.0
                told = f"{true}: {count:,} of {total:,} right"
                yield f'<td class=right style="--share:{share:.3f}" title="{told}">{count:,}</td>'
            elif count:
                share = 0.25 + 0.75 * (count / most) ** 0.5
                told = f"{true} read as {read}: {count:,} of {total:,}"
                yield (
                    f'<td class=wrong style="--share:{share:.3f}"><button type=button '
                    f'data-true={true} data-read={read} title="{told}" aria-label="{told}" '
                    f"aria-pressed=false>{count:,}</button></td>"
                )
            else:
                yield "<td class=none>·</td>"


def _data(
    readings: Readings, mistakes: list[int], found: Calibration, checkpoint: Checkpoint
) -> dict[str, Any]:
    """Return what the page's script draws."""
    pixels = bytes(readings.images[mistakes].flatten().tolist())
    rows = readings.probabilities[mistakes].tolist()
    return {
        "pixels": base64.b64encode(pixels).decode(),
        "mistakes": [
            {
                "number": number,
                "true": int(readings.labels[number]),
                "read": row.index(max(row)),
                "probabilities": [round(value, 4) for value in row],
            }
            for number, row in zip(mistakes, rows, strict=True)
        ],
        "bins": [
            [part.low, part.high, part.count, part.confidence, part.accuracy] for part in found.bins
        ],
        "history": history_of(checkpoint.history).curves,
    }
