"""The options of `mnist-train`."""

from dataclasses import dataclass

from mnist_cli.config.options import (
    DATASETS,
    DEFAULT_BATCH_SIZE,
    DEVICES,
    MODELS,
    MODES,
    OPTIMIZERS,
    PROBES,
    SCHEDULES,
    option,
)

_PLAN, _NET, _DATA, _RUN = "What is trained", "Model and optimizer", "Data", "Run and output"
_PROBE = "Probes"
_BY_MODEL = "by model and mode"


@dataclass(frozen=True)
class TrainConfig:
    """Everything that decides a training.

    `None` stands for a value that is decided when the run starts: by the model and the mode, or
    absent. `recipes.resolve` fills in the former.
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
    )
    micro_batch_size: int = option(
        512,  # on two cores a little faster than 256, in little memory
        "Most samples in one forward pass; never changes the result beyond rounding.",
        metavar="N",
        minimum=1,
        panel=_PLAN,
    )
    epochs: int = option(5, "Passes over the training set.", metavar="N", minimum=1, panel=_PLAN)
    max_updates: int | None = option(
        None, "Stop after so many updates.", metavar="N", minimum=1, panel=_PLAN
    )
    max_seconds: float | None = option(
        None, "Stop after so many seconds.", metavar="S", above=0, panel=_PLAN
    )
    until_accuracy: float | None = option(
        None,
        "Stop when validation accuracy reaches A; needs --val-size.",
        metavar="A",
        above=0,
        maximum=1,
        panel=_PLAN,
    )
    model: str = option("cnn", "The network.", choices=MODELS, panel=_NET)
    optimizer: str = option("adamw", "The optimizer.", choices=OPTIMIZERS, panel=_NET)
    lr: float | None = option(
        None, "Peak learning rate.", metavar="X", minimum=0, shown_default=_BY_MODEL, panel=_NET
    )
    momentum: float = option(
        0.9,
        "SGD's momentum, AdamW's beta1.",
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
        panel=_NET,
    )
    schedule: str = option(
        "one-cycle",
        "How the learning rate changes over the planned updates.",
        choices=SCHEDULES,
        panel=_NET,
    )
    label_smoothing: float | None = option(
        None,
        "Share of the target that goes to all classes alike; reported losses leave it out.",
        metavar="X",
        minimum=0,
        maximum=1,
        shown_default=_BY_MODEL,
        panel=_NET,
    )
    augment: bool | None = option(
        None,
        "Shift the training images by up to a pixel each way.",
        shown_default=_BY_MODEL,
        panel=_NET,
    )
    shuffle: bool = option(True, "A new order every epoch.", panel=_DATA)
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
    dataset: str = option("mnist", "The data set.", choices=DATASETS, panel=_DATA)
    data_dir: str = option(
        "data", "Folder of the data, in torchvision's layout.", metavar="DIR", panel=_DATA
    )
    probe: str | None = option(
        None,
        f"What to measure besides the loss, with commas between: {', '.join(PROBES)}.",
        metavar="NAMES",
        listed=True,
        panel=_PROBE,
    )
    probe_every: int = option(
        500, "Updates from one probe to the next.", metavar="N", minimum=1, panel=_PROBE
    )
    probe_samples: int = option(
        2000,
        "Samples that the noise and the sharpness are taken from; 60000 takes all.",
        metavar="N",
        minimum=1,
        panel=_PROBE,
    )
    seed: int = option(
        0, "Decides everything random.", metavar="N", minimum=0, maximum=2**63 - 1, panel=_RUN
    )
    device: str = option("auto", "Where to compute.", choices=DEVICES, panel=_RUN)
    threads: int | None = option(
        None,
        "Processor threads.",
        metavar="N",
        minimum=1,
        maximum=1024,
        shown_default="auto",
        panel=_RUN,
    )
    output: str = option(
        "checkpoint.pt",
        "The checkpoint: written whole or not at all, after every epoch. - is stdout.",
        metavar="PATH",
        short="-o",
        panel=_RUN,
    )
    save_every: int | None = option(
        None,
        "Write the checkpoint also every N updates.",
        metavar="N",
        minimum=1,
        shown_default="at the end of every epoch",
        panel=_RUN,
    )
    no_clobber: bool = option(False, "Refuse to overwrite an existing output.", panel=_RUN)
    log_interval: int = option(
        100,
        "Updates from one report to the next; shown on a terminal, too, if it is not 100.",
        metavar="N",
        minimum=1,
        panel=_RUN,
    )
