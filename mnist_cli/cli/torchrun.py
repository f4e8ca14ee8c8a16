"""torchrun with exit codes: `python -m mnist_cli.cli.torchrun OPTIONS -m mnist_cli train …`.

Plain torchrun exits with 1 on any error and prints its own stack trace. This wrapper takes the same
options and exits with the program's exit code. After a signal it exits with 128 plus the number of
the signal, once the program has saved its state.
"""

import logging
import os
import signal
import sys

from mnist_cli.errors import ExitCode

_QUIET = {
    "torch.distributed.run": logging.ERROR,  # "Setting OMP_NUM_THREADS"
    "torch.distributed.elastic.agent.server.api": logging.ERROR,  # "Received signal"
    "torch.distributed.elastic.multiprocessing.api": logging.CRITICAL,  # "failed (exitcode ..."
}
# By default the launchers of several machines keep using the store of the first rendezvous, which a
# launcher that comes back does not know: all of them would give up after a minute.
_NEW_STORE = "TORCH_DISABLE_SHARE_RDZV_TCP_STORE"


def main(arguments: list[str]) -> int:
    """Run torchrun, and return the exit code."""
    for number in (signal.SIGINT, signal.SIGTERM):  # until torchrun installs its own handlers
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)  # nothing to clean up, and a wait may block
    os.environ.setdefault(_NEW_STORE, "1")
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "FATAL")  # otherwise it prints its stack
    from torch.distributed.elastic.multiprocessing import SignalException  # noqa: PLC0415 (torch)
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError  # noqa: PLC0415
    from torch.distributed.elastic.rendezvous import RendezvousError  # noqa: PLC0415
    from torch.distributed.run import main as torchrun  # noqa: PLC0415

    for name, level in _QUIET.items():
        logging.getLogger(name).setLevel(level)
    try:
        torchrun(arguments)
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        if failure.exitcode < 0:
            print(f"error: rank {rank} was killed by signal {-failure.exitcode}", file=sys.stderr)  # noqa: T201
            return 128 - failure.exitcode
        return failure.exitcode
    except RendezvousError as error:
        reason = " ".join(str(error).partition(" See inner")[0].split())[:200]
        print(  # noqa: T201
            f"error: the launchers lost each other: {reason}\n"
            "start the same command on all machines again, first where they meet",
            file=sys.stderr,
        )
        return ExitCode.TERMINATED
    except SignalException as stopped:
        return 128 + int(stopped.sigval)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
