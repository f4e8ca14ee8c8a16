"""`python -m benchmarks.listings`: measure the accuracies and times of `--list-models`.

Trains every model with its defaults and every preset of mnist-train with several seeds, and writes
`mnist_cli/cli/measured.json` after each. A result with the same options and seeds is kept,
so an interrupted run continues and a changed preset is measured again. What the logs of the records
have (`python -m benchmarks records`) is taken from them.
"""

import argparse
import json
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from benchmarks.measure import BUSY, Ran, others_seconds, run, this_machine
from benchmarks.records import LOGS, read_logs
from mnist_cli.cli.listings import (
    FILE,
    MeasuredResults,
    Measurement,
    load_measured_results,
    options_digest,
)
from mnist_cli.config.registry import NETWORKS
from mnist_cli.config.sources import PRESETS, TRAIN, build_config, preset_names, toml_file
from mnist_cli.config.train import TrainConfig

# Few seeds for a preset that takes minutes, many for one that takes seconds and varies more.
SEEDS = {
    "batch": 1,
    "large": 2,
    "tiny": 2,
    "nano": 2,
    "upright": 2,
    "cnn": 5,
    "default": 5,
    "fast": 10,
}


def main() -> None:
    """Measure what is missing, and write the file."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.listings", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="models or presets; else all")
    parser.add_argument("--seeds", type=int, default=3, help="trainings of most (default: 3)")
    parser.add_argument("--quick", action="store_true", help="one training of each")
    parser.add_argument("--again", action="store_true", help="also what is already there")
    parser.add_argument(
        "--only",
        choices=["times"],
        help="times: keep the accuracies, measure the seconds again (one training, or --seeds)",
    )
    options = parser.parse_args()
    jobs = {("models", name): ["--model", name] for name in NETWORKS}
    jobs |= {("presets", name): ["--config", name] for name in preset_names(TRAIN)}
    if unknown := set(options.names) - {name for _, name in jobs}:
        parser.error(f"no such model or preset: {', '.join(sorted(unknown))}")
    results = load_measured_results() if FILE.exists() else MeasuredResults({}, {}, {})
    recorded = {log.measurement.options: log.measurement for log in read_logs(LOGS).values()}
    by_options: dict[str, Measurement] = {}  # the default model and preset have the same
    for (kind, name), arguments in jobs.items():
        entries = getattr(results, kind)
        before = entries.get(name)
        digest = options_digest(config_of(arguments))
        seeds = 1 if options.quick else SEEDS.get(name, options.seeds)
        wanted = not options.names or name in options.names
        done = before is not None and before.options == digest and len(before.accuracies) >= seeds
        if digest in recorded:
            measured = recorded[digest]
        elif not wanted or (done and not options.again and options.only is None):
            if before is not None:
                by_options.setdefault(before.options, before)
            continue
        elif digest in by_options and len(by_options[digest].accuracies) >= seeds:
            measured = by_options[digest]
        elif options.only == "times" and before is not None:
            again = measure(arguments, digest, seeds)
            measured = replace(before, seconds=again.seconds, busy=again.busy)
        else:
            measured = measure(arguments, digest, seeds)
        by_options[digest] = entries[name] = measured
        results = replace(results, machine=this_machine())
        FILE.write_text(results.to_json())
        print(f"{kind[:-1]} {name}: {measured}", flush=True)


def config_of(arguments: list[str]) -> TrainConfig:
    """Return the config that `--model NAME` or `--config NAME` stands for."""
    option, name = arguments
    if option == "--model":
        return TrainConfig(model=name)
    return build_config(TrainConfig, [toml_file(name, PRESETS, TrainConfig)])


def measure(arguments: list[str], digest: str, seeds: int) -> Measurement:
    """Train with the installed program and the seeds 0, 1, …, and return the results."""
    before = others_seconds()
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "checkpoint.pt"
        runs: list[Ran] = [
            run("mnist-train", *arguments, "--seed", seed, "-q", "--json", "-o", output)
            for seed in range(seeds)
        ]
    busy_cores = (others_seconds() - before) / (time.perf_counter() - began)
    start = json.loads(runs[0].out.splitlines()[0])
    return Measurement(
        options=digest,
        accuracies=tuple(run.last["test_accuracy"] for run in runs),
        seconds=tuple(round(run.seconds, 2) for run in runs),
        busy=busy_cores > BUSY,
        parameters=start["parameters"],
    )


if __name__ == "__main__":
    main()
