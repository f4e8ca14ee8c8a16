"""The installed programs as real processes."""

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.helpers.fork_server import ForkServer

BIN = Path(sys.executable).parent


@dataclass(frozen=True)
class Done:
    """What a finished process returned."""

    code: int
    out: str
    err: str


@dataclass(frozen=True)
class Shell:
    """Runs installed programs in a folder, without a terminal, with the data in place."""

    folder: Path
    env: dict[str, str]
    fork_server: ForkServer

    def __call__(
        self, *command: str, env: dict[str, str] | None = None, stdin: bytes = b""
    ) -> Done:
        """Run a command; the programs of this project are forked from the fork server."""
        done = subprocess.run(
            command,
            cwd=self.folder,
            env=self.env | (env or {}),
            input=stdin,
            capture_output=True,
            timeout=120,
            check=False,
        )
        return Done(done.returncode, done.stdout.decode(), done.stderr.decode())

    def bash(self, script: str, env: dict[str, str] | None = None) -> Done:
        return self("bash", "-o", "pipefail", "-c", script, env=env)

    def train(self, *options: str, env: dict[str, str] | None = None) -> Done:
        """Train something small: a softmax regression on 640 samples, unless told otherwise."""
        return self("mnist-train", *options, env={**SMALL, **(env or {})})


SMALL = {"MNIST_MODEL": "linear", "MNIST_SUBSET": "640", "MNIST_EPOCHS": "1"}
