"""Image files to digits, with the network of a checkpoint."""

import sys
import time
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from mnist_cli.checkpoint import load_checkpoint
from mnist_cli.errors import DataError, UsageError
from mnist_cli.events import Prediction, Unreadable
from mnist_cli.images import read_image
from mnist_cli.inspection import MAX_BYTES
from mnist_cli.runtime import pick_device
from mnist_cli.uses import PredictConfig

_BATCH = 256  # images in one forward pass


def predict(
    checkpoint: str, images: Sequence[str], config: PredictConfig
) -> Iterator[Prediction | Unreadable]:
    """Yield what each image shows, in order; `-` is one on standard input.

    Raises:
        CheckpointError: see `load_checkpoint`.
        UsageError: the device is not there, or standard input is to be read twice.

    """
    began = time.perf_counter()
    if [checkpoint, *images].count("-") > 1:
        raise UsageError("- stands for standard input, which can be read once; name files instead")
    device = pick_device(config.device)
    model = load_checkpoint(checkpoint).build_model().to(device).eval()
    for start in range(0, len(images), _BATCH):
        paths = images[start : start + _BATCH]
        found = [_read(path) for path in paths]
        rows = _probabilities(
            model, [digit for digit in found if isinstance(digit, Tensor)], device
        )
        for path, result in zip(paths, found, strict=True):
            seconds = time.perf_counter() - began
            if isinstance(result, DataError):
                yield Unreadable(seconds, path, str(result))
            else:
                row = next(rows)
                yield Prediction(seconds, path, row.index(max(row)), max(row), row)


def _probabilities(
    model: nn.Module, digits: list[Tensor], device: torch.device
) -> Iterator[list[float]]:
    """Yield the ten probabilities of each digit."""
    if digits:
        with torch.inference_mode():
            logits = model(torch.stack(digits).to(device)).cpu()  # MPS has no doubles
            rows = logits.double().softmax(1).tolist()
        yield from rows


def _read(path: str) -> Tensor | DataError:
    """Return the digit in a file, or why there is none."""
    name = "standard input" if path == "-" else repr(path)
    try:
        return read_image(_contents(path, name), name)
    except DataError as error:
        return error


def _contents(path: str, name: str) -> bytes:
    """Return what is in a file, or so much of it that `read_image` finds it too large."""
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
