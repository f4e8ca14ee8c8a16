"""Events in words, for people: what is about to happen, what happened, and what to do next."""

import shlex
from collections.abc import Iterator

from rich import filesize

from mnist_cli.config.inference import ExportFormat
from mnist_cli.config.options import Effect, names_where
from mnist_cli.config.sources import shown
from mnist_cli.config.train import TrainConfig
from mnist_cli.events import (
    AlignmentProbe,
    End,
    Epoch,
    Exported,
    NoiseProbe,
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
_OF_DIGITS = ("mnist", "qmnist")
_EXPORT_HINTS = {
    ExportFormat.HTML: "open it in a browser and draw",
    ExportFormat.ONNX: "pixels [N, 28, 28] of 0 to 255 go in, logits [N, 10] come out",
    ExportFormat.SAFETENSORS: "safetensors.torch.load_file reads its weights",
}


def plan_in_words(start: Start) -> str:
    """Return what is about to happen; in batch mode, also what would make it useful."""
    config = start.config
    each = f"{start.samples:,} samples → {_count(start.updates_per_epoch, 'update')} an epoch"
    where = start.device
    if start.world_size > 1:
        where += f" by {start.world_size} ranks with {_count(start.threads, 'thread')} each"
    plan = (
        f"Training {config['model']} ({start.parameters:,} parameters) on {config['dataset']} in "
        f"{start.mode} mode, on {where}: {each}, {start.updates:,} in all"
    )
    if start.first_update:
        plan += f", going on after {start.first_update:,}"
    if start.mode == "batch" and config["epochs"] < 100:
        plan += (
            f"\n{_count(start.updates, 'update')} will not take a network far. Batch mode becomes "
            "useful with hundreds of epochs, on a small network: try --config batch"
        )
    return plan


def step_in_words(step: Step, start: Start) -> str:
    """Return the loss of an update, and which update of how many it is."""
    return (
        f"Epoch [{step.epoch}/{start.config['epochs']}], "
        f"Step [{step.step}/{start.updates_per_epoch}], Loss: {step.loss:.4f}"
    )


def changes_in_words(event: Resumed) -> str:
    """Return what is not as it was before a stop, and whether that changes the result."""
    if not event.changes:
        return ""
    changes = (
        f"{name} {shown(then)} → {shown(now)}" for name, (then, now) in event.changes.items()
    )
    words = f"Changed: {', '.join(changes)}"
    if rounding := [name for name in event.changes if name in ROUNDING]:
        words += (
            f"\nWith {' and '.join(rounding)} changed, the weights will equal those of an "
            "uninterrupted training only up to rounding"
        )
    return words


def _brief(value: object) -> str:
    """Return a value for people: a text without quotes, unless it needs them."""
    if value is None:
        return "none"
    return value if isinstance(value, str) and value.isprintable() else shown(value)


def scores_in_words(event: Epoch) -> str:
    """Return an epoch's losses and accuracies."""
    return ", ".join(
        f"{split} Loss: {loss:.4f}, {split} Accuracy: {accuracy:.4f}"
        for split, loss, accuracy in _scores(event)
    )


def _scores(event: Epoch) -> Iterator[tuple[str, float, float]]:
    yield "Train", event.train_loss, event.train_accuracy
    yield "Test", event.test_loss, event.test_accuracy
    if event.val_loss is not None and event.val_accuracy is not None:
        yield "Val", event.val_loss, event.val_accuracy


def probe_in_words(event: ProbeEvent) -> str:
    """Return what a probe found, and how exact that is."""
    found = f"Probe at update {event.update:,}, "
    if isinstance(event, NoiseProbe):
        rest = f"{event.samples:,} of {event.population:,} samples"
        how = "exact" if event.exact else f"from {rest}"
        return (
            f"{found}noise scale: {event.noise_scale:,.1f} samples ({how}); "
            f"two-batch estimate {event.two_batch_noise_scale:,.1f}"
        )
    if isinstance(event, AlignmentProbe):
        return (
            f"{found}alignment of batches of {event.batch_size:,}: cosine "
            f"{event.cosine_mean:.3f} ± {event.cosine_deviation:.3f} ({event.draws} draws)"
        )
    edge = ""
    if event.stable_up_to is not None:
        edge = f"; 2 / learning rate {event.two_over_lr:.2f}"
        if event.stable_up_to != event.two_over_lr:
            edge += f", stable with this momentum up to {event.stable_up_to:.2f}"
    return (
        f"{found}sharpness: {event.sharpness:.2f} ± {event.residual:.2g} "
        f"(on {event.samples:,} samples){edge}"
    )


def summary_in_words(end: End, start: Start) -> str:
    """Return how a run ended, and the commands that go on from there; an error says the rest."""
    if end.test_accuracy is None:
        return ""
    planned = start.config["epochs"] * start.updates_per_epoch
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
        drawn, page = ("digits ", "digit.html")
        if start.config["dataset"] not in _OF_DIGITS:
            drawn, page = ("", "drawing.html")
        then = f"or draw {drawn}for it: mnist-export {path} {page}"
        if is_cut:
            then = f"or train on: mnist-train --resume {path}"
        summary += f"\nWrote {end.checkpoint}. Next: mnist-eval {path}\n{then}"
    return summary


def format_export(event: Exported) -> str:
    """Return what file was written, and what can be done with it."""
    checked = ""
    if event.largest_difference is not None:
        checked = f", with PyTorch's logits to within {event.largest_difference:.1g}"
    size = filesize.decimal(event.bytes)
    return f"Wrote {event.output} ({size}){checked}: {_EXPORT_HINTS[ExportFormat(event.format)]}"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" + ("" if number == 1 else "s")
