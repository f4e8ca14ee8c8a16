"""Processes by the hundred: forked behind the import of PyTorch, which takes a second.

Run as a program it is the nursery: for each line of JSON on standard input, a job, it forks a
process that runs one of the programs, and answers with its number; when that ends, with its code.
"""

import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from runpy import run_path
from typing import Any

MODULES = (
    *("cli.train", "cli.evaluate", "cli.predict", "cli.compare", "cli.export"),
    *(
        "output.renderers",
        "training.train",
        "evaluation.evaluate",
        "prediction.predict",
        "export.export",
        "comparison.compare",
        "output.compare_table",
        "output.compare_display",
    ),
)


@dataclass(frozen=True)
class Child:
    """A program that is running."""

    nursery: "Nursery"
    number: int

    def kill(self, number: int = signal.SIGKILL) -> None:
        os.kill(self.number, number)

    def wait(self) -> int:
        """Return its code, negative for the signal that killed it."""
        return int(self.nursery.ask({"wait": self.number}))

    def has_ended(self) -> bool:
        return bool(self.nursery.ask({"ended": self.number}))


class Nursery:
    """Starts the programs of this project in an environment."""

    def __init__(self, env: dict[str, str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=env,
        )
        self.ask({})

    def start(
        self,
        *command: str,
        folder: Path,
        env: dict[str, str] | None = None,
        stdin: Path = Path(os.devnull),
        out: Path = Path("../out"),
        err: Path = Path("../err"),
    ) -> Child:
        """Start a program in a folder; its streams are files, by default beside that."""
        streams = [str(stream) for stream in (stdin, out, err)]
        job = {"command": command, "folder": str(folder), "env": env, "streams": streams}
        return Child(self, int(self.ask(job)))

    def run(self, *command: str, **options: Any) -> int:
        return self.start(*command, **options).wait()

    def ask(self, job: dict[str, Any]) -> Any:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps(job) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def close(self) -> None:
        self._process.communicate(timeout=60)


def _become(job: dict[str, Any]) -> None:
    """Run the program in this process, which was forked for it."""
    name, *arguments = job["command"]
    os.chdir(job["folder"])
    if job["env"] is not None:
        os.environ.clear()
        os.environ.update(job["env"])
    for number, path in enumerate(job["streams"]):
        flags = os.O_RDONLY if number == 0 else os.O_WRONLY | os.O_CREAT | os.O_TRUNC
        handle = os.open(path, flags, 0o666)
        os.dup2(handle, number)
        os.close(handle)
    sys.stdin = os.fdopen(0, closefd=False)
    sys.stdout = os.fdopen(1, "w", closefd=False)
    if name == "python":  # a script, of tests that need more than the programs
        sys.argv = arguments
        run_path(arguments[0], run_name="__main__")
        return
    sys.argv = [name, *arguments]
    module = {"mnist-eval": "evaluate"}.get(name, name.removeprefix("mnist-"))
    import_module(f"mnist_cli.cli.{module}").main()


def _main() -> None:
    for module in MODULES:
        import_module(f"mnist_cli.{module}")
    ended: dict[int, int] = {}
    for line in sys.stdin:
        job = json.loads(line)
        answer: object = None
        if "command" in job:
            answer = os.fork()
            if not answer:
                try:
                    _become(job)
                except SystemExit as stop:
                    os._exit(int(stop.code or 0))
                except BaseException:
                    import traceback

                    traceback.print_exc()
                    os._exit(1)
                os._exit(0)
        elif "wait" in job or "ended" in job:
            number = job.get("wait", job.get("ended"))
            if number not in ended:
                found, status = os.waitpid(number, 0 if "wait" in job else os.WNOHANG)
                if found:
                    ended[number] = os.waitstatus_to_exitcode(status)
            answer = ended.get(number) if "wait" in job else number in ended
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    _main()
