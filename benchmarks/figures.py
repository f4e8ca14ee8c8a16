"""`python -m benchmarks.figures`: the accuracies and times of `mnist-train --list-models`.

Trains every model with its defaults and every preset of mnist-train with several seeds, and writes
`mnist_cli/cli/measured.json` after each. A result with the same options and seeds is kept,
so an interrupted run continues and a changed preset is measured again.
"""

import argparse
import json
import os
import platform
import tempfile
import time
import tomllib
from dataclasses import replace
from pathlib import Path

import torch

import mnist_cli
from benchmarks.measure import Ran, run
from mnist_cli.cli.measured import FILE, Figures, Measured, load_figures, options_digest
from mnist_cli.cli.options import PRESETS
from mnist_cli.config.registry import NETWORKS
from mnist_cli.config.sources import build, toml_file
from mnist_cli.config.train import TrainConfig
from mnist_cli.runtime.device import processor, usable_cores

# Few seeds for a preset that takes minutes, many for one that takes seconds and varies more.
SEEDS = {"batch": 1, "accurate": 2, "fast": 10}
BUSY = 0.2  # cores used by other programs; with more, the seconds are not reliable


def main() -> None:
    """Measure what is missing, and write the file."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.figures", description=__doc__)
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
    jobs |= {("presets", name): ["--config", name] for name in train_presets()}
    if unknown := set(options.names) - {name for _, name in jobs}:
        parser.error(f"no such model or preset: {', '.join(sorted(unknown))}")
    found = load_figures() if FILE.exists() else Figures({}, {}, {})
    twins: dict[str, Measured] = {}  # of the same options: the default model and preset
    for (kind, name), arguments in jobs.items():
        entries = getattr(found, kind)
        before = entries.get(name)
        digest = options_digest(config_of(arguments))
        seeds = 1 if options.quick else SEEDS.get(name, options.seeds)
        wanted = not options.names or name in options.names
        done = before is not None and before.options == digest and len(before.accuracies) >= seeds
        if not wanted or (done and not options.again and options.only is None):
            if before is not None:
                twins.setdefault(before.options, before)
            continue
        if digest in twins and len(twins[digest].accuracies) >= seeds:
            measured = twins[digest]
        elif options.only == "times" and before is not None:
            again = measure(arguments, digest, seeds)
            measured = replace(before, seconds=again.seconds, busy=again.busy)
        else:
            measured = measure(arguments, digest, seeds)
        twins[digest] = measured
        entries[name] = replace(measured, about=about(kind, name))
        found = replace(found, machine=this_machine())
        FILE.write_text(found.to_json())
        print(f"{kind[:-1]} {name}: {entries[name]}", flush=True)


def train_presets() -> list[str]:
    """Return the names of the presets of mnist-train, sorted."""
    paths = sorted(PRESETS.glob("*.toml"))
    return [path.stem for path in paths if "batch_sizes" not in tomllib.loads(path.read_text())]


def config_of(arguments: list[str]) -> TrainConfig:
    """Return the config that `--model NAME` or `--config NAME` stands for."""
    option, name = arguments
    if option == "--model":
        return TrainConfig(model=name)
    return build(TrainConfig, [toml_file(name, PRESETS, TrainConfig)])


def measure(arguments: list[str], digest: str, seeds: int) -> Measured:
    """Return what the installed program makes of the arguments with the seeds from 0 on."""
    before = others_seconds()
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "checkpoint.pt"
        runs: list[Ran] = [
            run("mnist-train", *arguments, "--seed", seed, "-q", "--json", "-o", output)
            for seed in range(seeds)
        ]
    share = (others_seconds() - before) / (time.perf_counter() - began)
    start = json.loads(runs[0].out.splitlines()[0])
    return Measured(
        options=digest,
        accuracies=tuple(run.last["test_accuracy"] for run in runs),
        seconds=tuple(round(run.seconds, 2) for run in runs),
        busy=share > BUSY,
        parameters=start["parameters"],
    )


def others_seconds() -> float:
    """Return the processor seconds that this machine has spent on other programs (Linux)."""
    try:
        line = Path("/proc/stat").read_text().splitlines()[0]
    except OSError:
        return 0.0
    user, nice, system, _idle, _wait, irq, softirq, *_ = map(int, line.split()[1:])
    every = (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")
    own = os.times()
    return every - own.user - own.system - own.children_user - own.children_system


def this_machine() -> dict[str, object]:
    """Return what the figures were measured on, and when."""
    return {
        "date": time.strftime("%F"),
        "processor": processor(),
        "cores": usable_cores(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "mnist_cli": mnist_cli.__version__,
    }


def about(kind: str, name: str) -> str:
    """Return what a model is, from its builder's docstring; a preset says it itself."""
    if kind == "presets":
        return ""
    return NETWORKS[name].about


if __name__ == "__main__":
    main()
