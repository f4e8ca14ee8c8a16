"""A page with the lesson's worker and real samples, shared by the tests."""

from collections.abc import Iterator
from typing import Any

import pytest

from mnist_cli.data.splits import Dataset, Split
from tests.output.lesson.helpers import WorkerPage


@pytest.fixture(scope="session")
def samples(mnist: Dataset) -> Dataset:
    """Return what a page holds: 2,000 training and 1,000 test samples."""
    return Dataset(Split(*mnist.train[:2000]), Split(*mnist.test[:1000]))


@pytest.fixture(scope="module")
def page(
    browser: Any, samples: Dataset, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[WorkerPage]:
    view = browser.new_page()
    yield WorkerPage(view, tmp_path_factory.mktemp("worker"), samples.train, samples.test)
    view.close()
