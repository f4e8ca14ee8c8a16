"""A fork server: programs that are forked from a process that has imported PyTorch already.

Importing PyTorch takes more than a second, and most of the tests start a program or several. Run as
a program, this module is the server: it imports `MODULES`, and forks for each connection to its
socket. `stand_in.py` is the other end in shell scripts: it stands in the place of `mnist-train` and
the like, and takes streams, environment and signals to the forked process.
"""

import atexit
import contextlib
import fcntl
import gc
import json
import multiprocessing.util
import os
import selectors
import signal
import socket
import sys
import traceback
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from runpy import run_module, run_path
from types import ModuleType
from typing import Any

from filelock import FileLock

MODULES = (
    *(
        f"mnist_cli.cli.{name}"
        for name in ("train", "evaluate", "predict", "compare", "export", "lesson")
    ),
    "mnist_cli.cli.entry_points",
    "mnist_cli.training.train",
    "mnist_cli.evaluation.evaluate",
    "mnist_cli.prediction.predict",
    "mnist_cli.export.export",
    "mnist_cli.comparison.compare",
    "mnist_cli.output.compare_display",
    "torch.distributed.run",
    # What the programs import when they need it, and what that imports in its turn.
    "mnist_cli.output.train_display",
    "mnist_cli.output.renderers",
    "mnist_cli.output.figures.style",
    "jinja2",
    "typer._adapters",
    "torch._dynamo",  # two seconds, for the gradients of single samples
)
PROGRAMS = {
    "mnist": "mnist",
    "mnist-train": "train",
    "mnist-eval": "evaluate",
    "mnist-predict": "predict",
    "mnist-compare": "compare",
    "mnist-export": "export",
    "mnist-lesson": "lesson",
}
STAND_INS = (*PROGRAMS, "python", "python3")
# A fork copies the page table of the server, which has a hundredth of the entries with these.
LARGE_PAGES = {"PYTHONMALLOC": "malloc", "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}
USE = b"use"
MOST_BYTES = 1 << 18  # of a message: a command and its environment
MOST_FILES = 64


@dataclass
class Child:
    """A program that is running; it is killed when this is closed."""

    connection: socket.socket
    number: int
    code: int | None = field(default=None)

    def kill(self, number: int = signal.SIGKILL) -> None:
        os.kill(self.number, number)

    def wait(self, patience: float | None = None) -> int:
        """Return its exit code, negative for the signal that killed it.

        Raises:
            TimeoutError: it has not ended within `patience` seconds, and was killed.

        """
        if self.code is None:
            self.connection.settimeout(patience)
            with self.connection:  # when this is closed, the server kills what has not ended
                self.code = int(self.connection.recv(MOST_BYTES))
        return self.code

    def has_ended(self) -> bool:
        """Return True if it has ended; until `wait`, its process number stays its own."""
        if self.code is not None:
            return True
        with contextlib.suppress(BlockingIOError):
            self.connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
            return True
        return False


class ForkServer:
    """Starts the programs of this project in an environment, and scripts of the tests.

    The server runs as long as one of the parallel workers of a test run uses it.
    """

    def __init__(self, env: dict[str, str], folder: Path) -> None:
        """Start the server if need be; `folder` has its socket and stand-ins of the programs."""
        self.env = env
        self.folder = folder
        self.address = str(folder / "socket")
        with FileLock(folder / "lock"):
            try:
                self._use = self._connect()
            except OSError:
                self._launch()
                self._use = self._connect()
            self._use.send(USE)

    def _connect(self) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            connection.connect(self.address)
        except OSError:
            connection.close()
            raise
        return connection

    def _launch(self) -> None:
        if not (self.folder / "real").exists():
            self.make_stand_ins()
        Path(self.address).unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
            listener.bind(self.address)
            listener.listen(64)
            listener.set_inheritable(True)
            arguments = [__file__, str(listener.fileno()), str(self.folder / "python")]
            os.posix_spawn(sys.executable, [sys.executable, *arguments], self.env | LARGE_PAGES)

    def close(self) -> None:
        self._use.close()

    def make_stand_ins(self) -> None:
        """Write stand-ins of the installed programs, to come first on the PATH."""
        (self.folder / "real").symlink_to(Path(sys.executable).parent)
        source = Path(__file__).with_name("stand_in.py").read_text()
        for name in STAND_INS:
            path = self.folder / name
            path.write_text(f"#!{sys.executable} -SE\n{source}")
            path.chmod(0o755)

    def start(
        self,
        *command: str,
        folder: Path,
        env: dict[str, str] | None = None,
        stdin: Path | int = Path(os.devnull),
        out: Path | int = Path("../out"),
        err: Path | int = Path("../err"),
    ) -> Child:
        """Start a program in a folder; its output goes to files, by default beside that."""
        with contextlib.ExitStack() as stack:
            files = []
            for file, mode in ((stdin, "rb"), (out, "wb"), (err, "wb")):
                is_open = isinstance(file, int)
                path = file if is_open else folder / file
                files.append(stack.enter_context(open(path, mode, closefd=not is_open)))
            connection = self._connect()
            job = {"command": command, "folder": str(folder), "env": env or self.env}
            job |= {"umask": 0o022, "files": [0, 1, 2], "ignored": []}
            message = json.dumps(job).encode()
            socket.send_fds(connection, [message], [file.fileno() for file in files])
        return Child(connection, int(connection.recv(MOST_BYTES)))

    def run(self, *command: str, **options: Any) -> int:
        return self.start(*command, **options).wait()


class Server:
    """The process that forks."""

    def __init__(self, listener: socket.socket, python: str) -> None:
        self.listener = listener
        self.python = python  # what the programs start as Python
        self.ready = selectors.DefaultSelector()
        self.children: dict[socket.socket, int] = {}
        self.uses = 0

    def serve(self) -> None:
        """Fork for each connection, until nobody uses this server any longer."""
        self.ready.register(self.listener, selectors.EVENT_READ, self.accept)
        while True:
            for key, _ in self.ready.select():
                key.data(key.fileobj)

    def accept(self, listener: socket.socket) -> None:
        connection, _ = listener.accept()
        self.ready.register(connection, selectors.EVENT_READ, self.fork)

    def fork(self, connection: socket.socket) -> None:
        """Start the program that a message asks for, and answer with its process number."""
        message, files, *_ = socket.recv_fds(connection, MOST_BYTES, MOST_FILES)
        self.ready.unregister(connection)
        if message == USE:
            self.uses += 1
            self.ready.register(connection, selectors.EVENT_READ, self.end_use)
            return
        number = os.fork() if message else None
        if number == 0:
            self.listener.close()
            self.ready.close()
            for other in (*self.children, connection):
                other.close()
            run_and_exit(json.loads(message), files, self.python)
        for file in files:
            os.close(file)
        if not number:
            connection.close()
            return
        self.children[connection] = number
        self.ready.register(connection, selectors.EVENT_READ, self.end)
        ended = os.pidfd_open(number)
        self.ready.register(ended, selectors.EVENT_READ, lambda _: self.tell(connection, ended))
        connection.send(str(number).encode())

    def end_use(self, connection: socket.socket) -> None:
        self.ready.unregister(connection)
        connection.close()
        self.uses -= 1
        if not self.uses:
            os._exit(0)

    def tell(self, connection: socket.socket, ended: int) -> None:
        """Send the exit code of a process that has ended; it stays a zombie."""
        self.ready.unregister(ended)
        os.close(ended)
        if connection not in self.children:  # killed since nobody waited for it
            return
        status = os.waitid(os.P_PID, self.children[connection], os.WEXITED | os.WNOWAIT)
        assert status
        code = status.si_status if status.si_code == os.CLD_EXITED else -status.si_status
        with contextlib.suppress(OSError):
            connection.send(str(code).encode())

    def end(self, connection: socket.socket) -> None:
        """Kill a process that nobody waits for any longer, if it has not ended."""
        self.ready.unregister(connection)
        number = self.children.pop(connection)
        os.kill(number, signal.SIGKILL)
        os.waitpid(number, 0)
        connection.close()


def run_and_exit(job: dict[str, Any], files: list[int], python: str) -> None:
    """Run a program in this process, which was forked for it, and end as the interpreter does."""
    code: object = None
    try:
        become(job, files)
        sys.executable = python
        run(*job["command"])
    except SystemExit as stop:
        code = stop.code
        if isinstance(code, str):
            print(code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
        code = 1
    code = code if isinstance(code, int) else int(code is not None)
    try:
        atexit._run_exitfuncs()
        for stream in filter(None, (sys.stdout, sys.stderr)):
            stream.flush()
    except BaseException:
        traceback.print_exc()
        code = 120
    os._exit(code)


def become(job: dict[str, Any], files: list[int]) -> None:
    """Take over the folder, the environment, the ignored signals and the open files of a job."""
    os.chdir(job["folder"])
    os.umask(job["umask"])
    for number in job["ignored"]:
        signal.signal(number, signal.SIG_IGN)
    os.environ.clear()
    os.environ.update(job["env"])
    beyond = [fcntl.fcntl(file, fcntl.F_DUPFD, 1000) for file in files]
    os.closerange(0, 1000)
    for file, target in zip(beyond, job["files"], strict=True):
        os.dup2(file, target)
        os.close(file)
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        errors, stream = getattr(sys, name).errors, None
        if number in job["files"]:
            mode = "w" if number else "r"
            buffering = 1 if number == 2 or os.isatty(number) else -1
            stream = open(number, mode, buffering, errors=errors, closefd=False)  # noqa: SIM115
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)


def run(name: str, *arguments: str) -> None:
    """Run an installed program, a module (`python -m`) or a script of the tests."""
    if name in PROGRAMS:
        sys.argv = [name, *arguments]
        getattr(import_module("mnist_cli.cli.entry_points"), PROGRAMS[name])()
    elif arguments[0] == "-c":
        sys.argv = ["-c", *arguments[2:]]
        module = sys.modules["__main__"] = ModuleType("__main__")
        exec(compile(arguments[1], "<string>", "exec"), module.__dict__)
    elif arguments[0] == "-m":
        sys.argv = [*arguments[1:]]
        sys.path.insert(0, "")
        run_module(arguments[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = [*arguments]
        sys.path.insert(0, str(Path(arguments[0]).parent))
        run_path(arguments[0], run_name="__main__")


def main(descriptor: int, python: str) -> None:
    """Import, and serve."""
    del sys.path[0]  # the folder of this file
    for module in MODULES:
        import_module(module)
    gc.freeze()  # or the first collection in each process copies everything
    atexit._clear()  # PyTorch's functions take longer than a short program
    atexit.register(multiprocessing.util._exit_function)
    with socket.socket(fileno=descriptor) as listener:
        Server(listener, python).serve()


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
