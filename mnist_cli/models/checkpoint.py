"""The checkpoint: a file from which a model is rebuilt and a training is resumed.

Format 2 is a dictionary saved by `torch.save`, with values that `torch.load(weights_only=True)`
accepts: `format`, `format_version`, `model` (name, arguments), `weights`, `weights_sha256`,
`config`, `optimizer`, `position`, `history` (an entry for each epoch and each time that the
training was resumed) and `versions` (of the programs and the device). With averaged weights it also
has `raw_weights`, with a network from a file `network_file` (path, name, text), which is never run,
and with data of one's own `data` (their path, the names of their classes, their polarity).
"""

import io
import logging
import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mnist_cli import __version__
from mnist_cli.config import sources
from mnist_cli.config.network_file import (
    MAX_BYTES,
    NetworkFile,
    is_named,
    is_network_file,
    read_network_file,
    split_name,
)
from mnist_cli.config.options import DEFAULT_BATCH_SIZE
from mnist_cli.config.own_data import MAX_CLASSES, MAX_NAME, DataOrigin
from mnist_cli.config.quoting import printable, quote
from mnist_cli.config.reading import expand_home, read_input
from mnist_cli.config.registry import NETWORKS, network_name
from mnist_cli.config.train import ResolvedConfig, TrainConfig
from mnist_cli.data.catalogue import DIGITS, class_names, number_of_classes, subject_of
from mnist_cli.errors import CheckpointError, UsageError, lack_of_memory
from mnist_cli.events import Epoch, Resumed
from mnist_cli.models.networks import build_model, weights_sha256
from mnist_cli.models.pickle_screening import (
    MAX_MEMBERS,
    UnsafeError,
    UnsupportedFileError,
    count_members,
    screen,
)
from mnist_cli.runtime.files import FileVersion

_log = logging.getLogger(__name__)

FORMAT, FORMAT_VERSION = "mnist_cli checkpoint", 2
_MAX_BYTES = 1 << 26  # twenty times the largest network here, with its optimizer's state
HISTORY_BYTES = 1 << 21  # more than a history adds to a file while a training runs
_MAX_COUNT = 1 << 53
_MAX_VERSION_LENGTH = 200
_MAX_PATH = 4096
_NOISE_SUMS = 6  # of `NoiseSums`
# Errors that malformed values cause.
_VALUE_ERRORS = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)
_PARTS = {
    "model": dict,
    "weights": dict,
    "weights_sha256": str,
    "config": dict,
    "optimizer": dict,
    "position": dict,
    "history": list,
    "versions": dict,
}


class _NewerVersionError(Exception):
    """A newer version of mnist_cli wrote the checkpoint."""


@dataclass(frozen=True)
class Position:
    """The position of a training: its updates, and the sums over the current epoch.

    An epoch is current until it has been evaluated; `samples` is the number of samples in its
    sums. `probed_update` is the last update after which the probes ran, if they did. `noise_sums`
    are the epoch's sums of the gradient's noise, if it is estimated.
    """

    update: int
    samples: int = 0
    loss_sum: float = 0.0
    correct: int = 0
    probed_update: int | None = None
    noise_sums: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        """Raise ValueError if the values cannot be those of a training."""
        probed = 0 if self.probed_update is None else self.probed_update
        counts = (self.update, self.samples, self.correct, probed)
        if any(type(count) is not int or not 0 <= count < _MAX_COUNT for count in counts):
            raise ValueError(f"its position {quote(counts)} is not one of a training")
        if type(self.loss_sum) is not float or not 0 <= self.loss_sum < math.inf:
            raise ValueError(f"its sum of losses is {quote(self.loss_sum)}")
        if type(self.noise_sums) is not tuple or len(self.noise_sums) not in (0, _NOISE_SUMS):
            raise ValueError("its sums of the gradient's noise are malformed")
        if not all(type(each) is float and math.isfinite(each) for each in self.noise_sums):
            raise ValueError(f"its sums of the gradient's noise are {quote(self.noise_sums)}")


@dataclass(frozen=True)
class Checkpoint:
    """The state of a training; `weights` is the network's state dict.

    `origin` is the file from which it was read, if it was. If `weights` is an average over the
    updates, `raw_weights` is the state dict with which the training goes on. `network_file` has the
    text of the network's file, if it has one, and `data` tells where data of one's own were.
    """

    config: ResolvedConfig
    weights: Mapping[str, Tensor]
    optimizer: dict[str, Any]
    position: Position
    history: list[dict[str, Any]]
    versions: dict[str, str]
    origin: FileVersion | None = None
    raw_weights: Mapping[str, Tensor] | None = None
    network_file: NetworkFile | None = None
    data: DataOrigin | None = None

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes, in the order of the network's logits."""
        return self.data.classes if self.data else class_names(self.config.dataset) or DIGITS

    @property
    def subject(self) -> str:
        """What an image shows, such as `digit`."""
        return subject_of(self.classes, self.config.dataset)

    @property
    def network_name(self) -> str:
        """The name of its network, such as `cnn`, or `an ensemble of 3 cnn`."""
        return network_name(self.config.model, self.config.members)

    def build_model(self) -> nn.Module:
        """Return the network with its weights.

        Raises:
            UsageError: the network is in a file that was not named: see `with_network`.
            CheckpointError: the weights are not those of the network in the file.

        """
        self.check_named()
        model = build_model(
            self.config.model, members=self.config.members, classes=len(self.classes)
        )
        try:
            model.load_state_dict(dict(self.weights))
        except RuntimeError as error:
            if lack_of_memory(error):
                raise
            reason = " ".join(str(error).split())[:300]
            raise CheckpointError(
                f"the weights are not those of {self.network_name}: {printable(reason)}"
            ) from error
        return model

    def check_named(self) -> None:
        """Raise UsageError if the network is in a file that was not named in this process."""
        file = self.network_file
        if file is not None and not is_named(self.config.model):
            raise UsageError(
                f"the network of this checkpoint is in {printable(file.path)}, which is run only "
                f"if you name it: --model {printable(file.path)}:{file.name}"
            )

    def with_network(self, model: str | None) -> "Checkpoint":
        """Return the checkpoint with the network that `--model` names, if it names one.

        A file is read, and run as soon as the network is built. It may have changed since the
        training, which is said.

        Raises:
            UsageError: the checkpoint has another network.

        """
        if model is None or model == self.config.model:
            return self
        before = self.network_file
        if before is None or not is_network_file(model):
            raise UsageError(
                f"--model {printable(model)} differs from the checkpoint's {self.network_name}; "
                "leave it out"
                + ("" if before is None else f", or name a file: FILE.py:{before.name}")
            )
        file = read_network_file(model)
        if file.text != before.text:
            _log.warning(
                "%s has changed since the training: %s",
                *(printable(file.path), before.differences(file)),
            )
        return replace(self, config=replace(self.config, model=file.begun), network_file=file)


def encode(checkpoint: Checkpoint, *, spare: int = 0) -> bytes:
    """Return the contents of a checkpoint's file.

    Raises:
        UsageError: with `spare` bytes more it would be too large to be read again. A training
            encodes its state with `HISTORY_BYTES` to spare before it begins.

    """
    buffer = io.BytesIO()
    parts = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "model": _description(checkpoint.config),
        "weights": dict(checkpoint.weights),
        "weights_sha256": weights_sha256(checkpoint.weights),
        "config": asdict(checkpoint.config),
        "optimizer": checkpoint.optimizer,
        "position": asdict(checkpoint.position),
        "history": checkpoint.history,
        "versions": checkpoint.versions,
    }
    if checkpoint.raw_weights is not None:
        parts["raw_weights"] = dict(checkpoint.raw_weights)
    if checkpoint.network_file is not None:
        parts["network_file"] = asdict(checkpoint.network_file)
    if checkpoint.data is not None:
        parts["data"] = {**asdict(checkpoint.data), "classes": list(checkpoint.data.classes)}
    torch.save(parts, buffer)
    data = buffer.getvalue()
    if len(data) > _MAX_BYTES - spare or count_members(data) > MAX_MEMBERS:
        advice = "; give fewer --members" if checkpoint.config.members > 1 else ""
        raise UsageError(
            f"{checkpoint.network_name} is too large: its checkpoint would have "
            f"{len(data):,} bytes in {count_members(data)} parts, and could not be read; at most "
            f"{_MAX_BYTES - spare:,} bytes and {MAX_MEMBERS} parts are possible{advice}"
        )
    return data


def load_checkpoint(path: str | Path, model: str | None = None) -> Checkpoint:
    """Return the checkpoint in a file, or on standard input for `-`, after validating it.

    Nothing in the file is executed: it is screened, then read by `torch.load(weights_only=True)`.
    The position in the training and the optimizer's state are checked by `TrainingState.restore`.
    A network in a file of one's own has to be named by `model`, such as `my_net.py:Net`.

    Raises:
        CheckpointError: missing, damaged, of another format or version, or unsafe.
        UsageError: `model` names another network.

    """
    if not isinstance(path, str | Path):
        raise CheckpointError(f"{quote(path)} is no path of a checkpoint; give a string")
    name = "standard input" if str(path) == "-" else printable(path) or "''"
    data, origin = _read(path, name)
    return replace(decode(data, name), origin=origin).with_network(model)


def decode(data: bytes, name: str) -> Checkpoint:
    """Return the checkpoint in the contents of a file that error messages call `name`.

    Raises:
        CheckpointError: damaged, of another format or version, or unsafe.

    """
    parts = _parse(data, name)
    kind = parts.get("format")
    if type(kind) is not str or kind != FORMAT:
        raise CheckpointError(
            f"{name} is {_kind_of(parts)}, and not a checkpoint; give a file that mnist-train wrote"
        )
    version = parts.get("format_version")
    if type(version) is not int or version != FORMAT_VERSION:
        raise CheckpointError(
            f"{name} has checkpoint format {_number(version)}; this version reads format "
            f"{FORMAT_VERSION}: use the mnist_cli that wrote it"
        )
    for part, kind in _PARTS.items():
        if not isinstance(parts.get(part), kind):
            raise CheckpointError(f"{name} is damaged: its part '{part}' is missing or malformed")
    try:
        return _assemble(parts)
    except _NewerVersionError as error:
        raise CheckpointError(f"{name} cannot be read: {error}") from error
    except (UsageError, RuntimeError, *_VALUE_ERRORS) as error:
        if lack_of_memory(error):
            raise
        reason = " ".join(str(error).split())[:200]
        raise CheckpointError(f"{name} is damaged: {reason}") from error


def _number(value: object) -> str:
    return quote(value) if type(value) is int else "unknown"


def _kind_of(parts: dict[str, Any]) -> str:
    """Return a description of a file of `torch.save` that is not a checkpoint."""
    if parts and all(isinstance(value, Tensor) for value in parts.values()):
        return "a plain state dict, weights without their network's name"
    return "a PyTorch file of another program"


def _read(path: str | Path, name: str) -> tuple[bytes, FileVersion | None]:
    try:
        if not str(path):
            raise FileNotFoundError(0, "its name is empty")
        path = expand_home(path)
        data, status = read_input(path, _MAX_BYTES + 1)
    except IsADirectoryError as error:
        raise CheckpointError(f"{name} is a folder; name a checkpoint in it") from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise CheckpointError(
            f"cannot read the checkpoint {name}: {reason}; mnist-train writes one"
        ) from error
    if not data:
        raise CheckpointError(f"{name} is empty: no checkpoint was written there")
    if len(data) > _MAX_BYTES:
        raise CheckpointError(f"{name} is larger than any checkpoint of mnist-train")
    if status is None or str(path) == "-":
        return data, None
    return data, FileVersion.of(Path(path), status)


def _parse(data: bytes, name: str) -> dict[str, Any]:
    """Return the dictionary in a file of `torch.save`."""
    if not data.startswith(b"PK\x03\x04"):
        raise CheckpointError(f"{name} is {_other_kind(data)}; give a file that mnist-train wrote")
    try:
        screened = screen(data)
    except UnsafeError as error:
        raise CheckpointError(
            f"{name} is not a checkpoint of mnist-train, and unsafe to load: {error}; "
            "nothing in it was run"
        ) from error
    except UnsupportedFileError as error:
        raise CheckpointError(
            f"{name} is not a checkpoint of mnist-train: {error}; give a file that it wrote"
        ) from error
    except ValueError as error:
        raise CheckpointError(f"{name} is damaged or truncated: {error}") from error
    try:
        parts = torch.load(io.BytesIO(screened), map_location="cpu", weights_only=True)
    except Exception as error:  # of any type, and with a message that may quote the file
        if lack_of_memory(error):
            raise
        raise CheckpointError(f"{name} is damaged: PyTorch cannot read it") from error
    return parts if isinstance(parts, dict) else {}


def _other_kind(data: bytes) -> str:
    """Return a description of a file that `torch.save` did not write, judged by its start."""
    if data.startswith(b"\x80"):
        return "a pickle, or of an old PyTorch; it could run commands and is not opened"
    if data[8:9] == b"{" and int.from_bytes(data[:8], "little") < len(data):
        return "a safetensors file, which has weights but no training state"
    return "not a checkpoint"


def _assemble(parts: dict[str, Any]) -> Checkpoint:
    """Return the checkpoint with these parts; raise one of `_VALUE_ERRORS` if they are invalid."""
    _check_plain(parts["history"], parts["versions"])
    for part, kind, what in (("config", TrainConfig, "option"), ("position", Position, "position")):
        _check_known(parts, part, kind, what)
    config = _resolved(parts["config"])
    weights, raw = parts["weights"], parts.get("raw_weights")
    file = _network_file(parts.get("network_file"))
    data = _data_origin(parts.get("data"), config.dataset)
    is_known = config.model in NETWORKS if file is None else config.model == file.begun
    if parts["model"] != _description(config) or not is_known:
        raise ValueError(f"its model is {quote(parts['model'])}")
    if (raw is None) != (not config.ema):
        raise ValueError(f"its weights do not fit --ema {config.ema}")
    expected = None  # known from a file's network when it is built
    if file is None:
        classes = number_of_classes(config.dataset)
        expected = build_model(config.model, members=config.members, classes=classes).state_dict()
    for state in (weights, raw) if config.ema else (weights,):
        _check_weights(state, expected, config.model)
    if weights_sha256(weights) != parts["weights_sha256"]:
        raise ValueError("the SHA-256 of its weights differs from the recorded one")
    return Checkpoint(
        config=config,
        weights=weights,
        optimizer=parts["optimizer"],
        position=Position(**parts["position"]),
        history=parts["history"],
        versions=parts["versions"],
        raw_weights=raw,
        network_file=file,
        data=data,
    )


def _data_origin(part: object, dataset: str) -> DataOrigin | None:
    """Return where the data of a checkpoint were; raise ValueError if that is malformed."""
    if (part is None) != (class_names(dataset) is not None):
        raise ValueError(f"its part 'data' does not fit the data set {quote(dataset)}")
    if part is None:
        return None
    part = part if isinstance(part, dict) else {}
    path, classes = part.get("path"), part.get("classes")
    if type(part.get("light_ground")) is not bool:
        raise ValueError("the polarity of its data is malformed")
    if not isinstance(path, str) or not 0 < len(path) <= _MAX_PATH or "\0" in path:
        raise ValueError("the path of its data is malformed")
    if not isinstance(classes, list) or not all(_is_class_name(name) for name in classes):
        raise ValueError("the names of its classes are malformed")
    if not len(set(classes)) == len(classes) == number_of_classes(dataset) <= MAX_CLASSES:
        raise ValueError(f"the names of its classes are not those of {quote(dataset)}")
    return DataOrigin(path, tuple(classes), part["light_ground"])


def _is_class_name(name: object) -> bool:
    return isinstance(name, str) and 0 < len(name) <= MAX_NAME and name.isprintable()


def _network_file(part: object) -> NetworkFile | None:
    """Return the file of a network that a checkpoint has; raise ValueError if it is malformed."""
    if part is None:
        return None
    if not isinstance(part, dict) or set(part) != {"path", "name", "text"}:
        raise ValueError("its network's file is malformed")
    if not all(isinstance(value, str) and len(value) <= MAX_BYTES for value in part.values()):
        raise ValueError("its network's file is malformed")
    split_name(f"{part['path']}:{part['name']}")
    return NetworkFile(**part)


def _description(config: ResolvedConfig) -> dict[str, Any]:
    """Return the part `model`: the network's name, and the arguments that build it."""
    arguments = {"members": config.members} if config.members > 1 else {}
    if (classes := number_of_classes(config.dataset)) != len(DIGITS):
        arguments["classes"] = classes
    return {"name": config.model, "arguments": arguments}


def _check_weights(weights: object, expected: Mapping[str, Tensor] | None, model: str) -> None:
    """Raise ValueError unless `weights` is a finite state dict, and like the one `expected`."""
    if not isinstance(weights, dict) or not all(
        isinstance(key, str) and isinstance(value, Tensor) for key, value in weights.items()
    ):
        raise ValueError("its weights are not tensors")
    if expected is None:
        if sum(value.numel() * value.element_size() for value in weights.values()) > _MAX_BYTES:
            raise ValueError("its weights are larger than the file")
    else:
        kinds = [{k: (v.shape, v.dtype) for k, v in s.items()} for s in (weights, expected)]
        if kinds[0] != kinds[1]:
            raise ValueError(f"its weights are not those of the model {model}")
    if not all(bool(value.isfinite().all()) for value in weights.values()):
        raise ValueError("a weight is not finite")


def _check_known(
    parts: dict[str, Any], part: str, kind: type[TrainConfig | Position], what: str
) -> None:
    """Raise _NewerVersionError if a part has a name that its class does not have."""
    known = {field.name for field in fields(kind)}
    if unknown := sorted(str(name) for name in parts[part] if name not in known):
        version = parts["versions"].get("mnist_cli", "of another version")
        raise _NewerVersionError(
            f"it was written by mnist_cli {version}, whose {what} {quote(unknown[0])} this "
            f"version ({__version__}) does not have; use the version that wrote it"
        )


def _resolved(options: dict[str, object]) -> ResolvedConfig:
    """Return the config of a checkpoint; missing options have defaults.

    `augment` was once true or false.
    """
    if isinstance(options.get("augment"), bool):
        options = {**options, "augment": "shift" if options["augment"] else "none"}
    asked = sources.build_config(
        TrainConfig, [sources.Source(options, lambda key: key, typed=True)]
    )
    sources.check_consistency(asked)
    config = asked.resolve(asked.batch_size or DEFAULT_BATCH_SIZE)
    is_open = any(getattr(config, name) != value for name, value in options.items())
    if is_open or config.precision == "auto":
        raise ValueError("an option is left open")
    for digest in (config.init, config.teacher):
        if digest is not None and not re.fullmatch("[0-9a-f]{64}", digest):
            raise ValueError(f"the SHA-256 of other weights is {quote(digest)}")
    return config


def _check_plain(history: list[Any], versions: dict[Any, Any]) -> None:
    """Raise ValueError if the history or the versions are not those of a training."""
    known = {kind.name: {f.name for f in fields(kind)} | {"event"} for kind in (Epoch, Resumed)}
    for entry in history:
        kind = entry.get("event") if isinstance(entry, dict) else None
        if not isinstance(kind, str) or not set(entry) <= known.get(kind, set()):
            raise ValueError("its history is not one of a training")
        changes = entry.get("changes", {})
        if not isinstance(changes, dict) or not all(isinstance(c, list) for c in changes.values()):
            raise ValueError("its history has malformed changes")
        values = [value for key, value in entry.items() if key != "changes"]
        if not all(_is_plain(value) for value in chain(values, *changes.values())):
            raise ValueError("its history has values other than numbers and strings")
    for text in chain(*versions.items()):
        if not isinstance(text, str) or len(text) > _MAX_VERSION_LENGTH or not text.isprintable():
            raise ValueError("its versions are not short strings")


def _is_plain(value: object) -> bool:
    return value is None or type(value) in (bool, int, float, str)
