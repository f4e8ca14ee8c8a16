"""What changes during a training, and how it gets into a checkpoint and out again."""

import platform
from dataclasses import fields
from typing import Any

import torch

from mnist_cli import __version__, settings
from mnist_cli.checkpoint import Checkpoint, Position
from mnist_cli.config import TrainConfig
from mnist_cli.errors import CheckpointError, DivergedError, UsageError
from mnist_cli.loop import Tally
from mnist_cli.models import build_model
from mnist_cli.optim import build_optimizer

# What a resumed training may change; the rest would make it another training.
CHANGEABLE = frozenset(
    {
        "epochs",
        "max_updates",
        "max_seconds",
        "until_accuracy",
        "micro_batch_size",
        "data_dir",
        "device",
        "threads",
        "output",
        "no_clobber",
        "log_interval",
    }
)


class TrainingState:
    """Network, optimizer, the number of updates made, and the sums of the epoch under way."""

    def __init__(self, config: TrainConfig, device: torch.device) -> None:
        self.model = build_model(config.model, config.seed).to(device)
        self.optimizer = build_optimizer(self.model, config)
        self.update = 0
        self.tally = Tally()
        self.history: list[dict[str, Any]] = []

    def restore(self, checkpoint: Checkpoint) -> None:
        """Go back to where a checkpoint was written.

        Raises:
            CheckpointError: the state of its optimizer does not fit.

        """
        try:
            self.model.load_state_dict(dict(checkpoint.weights))
            self.optimizer.load_state_dict(checkpoint.optimizer)
        except (ValueError, KeyError, TypeError, AttributeError, RuntimeError) as error:
            raise CheckpointError(f"the state in the checkpoint does not fit: {error}") from error
        at = checkpoint.position
        self.update = at.update
        self.tally = Tally(at.loss_sum, at.correct, at.samples)
        self.history = list(checkpoint.history)

    def checkpoint(self, config: TrainConfig) -> Checkpoint:
        """Return the checkpoint of this state.

        Raises:
            DivergedError: a weight is not finite; such a state is not worth keeping.

        """
        weights = {key: value.cpu() for key, value in self.model.state_dict().items()}
        if not all(bool(value.isfinite().all()) for value in weights.values()):
            raise DivergedError(
                f"training diverged: a weight is not finite after update {self.update}; "
                "use a smaller --lr"
            )
        return Checkpoint(
            config=config,
            weights=weights,
            optimizer=self.optimizer.state_dict(),
            position=Position(
                self.update, self.tally.loss_sum, self.tally.correct, self.tally.samples
            ),
            history=self.history,
            versions={
                "mnist_cli": __version__,
                "torch": str(torch.__version__),
                "python": platform.python_version(),
            },
        )


def check_unchanged(config: TrainConfig, before: TrainConfig) -> None:
    """Raise UsageError if a resumed config differs in a field that may not change."""
    problems = []
    for field in fields(TrainConfig):
        now, then = getattr(config, field.name), getattr(before, field.name)
        if field.name not in CHANGEABLE and now != then:
            problems.append(
                f"{settings.flag(field.name)} {now} differs from the checkpoint's {then}: a "
                "resumed training goes on as it began; leave the option out, or start anew"
            )
    if problems:
        raise UsageError("\n".join(problems))
