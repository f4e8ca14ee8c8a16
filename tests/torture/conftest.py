"""How much the torture tests do: a little in `make test`, all of it in `make torture`."""

import os
from collections.abc import Iterator

import pytest
from nursery import Nursery

LONG = bool(os.environ.get("MNIST_TORTURE"))


def count(short: int, long: int) -> int:
    """Return how many cases to try."""
    return long if LONG else short


@pytest.fixture
def nursery(clean_env: dict[str, str]) -> Iterator[Nursery]:
    made = Nursery(clean_env)
    yield made
    made.close()
