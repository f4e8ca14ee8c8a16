"""The state of a training, and how it is stored in a checkpoint and restored from it."""

import platform
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from mnist_cli import __version__
from mnist_cli.config.network_file import NetworkFile, is_begun, named_file
from mnist_cli.config.train import ResolvedConfig
from mnist_cli.data.batches import TrainingShape
from mnist_cli.data.catalogue import number_of_classes
from mnist_cli.data.own.named import known_data
from mnist_cli.errors import CheckpointError
from mnist_cli.models.checkpoint import Checkpoint, Position
from mnist_cli.models.networks import Ensemble, build_model, check_additive
from mnist_cli.models.own import Behaviour, behaviour_of
from mnist_cli.runtime.device import processor
from mnist_cli.training.loop import RunningSums
from mnist_cli.training.noise_estimate import NoiseSums
from mnist_cli.training.optim import build_optimizer
from mnist_cli.training.weight_average import WeightAverage

MAX_EPOCHS, MAX_RESUMPTIONS = 2000, 100  # that the history keeps


class TrainingState:
    """Network, optimizer, the number of updates made, and the running sums of the current epoch.

    It begins with `weights`, the state dict of another network of this kind, or else with random
    ones. `probed_update` is the update after which the probes were run last.

    Raises:
        UsageError: see `check_additive`.

    """

    def __init__(
        self,
        config: ResolvedConfig,
        device: torch.device,
        weights: Mapping[str, Tensor] | None = None,
    ) -> None:
        classes = number_of_classes(config.dataset)
        model = build_model(config.model, config.seed, config.members, classes)
        known = known_data(config.dataset)
        self.data = None if known is None else known.origin
        if weights is not None:
            model.load_state_dict(dict(weights))
        self.behaviour = Behaviour()
        if is_begun(config.model):
            self.network_file: NetworkFile | None = named_file(config.model)
            one = model.members[0] if isinstance(model, Ensemble) else model
            self.behaviour = behaviour_of(one, self.network_file.model)
        else:
            self.network_file = None
            check_additive(model, config.model)
        self.model = model.to(device)
        self.optimizer = build_optimizer(self.model, config)
        self.average = WeightAverage(self.model, config.ema) if config.ema else None
        self.update = 0
        self.sums = RunningSums()
        self.probed_update: int | None = None
        self.history: list[dict[str, Any]] = []

    @property
    def evaluated(self) -> nn.Module:
        """The network to evaluate and to save: with averaged weights, if they are averaged."""
        return self.model if self.average is None else self.average.model

    def restore(self, checkpoint: Checkpoint, shape: TrainingShape) -> None:
        """Restore the state in a checkpoint, on the device that this state is on.

        `shape` is the division of the checkpoint's training.

        Raises:
            CheckpointError: the parts of the checkpoint do not fit together.

        """
        at = checkpoint.position
        epoch, step = shape.place_of(at.update)
        possible = {step * shape.epoch_shape(epoch).update_size}
        if at.update and not step:  # the sums of an epoch stay until it is evaluated
            possible.add(shape.epoch_shape(epoch - 1).samples)
        fits = at.samples in possible and at.correct <= at.samples
        if not fits or at.update > shape.updates or (at.loss_sum and not at.samples):
            raise CheckpointError(f"the checkpoint is damaged: its position is {at}")
        try:
            self.evaluated.load_state_dict(dict(checkpoint.weights))
            if self.average is not None:
                self.model.load_state_dict(dict(checkpoint.raw_weights or {}))
            self.optimizer.load_state_dict(checkpoint.optimizer, at.update)
        except (ValueError, TypeError) as error:
            raise CheckpointError(f"the checkpoint is damaged: {error}") from error
        self.update = at.update
        noise = NoiseSums(*at.noise_sums)
        self.sums = RunningSums(at.loss_sum, at.correct, at.samples, noise=noise)
        self.probed_update = at.probed_update
        self.history = list(checkpoint.history)

    def check_finite(self, lr: float | None = None) -> None:
        """Raise DivergedError if a weight, or a value of the optimizer's state, is not finite.

        `lr` is the learning rate of the last update.
        """
        weights = [*self.model.state_dict().values(), *self.evaluated.state_dict().values()]
        culprit = "" if all(bool(value.isfinite().all()) for value in weights) else "a weight"
        if not culprit and not self.optimizer.is_finite():
            culprit = "a value of the optimizer's"
        if culprit:
            what = f"{culprit} is not finite after update {self.update}"
            raise self.optimizer.diverged(what, lr)

    def remember(self, entry: dict[str, Any]) -> None:
        """Add an entry to the history, and thin it out where it has grown long.

        The history is written with every checkpoint. Beyond `MAX_EPOCHS` epochs, every second one
        of the older half is dropped; beyond `MAX_RESUMPTIONS` resumptions, the oldest one.
        """
        self.history.append(entry)
        epochs = [old for old in self.history if old["event"] == "epoch"]
        resumptions = [old for old in self.history if old["event"] == "resume"]
        dropped = epochs[: MAX_EPOCHS // 2 : 2] if len(epochs) > MAX_EPOCHS else []
        dropped += resumptions[:-MAX_RESUMPTIONS]
        if dropped:
            gone = {id(old) for old in dropped}
            self.history = [old for old in self.history if id(old) not in gone]

    def checkpoint(self, config: ResolvedConfig, versions: dict[str, str]) -> Checkpoint:
        """Return the checkpoint of this state, with all tensors on the CPU."""
        sums = self.sums
        return Checkpoint(
            config=config,
            weights=_on_cpu(self.evaluated),
            raw_weights=None if self.average is None else _on_cpu(self.model),
            optimizer={
                slot: [tensor.cpu() for tensor in tensors]
                for slot, tensors in self.optimizer.state_dict().items()
            },
            position=Position(
                self.update,
                sums.samples,
                sums.loss_sum,
                sums.correct,
                self.probed_update,
                sums.noise.values() if sums.noise.updates else (),
            ),
            history=self.history,
            versions=versions,
            network_file=self.network_file,
            data=self.data,
        )


def _on_cpu(model: nn.Module) -> dict[str, Tensor]:
    return {key: value.cpu() for key, value in model.state_dict().items()}


def versions_on(device: torch.device, ranks: int = 1) -> dict[str, str]:
    """Return what the exact result depends on besides the config."""
    return {
        "mnist_cli": __version__,
        "torch": str(torch.__version__),
        "python": platform.python_version(),
        "device": str(device),
        "processor": processor(),
        "threads": str(torch.get_num_threads()),
        "ranks": str(ranks),
    }
