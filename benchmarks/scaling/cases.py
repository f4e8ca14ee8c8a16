"""Trainings that many ranks must make as one process does."""

from dataclasses import dataclass, replace

from mnist_cli.config.train import TrainConfig

UPDATES = 50
# Of a loss, relative to that of one process: what is asked for.
TOLERANCE = {"float32": 1e-5, "float64": 1e-10}


@dataclass(frozen=True)
class Case:
    """A training of `UPDATES` updates; `about` says what is odd about its sizes.

    One that is chaotic amplifies any rounding, that of another micro-batch size in one process as
    well: ReLUs have a kink, and a difference of 1e-7 may put one on its other side. Such a one is
    judged in float64 only.
    """

    config: TrainConfig
    about: str
    chaotic: bool = False

    @property
    def name(self) -> str:
        """A few words."""
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


# At these rates a difference stays as small as it was.
STEADY: dict[str, object] = {
    "optimizer": "sgd",
    "momentum": 0.0,
    "schedule": "constant",
}
CASES = [
    _case("last batch of 40", **STEADY, lr=0.01, model="mlp", batch_size=64, subset=1000),
    _case("shares of 1 to 4", **STEADY, lr=0.01, model="mlp", batch_size=7, subset=353),
    _case("empty shares", **STEADY, lr=0.01, model="linear", batch_size=2, subset=101),
    _case("shifted images", **STEADY, lr=0.001, model="cnn", batch_size=250, subset=5101),
    _case("fetched by shares", **STEADY, lr=0.001, model="lenet", batch_size=1001, subset=5003),
    _case("no pieces", **STEADY, lr=0.01, model="linear", mode="batch", subset=509),
    _case("many pieces", **STEADY, lr=0.01, model="mlp", mode="batch", subset=6007),
    _case("", **STEADY, lr=0.001, model="cnn", mode="batch", subset=1501),
    # AdamW divides gradients by their size, also those that are nothing but rounding.
    _case("defaults", chaotic=True, model="cnn", batch_size=250, subset=5101),
    _case("defaults", chaotic=True, model="mlp", mode="batch", subset=6007),
]
