"""The messages about events that people read.

The displays call `format_event`. The message for a new event is a new case there; only the result
of a probe is worded elsewhere, in the class of the probe.
"""

import shlex
from collections.abc import Iterator

from rich import filesize

from mnist_cli.config.network_file import is_named, named_file
from mnist_cli.config.options import OFF, Effect, names_where
from mnist_cli.config.own_data import shown_data
from mnist_cli.config.programs import ExportFormat
from mnist_cli.config.quoting import quote
from mnist_cli.config.registry import network_name
from mnist_cli.config.train import TrainConfig
from mnist_cli.data.catalogue import subject_of
from mnist_cli.events import (
    End,
    Epoch,
    Event,
    Exported,
    LessonWritten,
    ProbeEvent,
    Resumed,
    Start,
    Step,
)

# Options and versions that change the order in which sums are computed.
ROUNDING = {
    *names_where(TrainConfig, lambda about: about.effect is Effect.ROUNDING),
    *("ranks", "torch"),
}
_EXPORT_HINTS = {
    ExportFormat.HTML: "open it in a browser and draw",
    ExportFormat.ONNX: "pixels [N, 28, 28] of 0 to 255 go in, logits come out",
    ExportFormat.SAFETENSORS: "safetensors.torch.load_file reads its weights",
}


def format_event(event: Event, start: Start) -> str:
    """Return the message for an event of the run that `start` began; empty if it has none."""
    match event:
        case Start():
            message = format_start(event)
        case Resumed():
            message = format_changes(event)
        case Step():
            message = format_step(event, start)
        case ProbeEvent():
            message = format_probe(event)
        case Epoch():
            message = format_epoch(event, start)
        case End():
            message = format_summary(event, start)
        case _:  # such as Progress, which only moves a bar
            message = ""
    return message


def format_start(start: Start) -> str:
    """Return a description of the training; for short runs in batch mode, also a hint."""
    config = start.config
    each = f"{start.samples:,} samples → {_count(start.updates_per_epoch, 'update')}"
    each += " an epoch" if config["batch_schedule"] == OFF else " in the first epoch"
    where = start.device
    if start.world_size > 1:
        where += f" by {start.world_size} ranks with {_count(start.threads, 'thread')} each"
    network = network_name(config["model"], config.get("members", 1))
    dataset = shown_data(config["dataset"])
    plan = (
        f"Training {network} ({start.parameters:,} parameters) on {dataset} in "
        f"{start.mode} mode, on {where}: {each}, {start.updates:,} in all"
    )
    if start.first_update:
        plan += f", going on after {start.first_update:,}"
    if start.mode == "batch" and config["epochs"] < 100:
        # The preset's network may be the one in use.
        advice = "--epochs 200" if config["model"] in ("linear", "mlp") else "--config batch"
        plan += (
            f"\n{_count(start.updates, 'update')} will not take a network far. Batch mode becomes "
            f"useful with hundreds of epochs, on a small network: try {advice}"
        )
    return plan


def format_step(step: Step, start: Start) -> str:
    """Return the loss line of an update: `Epoch [1/5], Step [100/938], Loss: 0.1234`."""
    return (
        f"Epoch [{step.epoch}/{start.config['epochs']}], "
        f"Step [{step.step}/{step.updates_per_epoch}], Loss: {step.loss:.4f}"
    )


def format_changes(event: Resumed) -> str:
    """Return the options that changed since the training was stopped, and their consequence."""
    if not event.changes:
        return ""
    changes = (
        f"{name} {quote(then)} → {quote(now)}" for name, (then, now) in event.changes.items()
    )
    message = f"Changed: {', '.join(changes)}"
    if rounding := [name for name in event.changes if name in ROUNDING]:
        message += (
            f"\nWith {' and '.join(rounding)} changed, the weights will equal those of an "
            "uninterrupted training only up to rounding"
        )
    return message


def format_epoch(event: Epoch, start: Start) -> str:
    """Return the losses and accuracies of an epoch, and the noise scale if it was estimated."""
    metrics = ", ".join(
        f"{split} Loss: {loss:.4f}, {split} Accuracy: {accuracy:.4f}"
        for split, loss, accuracy in _metrics(event)
    )
    if event.noise_scale_estimate is not None:
        error = event.noise_scale_estimate_error
        metrics += f", Noise Scale: {event.noise_scale_estimate:,.0f} ± {error:,.0f}"
    return f"Epoch [{event.epoch}/{start.config['epochs']}], {metrics}"


def _metrics(event: Epoch) -> Iterator[tuple[str, float, float]]:
    yield "Train", event.train_loss, event.train_accuracy
    yield "Test", event.test_loss, event.test_accuracy
    if event.val_loss is not None and event.val_accuracy is not None:
        yield "Val", event.val_loss, event.val_accuracy


def format_probe(event: ProbeEvent) -> str:
    """Return the result of a probe and its uncertainty."""
    return f"Probe at update {event.update:,}, {event.summary()}"


def format_summary(end: End, start: Start) -> str:
    """Return the result of a run and the next commands; empty if an error reports its end."""
    if end.test_accuracy is None:
        return ""
    planned = start.planned_updates
    is_cut = end.reason in ("max-updates", "max-seconds") and end.update < planned
    updates = f"{end.update:,} of {planned:,} updates" if is_cut else _count(end.update, "update")
    if start.first_update:
        updates += f" ({end.update - start.first_update:,} of them now)"
    budget = "" if end.reason == "completed" else f", stopped by --{end.reason}"
    summary = (
        f"Test Accuracy: {end.test_accuracy:.4f} after {updates}, "
        f"{end.train_seconds:.1f} s of training{budget}"
    )
    if end.checkpoint and end.checkpoint != "-":
        path = shlex.quote(end.checkpoint)
        model = start.config["model"]
        if is_named(model):
            path += f" --model {shlex.quote(named_file(model).model)}"
        if is_cut:
            alternative = f"or train on: mnist-train --resume {path}"
        elif is_named(model):
            alternative = f"or predict your own digits: mnist-predict {path} IMAGE"
        elif _shows_digits(start.config["dataset"]):
            alternative = f"or draw digits for it: mnist-export {path} digit.html"
        else:
            alternative = f"or draw for it: mnist-export {path} drawing.html"
        summary += f"\nWrote {end.checkpoint}. Next: mnist-eval {path}\n{alternative}"
    return summary


def _shows_digits(dataset: str) -> bool:
    from mnist_cli.data.own.named import known_data  # noqa: PLC0415 (torch)

    known = known_data(dataset)
    return subject_of(known.origin.classes if known else (), dataset) == "digit"


def format_export(event: Exported) -> str:
    """Return the file that was written, and a hint how to use it."""
    checked = ""
    if event.largest_difference is not None:
        checked = f", with PyTorch's logits to within {event.largest_difference:.1g}"
    size = filesize.decimal(event.bytes)
    return f"Wrote {event.output} ({size}){checked}: {_EXPORT_HINTS[ExportFormat(event.format)]}"


def format_lesson(event: LessonWritten) -> str:
    """Return the page that was written, and a hint how to use it."""
    size = filesize.decimal(event.bytes)
    return f"Wrote {event.output} ({size}): open it in a browser; it works offline"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" + ("" if number == 1 else "s")
