"""Image files to digits, with the network of a checkpoint."""

import contextvars
import os
import stat
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice

import torch
from torch import Tensor, nn

from mnist_cli.certainty import threshold_of
from mnist_cli.checkpoint import load_checkpoint
from mnist_cli.errors import DataError, UsageError
from mnist_cli.events import Prediction, Unreadable
from mnist_cli.gathering import Named, gather
from mnist_cli.images import LargeError, contained, decode
from mnist_cli.inspection import MAX_BYTES
from mnist_cli.runtime import pick_device
from mnist_cli.seen import Album
from mnist_cli.uses import PredictConfig

_BATCH = 64  # images in one forward pass; the first is shown when so many are read
_READERS = 4  # files read at once, at most; decoders run beside each other
_SMALL_BYTES = 1 << 23  # a file of a phone has less


@dataclass(frozen=True)
class Reading:
    """What came of an image.

    `seen` is what the network saw of it, `uint8 [28, 28]`, all 0 where no digit was found; below
    the probability `threshold` it is uncertain.
    """

    event: Prediction | Unreadable
    seen: Tensor | None = None
    threshold: float = 0.0


def predict(checkpoint: str, images: Sequence[str], config: PredictConfig) -> Iterator[Reading]:
    """Yield what each image shows, in order; `-` is one on standard input.

    An image without a digit has ten probabilities of 0.1. What folders and patterns stand for,
    `gather` tells.

    Raises:
        CheckpointError: see `load_checkpoint`.
        UsageError: the device is not there, or standard input is to be read twice.
        OutputError: what the network saw could not be saved.

    """
    began = time.perf_counter()
    if [checkpoint, *images].count("-") > 1:
        raise UsageError("- stands for standard input, which can be read once; name files instead")
    device = pick_device(config.device)
    album = None if config.save_seen is None else Album(config.save_seen)
    loaded = load_checkpoint(checkpoint)
    threshold = threshold_of(loaded.config.model, config.uncertain_below)
    model = loaded.build_model().to(device).eval()
    named = list(gather(images))
    if album:
        album.spare(name.path for name in named)
    files = iter(named)
    with ThreadPoolExecutor(min(_READERS, os.cpu_count() or 1)) as readers:
        while batch := list(islice(files, _BATCH)):
            found = _read_all(batch, readers)
            rows = _probabilities(model, [d for d in found if isinstance(d, Tensor)], device)
            for name, digit in zip(batch, found, strict=True):
                seconds = time.perf_counter() - began
                if isinstance(digit, DataError):
                    yield Reading(Unreadable(seconds, name.path, str(digit)))
                    continue
                row = next(rows)
                best = max(row)
                uncertain = best < threshold or not digit.any()
                event = Prediction(seconds, name.path, row.index(best), best, row, uncertain)
                if album:
                    album.save(digit, name.path)
                yield Reading(event, digit, threshold)


def _read_all(batch: list[Named], readers: ThreadPoolExecutor) -> list[Tensor | DataError]:
    """Return the digits in files, or why there is none, in order."""
    waiting: list[Future[Tensor | DataError | None] | None] = []
    with contained():
        try:
            for named in batch:
                task = None
                if not named.problem and _is_small(named.path):
                    context = contextvars.copy_context()  # of warnings that are silenced
                    task = readers.submit(context.run, _read_small, named.path)
                waiting.append(task)
            # Large ones are left to this thread, one after another, so that memory is bounded; and
            # pipes, which may keep one waiting for ever: only the main thread can be interrupted.
            found: list[Tensor | DataError] = []
            for named, task in zip(batch, waiting, strict=True):
                result = task.result() if task else named.problem
                found.append(_read(named.path) if result is None else result)
            return found
        finally:
            for task in waiting:
                if task:
                    task.cancel()


def _is_small(path: str) -> bool:
    """Tell whether a path is one of a file, and that not large."""
    try:
        status = os.stat(path)  # noqa: PTH116 (a Path would take '' for the folder)
    except (OSError, ValueError):
        return False
    return path != "-" and stat.S_ISREG(status.st_mode) and status.st_size <= _SMALL_BYTES


def _probabilities(
    model: nn.Module, digits: list[Tensor], device: torch.device
) -> Iterator[list[float]]:
    """Yield the ten probabilities of each digit: all alike where there is none."""
    if digits:
        images = torch.stack(digits)
        with torch.inference_mode():
            logits = model(images.to(device)).cpu()  # MPS has no doubles
        logits = logits.double() * images.flatten(1).any(1)[:, None]
        yield from logits.softmax(1).tolist()


def _read_small(path: str) -> Tensor | DataError | None:
    """Return the digit in a file, or why there is none; None if its picture is large."""
    try:
        return _read(path, only_small=True)
    except LargeError:
        return None


def _read(path: str, *, only_small: bool = False) -> Tensor | DataError:
    """Return the digit in a file, or why there is none.

    Raises:
        LargeError: see `decode`.

    """
    name = "standard input" if path == "-" else repr(path)
    try:
        return decode(_contents(path, name), name, only_small=only_small)
    except DataError as error:
        return DataError(str(error))  # without its traceback, which keeps the file in memory


def _contents(path: str, name: str) -> bytes:
    """Return what is in a file, or so much of it that `decode` finds it too large."""
    try:
        if path == "-":
            return sys.stdin.buffer.read(MAX_BYTES + 1)
        with open(path, "rb") as file:  # noqa: PTH123 (a Path would take '' for the folder)
            return file.read(MAX_BYTES + 1)
    except OSError as error:
        raise DataError(
            f"cannot read {name}: {error.strerror}; give the path of an image"
        ) from error
    except ValueError as error:
        raise DataError(f"cannot read {name}: {error}; give the path of an image") from error
