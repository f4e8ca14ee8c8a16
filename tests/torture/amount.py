"""How much the torture tests do: a little in `make test`, all of it in `make torture`."""

import os

LONG = bool(os.environ.get("MNIST_TORTURE"))


def count(short: int, long: int) -> int:
    """Return how many cases to try."""
    return long if LONG else short
