"""The runs of a comparison, planned from its options."""

import hashlib
import json
import math
import shlex
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields, replace

from mnist_cli import __version__
from mnist_cli.comparison.variants import Variant
from mnist_cli.config.compare import FULL, CompareConfig, ResolvedComparison
from mnist_cli.config.options import DEFAULT_BATCH_SIZE, Effect, names_where
from mnist_cli.config.registry import entry_for, network_entry
from mnist_cli.config.sources import flag, flag_with_value
from mnist_cli.config.train import ResolvedConfig, TrainConfig
from mnist_cli.data.batches import training_shape

WITHOUT_EFFECT = names_where(TrainConfig, lambda about: about.effect is Effect.PLACE)
_NAMED_IF_SET = names_where(TrainConfig, lambda about: about.named_if_set)
COMPARED, TRIAL = "arm", "trial"  # the purposes of runs, as JSON has them
ENDLESS = 10**6  # epochs, for a run that ends by time or by its number of updates


@dataclass(frozen=True)
class Run:
    """A variant with a seed: a resolved config, whose limits are the budget of the comparison.

    `end_updates` is the number of updates at which it ends, if that is known. `probe_ends` asks
    for the probes at the start and the end only.
    """

    config: ResolvedConfig
    end_updates: int | None
    variant: Variant
    purpose: str = COMPARED
    probe_ends: bool = False

    @property
    def is_trial(self) -> bool:
        """True if the run only tries a learning rate."""
        return self.purpose == TRIAL

    @property
    def batch_size(self) -> int | str:
        """The samples in an update, or `full`."""
        return self.variant.batch_size

    @property
    def name(self) -> str:
        """The name of its files, which depends on all that has an effect on its results.

        Whether an option has its value by `--vary` has none.
        """
        value = {k: v for k, v in asdict(self).items() if k not in ("config", "variant")}
        options = {k: v for k, v in asdict(self.config).items() if self._is_named(k, v)}
        if self.config.augment == "none":
            options["augment"] = False  # as it was when there was one kind
        text = json.dumps([__version__, value, options], sort_keys=True)
        digest = hashlib.sha256(text.encode()).hexdigest()[:10]
        return f"{self.kind}-seed{self.config.seed}-lr{self.config.lr:g}-{digest}"

    @property
    def kind(self) -> str:
        """The beginning of its name: its purpose and its batch size."""
        return f"{'trial-' if self.is_trial else ''}{self.batch_size}"

    @property
    def options(self) -> list[str]:
        """What its name depends on, in words: the options and the version."""
        names = [field.name for field in fields(self.config) if field.name not in WITHOUT_EFFECT]
        values = {name: getattr(self.config, name) for name in names}
        if self.probe_ends:
            values["probe_every"] = None
        options = [
            f"no {flag(name)}" if value is None else flag_with_value(name, value)
            for name, value in values.items()
        ]
        return [
            f"mnist_cli {__version__}",
            f"{self.end_updates or 'any number of'} updates",
            *options,
        ]

    @staticmethod
    def _is_named(option: str, value: object) -> bool:
        """Return True if the digest in the name depends on the value of an option."""
        is_default = value == getattr(TrainConfig, option)
        return option not in WITHOUT_EFFECT and not (option in _NAMED_IF_SET and is_default)


def plan_run(
    config: ResolvedComparison,
    variant: Variant,
    seed: int,
    lr: float,
    *,
    samples: int,
    purpose: str = COMPARED,
) -> Run:
    """Return the run of a variant and a seed with a learning rate; `config` is the variant's.

    Unless they are asked for, it has no label smoothing and no augmentation.

    Raises:
        UsageError: the batch is larger than the training set.

    """
    updates, size = config.updates, size_in_update(variant)
    trained = ResolvedConfig(
        mode="batch" if size is None else "mini-batch",
        batch_size=size,
        batch_schedule=config.batch_schedule,
        micro_batch_size=config.micro_batch_size,
        epochs=config.epochs or ENDLESS,
        max_updates=updates,
        max_seconds=config.seconds,
        until_accuracy=config.until_accuracy,
        model=config.model,
        init=config.init,
        optimizer=config.optimizer,
        lr=lr,
        momentum=config.momentum,
        weight_decay=config.weight_decay,
        schedule=config.schedule,
        warm_up=config.warm_up,
        members=config.members,
        ema=config.ema,
        label_smoothing=config.label_smoothing,
        augment=config.augment,
        augment_strength=config.augment_strength,
        precision=config.precision,
        shuffle=config.shuffle,
        order_seed=None if config.order_seed is None else config.order_seed + seed - config.seed,
        replacement=config.replacement,
        last_batch=config.last_batch,
        sort_by_class=config.sort_by_class,
        subset=config.subset,
        val_size=config.val_size,
        dataset=config.dataset,
        data_dir=config.data_dir,
        probe=None if purpose == TRIAL else config.probe,
        probe_every=config.probe_every or TrainConfig.probe_every,
        probe_samples=config.probe_samples,
        seed=seed,
        device=config.device,
        threads=config.threads,
    )
    shape = training_shape(trained, samples)
    if config.epochs is not None:
        updates = shape.updates
    elif config.until_accuracy is not None:
        trained = replace(trained, epochs=config.max_epochs)
    return Run(trained, updates, variant, purpose, probe_ends=config.probe_every is None)


def size_in_update(variant: Variant) -> int | None:
    """Return the batch size of a variant as training takes it: `None` in batch mode."""
    return None if variant.batch_size == FULL else int(variant.batch_size)


def learning_rate_of(config: CompareConfig, variant: Variant, samples: int) -> float:
    """Return the learning rate for a variant, or the start of its search if it is tuned.

    Momentum m makes each step of SGD 1 / (1 - m) times as long in the end, so the default rate is
    shorter by as much.
    """
    base = config.lr
    if base is None:
        base = entry_for(network_entry(config.model).comparison_lr, config.optimizer, scaled=True)
        if config.optimizer == "sgd":
            # Rounded, since 0.1 * (1 - 0.9) is 0.009999999999999998.
            base = round(base * (1 - (config.momentum or 0.0)), 12)
    ratio = (size_in_update(variant) or samples) / DEFAULT_BATCH_SIZE
    power = {"fixed": 0.0, "sqrt": 0.5, "linear": 1.0, "tuned": 0.5}[config.lr_rule]
    if config.lr_rule == "tuned":
        ratio = min(ratio, 16.0)  # even larger batches rarely train with larger rates
    return float(base * math.pow(ratio, power))


def seeds_of(config: CompareConfig) -> range:
    """Return the seeds of a comparison."""
    return range(config.seed, config.seed + config.seeds)


def command_of(config: CompareConfig) -> str:
    """Return the command that repeats a comparison: the options that differ from their defaults.

    Options that say where files are, or how the work is divided, are left out.
    """
    return shlex.join(["mnist-compare", *_options_of(config)])


def _options_of(config: CompareConfig) -> Iterator[str]:
    places = names_where(CompareConfig, lambda about: about.effect is Effect.PLACE)
    for field in fields(CompareConfig):
        value = getattr(config, field.name)
        if value == field.default or field.name in places:
            continue
        yield from flag_with_value(field.name, value).split(" ", 1)
