"""Checkpoints as files."""

from pathlib import Path

from mnist_cli.models.checkpoint import Checkpoint, encode


def save_checkpoint(checkpoint: Checkpoint, path: str | Path) -> None:
    """Write a checkpoint to a file."""
    Path(path).write_bytes(encode(checkpoint))
