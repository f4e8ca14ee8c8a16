"""One export: a checkpoint in, a file in another format out."""

import logging
import os
import sys
import time
from pathlib import Path

from torch import nn

from mnist_cli import __version__
from mnist_cli.config.inference import ExportConfig
from mnist_cli.errors import OutputError, UsageError
from mnist_cli.events import Exported
from mnist_cli.export import playground, safetensors
from mnist_cli.export.formats import format_of
from mnist_cli.models.checkpoint import Checkpoint, load_checkpoint
from mnist_cli.models.digest import weights_sha256
from mnist_cli.models.networks import count_parameters
from mnist_cli.runtime.files import OutputLock, write_standard_output

_logger = logging.getLogger(__name__)
_NEXT = {
    "html": "open it in a browser and draw",
    "onnx": "pixels [N, 28, 28] of 0 to 255 go in, logits [N, 10] come out",
    "safetensors": "safetensors.torch.load_file reads its weights",
}


def export(checkpoint: str, output: str, config: ExportConfig) -> Exported:
    """Write a checkpoint's network to a file, whole or not at all, or to standard output for `-`.

    Raises:
        CheckpointError: see `load_checkpoint`, or the weights are too large to compute with.
        OutputError: the file could not be written, or is there and is to be kept.
        UsageError: see `format_of`; or the output is the checkpoint, or a terminal.

    """
    began = time.perf_counter()
    kind = format_of(output, config.format)
    if output == "-":
        _check_standard_output()
        event, data = _exported(checkpoint, output, kind, began)
        write_standard_output(data)
        return event
    if not output or output.endswith("/"):
        raise OutputError(f"OUTPUT '{output}' is not the name of a file")
    path = Path(output)
    with OutputLock(path, wait=True) as lock:
        if config.no_clobber and path.exists():
            raise OutputError(f"{path} exists, and --no-clobber keeps it; choose another OUTPUT")
        if checkpoint != "-" and path.exists() and path.resolve() == Path(checkpoint).resolve():
            raise UsageError(f"OUTPUT {path} is the checkpoint itself; choose another name")
        event, data = _exported(checkpoint, output, kind, began)
        lock.write(data)
    agreed = ""
    if event.largest_difference is not None:
        agreed = f", with PyTorch's logits to within {event.largest_difference:.1g}"
    _logger.info("Wrote %s (%s)%s: %s", output, _size(len(data)), agreed, _NEXT[kind])
    return event


def _check_standard_output() -> None:
    if getattr(sys.stdout, "name", "") == os.devnull:  # what a closed stream was replaced by
        raise OutputError("cannot write to - : standard output is closed")
    if sys.stdout.isatty():
        raise UsageError("- as OUTPUT would write a file to the terminal; redirect stdout")


def _exported(checkpoint: str, output: str, kind: str, began: float) -> tuple[Exported, bytes]:
    """Return what was exported, and the contents of the file."""
    loaded = load_checkpoint(checkpoint)
    model = loaded.build_model().eval()
    digest = weights_sha256(loaded.weights)
    data, difference = _encoded(kind, loaded, model, digest)
    event = Exported(
        seconds=time.perf_counter() - began,
        checkpoint=checkpoint,
        output=output,
        format=kind,
        bytes=len(data),
        model=loaded.config.model,
        parameters=count_parameters(model),
        weights_sha256=digest,
        largest_difference=difference,
    )
    return event, data


def _encoded(
    kind: str, loaded: Checkpoint, model: nn.Module, digest: str
) -> tuple[bytes, float | None]:
    """Return the contents of the file, and the largest difference of logits where it was taken."""
    about = {
        "model": loaded.config.model,
        "mnist_cli_version": __version__,
        "weights_sha256": digest,
    }
    if kind == "safetensors":
        return safetensors.encode(loaded.weights, about), None
    if kind == "onnx":
        from mnist_cli.export import onnx  # noqa: PLC0415 (an optional package)

        return onnx.encode(model, about)
    return playground.render(loaded, model, digest).encode(), None


def _size(count: int) -> str:
    """Return a number of bytes in words: 180 kB."""
    return f"{count / 1e6:.1f} MB" if count >= 1e6 else f"{count / 1e3:.0f} kB"
