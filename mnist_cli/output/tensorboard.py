"""The curves of a training in a file that TensorBoard reads.

A tag is an event's name and one of its keys in `--json`, such as `step/loss`, `step/lr`,
`epoch/test_accuracy`, `probe/sharpness` and `end/test_accuracy`; all are drawn against `update`.
What was trained stands in the tab of hyperparameters. The file is one of records with checksums:
https://github.com/tensorflow/tensorboard/blob/master/tensorboard/summary/writer/record_writer.py
"""

import contextlib
import logging
import math
import os
import struct
import time
from pathlib import Path
from typing import BinaryIO

from mnist_cli.config.options import Effect, names_where
from mnist_cli.config.train import TrainConfig
from mnist_cli.errors import OutputError, UsageError
from mnist_cli.events import AlignmentProbe, End, Event, Start, to_dict
from mnist_cli.output.log_file import Recorder

try:
    from tensorboard.compat.proto.event_pb2 import Event as Record
    from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
    from tensorboard.compat.proto.tensor_pb2 import TensorProto
    from tensorboard.compat.proto.tensor_shape_pb2 import TensorShapeProto
    from tensorboard.compat.proto.types_pb2 import DT_FLOAT
    from tensorboard.compat.tensorflow_stub.pywrap_tensorflow import masked_crc32c
    from tensorboard.plugins.hparams import api_pb2, plugin_data_pb2
except ImportError as error:
    raise UsageError(
        f"--tensorboard needs the package tensorboard ({error}): "
        "pip install 'mnist_cli[tensorboard]'"
    ) from error

_log = logging.getLogger(__name__)
# By the event's name, or by the probe's, the keys whose values are curves.
_CURVES = {
    "step": ("loss", "lr"),
    "epoch": (
        *("train_loss", "train_accuracy", "test_loss", "test_accuracy"),
        *("val_loss", "val_accuracy"),
    ),
    "noise": ("noise_scale", "two_batch_noise_scale"),
    "alignment": ("cosine_mean", "cosine_deviation"),
    "sharpness": ("sharpness", "two_over_lr"),
    "end": ("test_accuracy", "train_seconds"),
}
_PLACES = names_where(TrainConfig, lambda about: about.effect is Effect.PLACE)


class TensorBoard(Recorder):
    """Writes the curves of a training to a new folder in `name`, called after what is trained.

    The folder of a run is `TIME-MODEL-mini-batch-SIZE` or `TIME-MODEL-batch`, with
    `-from-UPDATE` after it where the training was resumed: TensorBoard shows the runs of all
    folders side by side.
    """

    def __init__(self, name: str) -> None:
        """Make the folder `name` if need be.

        Raises:
            OutputError: nothing can be written there.

        """
        super().__init__(name)
        self._file: BinaryIO | None = None
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

    def keep(self, event: Event) -> None:
        """Write the event's values, if it has some that make a curve."""
        if isinstance(event, Start):
            self._begin(event)
        values = to_dict(event)
        label = str(values.get("probe") or event.name)
        suffix = f"_{event.batch_size}" if isinstance(event, AlignmentProbe) else ""
        curves = [
            Summary.Value(tag=f"{event.name}/{key}{suffix}", simple_value=value)
            for key in _CURVES.get(label, ())
            if (value := values.get(key)) is not None
        ]
        if curves:
            self._write(Record(step=values["update"], summary=Summary(value=curves)))
        if isinstance(event, End):
            self._finish(event)

    def close(self) -> None:
        """Close the file; what could not be written to it before has been told."""
        if self._file is not None:
            with contextlib.suppress(OSError):
                self._file.close()
            self._file = None

    def _begin(self, start: Start) -> None:
        folder = _new_folder(Path(self.name), start)
        self._file = (folder / f"events.out.tfevents.{time.time():.0f}.{os.getpid()}").open("wb")
        _log.info("Writing curves to %s; see them with: tensorboard --logdir %s", folder, self.name)
        self._write(Record(file_version="brain.Event:2"))
        session = plugin_data_pb2.SessionStartInfo(start_time_secs=time.time())
        for key, value in _hyperparameters(start).items():
            kind = {bool: "bool_value", str: "string_value"}.get(type(value), "number_value")
            setattr(session.hparams[key], kind, value)
        data = plugin_data_pb2.HParamsPluginData(session_start_info=session)
        self._write(_session("_hparams_/session_start_info", data))

    def _finish(self, end: End) -> None:
        done = end.reason not in ("interrupted", "diverged")
        session = plugin_data_pb2.SessionEndInfo(
            status=api_pb2.STATUS_SUCCESS if done else api_pb2.STATUS_FAILURE,
            end_time_secs=time.time(),
        )
        data = plugin_data_pb2.HParamsPluginData(session_end_info=session)
        self._write(_session("_hparams_/session_end_info", data))

    def _write(self, record: "Record") -> None:
        """Write a record and flush it: its length, the record, and the checksum of each."""
        assert self._file is not None
        record.wall_time = time.time()
        data = record.SerializeToString()
        length = struct.pack("<Q", len(data))
        checksums = (struct.pack("<I", masked_crc32c(part)) for part in (length, data))
        self._file.write(length + next(checksums) + data + next(checksums))
        self._file.flush()


def _new_folder(parent: Path, start: Start) -> Path:
    """Make and return the folder of a run: one that was not there."""
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
    """Return what was trained; what is infinite or absent is left out."""
    values = {key: value for key, value in start.config.items() if key not in _PLACES}
    values |= {"device": start.device, "threads": start.threads, "ranks": start.world_size}
    return {
        key: value
        for key, value in values.items()
        if isinstance(value, str) or (value is not None and math.isfinite(value))
    }


def _session(tag: str, data: "plugin_data_pb2.HParamsPluginData") -> "Record":
    """Return a record without a value, whose metadata is read by the tab of hyperparameters."""
    plugin = SummaryMetadata.PluginData(plugin_name="hparams", content=data.SerializeToString())
    shape = TensorShapeProto(dim=[TensorShapeProto.Dim(size=0)])
    value = Summary.Value(
        tag=tag,
        metadata=SummaryMetadata(plugin_data=plugin),
        tensor=TensorProto(dtype=DT_FLOAT, tensor_shape=shape),
    )
    return Record(summary=Summary(value=[value]))
