"""What the tests of ranks share."""

from pathlib import Path

import pytest
from conftest import Shell

from ranks.launching import Launcher


@pytest.fixture
def launcher(shell: Shell) -> Launcher:
    return Launcher(shell.nursery, shell.env, shell.folder)


@pytest.fixture
def folder(shell: Shell) -> Path:
    """Return the folder that the ranks run in."""
    return shell.folder
