"""The installed programs as real processes."""

import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tests.helpers.nursery import Nursery

BIN = Path(sys.executable).parent


@dataclass(frozen=True)
class Done:
    """What a finished process returned."""

    code: int
    out: str
    err: str


PROGRAMS = ("mnist-train", "mnist-eval", "mnist-predict", "mnist-compare", "mnist-export")


@dataclass(frozen=True)
class Shell:
    """Runs installed programs in a folder, without a terminal, with the data in place."""

    folder: Path
    env: dict[str, str]
    nursery: Nursery

    def __call__(
        self, *command: str, env: dict[str, str] | None = None, stdin: bytes = b""
    ) -> Done:
        """Run a command; a program that begins as always is forked behind its imports."""
        whole = self.env | (env or {})
        as_always = all(key.startswith("MNIST_") for key in env or {})
        if command[0] in PROGRAMS and as_always and not {"--help", "--version"} & {*command}:
            with tempfile.TemporaryDirectory() as place:
                given, out, err = (Path(place) / name for name in ("stdin", "out", "err"))
                given.write_bytes(stdin)
                streams = {"stdin": given, "out": out, "err": err}
                child = self.nursery.start(*command, folder=self.folder, env=whole, **streams)
                return Done(child.wait(), out.read_bytes().decode(), err.read_bytes().decode())
        done = subprocess.run(
            command,
            cwd=self.folder,
            env=whole,
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
