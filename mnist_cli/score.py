"""One evaluation, from checkpoint to event."""

import time

from mnist_cli.checkpoint import Checkpoint, load_checkpoint
from mnist_cli.data import Split, load_dataset, load_test, part
from mnist_cli.digest import weights_sha256
from mnist_cli.errors import UsageError
from mnist_cli.evaluation import evaluate
from mnist_cli.events import ClassScore, Evaluated
from mnist_cli.runtime import pick_device, threads_for
from mnist_cli.team import Team
from mnist_cli.uses import EvalConfig


def score(path: str, config: EvalConfig) -> Evaluated:
    """Return the scores of a checkpoint on a split.

    Raises:
        CheckpointError, DataError: see `load_checkpoint` and `load_dataset`.
        UsageError: the device is not there, or the run held nothing out for validation.

    """
    began = time.perf_counter()
    device = pick_device(config.device)
    checkpoint = load_checkpoint(path)
    split = _split(checkpoint, config).to(device)
    model = checkpoint.build_model().to(device)
    result = evaluate(model, split, config.batch_size, Team(threads_for(device)))
    samples = result.confusion.sum(1).tolist()
    scores = zip(samples, result.precision, result.recall, result.f1, strict=True)
    return Evaluated(
        seconds=time.perf_counter() - began,
        checkpoint=path,
        split=config.split,
        samples=result.samples,
        correct=result.correct,
        accuracy=result.accuracy,
        loss=result.loss,
        weights_sha256=weights_sha256(checkpoint.weights),
        per_class=[ClassScore(digit, *figures) for digit, figures in enumerate(scores)],
        confusion=result.confusion.tolist(),
    )


def _split(checkpoint: Checkpoint, config: EvalConfig) -> Split:
    """Return the samples to score; train and val are parted as the training parted them."""
    trained = checkpoint.config
    dataset = config.dataset or trained.dataset
    if config.split == "test":
        return load_test(dataset, config.data_dir)
    if dataset != trained.dataset:
        raise UsageError(
            f"--split {config.split} is a part of {trained.dataset}, which the checkpoint was "
            f"trained on; leave --dataset {dataset} out"
        )
    train, val = part(
        load_dataset(dataset, config.data_dir).train,
        val_size=trained.val_size,
        subset=trained.subset,
        seed=trained.seed,
    )
    if config.split == "train":
        return train
    if not len(val):
        raise UsageError(
            "--split val: this training held no samples out; train with --val-size 5000"
        )
    return val
