"""Predict the digits in image files with the network of a checkpoint."""

import contextvars
import io
import os
import re
import stat
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn

from mnist_cli.config.programs import PredictConfig
from mnist_cli.config.quoting import quote
from mnist_cli.config.reading import read_input
from mnist_cli.config.registry import network_entry
from mnist_cli.config.sources import validate
from mnist_cli.data.catalogue import DIGITS
from mnist_cli.data.pictures.decode import pillow_silenced, read_image
from mnist_cli.data.pictures.limits import MAX_BYTES
from mnist_cli.data.pictures.preprocess import Digit, ImageDigits, Pixels
from mnist_cli.errors import CheckpointError, DataError, OutputError, UsageError
from mnist_cli.events import Prediction, Unreadable
from mnist_cli.models.checkpoint import Checkpoint, load_checkpoint
from mnist_cli.prediction.image_files import ImageFile, find_image_files, is_table
from mnist_cli.runtime.cores import usable_cores
from mnist_cli.runtime.device import check_torch_modes, pick_device, threads_set
from mnist_cli.runtime.files import check_writable, write_atomic

_BATCH_SIZE = 64  # images in one forward pass; results are shown after each batch
_READERS = 4  # the maximum number of files that are decoded at the same time
_SMALL_FILE = 1 << 23  # bytes: larger files are read one after another
_WHOLE = (0, 0, 28, 28)  # the box of an image in a table
_MAX_STEM = 200  # bytes: a name may have 255, and the temporary file has a longer one


@dataclass(frozen=True)
class ImagePrediction:
    """The prediction for one image file, or for one of the digits in it.

    `image` is the network's input, `uint8 [28, 28]`, all 0 if no digit was found. Below the
    probability `threshold` a prediction is uncertain. `digits` is how many digits the image shows;
    if there are several, a single prediction for it means little. `classes` are the names of the
    classes. `row` is the number of the image in a table, from 1 on.
    """

    event: Prediction
    image: Pixels
    threshold: float
    digits: int = 1
    classes: tuple[str, ...] = DIGITS
    row: int | None = None


def predict(
    checkpoint: str | Path, images: Iterable[str | Path], config: PredictConfig
) -> Iterator[ImagePrediction | Unreadable]:
    """Yield the prediction for each image, in order; `-` is an image on standard input.

    If the config says `all`, each digit of an image has a prediction, left to right, line by line.
    Folders and patterns are expanded as `find_image_files` describes.

    Raises:
        CheckpointError: see `load_checkpoint`; or the network's outputs are not finite.
        UsageError: an argument has another type or a bad value, the device is not available,
            standard input would be read twice, or the folder for the inputs has no name.
        OutputError: a network input could not be saved.

    """
    started = time.perf_counter()
    config, names = validate(config, PredictConfig), _names_of(images)
    if [checkpoint, *names].count("-") > 1:
        raise UsageError("- stands for standard input, which can be read once; name files instead")
    check_torch_modes(gradients=False)
    device = pick_device(config.device)
    if config.save_seen == "":
        raise UsageError("--save-seen '': it is empty; name a folder")
    loaded = load_checkpoint(checkpoint, config.model)
    confident = network_entry(loaded.config.model).confidence_threshold
    threshold = confident if config.uncertain_below is None else config.uncertain_below
    model = loaded.build_model().to(device).eval()
    named = partial(_named, classes=loaded.classes)
    read = partial(_read_digits, reads_digits=loaded.subject == "digit")
    folder = None if config.save_seen is None else InputFolder(config.save_seen)
    with threads_set(), ThreadPoolExecutor(min(_READERS, usable_cores())) as readers:
        for batch in _batches(list(find_image_files(names))):
            path = batch[0].path
            if is_table(path):
                table = _read_table(path, loaded)
                if isinstance(table, DataError):
                    yield Unreadable(time.perf_counter() - started, path, str(table))
                else:
                    rows = _probabilities(model, table, device)
                    yield from map(named, _of_table(path, table, rows, threshold, started))
                continue
            decoded = _decode_batch(batch, read, readers)
            found = [digits for digits in decoded if isinstance(digits, ImageDigits)]
            inputs = [d.pixels for digits in found for d in (digits.digit, *digits.several)]
            rows = _probabilities(model, inputs, device)
            for file, digits in zip(batch, decoded, strict=True):
                seconds = time.perf_counter() - started
                if isinstance(digits, DataError):
                    yield Unreadable(seconds, file.path, str(digits))
                    continue
                one, *several = (
                    named(_prediction(seconds, file.path, digit, next(rows), threshold))
                    for digit in (digits.digit, *digits.several)
                )
                # The pieces of one digit, or of a drawing, rarely look like digits.
                clear = sum(result.event.probability >= confident for result in several)
                is_several = clear >= max(2, len(several) / 2)
                for result in several if is_several and config.all else [one]:
                    if folder:
                        folder.save(result.image, file.path)
                    yield replace(result, digits=len(several) if is_several else 1)


def _names_of(images: object) -> list[str]:
    """Return paths as strings; raise UsageError for anything else, such as one path alone."""
    if isinstance(images, Iterable) and not isinstance(images, str | bytes):
        names = list(images)
        if all(isinstance(name, str | Path) for name in names):
            return [str(name) for name in names]
    raise UsageError(f"images={quote(images)}: it is no list of paths; give [path, ...]")


def _prediction(
    seconds: float,
    path: str,
    digit: Digit,
    row: list[float],
    threshold: float,
) -> ImagePrediction:
    """Return the prediction for a digit of an image, by the probabilities of the network."""
    if digit.box is None:
        event = Prediction(seconds, path, None, 0.0, None, uncertain=True, box=None)
    else:
        highest = max(row)
        event = Prediction(
            seconds, path, row.index(highest), highest, row, highest < threshold, digit.box
        )
    return ImagePrediction(event, digit.pixels, threshold)


def _named(result: ImagePrediction, classes: tuple[str, ...]) -> ImagePrediction:
    """Return a prediction with the name of its class."""
    event = result.event
    if event.digit is not None:
        event = replace(event, label=classes[event.digit])
    return replace(result, event=event, classes=classes)


def _of_table(
    path: str,
    images: Iterable[Pixels],
    rows: Iterator[list[float]],
    threshold: float,
    started: float,
) -> Iterator[ImagePrediction]:
    """Yield the prediction for each image in a table, whose row, from 1 on, ends the path."""
    for number, (pixels, row) in enumerate(zip(images, rows, strict=True), start=1):
        seconds = time.perf_counter() - started
        result = _prediction(seconds, f"{path}:{number}", Digit(pixels, _WHOLE), row, threshold)
        yield replace(result, event=replace(result.event, box=None), row=number)


def _read_table(path: str, checkpoint: Checkpoint) -> list[Pixels] | DataError:
    """Return the images in the rows of a table, read as those of the training were, or the error.

    The polarity is that of the training's data, if they were one's own.
    """
    from mnist_cli.data.own.reading import ReadOptions, read_images  # noqa: PLC0415 (rare)

    trained, origin = checkpoint.config, checkpoint.data
    light_ground = None if origin is None else origin.light_ground
    is_array = re.search(r"\.(npy|npz)$|ubyte", path.lower())
    column = None if is_array else trained.label_column
    options = ReadOptions(column, trained.max_value, trained.transposed)
    try:
        return list(read_images(Path(path), options, light_ground=light_ground))
    except DataError as error:
        return error
    except UsageError as error:  # an option of the training does not fit this file
        return DataError(str(error))


def _batches(files: Iterable[ImageFile]) -> Iterator[list[ImageFile]]:
    """Yield files in batches. A pipe starts a new batch: earlier results print before it blocks.

    A table is a batch of its own.
    """
    batch: list[ImageFile] = []
    for file in files:
        alone = _file_size(file.path) is None or is_table(file.path)
        if batch and (len(batch) == _BATCH_SIZE or alone or is_table(batch[0].path)):
            yield batch
            batch = []
        batch.append(file)
    if batch:
        yield batch


def _decode_batch(
    batch: list[ImageFile],
    read: Callable[[str], ImageDigits | DataError],
    readers: ThreadPoolExecutor,
) -> list[ImageDigits | DataError]:
    """Return the digits in each file, or the error, in order."""
    tasks: list[Future[ImageDigits | DataError] | None] = []
    with pillow_silenced():
        try:
            for file in batch:
                task, size = None, _file_size(file.path)
                if not file.error and size is not None and size <= _SMALL_FILE:
                    context = contextvars.copy_context()  # of the warnings filter
                    task = readers.submit(context.run, read, file.path)
                tasks.append(task)
            pairs = zip(batch, tasks, strict=True)
            results = [task.result() if task else file.error for file, task in pairs]
            # This thread reads large files one after another, so that memory is bounded. It also
            # reads pipes, which may block for ever: only the main thread can be interrupted.
            return [
                read(file.path) if result is None else result
                for file, result in zip(batch, results, strict=True)
            ]
        finally:
            for task in tasks:
                if task:
                    task.cancel()


def _file_size(path: str) -> int | None:
    """Return a file's size in bytes, 0 if there is no file, None for a pipe or a device."""
    try:
        status = os.stat(path)  # noqa: PTH116 (a Path would take '' for the folder)
    except (OSError, ValueError):
        return None if path == "-" else 0
    return status.st_size if path != "-" and stat.S_ISREG(status.st_mode) else None


def _probabilities(
    model: nn.Module, digits: list[Pixels], device: torch.device
) -> Iterator[list[float]]:
    """Yield the ten probabilities of each digit.

    Raises:
        CheckpointError: the network's outputs are not finite.

    """
    for start in range(0, len(digits), _BATCH_SIZE):
        images = torch.from_numpy(np.stack(digits[start : start + _BATCH_SIZE]))
        with torch.inference_mode():
            logits = model(images.to(device)).cpu().double()  # MPS has no doubles
        if not logits.isfinite().all():
            raise CheckpointError(
                "the checkpoint's network computes numbers that are not finite: its weights are "
                "far too large; train it again"
            )
        yield from logits.softmax(1).tolist()


def _read_digits(path: str, *, reads_digits: bool) -> ImageDigits | DataError:
    """Return the digits in a file, or the error."""
    name = "standard input" if path == "-" else repr(path)
    try:
        return read_image(_read_bytes(path, name), name, reads_digits=reads_digits)
    except DataError as error:
        return DataError(str(error))  # without its traceback, which keeps the file in memory


def _read_bytes(path: str, name: str) -> bytes:
    """Return the contents of a file; of a file that is too large, one byte more than allowed."""
    try:
        return read_input(path, MAX_BYTES + 1)[0]
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"cannot read {name}: {reason}; give the path of an image") from error


class InputFolder:
    """A folder of network inputs, named after the images that they were made from."""

    def __init__(self, folder: str) -> None:
        """Create the folder if it does not exist.

        Raises:
            OutputError: it cannot be created, or is not writable.

        """
        self._folder = Path(folder)
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise OutputError(
                f"--save-seen {folder!r}: cannot be made: {reason}; name a folder"
            ) from error
        check_writable(self._folder / "seen.png")
        self._taken: set[str] = set()

    def save(self, image: Pixels, path: str) -> None:
        """Write `[28, 28]` to NAME.png for an image NAME, or else to NAME-2.png and so on.

        No file is replaced. A file that already holds this input is kept.

        Raises:
            OutputError: it could not be written.

        """
        file = io.BytesIO()
        Image.fromarray(image).save(file, "PNG")
        stem = "stdin" if path == "-" else Path(path).stem
        while len(os.fsencode(stem)) > _MAX_STEM:
            stem = stem[:-1]
        name, number = f"{stem}.png", 1
        while name.casefold() in self._taken or self._is_other(name, file.getvalue()):
            number += 1
            name = f"{stem}-{number}.png"
        self._taken.add(name.casefold())
        if not os.path.lexists(self._folder / name):
            write_atomic(self._folder / name, file.getvalue())

    def _is_other(self, name: str, data: bytes) -> bool:
        """Return True if the name is taken by anything but a file that holds `data`."""
        path = self._folder / name
        try:
            status = path.lstat()
            same = stat.S_ISREG(status.st_mode) and status.st_size == len(data)
            return not same or path.read_bytes() != data
        except FileNotFoundError:
            return False
        except PermissionError:  # so it belongs to another user
            return True
        except OSError:  # an impossible name: writing it reports why
            return False
