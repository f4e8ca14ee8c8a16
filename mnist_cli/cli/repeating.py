"""The same training again: the options of a checkpoint, and the check that its weights come out."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mnist_cli.config.options import Effect, names_where
from mnist_cli.config.quoting import printable, quote
from mnist_cli.config.reading import expand_home, read_input
from mnist_cli.config.sources import Source, flag
from mnist_cli.config.train import TrainConfig
from mnist_cli.errors import ThresholdNotMetError, UsageError

if TYPE_CHECKING:
    from mnist_cli.events import End, Start
    from mnist_cli.models.checkpoint import Checkpoint

_ZIP = b"PK\x03\x04"  # how a file of `torch.save` begins
_DIGEST = re.compile("[0-9a-f]{8,64}")


def is_checkpoint(named: str | None) -> bool:
    """Return True if `--config` names a file that begins as a checkpoint does."""
    if named is None or named == "-":
        return False
    try:
        path = Path(expand_home(named))
        return path.is_file() and read_input(path, len(_ZIP))[0] == _ZIP
    except (OSError, ValueError):  # what reads it as TOML tells why
        return False


def options_source(named: str, checkpoint: "Checkpoint", sources: Iterable[Source]) -> Source:
    """Return the options of a checkpoint's training as a source of options.

    Options that name places and files are left out: the checkpoint may come from somebody else.

    Raises:
        UsageError: the training began with other weights, which the `sources` do not name.

    """
    left_out = names_where(
        TrainConfig, lambda about: about.effect is Effect.PLACE or about.is_path or about.by_machine
    )
    options = asdict(checkpoint.config)
    for name in ("init", "teacher"):
        if options[name] is not None and not any(name in source.values for source in sources):
            raise UsageError(
                f"--config {printable(named)}: that training took the weights of another "
                f"checkpoint; give it: {flag(name)} CHECKPOINT"
            )
    values = {k: v for k, v in options.items() if k not in left_out and v is not None}
    return Source(values, lambda name: f"{printable(named)}: {name}", printable(named), typed=True)


def expected_digest(text: str | None) -> str | None:
    """Return the digest that `--expect-weights` names, or the beginning of it.

    Raises:
        UsageError: it is not hexadecimal, or shorter than eight digits.

    """
    if text is None:
        return None
    digest = text.strip().lower()
    if not _DIGEST.fullmatch(digest):
        raise UsageError(
            f"--expect-weights {quote(text)} is not a SHA-256: 64 hexadecimal digits, or the first "
            "8 or more of them; mnist-eval --json prints it as weights_sha256"
        )
    return digest


def check_weights(
    expected: str | None,
    then: "Checkpoint | None",
    start: "Start",
    end: "End",
    now: Mapping[str, str],
) -> None:
    """Raise ThresholdNotMetError if a training did not end with the expected weights.

    `now` is what the exact result depends on besides the options, and `then` the checkpoint whose
    training was to be repeated, if it is known.
    """
    found = end.weights_sha256
    if expected is None or (found is not None and found.startswith(expected)):
        return
    from mnist_cli.models.networks import weights_sha256  # noqa: PLC0415 (torch)

    why = _why(start.config, now, then)
    if then is not None and found == weights_sha256(then.weights):
        why = "they are those of the checkpoint that --config names; was another one meant?"
    raise ThresholdNotMetError(f"the weights have the SHA-256 {found}, not {expected}\n{why}")


def _why(options: Mapping[str, Any], now: Mapping[str, str], then: "Checkpoint | None") -> str:
    """Return what differs between then and now, or what the result depends on."""
    if then is None:
        facts = ", ".join(f"{name} {value}" for name, value in now.items())
        return f"they depend on the options, and on {facts}"
    from mnist_cli.training.compatibility import changed_options, differences  # noqa: PLC0415 (torch)

    known = {name: value for name, value in now.items() if name in then.versions}
    config = TrainConfig(**{k: v for k, v in options.items() if k in asdict(then.config)})
    places = names_where(TrainConfig, lambda about: about.effect is Effect.PLACE)
    changed = {k: v for k, v in changed_options(config, then.config).items() if k not in places}
    changed |= differences({name: then.versions[name] for name in known}, known)
    pairs = [
        f"{name} {_shown(was)}, now {_shown(present)}" for name, (was, present) in changed.items()
    ]
    if pairs:
        return f"what differs from then: {'; '.join(pairs)}"
    return "options, versions, threads and processor are those of then; was the data the same?"


def _shown(value: object) -> str:
    return "unknown" if value is None else printable(str(value))
