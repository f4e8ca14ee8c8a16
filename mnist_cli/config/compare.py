"""Options of `mnist-compare`, before and after their defaults are resolved."""

import math
from dataclasses import asdict, dataclass, field, fields, replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any, ClassVar

from mnist_cli.config.batch_schedule import growing_sizes, problems_of_epochs
from mnist_cli.config.network_file import begun
from mnist_cli.config.options import MAPS, OFF, Effect, names_in, option, options_of
from mnist_cli.config.quoting import quote
from mnist_cli.config.registry import OPTIMIZERS, network_entry
from mnist_cli.config.sources import (
    Source,
    build_config,
    contradictions,
    flag,
    needs_map,
    raise_if_any,
    validate,
)
from mnist_cli.config.suggestions import not_one_of
from mnist_cli.config.train import TrainConfig
from mnist_cli.errors import UsageError

LR_RULES = ("fixed", "sqrt", "linear", "tuned")
BUDGETS = ("epochs", "updates", "seconds", "until_accuracy")
DEFAULT_EPOCHS = 3  # without another budget
PANELS = ("auto", "curves", "target", "noise", "path", "sharpness", "rates")
FULL = "full"
# Of the table: what is measured has a mean over seeds, and a standard deviation with `_std`.
MEASURED = (
    *("updates", "samples_seen", "train_seconds", "train_loss", "train_accuracy", "test_loss"),
    *("test_accuracy", "rise_share", "change_deviation", "noise_scale", "sharpness"),
)
COLUMNS = (
    *("batch_size", "lr", "seeds", "diverged", "reached"),
    *(f"{name}{suffix}" for name in MEASURED for suffix in ("", "_std")),
    *("stable_from", "stable_to", "tuning_seconds", "setting"),
)
# What --vary takes: options of training that leave the data and the machine as they are.
VARIED = (
    *("model", "optimizer", "lr", "momentum", "weight_decay", "schedule", "warm_up"),
    *("batch_schedule", "micro_batch_size", "shuffle", "order_seed", "replacement"),
    *("last_batch", "sort_by_class", "subset", "init", "members", "ema", "label_smoothing"),
    *("augment", "augment_strength", "precision"),
)
RANDOM = "random"  # as --vary init takes it: no checkpoint, but weights that are drawn
# What --profile takes: options of which speed and memory depend, and the figure.
PROFILED = (
    *("profile", "batch_sizes", "model", "optimizer", "momentum", "weight_decay", "shuffle"),
    *("micro_batch_size", "subset", "dataset", "data_dir", "device", "threads", "plot"),
    *("test_size", "label_column", "max_value", "transposed"),
)
_WHAT, _HOW, _SHOW = "What is compared", "How it is trained", "What is shown"
_BUDGET = f"Budget (one of these; --epochs {DEFAULT_EPOCHS} if none)"


def _as_in_training(name: str, default: Any = None, **changes: Any) -> Any:  # noqa: ANN401
    """Declare a field with the meaning of the same field of TrainConfig."""
    about = replace(
        options_of(TrainConfig)[name], **{"panel": _HOW, "shown_default": "", **changes}
    )
    return field(default=default, metadata={"option": about})


@dataclass(frozen=True)
class CompareConfig:
    """Options of a comparison, before their defaults are resolved."""

    exclusive: ClassVar[tuple[str, ...]] = BUDGETS

    batch_sizes: str = option(
        "16,64,256,1024,full",
        "Comma-separated numbers of samples in an update; full is batch mode.",
        metavar="SIZES",
        listed=True,
        panel=_WHAT,
    )
    profile: bool = option(
        False,
        "Compare nothing: measure samples per second and peak memory of each batch size.",
        panel=_WHAT,
        effect=Effect.RECORD,
    )
    merge: str | None = option(
        None,
        "Train nothing: put the finished runs of several folders, made with the same options, "
        "together in --output.",
        metavar="DIR,DIR",
        listed=True,
        is_path=True,
        panel=_WHAT,
        effect=Effect.PLACE,
    )
    vary: str | None = option(
        None,
        "Also compare the values of an option, such as momentum=0,0.9, with each batch size; with "
        "a space between several options, all their combinations.",
        metavar="OPTION=VALUES",
        panel=_WHAT,
    )
    seeds: int = option(
        5,
        "Repetitions, each with different initial weights, sample order and split.",
        metavar="N",
        minimum=1,
        maximum=1000,
        panel=_WHAT,
    )
    seed: int = _as_in_training("seed", 0, help="The first of the seeds.", panel=_WHAT)
    lr_rule: str = option(
        "fixed",
        "Learning rate by batch size: fixed; growing with the square root or linearly, from --lr "
        "at 64; or tuned by a search on held-out samples.",
        choices=LR_RULES,
        panel=_WHAT,
    )
    tune_seeds: int = option(
        2,
        "Seeds with which --lr-rule tuned chooses among the best rates, at most --seeds.",
        metavar="N",
        minimum=1,
        panel=_WHAT,
    )
    lr_range: bool = option(
        False, "Also search the range of learning rates that train stably.", panel=_WHAT
    )
    epochs: int | None = option(
        None, "Passes over the training set.", metavar="N", minimum=1, panel=_BUDGET
    )
    updates: int | None = option(None, "Updates.", metavar="N", minimum=1, panel=_BUDGET)
    seconds: float | None = option(
        None, "Seconds of training, measuring left out.", metavar="S", above=0, panel=_BUDGET
    )
    until_accuracy: float | None = option(
        None,
        "Until the accuracy on held-out samples is A.",
        metavar="A",
        above=0,
        maximum=1,
        panel=_BUDGET,
    )
    max_epochs: int = option(
        100,
        "Epochs after which to give up --until-accuracy.",
        metavar="N",
        minimum=1,
        panel=_BUDGET,
    )
    model: str = _as_in_training("model", "mlp")
    init: str | None = _as_in_training(
        "init",
        help="Begin with the weights of a checkpoint of the same network, and divide the samples "
        "as it did; without --model, of its network.",
        shown_default="random weights",
    )
    optimizer: str = _as_in_training("optimizer", "sgd")
    lr: float | None = _as_in_training(
        "lr", help="Learning rate of batches of 64.", shown_default="by model and optimizer"
    )
    momentum: float | None = _as_in_training("momentum", shown_default="0 with sgd, 0.9 with adamw")
    weight_decay: float = _as_in_training("weight_decay", 0.0)
    schedule: str = _as_in_training("schedule", "constant")
    warm_up: int = _as_in_training("warm_up", 0)
    members: int = _as_in_training("members", 1)
    ema: float = _as_in_training("ema", 0.0)
    label_smoothing: float = _as_in_training("label_smoothing", 0.0)
    augment: str = _as_in_training("augment", "none")
    augment_strength: float | None = _as_in_training(
        "augment_strength", shown_default="by model, with --augment affine and elastic"
    )
    precision: str = _as_in_training("precision", "float32")
    batch_schedule: str = _as_in_training(
        "batch_schedule",
        OFF,
        help="Double the samples in one update from A to B, each size for an equal number of "
        "epochs; or off. Needs --batch-sizes A and --epochs.",
    )
    micro_batch_size: int = _as_in_training("micro_batch_size", TrainConfig.micro_batch_size)
    shuffle: bool = _as_in_training("shuffle", True)
    order_seed: int | None = _as_in_training(
        "order_seed",
        help="The first of the seeds of the samples' order alone.",
        shown_default="--seed",
    )
    replacement: bool = _as_in_training("replacement", False)
    last_batch: str = _as_in_training("last_batch", "keep")
    sort_by_class: bool = _as_in_training("sort_by_class", False)
    subset: int | None = _as_in_training("subset", shown_default="all")
    val_size: int | None = _as_in_training(
        "val_size", shown_default="5000, or a fifth of --subset, where they are needed; else 0"
    )
    dataset: str = _as_in_training("dataset", "mnist")
    test_size: float = _as_in_training("test_size", TrainConfig.test_size)
    label_column: str | None = _as_in_training("label_column")
    max_value: float | None = _as_in_training("max_value")
    transposed: bool = _as_in_training("transposed", False)
    data_dir: str | None = _as_in_training("data_dir")
    device: str = _as_in_training("device", "auto")
    threads: int | None = _as_in_training("threads", shown_default="auto")
    probe: str | None = _as_in_training("probe", panel="Probes")
    probe_every: int | None = _as_in_training(
        "probe_every", panel="Probes", shown_default="at the start and the end"
    )
    probe_samples: int = _as_in_training("probe_samples", 2000, panel="Probes")
    jobs: int = option(
        1,
        "Processes that train runs at the same time; the cores are divided among them.",
        metavar="N",
        minimum=1,
        maximum=256,
        panel=_HOW,
        effect=Effect.PLACE,
    )
    output: str = option(
        "comparison",
        "Folder of the finished runs, a JSON Lines file each; they are not run again.",
        metavar="DIR",
        is_path=True,
        short="-o",
        panel=_SHOW,
        effect=Effect.RECORD,
        per_rank=True,
    )
    report: str | None = option(
        None,
        "Write a web page with curves, table and conclusions. - is stdout.",
        metavar="FILE.html",
        is_path=True,
        panel=_SHOW,
        effect=Effect.PLACE,
        per_rank=True,
    )
    open: bool = option(
        False,
        "Open the page of --report in a browser.",
        panel=_SHOW,
        effect=Effect.PLACE,
        per_rank=True,
    )
    plot: str | None = option(
        None,
        "Write a figure (needs matplotlib).",
        metavar="FILE.svg|png",
        is_path=True,
        panel=_SHOW,
        effect=Effect.PLACE,
        per_rank=True,
    )
    export: str | None = option(
        None,
        "Write all measurements, a row each.",
        metavar="FILE.csv|json|parquet",
        is_path=True,
        panel=_SHOW,
        effect=Effect.PLACE,
        per_rank=True,
    )
    columns: str | None = option(
        None,
        "Columns of the tab-separated table on stdout, such as batch_size,test_accuracy.",
        metavar="NAMES",
        choices=COLUMNS,
        listed=True,
        shown_default="all",
        panel=_SHOW,
        effect=Effect.PLACE,
    )
    panel: str = option(
        "auto",
        "What the figure shows; auto decides by the other options.",
        choices=PANELS,
        panel=_SHOW,
        effect=Effect.PLACE,
    )


@dataclass(frozen=True, kw_only=True)
class ResolvedComparison(CompareConfig):
    """Options of a comparison with all defaults filled in; `None`: the option isn't used."""

    momentum: float
    val_size: int


def sizes_in(text: str) -> list[int | None]:
    """Return the batch sizes in the value of `--batch-sizes`; `None` is batch mode.

    Raises:
        UsageError: one of them is invalid or repeated.

    """
    sizes: list[int | None] = []
    for name in names_in(text):
        if name != FULL and not (name.isascii() and name.isdigit() and 0 < int(name) < 2**63):
            raise UsageError(
                f"--batch-sizes {text}: {name!r} is neither a number of samples nor '{FULL}'"
            )
        size = None if name == FULL else int(name)
        if size in sizes:
            raise UsageError(f"--batch-sizes {text}: {name} is repeated")
        sizes.append(size)
    if not sizes:
        raise UsageError("--batch-sizes names no size; try 16,64,256,1024,full")
    return sizes


def resolve(config: CompareConfig) -> ResolvedComparison:
    """Return the config with its budget, momentum and number of held-out samples filled in.

    Raises:
        UsageError: options contradict each other; the message has a line for each problem.

    """
    config = validate(config, CompareConfig)
    problems = []
    budgets = [name for name in BUDGETS if getattr(config, name) is not None]
    if len(budgets) > 1:
        problems.append(
            f"{' and '.join(map(flag, budgets))} contradict each other: a comparison has one "
            "budget; leave all but one out"
        )
    open_ended = config.seconds is not None or config.until_accuracy is not None
    if open_ended and config.schedule != "constant":
        problems.append(
            f"--schedule {config.schedule} depends on the number of updates, which is unknown with "
            f"{flag(budgets[0])}; use --schedule constant"
        )
    needed = config.lr_rule == "tuned" or config.lr_range or config.until_accuracy is not None
    val_size = config.val_size
    if val_size is None:
        val_size = min(5000, (config.subset or 25000) // 5) if needed else 0
    if needed and not val_size:
        problems.append(
            "--val-size 0: tuning the learning rate and stopping at an accuracy need validation "
            "samples; add --val-size 5000"
        )
    for name, ending in (
        ("report", (".html", ".htm")),
        ("plot", (".svg", ".png", ".pdf")),
        ("export", (".csv", ".json", ".parquet")),
    ):
        path = getattr(config, name)
        is_stream = path == "-" and name != "export"
        if path is not None and not is_stream and not path.lower().endswith(ending):
            endings = " or ".join(ending)
            problems.append(f"{flag(name)} {path}: the file's name has to end in {endings}")
    needed_by = {
        "target": (config.until_accuracy is not None, "--until-accuracy"),
        "noise": ("alignment" in names_in(config.probe), "--probe alignment"),
        "path": ("path" in names_in(config.probe), "--probe path"),
        "sharpness": ("sharpness" in names_in(config.probe), "--probe sharpness"),
        "rates": (config.lr_range or config.lr_rule == "tuned", "--lr-range"),
    }
    measured, option_needed = needed_by.get(config.panel, (True, ""))
    if not measured:
        problems.append(f"--panel {config.panel} shows what is not measured; add {option_needed}")
    if config.until_accuracy is None and config.max_epochs != CompareConfig.max_epochs:
        problems.append(f"--max-epochs {config.max_epochs} needs --until-accuracy; leave it out")
    if config.probe_every is not None and not config.probe:
        problems.append(f"--probe-every {config.probe_every} needs --probe; leave it out")
    if config.output in ("", "-"):
        problems.append(f"--output '{config.output}': the runs are kept in a folder; name one")
    problems += [*_problems_of_seeds(config), *contradictions(config)]
    problems += _problems_of_batch_mode(config)
    problems += _problems_of_growing(config, budgets)
    problems += _problems_of_strength(config)
    problems += _problems_of_varying(config)
    problems += _problems_of_profiling(config)
    problems += _problems_of_merging(config)
    raise_if_any(problems)
    sizes_in(config.batch_sizes)
    momentum = config.momentum
    if momentum is None:
        momentum = OPTIMIZERS[config.optimizer].comparison_momentum
    epochs = config.epochs if budgets else DEFAULT_EPOCHS
    values = {
        **asdict(config),
        "model": begun(config.model),
        "epochs": epochs,
        "momentum": momentum,
        "augment_strength": _strength(config),
        "val_size": val_size,
    }
    return ResolvedComparison(**values)


def _strength(config: CompareConfig) -> float | None:
    """Return the strength of the augmentation; `None` if it has none."""
    if config.augment_strength is None and config.augment in MAPS:
        return network_entry(config.model).mini_batch.augment_strength
    return config.augment_strength


def settings_of(config: CompareConfig) -> list[tuple[str | None, ResolvedComparison]]:
    """Return the settings of the options that `--vary` names, each with the options resolved.

    A setting is written as in a sentence: `momentum 0.9`, `no shuffle`. Those of several options
    are combined. Without `--vary` there is one, `None`.

    Raises:
        UsageError: an option cannot be varied, or does not take one of the values.

    """
    if config.vary is None:
        return [(None, resolve(config))]
    alone = replace(config, vary=None)
    found: dict[str, ResolvedComparison] = {}
    options = varied(config.vary)
    if "subset" in options and config.val_size is None:  # each holds the same samples out
        fewest = min(options["subset"], key=lambda size: size or math.inf)
        alone = replace(alone, val_size=resolve(replace(alone, subset=fewest)).val_size)
    names = {name: _value_names(name, values) for name, values in options.items()}
    for places in product(*(range(len(values)) for values in options.values())):
        chosen = {name: options[name][place] for name, place in zip(options, places, strict=True)}
        setting = ", ".join(names[name][place] for name, place in zip(names, places, strict=True))
        if setting in found:
            raise UsageError(f"--vary {quote(config.vary)}: a value is repeated")
        if (
            "augment" in chosen
            and chosen["augment"] not in MAPS
            and "augment_strength" not in chosen
        ):
            chosen["augment_strength"] = None  # it is that of the others
        found[setting] = resolve(replace(alone, **chosen))
    return [*found.items()]


def initial_weights(config: CompareConfig) -> list[str]:
    """Return the checkpoints with whose weights runs begin, by `--init` or `--vary init`."""
    named = [each.init for _, each in settings_of(config)]
    return list(dict.fromkeys(path for path in named if path is not None))


def varied(text: str) -> dict[str, list[Any]]:
    """Return the options in the value of `--vary`, each with its values.

    Raises:
        UsageError: see `settings_of`.

    """
    options: dict[str, list[Any]] = {}
    for part in text.split() or [text]:
        written, _, listed = part.partition("=")
        name, values = written.replace("-", "_"), names_in(listed)
        if name not in VARIED:
            known = [each.replace("_", "-") for each in VARIED]
            raise UsageError(f"--vary: {not_one_of(written, known)}")
        if name in options:
            raise UsageError(f"--vary {quote(text)}: {written} is repeated")
        if len(values) < 2:
            raise UsageError(f"--vary {quote(part)}: give values to compare: --vary {written}=A,B")
        label = f"--vary {written}"
        sources = [
            Source(
                {} if (name, value) == ("init", RANDOM) else {name: value}, partial(_named, label)
            )
            for value in values
        ]
        options[name] = [getattr(build_config(CompareConfig, [each]), name) for each in sources]
    return options


def _named(label: str, _: str) -> str:
    return label


def _value_names(name: str, values: list[Any]) -> list[str]:
    """Return the settings of an option; files are named without their folders, if that suffices."""
    shown = [setting_of(name, value) for value in values]
    if name in ("init", "model"):
        short = [
            setting_of(name, Path(value).name if isinstance(value, str) else value)
            for value in values
        ]
        return short if len(set(short)) == len(set(shown)) else shown
    return shown


def setting_of(name: str, value: object) -> str:
    """Return an option with its value as in a sentence: `momentum 0.9`, `no shuffle`."""
    words = name.replace("_", " ")
    if value is None:
        return f"{words} {_ABSENT.get(name, 'auto')}"
    if isinstance(value, bool):
        return words if value else f"no {words}"
    if isinstance(value, float):
        short = f"{value:g}"
        return f"{words} {short if float(short) == value else value}"
    return f"{words} {value}"


_ABSENT = {"init": RANDOM, "subset": "all"}


def _problems_of_profiling(config: CompareConfig) -> list[str]:
    """Return what contradicts `--profile`: options of what it does not do."""
    others = [
        field.name
        for field in fields(CompareConfig)
        if field.name not in PROFILED and getattr(config, field.name) != field.default
    ]
    if not config.profile or not others:
        return []
    names = ", ".join(map(flag, others))
    return [f"{names}: --profile only measures speed and memory; leave what is not needed out"]


def _problems_of_merging(config: CompareConfig) -> list[str]:
    """Return what contradicts `--merge`."""
    if config.merge is None:
        return []
    problems = []
    if not names_in(config.merge):
        problems.append("--merge names no folder; give those whose runs are put together")
    if config.jobs > 1:
        problems.append(f"--jobs {config.jobs} trains runs, and --merge none; leave one out")
    return problems


def _problems_of_seeds(config: CompareConfig) -> list[str]:
    """Return what is wrong with the first of the seeds, or of those of the order."""
    return [
        f"{flag(name)} {first}: with {config.seeds} seeds the last one is more than 2^63 - 1; "
        "choose a smaller one"
        for name in ("seed", "order_seed")
        if (first := getattr(config, name)) is not None and first + config.seeds > 2**63
    ]


def _problems_of_batch_mode(config: CompareConfig) -> list[str]:
    """Return what contradicts the batch size `full`."""
    if config.replacement and None in sizes_in(config.batch_sizes):
        return [
            f"--replacement contradicts the size {FULL} of --batch-sizes {config.batch_sizes}: an "
            f"update of batch mode takes each training sample once; leave {FULL} out"
        ]
    return []


def _problems_of_growing(config: CompareConfig, budgets: list[str]) -> list[str]:
    """Return what contradicts `--batch-schedule`.

    Raises:
        UsageError: see `growing_sizes` and `sizes_in`.

    """
    schedule = config.batch_schedule
    sizes = growing_sizes(schedule)
    if not sizes:
        return []
    problems = []
    if sizes_in(config.batch_sizes) != [sizes[0]]:
        problems.append(
            f"--batch-sizes {config.batch_sizes} contradicts --batch-schedule {schedule}, which "
            f"begins with {sizes[0]}: use --batch-sizes {sizes[0]}"
        )
    if others := [name for name in budgets if name != "epochs"]:
        problems.append(
            f"{flag(others[0])} contradicts --batch-schedule {schedule}, whose sizes have equal "
            "numbers of epochs: use --epochs"
        )
    else:
        problems += problems_of_epochs(schedule, config.epochs or DEFAULT_EPOCHS)
    return problems


def _problems_of_strength(config: CompareConfig) -> list[str]:
    """Return what contradicts `--augment-strength`: no augmentation that has one."""
    strength = config.augment_strength
    if strength in (None, 1) or config.augment in MAPS:
        return []
    if config.vary is not None and "augment" in varied(config.vary):
        return []  # it is that of the values that have one
    return [needs_map(strength)]


def _problems_of_varying(config: CompareConfig) -> list[str]:
    """Return what contradicts `--vary`.

    Raises:
        UsageError: see `settings_of`.

    """
    if config.vary is None:
        return []
    settings_of(config)
    options = varied(config.vary)
    problems = []
    if "lr" in options and config.lr_rule == "tuned":
        problems.append("--vary lr contradicts --lr-rule tuned, which chooses it; leave one out")
    if "init" in options and config.init is not None:
        problems.append("--vary init contradicts --init; give both checkpoints to --vary")
    if "model" in options and (config.init is not None or "init" in options):
        problems.append("--vary model contradicts --init: weights are those of one network")
    if "members" in options and (config.init is not None or "init" in options):
        problems.append("--vary members contradicts --init: weights are those of as many networks")
    if "model" in options and "path" in names_in(config.probe):
        problems.append("--vary model contradicts --probe path: their weights have no common plane")
    return problems
