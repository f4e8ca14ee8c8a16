"""The records: trainings of presets with several seeds, and the log that has every one of them."""

import json
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from benchmarks.measure import BUSY, others_seconds, run, this_machine
from benchmarks.peak import operations
from mnist_cli.cli.listings import Measurement, options_digest
from mnist_cli.config.options import Effect, names_where
from mnist_cli.config.sources import PRESETS, build_config, toml_file
from mnist_cli.config.train import TrainConfig
from mnist_cli.data.catalogue import CATALOGUE
from mnist_cli.models.networks import build_model

# The presets, and the number of seeds of each: many where a training takes seconds.
RECORDS = {"fast": 10, "default": 10, "accurate": 5, "best": 3, "tiny": 5, "nano": 5}
DEFAULT = "default"  # mnist-train without a preset
LOGS = Path(__file__).parent / "results" / "records"
TEST_SAMPLES = 10_000

_PLACES = names_where(TrainConfig, lambda about: about.effect is Effect.PLACE)
# A log has digests of the weights instead of these files, so that they cannot be compared.
_FILES = names_where(TrainConfig, lambda about: about.is_path)


@dataclass(frozen=True)
class Run:
    """A training: a line of a log.

    `seconds` are those of the whole process, `train_seconds` those of the updates alone.
    `test_accuracy` is that after the last update. `training_tflop` counts what `operations` does,
    for all samples that were seen. `options` are all but those that name places. `other_cores`
    is the number of cores that other programs used meanwhile.
    """

    preset: str
    seed: int
    test_accuracy: float
    test_errors: int
    seconds: float
    train_seconds: float
    network: str
    parameters: int
    training_tflop: float
    samples_seen: int
    weights_sha256: str
    options: dict[str, Any]
    machine: dict[str, Any]
    other_cores: float


@dataclass(frozen=True)
class Log:
    """The runs of a preset, in the order of their seeds, all with the same options."""

    runs: tuple[Run, ...]

    @property
    def measurement(self) -> Measurement:
        """The accuracies and seconds, as `--list-presets` shows them.

        The seconds are those of the runs beside which no other programs were computing, if there
        are any: unlike the accuracy they depend on that.
        """
        undisturbed = [run for run in self.runs if run.other_cores <= BUSY]
        return Measurement(
            options=options_digest(TrainConfig(**self.runs[0].options)),
            accuracies=tuple(run.test_accuracy for run in self.runs),
            seconds=tuple(run.seconds for run in undisturbed or self.runs),
            busy=not undisturbed,
            parameters=self.runs[0].parameters,
        )


def available() -> list[str]:
    """Return the names of the records whose preset exists."""
    return [name for name in RECORDS if (PRESETS / f"{name}.toml").exists()]


def read_log(name: str, folder: Path) -> Log | None:
    """Return the log of a record, or None if nothing was measured."""
    path = _path(name, folder)
    if not path.exists():
        return None
    runs = [Run(**json.loads(line)) for line in path.read_text().splitlines()]
    return Log(tuple(sorted(runs, key=lambda run: run.seed)))


def read_logs(folder: Path) -> dict[str, Log]:
    """Return the logs of all records that were measured, by name."""
    logs = {name: read_log(name, folder) for name in RECORDS}
    return {name: log for name, log in logs.items() if log is not None}


def measure(
    name: str, seeds: range, folder: Path, *, config: str | None = None, again: bool = False
) -> Iterator[Run]:
    """Train with each seed that the log does not have, and append each run to it as it ends.

    A log of other options is replaced by the first run, and so is any log `again`. `config` is the
    preset or the file, instead of the preset of that name.

    Raises:
        RuntimeError: a training failed.

    """
    path = _path(name, folder)
    log = None if again else read_log(name, folder)
    asked = options_of(config or name)
    if log is not None and not same_options(log.runs[0].options, asked):
        log = None
    present = set() if log is None else {run.seed for run in log.runs}
    mode = "w" if log is None else "a"
    folder.mkdir(parents=True, exist_ok=True)
    for seed in seeds:
        if seed in present:
            continue
        done = _train(name, seed, config)
        with path.open(mode) as file:
            file.write(json.dumps(asdict(done)) + "\n")
        mode = "a"
        yield done


def options_of(config: str) -> dict[str, Any]:
    """Return the resolved options of a preset or a file, without places and seed."""
    asked = build_config(TrainConfig, [toml_file(config, PRESETS, TrainConfig)])
    return _without_places(asdict(asked.resolve(CATALOGUE["mnist"].training_samples)))


def same_options(logged: dict[str, Any], asked: dict[str, Any]) -> bool:
    """Return whether a log has the options that are asked for.

    An option that the log does not name, since it was added later, had its default. Where the
    precision is `auto`, the log has what it was on its machine.
    """
    compared = _without_places(asdict(TrainConfig())) | logged
    left_out = _FILES | ({"precision"} if asked["precision"] == "auto" else set())
    return {k: v for k, v in compared.items() if k not in left_out} == {
        k: v for k, v in asked.items() if k not in left_out
    }


def _path(name: str, folder: Path) -> Path:
    return folder / f"{name}.jsonl"


def _without_places(options: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in options.items() if k not in _PLACES and k != "seed"}


def _train(name: str, seed: int, config: str | None) -> Run:
    """Run `mnist-train` to its end."""
    preset = () if name == DEFAULT and config is None else ("--config", config or name)
    before, began = others_seconds(), time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "checkpoint.pt"
        ran = run("mnist-train", *preset, "--seed", seed, "-q", "--json", "-o", output)
    others = (others_seconds() - before) / (time.perf_counter() - began)
    start, end = json.loads(ran.out.splitlines()[0]), ran.last
    options = _without_places(start["config"])
    model = build_model(options["model"], members=options["members"])
    each = operations(model, torch.zeros(1, 28, 28, dtype=torch.uint8))
    return Run(
        preset=name,
        seed=seed,
        test_accuracy=end["test_accuracy"],
        test_errors=round((1 - end["test_accuracy"]) * TEST_SAMPLES),
        seconds=round(ran.seconds, 3),
        train_seconds=round(end["train_seconds"], 3),
        network=options["model"],
        parameters=start["parameters"],
        training_tflop=each * end["samples_seen"] / 1e12,
        samples_seen=end["samples_seen"],
        weights_sha256=end["weights_sha256"],
        options=options,
        machine={**this_machine(), "threads": start["threads"]},
        other_cores=round(max(others, 0.0), 2),
    )
