"""An evaluation as one page that needs nothing else: no network, no other file."""

import base64
import html
from collections import Counter
from collections.abc import Iterator
from typing import Any

from mnist_cli import __version__
from mnist_cli.evaluation.evaluate_checkpoint import Examination, Readings
from mnist_cli.evaluation.metrics import Calibration, calibration, wilson_interval
from mnist_cli.events import Evaluated
from mnist_cli.models.networks import count_parameters
from mnist_cli.output.history import history_of
from mnist_cli.output.html.template import filled

_MOST = 300  # mistakes in the page: a quarter of a megabyte of pixels
_EACH = 3  # and of each cell of the matrix so many, even if they are less sure
_NOUNS = {"test": "test samples", "train": "samples trained on", "val": "samples held out"}


def render(examination: Examination) -> str:
    """Return the page: accuracy, digits, confusion, mistakes, calibration, learning curves."""
    event, checkpoint, readings = examination.event, examination.checkpoint, examination.readings
    config, found = checkpoint.config, calibration(readings.confidence, readings.right)
    wrong = event.samples - event.correct
    low, high = wilson_interval(event.correct, event.samples)
    parts = {
        "TITLE": html.escape(f"What {config.model} gets wrong"),
        "ACCURACY": f"{min(100 * event.accuracy, 99.99 if wrong else 100):.2f}",
        "INTERVAL": f"{100 * low:.2f} to {100 * high:.2f} %",
        "COUNTS": f"{event.correct:,} of {event.samples:,} right, {wrong:,} wrong",
        "DIGITS": "".join(_digit_rows(event)),
        "MATRIX": "".join(_matrix(event.confusion)),
        "SHOWN": _shown(wrong),
        "NUMBERED": f"# counts the {_NOUNS[event.split]} of {examination.dataset}, from 0 on.",
        "CALIBRATION": calibration_in_words(found, smoothed=bool(config.label_smoothing)),
        "AUGMENTED": "shifted and " if config.augment else "",
        "FACTS": "".join(f"<li>{html.escape(fact)}</li>" for fact in _facts(examination)),
    }
    return filled("evaluation.html", parts, _data(examination, found))


def calibration_in_words(found: Calibration, *, smoothed: bool) -> str:
    """Return whether the probabilities, of a network with `smoothed` labels, can be believed."""
    gap = found.confidence - found.accuracy
    says = (
        f"On average the network gives its reading {100 * found.confidence:.1f} %, and it is right "
        f"in {100 * found.accuracy:.1f} % of the cases"
    )
    a_little = "a little " if found.error < 0.02 else ""
    if found.error < 0.01:
        verdict = "its probabilities can be taken at their word"
    elif abs(gap) < 0.5 * found.error:  # the gaps of the bins cancel out
        verdict = f"in places it is {a_little}surer than it should be, in others less sure"
    elif gap > 0:
        verdict = f"it is {a_little}surer than it should be"
    else:
        verdict = f"it is {a_little}less sure than it could be"
        verdict += ", as label smoothing makes a network" if smoothed else ""
    return f"{says}: {verdict}. The expected calibration error is {100 * found.error:.2f} %."


def _shown(wrong: int) -> str:
    if not wrong:
        return "None: every sample was read right."
    which = "All of them" if wrong <= _MOST else f"The {_MOST} surest of {wrong:,}"
    return f"{which}, the surest first."


def _facts(examination: Examination) -> Iterator[str]:
    event, checkpoint = examination.event, examination.checkpoint
    config = checkpoint.config
    parameters = count_parameters(checkpoint.build_model())
    name = "standard input" if event.checkpoint == "-" else event.checkpoint
    yield f"{name}: {config.model}, {parameters:,} parameters"
    how = "batch mode" if config.batch_size is None else f"batches of {config.batch_size:,}"
    yield (
        f"trained on {config.dataset} in {how} with {config.optimizer}, "
        f"{checkpoint.position.update:,} updates, seed {config.seed}"
    )
    scored = f"{event.split} samples of {examination.dataset}"
    yield f"scored on the {scored}; mean loss {event.loss:.4f}"
    yield f"weights {event.weights_sha256}"
    yield f"mnist_cli {__version__}"


def _digit_rows(event: Evaluated) -> Iterator[str]:
    for score, row in zip(event.per_class, event.confusion, strict=True):
        others = [(count, read) for read, count in enumerate(row) if read != score.digit]
        count, read = max(others, key=lambda pair: (pair[0], -pair[1]))
        times = {1: "once", 2: "twice"}.get(count, f"{count:,} times")
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
                    f'data-true={true} data-read={read} data-count={count} title="{told}" '
                    f'aria-label="{told}" aria-pressed=false>{count:,}</button></td>'
                )
            else:
                yield "<td class=none>·</td>"


def _chosen(readings: Readings) -> list[int]:
    """Return the surest mistakes, and behind them those that are of a cell's surest."""
    pairs = list(zip(readings.labels.tolist(), readings.read.tolist(), strict=True))
    seen: Counter[tuple[int, int]] = Counter()
    chosen = []
    for place, number in enumerate(readings.mistakes()):
        seen[pairs[number]] += 1
        if place < _MOST or seen[pairs[number]] <= _EACH:
            chosen.append(number)
    return chosen


def _data(examination: Examination, found: Calibration) -> dict[str, Any]:
    """Return what the page's script draws."""
    readings = examination.readings
    mistakes = _chosen(readings)
    pixels = bytes(readings.images[mistakes].flatten().tolist())
    rows = readings.probabilities[mistakes].tolist()
    return {
        "split": examination.event.split,
        "surest": _MOST,
        "pixels": base64.b64encode(pixels).decode(),
        "mistakes": [
            {
                "number": number,
                "true": int(readings.labels[number]),
                "read": int(readings.read[number]),
                "probabilities": [round(value, 4) for value in row],
            }
            for number, row in zip(mistakes, rows, strict=True)
        ],
        "bins": [
            [part.low, part.high, part.count, part.confidence, part.accuracy] for part in found.bins
        ],
        "history": history_of(examination.checkpoint.history),
    }
