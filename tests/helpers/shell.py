"""The installed programs as real processes."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tests.helpers.fork_server import STAND_INS, ForkServer
from tests.helpers.stand_in import is_ordinary

BIN = Path(sys.executable).parent
TIMEOUT = 120.0  # seconds


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
        env = self.env | (env or {})
        name, *arguments = command
        if name in STAND_INS and is_ordinary(name, arguments, env):
            return self._fork(command, env, stdin)
        done = subprocess.run(
            command,
            cwd=self.folder,
            env=env,
            input=stdin,
            capture_output=True,
            timeout=TIMEOUT,
            check=False,
        )
        return Done(done.returncode, done.stdout.decode(), done.stderr.decode())

    def _fork(self, command: tuple[str, ...], env: dict[str, str], stdin: bytes) -> Done:
        """Do without a stand-in, whose start takes as long as a short program."""
        (given_end, given), (out, out_end), (err, err_end) = os.pipe(), os.pipe(), os.pipe()
        with ThreadPoolExecutor() as threads:
            try:
                streams = {"stdin": given_end, "out": out_end, "err": err_end}
                child = self.fork_server.start(*command, folder=self.folder, env=env, **streams)
            finally:
                for end in (given_end, out_end, err_end):
                    os.close(end)
            threads.submit(write, given, stdin)
            texts = threads.map(read, (out, err))
            return Done(child.wait(TIMEOUT), *texts)

    def bash(self, script: str, env: dict[str, str] | None = None) -> Done:
        return self("bash", "-o", "pipefail", "-c", script, env=env)

    def train(self, *options: str, env: dict[str, str] | None = None) -> Done:
        """Train something small: a softmax regression on 640 samples, unless told otherwise."""
        return self("mnist-train", *options, env={**SMALL, **(env or {})})


def write(stream: int, data: bytes) -> None:
    """Write all to a pipe, as far as there is a reader."""
    with suppress(BrokenPipeError), open(stream, "wb") as file:
        file.write(data)


def read(stream: int) -> str:
    """Return all that comes through a pipe."""
    with open(stream, "rb") as file:
        return file.read().decode()


SMALL = {"MNIST_MODEL": "linear", "MNIST_SUBSET": "640", "MNIST_EPOCHS": "1"}
