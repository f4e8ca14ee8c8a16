"""`python -m benchmarks.lesson`: measure what the tour of the lesson tells about whole data sets.

Runs the commands of each step and writes `mnist_cli/output/lesson/measured.json` after it. A step
with the same commands is kept, so an interrupted run continues. Accuracies and updates do not
depend on what else the machine does. Seconds do: they are recorded only if it was idle meanwhile.
"""

import argparse
import json
import shlex
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.measure import BUSY, others_seconds, run, this_machine
from mnist_cli.config.compare import FULL
from mnist_cli.output.lesson.measured import FILE, load_measured

SMALL = 64
_PLAIN = "mnist-train --model linear --optimizer sgd --momentum 0 --schedule constant --lr 0.05"

Events = list[dict[str, Any]]
Numbers = dict[str, Any]


def update(small: Events, full: Events) -> Numbers:
    """Return the updates of an epoch, and the losses of the first and the last that are printed.

    All weights are 0 at first, so the first loss is the same for every batch.
    """
    start, steps = named(small, "start")[0], named(small, "step")
    return {
        "samples": start["samples"],
        "batch_size": start["batch_size"],
        "updates": start["updates"],
        "batch_updates": named(full, "end")[0]["update"],
        "first_loss": named(full, "step")[0]["loss"],
        "last_loss": steps[-1]["loss"],
    }


def steady(events: Events) -> Numbers:
    """Return on how many of the monitored updates the loss on all samples increased."""
    ends = named(events, "arm-end")
    small = min(end["batch_size"] for end in ends if end["batch_size"] != FULL)
    monitored = [sum(end["watched"] for end in ends_of(ends, size)) for size in (small, FULL)]
    assert monitored[0] == monitored[1]
    return {
        "samples": named(events, "start")[0]["samples"],
        "monitored": monitored[0],
        "small": small,
        "small_rose": sum(end["rises"] for end in ends_of(ends, small)),
        "batch_rose": sum(end["rises"] for end in ends_of(ends, FULL)),
    }


def more(events: Events) -> Numbers:
    """Return the updates and the test accuracies after as many epochs."""
    start = named(events, "start")[0]
    small, full = summary_of(events, SMALL), summary_of(events, FULL)
    return {
        "samples": start["samples"],
        "epochs": start["config"]["epochs"],
        "small": SMALL,
        "small_updates": round(small["updates"]["mean"]),
        "batch_updates": round(full["updates"]["mean"]),
        "small_accuracy": small["test_accuracy"]["mean"],
        "small_accuracy_std": small["test_accuracy"]["deviation"],
        "batch_accuracy": full["test_accuracy"]["mean"],
        "batch_accuracy_std": full["test_accuracy"]["deviation"],
    }


def rate(events: Events) -> Numbers:
    """Return the largest rates that work, and what batches of one reach with their best."""
    largest = {each["batch_size"]: each["stable_to"] for each in named(events, "tuned")}
    one = summary_of(events, 1)
    return {
        "samples": named(events, "start")[0]["samples"],
        **{f"largest_{size}": largest[size] for size in (1, 16, 64)},
        "best_1": one["lr"],
        "accuracy_1": one["test_accuracy"]["mean"],
    }


def axes(events: Events) -> Numbers:
    """Return the updates, samples and seconds to the target."""
    start = named(events, "start")[0]
    numbers = {"samples": start["samples"], "target": start["config"]["until_accuracy"]}
    numbers["small"] = SMALL
    keys = {"updates": "updates", "samples": "samples_seen", SECONDS: "train_seconds"}
    for name, key in keys.items():
        for batch, size in (("small", SMALL), ("batch", FULL)):
            mean = summary_of(events, size)[key]["mean"]
            numbers[f"{batch}_{name}"] = round(mean) if name == "samples" else float(f"{mean:.3g}")
    return numbers


def sorted_samples(in_order: Events, shuffled: Events) -> Numbers:
    """Return the test accuracies after an epoch over sorted samples, in that order and shuffled."""
    return {
        "samples": named(in_order, "start")[0]["samples"],
        "sorted_accuracy": named(in_order, "end")[0]["test_accuracy"],
        "shuffled_accuracy": named(shuffled, "end")[0]["test_accuracy"],
    }


def large(events: Events) -> Numbers:
    """Return the updates to the target by batch size, and the critical batch size."""
    start, summaries = named(events, "start")[0], named(events, "summary")
    sizes = [start["samples"] if s["batch_size"] == FULL else s["batch_size"] for s in summaries]
    updates = [summary["updates"]["mean"] for summary in summaries]
    (verdict,) = named(events, "verdict")
    (fit,) = (each["numbers"] for each in verdict["findings"] if each["about"] == "knee")
    return {
        "samples": start["samples"],
        "target": start["config"]["until_accuracy"],
        "sizes": sizes,
        "updates": [round(value) for value in updates],
        "critical": round(fit["batch_size"]),
    }


@dataclass(frozen=True)
class Step:
    """A step of the tour: its commands, and a function of their events that returns numbers."""

    numbers: Callable[..., Numbers]
    commands: tuple[str, ...]


SECONDS = "seconds"  # the ending of numbers that depend on what else the machine does
STEPS = {
    "update": Step(
        update,
        (f"{_PLAIN} --batch-size 64 --epochs 1", f"{_PLAIN} --mode batch --epochs 1"),
    ),
    "steady": Step(steady, ("mnist-compare --config claim-steady",)),
    "more": Step(
        more, ("mnist-compare --model linear --batch-sizes 64,full --epochs 5 --lr 0.05",)
    ),
    "rate": Step(rate, ("mnist-compare --config claim-small-batch-unstable",)),
    "axes": Step(axes, ("mnist-compare --config claim-data-size --subset 55000",)),
    "sorted": Step(
        sorted_samples,
        (
            f"{_PLAIN} --batch-size 64 --epochs 1 --sort-by-class --no-shuffle",
            f"{_PLAIN} --batch-size 64 --epochs 1 --sort-by-class",
        ),
    ),
    "large": Step(large, ("mnist-compare --config steps-to-target",)),
}


def main() -> None:
    """Measure what is missing, and write the file."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.lesson", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="STEP", help=f"of {', '.join(STEPS)}; else all")
    parser.add_argument("--again", action="store_true", help="also what is already there")
    options = parser.parse_args()
    if unknown := set(options.names) - set(STEPS):
        parser.error(f"no such step: {', '.join(sorted(unknown))}")
    steps: dict[str, Any] = load_measured()["steps"] if FILE.exists() else {}
    for name, step in STEPS.items():
        is_kept = steps.get(name, {}).get("commands") == list(step.commands) and not options.again
        if is_kept or (options.names and name not in options.names):
            continue
        numbers = measure(step, steps.get(name, {}))
        steps[name] = {"commands": list(step.commands), **numbers}
        steps = {key: steps[key] for key in STEPS if key in steps}
        FILE.write_text(json.dumps(described(steps), indent=1) + "\n", encoding="utf-8")
        print(f"{name}: {numbers}", flush=True)


def measure(step: Step, before: Numbers) -> Numbers:
    """Run the commands of a step, and return its numbers.

    On a busy machine, the seconds are those measured `before`, if there are any.
    """
    others, began = others_seconds(), time.perf_counter()
    numbers = step.numbers(*map(events_of, step.commands))
    if (others_seconds() - others) / (time.perf_counter() - began) > BUSY:
        seconds = [key for key in numbers if key.endswith(SECONDS)]
        kept = {key: before[key] for key in seconds if key in before}
        numbers = {key: value for key, value in numbers.items() if key not in seconds} | kept
    return {key: shortened(value) for key, value in numbers.items()}


def events_of(command: str) -> Events:
    """Run a command with `--json`, in a folder of its own, and return its events."""
    program, *arguments = shlex.split(command)
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "output"
        out = run(program, *arguments, "--json", "-q", "--output", output).out
    return [json.loads(line) for line in out.splitlines()]


def named(events: Events, name: str) -> Events:
    """Return the events of a name."""
    return [event for event in events if event["event"] == name]


def ends_of(ends: Events, size: int | str) -> Events:
    """Return the ends of the runs with a batch size."""
    return [end for end in ends if end["batch_size"] == size]


def summary_of(events: Events, size: int | str) -> dict[str, Any]:
    """Return the summary of a batch size."""
    return next(each for each in named(events, "summary") if each["batch_size"] == size)


def shortened(value: object) -> object:
    """Return a number with four significant digits, an integer as it is."""
    return float(f"{value:.4g}") if isinstance(value, float) else value


def described(steps: dict[str, Any]) -> dict[str, Any]:
    """Return the contents of the file: the machine, the versions, the date, and the steps."""
    machine = this_machine()
    return {
        "machine": f"{machine['cores']} cores of {machine['processor']}",
        "version": machine["mnist_cli"],
        "torch": machine["torch"],
        "date": machine["date"],
        "steps": steps,
    }


if __name__ == "__main__":
    main()
