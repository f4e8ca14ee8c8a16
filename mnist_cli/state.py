"""What changes during a training, and how it gets into a checkpoint and out again."""

import platform
from typing import Any

import torch

from mnist_cli import __version__
from mnist_cli.checkpoint import Checkpoint, Position
from mnist_cli.config import TrainConfig
from mnist_cli.errors import CheckpointError, DivergedError
from mnist_cli.loaders import EpochShape
from mnist_cli.loop import Tally
from mnist_cli.models import build_model
from mnist_cli.optim import build_optimizer


class TrainingState:
    """Network, optimizer, the number of updates made, and the sums of the epoch under way."""

    def __init__(self, config: TrainConfig, device: torch.device) -> None:
        self.model = build_model(config.model, config.seed).to(device)
        self.optimizer = build_optimizer(self.model, config)
        self.update = 0
        self.tally = Tally()
        self.history: list[dict[str, Any]] = []

    def restore(self, checkpoint: Checkpoint, shape: EpochShape) -> None:
        """Go back to where a checkpoint was written.

        Raises:
            CheckpointError: its parts do not fit together.

        """
        at = checkpoint.position
        samples = at.update % shape.updates * shape.update_size
        planned = checkpoint.config.epochs * shape.updates
        if at.update > planned or at.correct > samples or (at.loss_sum and not samples):
            raise CheckpointError(f"the checkpoint is damaged: its position is {at}")
        try:
            self.model.load_state_dict(dict(checkpoint.weights))
            self.optimizer.load_state_dict(checkpoint.optimizer, at.update)
        except (ValueError, TypeError) as error:
            raise CheckpointError(f"the checkpoint is damaged: {error}") from error
        self.update = at.update
        self.tally = Tally(at.loss_sum, at.correct, samples)
        self.history = list(checkpoint.history)

    def check_finite(self) -> None:
        """Raise DivergedError if a weight is not finite; such a state is not worth keeping."""
        if not all(bool(value.isfinite().all()) for value in self.model.state_dict().values()):
            raise DivergedError(
                f"training diverged: a weight is not finite after update {self.update}; "
                "use a smaller --lr"
            )

    def checkpoint(self, config: TrainConfig) -> Checkpoint:
        """Return the checkpoint of this state."""
        return Checkpoint(
            config=config,
            weights={key: value.cpu() for key, value in self.model.state_dict().items()},
            optimizer=self.optimizer.state_dict(),
            position=Position(self.update, self.tally.loss_sum, self.tally.correct),
            history=self.history,
            versions={
                "mnist_cli": __version__,
                "torch": str(torch.__version__),
                "python": platform.python_version(),
            },
        )
