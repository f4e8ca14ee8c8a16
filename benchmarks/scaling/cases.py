"""Trainings that give the same losses with any number of ranks."""

from dataclasses import dataclass, replace

import torch
from torch.nn import functional as F

from mnist_cli.config.train import TrainConfig
from mnist_cli.data.splits import Dataset, train_val_split
from mnist_cli.events import Step
from mnist_cli.models.networks import build_model
from mnist_cli.runtime.device import ThreadPool
from mnist_cli.runtime.distributed.group import ProcessGroup
from mnist_cli.training.loop import RunningSums
from mnist_cli.training.optim import build_optimizer
from mnist_cli.training.state import TrainingState
from mnist_cli.training.trainer import Trainer
from mnist_cli.training.weight_average import WeightAverage

UPDATES = 50
TOLERANCE = {"float32": 1e-5, "float64": 1e-10}  # of a loss, relative to that of one process


@dataclass(frozen=True)
class Case:
    """A training of `UPDATES` updates; `about` says what is special about its sizes.

    A chaotic case amplifies any rounding error, even that of another micro-batch size in one
    process: a difference of 1e-7 may put a ReLU on the other side of its kink. It is compared in
    float64 only.
    """

    config: TrainConfig
    about: str
    chaotic: bool = False

    @property
    def name(self) -> str:
        """Model, optimizer and sizes."""
        config = self.config
        size = "batch" if config.mode == "batch" else f"mini-batch {config.batch_size}"
        return f"{config.model}, {config.optimizer}, {size} of {config.subset:,}"


def _case(about: str, *, chaotic: bool = False, **options: object) -> Case:
    config = TrainConfig(**options)  # type: ignore[arg-type]
    size = config.batch_size or (config.subset if config.mode == "batch" else 64)
    updates = -(-config.subset // size)
    return Case(
        replace(config, epochs=-(-UPDATES // updates), seed=1).resolve(60_000), about, chaotic
    )


# With these options a difference between two trainings does not grow.
STEADY: dict[str, object] = {
    "optimizer": "sgd",
    "momentum": 0.0,
    "schedule": "constant",
}
CASES = [
    _case("last batch of 40", **STEADY, lr=0.01, model="mlp", batch_size=64, subset=1000),
    _case("shards of 1 to 4", **STEADY, lr=0.01, model="mlp", batch_size=7, subset=353),
    _case("empty shards", **STEADY, lr=0.01, model="linear", batch_size=2, subset=101),
    _case("shifted images", **STEADY, lr=0.001, model="cnn", batch_size=250, subset=5101),
    _case("shards fetched", **STEADY, lr=0.001, model="lenet", batch_size=1001, subset=5003),
    _case(
        "warped images, two members, a teacher, averaged weights",
        **{**STEADY, "augment": "elastic", "members": 2, "teacher": "mlp", "ema": 0.9},
        lr=0.001,
        model="cnn",
        batch_size=250,
        subset=2101,
    ),
    _case("one micro-batch", **STEADY, lr=0.01, model="linear", mode="batch", subset=509),
    _case("micro-batches", **STEADY, lr=0.01, model="mlp", mode="batch", subset=6007),
    _case("", **STEADY, lr=0.001, model="cnn", mode="batch", subset=1501),
    # AdamW divides by the size of a gradient, even if that is nothing but rounding error, and Muon
    # makes all its directions as large.
    _case("defaults", chaotic=True, model="cnn", batch_size=250, subset=5101),
    _case("defaults", chaotic=True, model="mlp", mode="batch", subset=6007),
]


def losses_of(
    config: TrainConfig,
    dtype: str,
    dataset: Dataset,
    group: ProcessGroup,
    updates: int = UPDATES,
) -> list[float]:
    """Return the loss before each of the first `updates` updates.

    If the weights are averaged, the loss of the averaged ones on all samples is the last one: after
    the last update of the epoch in which these updates end.
    """
    samples, _ = train_val_split(dataset.train, val_size=0, subset=config.subset, seed=config.seed)
    state = TrainingState(config, torch.device("cpu"))
    state.model.to(getattr(torch, dtype))
    state.optimizer = build_optimizer(state.model, config)
    state.average = WeightAverage(state.model, config.ema) if config.ema else None
    teacher = None
    if config.teacher is not None:  # here the name of a network, with random weights
        teacher = build_model(config.teacher, seed=9).to(getattr(torch, dtype))
    trainer = Trainer(
        config, state, samples, pool=ThreadPool(), clock=float, group=group, teacher=teacher
    )
    losses: list[float] = []
    while len(losses) < updates:
        losses += [event.loss for event in trainer.train_epoch() if isinstance(event, Step)]
        state.sums = RunningSums()
    found = losses[:updates]
    if state.average is not None:
        with torch.no_grad():
            logits = state.average.model.eval()(samples.images)
        found.append(F.cross_entropy(logits, samples.labels.long()).item())
    return found
