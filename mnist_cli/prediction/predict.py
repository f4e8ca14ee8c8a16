"""Image files to digits, with the network of a checkpoint."""

import contextvars
import os
import stat
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mnist_cli.config.inference import PredictConfig
from mnist_cli.config.registry import NETWORKS
from mnist_cli.errors import CheckpointError, DataError, UsageError
from mnist_cli.events import Prediction, Unreadable
from mnist_cli.models.checkpoint import load_checkpoint
from mnist_cli.prediction.decode import contained, decode
from mnist_cli.prediction.image_files import Named, gather
from mnist_cli.prediction.limits import MAX_BYTES
from mnist_cli.prediction.save_inputs import Album
from mnist_cli.runtime.device import pick_device

_BATCH = 64  # images in one forward pass; the first is shown when so many are read
_READERS = 4  # files read at once, at most; decoders run beside each other
_SMALL_BYTES = 1 << 23  # of a file: so much is read by each reader; more, one after another


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
        CheckpointError: see `load_checkpoint`; or what the network computes is not finite.
        UsageError: the device is not there, standard input is to be read twice, or a folder has
            no name.
        OutputError: what the network saw could not be saved.

    """
    began = time.perf_counter()
    if [checkpoint, *images].count("-") > 1:
        raise UsageError("- stands for standard input, which can be read once; name files instead")
    device = pick_device(config.device)
    if config.save_seen == "":
        raise UsageError("--save-seen '': it is empty; name a folder")
    loaded = load_checkpoint(checkpoint)
    threshold = config.uncertain_below
    if threshold is None:
        threshold = NETWORKS[loaded.config.model].confidence_threshold
    model = loaded.build_model().to(device).eval()
    album = None if config.save_seen is None else Album(config.save_seen)
    with ThreadPoolExecutor(min(_READERS, os.cpu_count() or 1)) as readers:
        for batch in _batches(list(gather(images))):
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


def _batches(files: Iterable[Named]) -> Iterator[list[Named]]:
    """Yield files in batches. What may keep us waiting begins one: those before are shown."""
    batch: list[Named] = []
    for named in files:
        if len(batch) == _BATCH or (batch and _size(named.path) is None):
            yield batch
            batch = []
        batch.append(named)
    if batch:
        yield batch


def _read_all(batch: list[Named], readers: ThreadPoolExecutor) -> list[Tensor | DataError]:
    """Return the digits in files, or why there is none, in order."""
    waiting: list[Future[Tensor | DataError] | None] = []
    with contained():
        try:
            for named in batch:
                task, size = None, _size(named.path)
                if not named.problem and size is not None and size <= _SMALL_BYTES:
                    context = contextvars.copy_context()  # of warnings that are silenced
                    task = readers.submit(context.run, _read, named.path)
                waiting.append(task)
            pairs = zip(batch, waiting, strict=True)
            found = [task.result() if task else named.problem for named, task in pairs]
            # Large files are left to this thread, one after another, so that memory is bounded; and
            # pipes, which may keep one waiting for ever: only the main thread can be interrupted.
            return [
                _read(named.path) if digit is None else digit
                for named, digit in zip(batch, found, strict=True)
            ]
        finally:
            for task in waiting:
                if task:
                    task.cancel()


def _size(path: str) -> int | None:
    """Return how many bytes a file has, 0 where there is none, or None of a pipe or a device."""
    try:
        status = os.stat(path)  # noqa: PTH116 (a Path would take '' for the folder)
    except (OSError, ValueError):
        return None if path == "-" else 0
    return status.st_size if path != "-" and stat.S_ISREG(status.st_mode) else None


def _probabilities(
    model: nn.Module, digits: list[Tensor], device: torch.device
) -> Iterator[list[float]]:
    """Yield the ten probabilities of each digit: all alike where there is none.

    Raises:
        CheckpointError: what the network computes is not finite.

    """
    if digits:
        images = torch.stack(digits)
        with torch.inference_mode():
            logits = model(images.to(device)).cpu().double()  # MPS has no doubles
        if not logits.isfinite().all():
            raise CheckpointError(
                "the checkpoint's network computes numbers that are not finite: its weights are "
                "far too large; train it anew"
            )
        inked = images.flatten(1).amax(1, keepdim=True) > 0
        yield from torch.where(inked, logits, 0.0).softmax(1).tolist()


def _read(path: str) -> Tensor | DataError:
    """Return the digit in a file, or why there is none."""
    name = "standard input" if path == "-" else repr(path)
    try:
        return decode(_contents(path, name), name)
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
