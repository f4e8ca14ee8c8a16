"""The stand-in of an installed program: it runs the program in a process of the fork server.

Copies of this file, under the names of the programs, come first on the PATH of the tests. Streams,
environment, signals and the exit code are passed on. Where the way a process begins matters, the
real program takes the place of this process.
"""

import fcntl
import json
import os
import resource
import signal
import socket
import sys

# Variables that are read by the programs and not while they are imported.
PREFIXES = (
    "_MNIST_",
    "COMP_",
    "_TYPER_",
    "MNIST_",
    "TORCH_",
    "TORCHELASTIC_",
    "NCCL_",
    "SLURM_",
    "LOCAL_",
    "GROUP_",
    "ROLE_",
)
NAMES = "RANK WORLD_SIZE MASTER_ADDR MASTER_PORT RANKS JOB_COMPLETION_INDEX".split()
NAMES += "HEAD_NODE PORT SRUN_CODE".split()
NAMES += "OMP_NUM_THREADS PATH HOME PWD OLDPWD SHLVL _ LC_CTYPE".split()
NAMES += "TERM COLUMNS LINES NO_COLOR FORCE_COLOR".split()
MODULES = ("mnist_cli", "mnist_cli.cli.torchrun")
FORKED = "# forked\n"  # what `python -c` may begin with
ABOUT = {"-h", "--help", "--version", "--install-completion", "--show-completion"}
HERE = os.path.dirname(os.path.abspath(sys.argv[0]))
LIMITS = (resource.RLIMIT_FSIZE, resource.RLIMIT_AS)
MIN_OPEN_FILES = 256  # fewer are a limit of a test
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGWINCH, signal.SIGUSR1)


def is_ordinary(name: str, arguments: list[str], env: dict[str, str]) -> bool:
    """Return True if a forked process does what one that begins from scratch does."""
    first, second = [*arguments, "", ""][:2]
    is_ours = (
        not name.startswith("python")
        or (first == "-m" and second in MODULES)
        or (first == "-c" and second.startswith(FORKED))
    )
    return (
        is_ours
        and not ABOUT & {*arguments}
        and env.get("OMP_NUM_THREADS", "1") == "1"
        and env.get("LC_CTYPE", "C.UTF-8") == "C.UTF-8"  # Python itself sets it so
        and all(key in NAMES or key.startswith(PREFIXES) for key in env)
        and all(resource.getrlimit(limit)[0] == resource.RLIM_INFINITY for limit in LIMITS)
        and resource.getrlimit(resource.RLIMIT_NOFILE)[0] >= MIN_OPEN_FILES
    )


def is_open(file: int) -> bool:
    try:
        os.fstat(file)
    except OSError:
        return False
    return True


def main() -> None:
    name, arguments, env = os.path.basename(sys.argv[0]), sys.argv[1:], dict(os.environ)
    if name.startswith("python") and arguments[:1] == ["-u"]:
        arguments = arguments[1:]
    try:
        folder = os.getcwd()
    except FileNotFoundError:  # it was deleted
        folder = ""
    if not folder or not is_ordinary(name, arguments, env):
        real = os.path.join(os.readlink(f"{HERE}/real"), name)
        os.execv(real, [real, *sys.argv[1:]])
    child: int | None = None

    def forward(number: int, _frame: object) -> None:
        if child is None:
            os._exit(128 + number)
        os.kill(child, number)

    ignored = [number for number in SIGNALS if signal.getsignal(number) == signal.SIG_IGN]
    for number in {*SIGNALS} - {*ignored}:
        signal.signal(number, forward)
    files = [int(file) for file in os.listdir("/proc/self/fd")]
    files = [file for file in files if is_open(file)]
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    if connection.fileno() < 3:  # a stream is closed
        connection = socket.socket(fileno=fcntl.fcntl(connection.detach(), fcntl.F_DUPFD, 3))
    connection.connect(f"{HERE}/socket")
    umask = os.umask(0o077)
    job = {"command": [name, *arguments], "folder": folder, "env": env, "umask": umask}
    job |= {"files": files, "ignored": ignored}
    socket.send_fds(connection, [json.dumps(job).encode()], files)
    child = int(connection.recv(100))
    for file in files:  # or a reader of this program's output would wait for this process, too
        os.close(file)
    code = int(connection.recv(100))
    if code < 0:
        signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    os._exit(code)


if __name__ == "__main__":
    main()
