"""The batch sizes of a training whose batch grows: the value of `--batch-schedule`."""

from mnist_cli.config.options import MAX_INT, OFF
from mnist_cli.config.quoting import quote
from mnist_cli.errors import UsageError


def growing_sizes(schedule: str) -> tuple[int, ...]:
    """Return the batch sizes of a schedule A:B, each twice the one before; none for `off`.

    Raises:
        UsageError: it is no schedule.

    """
    if schedule == OFF:
        return ()
    ends = schedule.split(":")
    if len(ends) == 2 and all(_is_size(end) for end in ends):
        first, last = map(int, ends)
        doublings = (last // first).bit_length() - 1
        if doublings > 0 and first << doublings == last:
            return tuple(first << place for place in range(doublings + 1))
    raise UsageError(
        f"--batch-schedule {quote(schedule)} is neither '{OFF}' nor two batch sizes A:B, the "
        "second of which is the first times 2, 4, 8 or so on; try 64:1024"
    )


def _is_size(text: str) -> bool:
    return text.isascii() and text.isdigit() and text[0] != "0" and int(text) <= MAX_INT


def problems_of_epochs(schedule: str, epochs: int) -> list[str]:
    """Return what is wrong with a schedule over so many epochs.

    Raises:
        UsageError: see `growing_sizes`.

    """
    sizes = growing_sizes(schedule)
    if len(sizes) <= epochs:
        return []
    return [
        f"--batch-schedule {schedule} has {len(sizes)} sizes, each for an epoch at least, which "
        f"--epochs {epochs} has not; ask for --epochs {len(sizes)}, or for fewer sizes"
    ]


def check_enough_samples(schedule: str, samples: int) -> None:
    """Raise UsageError if a batch of a schedule is larger than the training set."""
    sizes = growing_sizes(schedule)
    if sizes and sizes[-1] > samples:
        raise UsageError(
            f"--batch-schedule {schedule}: {sizes[-1]} is more than the {samples:,} training "
            "samples; end with a smaller size"
        )
