"""Options of `mnist-train`, before and after their defaults are resolved."""

import math
from dataclasses import asdict, dataclass

from mnist_cli.config.batch_schedule import growing_sizes
from mnist_cli.config.network_file import begun
from mnist_cli.config.options import (
    AUGMENTATIONS,
    DATASETS,
    DEFAULT_BATCH_SIZE,
    DEVICES,
    LAST_BATCHES,
    MAPS,
    MAX_MEMBERS,
    MODES,
    OFF,
    PRECISIONS,
    SCHEDULES,
    Effect,
    data_dir_option,
    label_column_option,
    max_value_option,
    option,
    transposed_option,
)
from mnist_cli.config.registry import (
    NETWORKS,
    OPTIMIZERS,
    OWN,
    PROBES,
    entry_for,
    network_entry,
)

_PLAN, _NET, _DATA, _RUN = "What is trained", "Model and optimizer", "Data", "Run and output"
_PROBE = "Probes"
_BY_MODEL = "by model and mode"


@dataclass(frozen=True)
class TrainConfig:
    """Options of a training, before their defaults are resolved.

    `None` stands for an option that isn't used, such as a limit, or for a default that depends on
    the model and the mode. `resolve` fills in the latter.
    """

    mode: str = option(
        "mini-batch",
        "mini-batch: an update from every batch. batch: one update an epoch, from all samples.",
        choices=MODES,
        panel=_PLAN,
    )
    batch_size: int | None = option(
        None,
        "Samples in one update; contradicts --mode batch.",
        metavar="N",
        minimum=1,
        shown_default=str(DEFAULT_BATCH_SIZE),
        panel=_PLAN,
        if_absent="all samples, in batch mode",
        resolved_by="samples",
    )
    batch_schedule: str = option(
        OFF,
        "Double the samples in one update from A to B, each size for an equal number of epochs; or "
        "off. Contradicts --mode batch.",
        metavar="A:B",
        panel=_PLAN,
        named_if_set=True,
    )
    micro_batch_size: int = option(
        512,  # on two cores a little faster than 256
        "Most samples in one forward pass; never changes the result beyond rounding.",
        metavar="N",
        minimum=1,
        panel=_PLAN,
        effect=Effect.ROUNDING,
        changeable=True,
    )
    epochs: int = option(
        5,
        "Passes over the training set.",
        metavar="N",
        minimum=1,
        panel=_PLAN,
        changeable=True,
    )
    max_updates: int | None = option(
        None,
        "Stop after so many updates.",
        metavar="N",
        minimum=1,
        panel=_PLAN,
        changeable=True,
    )
    max_seconds: float | None = option(
        None,
        "Stop after so many seconds.",
        metavar="S",
        above=0,
        panel=_PLAN,
        changeable=True,
    )
    until_accuracy: float | None = option(
        None,
        "Stop when validation accuracy reaches A; needs --val-size.",
        metavar="A",
        above=0,
        maximum=1,
        panel=_PLAN,
        changeable=True,
    )
    model: str = option(
        "cnn",
        "The network. FILE.py:NAME is one of your own, from a Python file.",
        choices=tuple(NETWORKS),
        takes_file=True,
        panel=_NET,
    )
    init: str | None = option(
        None,
        "Begin with the weights of a checkpoint of the same network; without --model, of its "
        "network.",
        metavar="CHECKPOINT",
        shown_default="random weights",
        is_path=True,
        panel=_NET,
        named_if_set=True,
    )
    members: int = option(
        1,
        "Networks of an ensemble: each learns by itself from the same batches, and their mean "
        "probabilities predict.",
        metavar="N",
        minimum=1,
        maximum=MAX_MEMBERS,
        panel=_NET,
        named_if_set=True,
    )
    teacher: str | None = option(
        None,
        "Learn the probabilities that a checkpoint predicts for the training images instead of "
        "their labels (distillation).",
        metavar="CHECKPOINT",
        shown_default="none",
        is_path=True,
        restored=False,
        panel=_NET,
        named_if_set=True,
    )
    optimizer: str | None = option(
        None,
        "The optimizer.",
        choices=tuple(OPTIMIZERS),
        shown_default=_BY_MODEL,
        resolved_by="model",
        panel=_NET,
    )
    lr: float | None = option(
        None,
        "Peak learning rate.",
        metavar="X",
        minimum=0,
        shown_default=_BY_MODEL,
        resolved_by="model",
        panel=_NET,
    )
    momentum: float = option(
        0.9,
        "Momentum of SGD and Muon, AdamW's beta1.",
        metavar="X",
        minimum=0,
        maximum=0.9999,
        panel=_NET,
    )
    weight_decay: float | None = option(
        None,
        "As in torch.optim, on all parameters.",
        metavar="X",
        minimum=0,
        shown_default=_BY_MODEL,
        resolved_by="model",
        panel=_NET,
    )
    schedule: str = option(
        "one-cycle",
        "How the learning rate changes over the planned updates; step halves it four times.",
        choices=SCHEDULES,
        panel=_NET,
    )
    warm_up: int = option(
        0,
        "Updates over which the learning rate first rises linearly, from --lr / N to --lr; "
        "contradicts --schedule one-cycle.",
        metavar="N",
        minimum=0,
        panel=_NET,
        named_if_set=True,
    )
    ema: float = option(
        0.0,
        "Evaluate and save an exponential moving average of the weights, of which each update "
        "keeps the share X, such as 0.99; 0: the weights as they are.",
        metavar="X",
        minimum=0,
        maximum=0.99999,
        panel=_NET,
        named_if_set=True,
    )
    label_smoothing: float | None = option(
        None,
        "Fraction of the target that is spread over all classes; not in the reported losses.",
        metavar="X",
        minimum=0,
        maximum=1,
        shown_default=_BY_MODEL,
        resolved_by="model",
        panel=_NET,
    )
    augment: str | None = option(
        None,
        "How the training images change from epoch to epoch. shift: by up to a pixel each way. "
        "affine: rotated, scaled, sheared and shifted. elastic: also distorted smoothly.",
        choices=AUGMENTATIONS,
        shown_default=_BY_MODEL,
        resolved_by="model",
        panel=_NET,
    )
    augment_strength: float | None = option(
        None,
        "Factor of the changes by --augment affine and elastic.",
        metavar="X",
        minimum=0,
        maximum=4,
        shown_default=_BY_MODEL,
        resolved_by="model",
        panel=_NET,
        named_if_set=True,
    )
    shuffle: bool = option(True, "A new order every epoch.", panel=_DATA)
    order_seed: int | None = option(
        None,
        "Seed of the samples' order alone.",
        metavar="N",
        minimum=0,
        maximum=2**63 - 1,
        shown_default="--seed",
        if_absent="--seed",
        panel=_DATA,
        effect=Effect.CHANCE,
        named_if_set=True,
    )
    replacement: bool = option(
        False,
        "Draw each batch from all training samples with replacement; contradicts --no-shuffle.",
        panel=_DATA,
        named_if_set=True,
    )
    last_batch: str = option(
        "keep",
        "What becomes of an epoch's last samples if they are fewer than a batch. keep: an update "
        "with their mean gradient. drop: none. scale: their summed gradient divided by the full "
        "batch size.",
        choices=LAST_BATCHES,
        panel=_DATA,
        named_if_set=True,
    )
    sort_by_class: bool = option(
        False,
        "Sort the training samples by class; with --no-shuffle nearly every batch has one class.",
        panel=_DATA,
        named_if_set=True,
    )
    subset: int | None = option(
        None,
        "Train on N samples, drawn by the seed, classes kept in proportion.",
        metavar="N",
        minimum=1,
        shown_default="all",
        panel=_DATA,
    )
    val_size: int = option(
        0, "Hold N training samples out for validation.", metavar="N", minimum=0, panel=_DATA
    )
    dataset: str = option(
        "mnist",
        "The data set. PATH is your own: a table (CSV), a NumPy or an IDX file, or a folder of "
        "pictures with a folder for each class.",
        choices=DATASETS,
        takes_data=True,
        panel=_DATA,
    )
    test_size: float = option(
        0.2,
        "Samples of your own data to test on, unless they have a test set: so many, or a share "
        "below 1.",
        metavar="N",
        above=0,
        panel=_DATA,
        named_if_set=True,
    )
    label_column: str | None = label_column_option(panel=_DATA, named_if_set=True)
    max_value: float | None = max_value_option(panel=_DATA, named_if_set=True)
    transposed: bool = transposed_option(panel=_DATA, named_if_set=True)
    data_dir: str | None = data_dir_option(
        panel=_DATA, effect=Effect.PLACE, changeable=True, restored=False, per_rank=True
    )
    probe: str | None = option(
        None,
        f"What to measure besides the loss, a comma-separated list of: {', '.join(PROBES)}.",
        metavar="NAMES",
        listed=True,
        panel=_PROBE,
        effect=Effect.RECORD,
        changeable=True,
        choices=tuple(PROBES),
    )
    probe_every: int = option(
        500,
        "Updates between probes.",
        metavar="N",
        minimum=1,
        panel=_PROBE,
        effect=Effect.RECORD,
        changeable=True,
    )
    probe_samples: int = option(
        2000,
        "Samples on which the noise and the sharpness are measured; 60000 uses all.",
        metavar="N",
        minimum=1,
        panel=_PROBE,
        effect=Effect.RECORD,
        changeable=True,
    )
    seed: int = option(
        0,
        "Seed of all random numbers.",
        metavar="N",
        minimum=0,
        maximum=2**63 - 1,
        panel=_RUN,
        effect=Effect.CHANCE,
    )
    device: str = option(
        "auto",
        "Where to compute.",
        choices=DEVICES,
        panel=_RUN,
        effect=Effect.ROUNDING,
        changeable=True,
        by_machine=True,
        per_rank=True,
    )
    precision: str = option(
        "float32",
        "The numbers of which products are computed in training. auto: bfloat16 where this machine "
        "computes it faster. Weights, sums and evaluations are always float32.",
        choices=PRECISIONS,
        panel=_RUN,
        named_if_set=True,
    )
    threads: int | None = option(
        None,
        "Processor threads.",
        metavar="N",
        minimum=1,
        maximum=1024,
        shown_default="auto",
        panel=_RUN,
        effect=Effect.ROUNDING,
        changeable=True,
        by_machine=True,
        per_rank=True,
    )
    output: str = option(
        "checkpoint.pt",
        "The checkpoint, written atomically after every epoch. - is stdout.",
        metavar="PATH",
        is_path=True,
        short="-o",
        panel=_RUN,
        effect=Effect.PLACE,
        changeable=True,
        restored=False,
        per_rank=True,
    )
    save_every: int | None = option(
        None,
        "Write the checkpoint also every N updates.",
        metavar="N",
        minimum=1,
        shown_default="at the end of every epoch",
        panel=_RUN,
        effect=Effect.RECORD,
        changeable=True,
    )
    no_clobber: bool = option(
        False,
        "Refuse to overwrite an existing output.",
        panel=_RUN,
        effect=Effect.PLACE,
        changeable=True,
        restored=False,
        per_rank=True,
    )
    log_interval: int = option(
        100,
        "Updates between reports; on a terminal they are printed only if this is given.",
        metavar="N",
        minimum=1,
        panel=_RUN,
        effect=Effect.PLACE,
        changeable=True,
    )

    def resolve(self, samples: int) -> "ResolvedConfig":
        """Return the config of a run on `samples` training samples, with all defaults filled in.

        The default batch size is at most the number of samples, or the first of a batch schedule.

        Raises:
            UsageError: see `growing_sizes`.

        """
        chosen = self.optimizer, self.lr, self.weight_decay, self.label_smoothing, self.augment
        # A network's file is not read for options that a checkpoint has.
        entry = network_entry(self.model) if None in chosen else OWN
        defaults = entry.defaults(self.mode)
        size = self.batch_size
        if size is None and self.mode != "batch":
            size = next(iter(growing_sizes(self.batch_schedule)), min(DEFAULT_BATCH_SIZE, samples))
        optimizer = defaults.optimizer if self.optimizer is None else self.optimizer
        lr, decay = self.lr, self.weight_decay
        if lr is None:
            lr = entry_for(defaults.lr, optimizer, scaled=True) * _batch_size_factor(size)
        if decay is None:
            decay = entry_for(defaults.weight_decay, optimizer)
        smoothing, augment = self.label_smoothing, self.augment
        if smoothing is None:
            smoothing = 0.0 if self.teacher is not None else defaults.label_smoothing
        augment = defaults.augment if augment is None else augment
        strength = self.augment_strength
        if strength is None and augment in MAPS:
            strength = defaults.augment_strength
        values = {
            **asdict(self),
            "batch_size": size,
            "model": begun(self.model),
            "optimizer": optimizer,
            "lr": lr,
            "weight_decay": decay,
            "label_smoothing": smoothing,
            "augment": augment,
            "augment_strength": strength,
        }
        return ResolvedConfig(**values)


@dataclass(frozen=True, kw_only=True)
class ResolvedConfig(TrainConfig):
    """Options of a training with all defaults filled in.

    `None` stands for an option that isn't used: a limit, a probe, in batch mode the batch size, or
    the strength of an augmentation that has none.
    `init` and `teacher` are the SHA-256 of the weights in a checkpoint, instead of the file that
    has them, once a training has begun; `model` has that of the file of one's own network.
    """

    optimizer: str
    lr: float
    weight_decay: float
    label_smoothing: float
    augment: str


def _batch_size_factor(batch_size: int | None) -> float:
    """Return the factor of the learning rate for a batch size: its square root, within bounds."""
    if batch_size is None:
        return 1.0
    return min(max(math.sqrt(batch_size / DEFAULT_BATCH_SIZE), 0.25), 4.0)
