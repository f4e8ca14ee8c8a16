"""torchrun with exit codes: `python -m mnist_cli.cli.torchrun OPTIONS -m mnist_cli train …`.

It is PyTorch's torchrun, with the same options. That one ends with 1 whatever happened, under a
page of its own stack; this one ends with the code of the program that it started, which has said
what happened. A signal ends it with 128 and its number, once the program has saved its state.
"""

import logging
import os
import signal
import sys

from mnist_cli.errors import ExitCode

_QUIET = {
    "torch.distributed.run": logging.ERROR,  # that it sets OMP_NUM_THREADS
    "torch.distributed.elastic.agent.server.api": logging.ERROR,  # that it was told to end
    "torch.distributed.elastic.multiprocessing.api": logging.CRITICAL,  # that a rank failed
}


# The launchers of several machines would go on telling each other where the ranks met at first, and
# nothing to one that comes back: all would end after a minute of waiting for it.
_MEET_ANEW = "TORCH_DISABLE_SHARE_RDZV_TCP_STORE"


def main(arguments: list[str]) -> int:
    """Run torchrun, and return the exit code."""
    for number in (signal.SIGINT, signal.SIGTERM):  # until torchrun has ranks to pass them on to
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)  # nothing is to be tidied up, and it may block
    os.environ.setdefault(_MEET_ANEW, "1")
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "FATAL")  # or it prints its stack
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
