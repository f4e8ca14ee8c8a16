"""The curves of a training in an event file that TensorBoard reads.

A tag is an event's name and one of its keys in `--json`, such as `step/loss`, `step/lr`,
`epoch/test_accuracy`, `probe/sharpness` and `end/test_accuracy`; the x-axis is `update`. The
hyperparameters are written for the tab of that name.
"""

import contextlib
import logging
import math
import os
import threading
import time
from pathlib import Path
from typing import Any

from mnist_cli.config.options import Effect, names_where
from mnist_cli.config.train import TrainConfig
from mnist_cli.errors import OutputError, UsageError
from mnist_cli.events import FAILURES, End, Event, ProbeEvent, Start, to_dict
from mnist_cli.output.renderers import Recorder

try:
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.plugins.hparams import api_pb2, metadata, plugin_data_pb2, summary_v2
    from torch.utils.tensorboard import SummaryWriter
except ImportError as error:
    raise UsageError(
        f"--tensorboard needs the package tensorboard ({error}): "
        "pip install 'mnist_cli[tensorboard]'"
    ) from error

_log = logging.getLogger(__name__)
# The keys that become curves, by the event's name; a probe's class names its own.
_CURVES = {
    "step": ("loss", "lr"),
    "epoch": (
        *("train_loss", "train_accuracy", "test_loss", "test_accuracy"),
        *("val_loss", "val_accuracy", "noise_scale_estimate"),
    ),
    "end": ("test_accuracy", "train_seconds"),
}
# These options say what is measured and written, where and how often: they are no hyperparameters.
_OUTPUT_OPTIONS = names_where(
    TrainConfig, lambda about: about.effect in (Effect.RECORD, Effect.PLACE)
)


class TensorBoard(Recorder):
    """Writes the curves of a training to a new folder in `name`.

    The folder of a run is `TIME-MODEL-mini-batch-SIZE` or `TIME-MODEL-batch`, with
    `-from-UPDATE` appended if the training was resumed: TensorBoard compares the runs of all
    folders.
    """

    def __init__(self, name: str) -> None:
        """Make the folder `name` if it does not exist.

        Raises:
            OutputError: nothing can be written there.

        """
        super().__init__(name)
        self._writer: SummaryWriter
        if not name:
            raise OutputError("--tensorboard '' is not the name of a folder")
        if Path(name).exists() and not Path(name).is_dir():
            raise OutputError(f"--tensorboard {name} is no folder; name one to write to")
        try:
            Path(name).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(
                f"cannot write to the folder {name}: {error.strerror or error}; "
                "choose another --tensorboard"
            ) from error
        if not os.access(name, os.W_OK | os.X_OK):
            raise OutputError(f"cannot write to the folder {name}; choose another --tensorboard")

    def record(self, event: Event) -> None:
        """Write the values of an event that become points of curves."""
        if isinstance(event, Start):
            folder = _new_folder(Path(self.name), event)
            self.open(folder)
            _log.info(
                "Writing curves to %s; see them with: tensorboard --logdir %s", folder, self.name
            )
            self._add_summary(summary_v2.hparams_pb(_hyperparameters(event)))
        values = to_dict(event)
        keys, suffix = _CURVES.get(event.name, ()), ""
        if isinstance(event, ProbeEvent):
            keys, suffix = event.curves, event.curve_suffix
        for key in keys:
            if (value := values.get(key)) is not None:
                self._writer.add_scalar(f"{event.name}/{key}{suffix}", value, values["update"])
        if isinstance(event, End):
            self._add_summary(_session_end(event))
        self._writer.flush()

    def open(self, folder: Path) -> None:
        """Begin an event file in a folder.

        SummaryWriter writes in a thread, and raises the thread's error in the next call. The thread
        also prints its traceback, which is suppressed: the error is reported by `show`.
        """
        before = set(threading.enumerate())
        self._writer = SummaryWriter(str(folder))
        writers = set(threading.enumerate()) - before
        self._excepthook = threading.excepthook

        def report(args: threading.ExceptHookArgs) -> None:
            if args.thread not in writers:
                self._excepthook(args)

        threading.excepthook = report

    def _add_summary(self, summary: Summary) -> None:
        writer: Any = self._writer  # torch annotates its file_writer as None
        writer.file_writer.add_summary(summary)

    def close(self) -> None:
        """Close the file; a failure to write to it has been reported before."""
        if hasattr(self, "_writer"):
            with contextlib.suppress(OSError):
                self._writer.close()
            threading.excepthook = self._excepthook


def _new_folder(parent: Path, start: Start) -> Path:
    """Make and return a new folder for a run."""
    size = f"-{start.batch_size}" if start.mode == "mini-batch" else ""
    name = f"{time.strftime('%Y%m%d-%H%M%S')}-{start.config['model']}-{start.mode}{size}"
    if start.first_update:
        name += f"-from-{start.first_update}"
    number = 1
    while True:
        folder = parent / (name if number == 1 else f"{name}-{number}")
        try:
            folder.mkdir()
        except FileExistsError:
            number += 1
        else:
            return folder


def _hyperparameters(start: Start) -> dict[str, bool | float | str]:
    """Return what was trained; infinite and missing values are left out."""
    values = {key: value for key, value in start.config.items() if key not in _OUTPUT_OPTIONS}
    values |= {"device": start.device, "threads": start.threads, "ranks": start.world_size}
    return {
        key: value
        for key, value in values.items()
        if isinstance(value, str) or (value is not None and math.isfinite(value))
    }


def _session_end(end: End) -> Summary:
    """Return the record by which the tab of hyperparameters knows how a run ended."""
    failed = end.reason in FAILURES
    status = api_pb2.STATUS_FAILURE if failed else api_pb2.STATUS_SUCCESS
    info = plugin_data_pb2.SessionEndInfo(status=status, end_time_secs=time.time())
    data = plugin_data_pb2.HParamsPluginData(session_end_info=info)
    value = Summary.Value(
        tag=metadata.SESSION_END_INFO_TAG,
        metadata=metadata.create_summary_metadata(data),
        tensor=metadata.NULL_TENSOR,
    )
    return Summary(value=[value])
