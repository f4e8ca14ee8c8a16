"""torchrun with exit codes: `python -m mnist_cli.cli.torchrun OPTIONS -m mnist_cli train …`.

Plain torchrun exits with 1 on any error and prints its own stack trace. This wrapper takes the same
options and exits with the program's exit code, after a signal once the program has saved its state.
On one machine it listens on the loopback interface only.
"""

import logging
import os
import sys
from importlib import import_module
from typing import Any

from mnist_cli.cli.entry_points import exit_at_once_on_signals
from mnist_cli.config.quoting import escape_controls
from mnist_cli.errors import SIGNAL_CODES, ExitCode, MnistError

_QUIET = {
    "torch.distributed.run": logging.ERROR,  # "Setting OMP_NUM_THREADS"
    "torch.distributed.elastic.agent.server.api": logging.ERROR,  # "Received signal"
    "torch.distributed.elastic.rendezvous.dynamic_rendezvous": logging.ERROR,  # "failed to"
    "torch.distributed.elastic.multiprocessing.api": logging.CRITICAL,  # "failed (exitcode ..."
}
# By default the launchers of several machines keep using the store of the first rendezvous, which a
# launcher that comes back does not know: all of them would give up after a minute.
_NEW_STORE = "TORCH_DISABLE_SHARE_RDZV_TCP_STORE"


def main(arguments: list[str]) -> int:
    """Run torchrun, and return the exit code."""
    exit_at_once_on_signals()  # until torchrun installs its own handlers
    from mnist_cli.cli.program import check_machine, print_error  # noqa: PLC0415 (signals first)

    try:
        check_machine()
        return _launch(arguments)
    except MnistError as error:
        print_error(str(error))
        return error.code


def _launch(arguments: list[str]) -> int:
    os.environ.setdefault(_NEW_STORE, "1")
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "FATAL")  # otherwise it prints its stack
    from torch.distributed.elastic.multiprocessing import SignalException  # noqa: PLC0415 (torch)
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError  # noqa: PLC0415
    from torch.distributed.elastic.rendezvous import RendezvousError  # noqa: PLC0415

    from mnist_cli.cli.program import default_handlers, print_error  # noqa: PLC0415
    from mnist_cli.runtime.distributed.launcher import (  # noqa: PLC0415
        check_endpoint,
        nodes_of,
        screen_rendezvous,
        use_loopback,
    )

    torchrun: Any = import_module("torch.distributed.run")  # its functions have no types
    for name, level in _QUIET.items():
        logging.getLogger(name).setLevel(level)
    options = torchrun.parse_args(arguments)
    if nodes_of(options) == 1 or options.standalone:
        use_loopback(options)
    else:
        default_handlers()  # PyTorch waits for the other machines, and no handler of Python runs
        if options.rdzv_backend in ("c10d", "static"):
            check_endpoint(torchrun.get_rdzv_endpoint(options))
        if options.rdzv_backend == "c10d":
            screen_rendezvous(options)
    try:
        torchrun.run(options)
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        if failure.exitcode < 0:
            print_error(f"rank {rank} was killed by signal {-failure.exitcode}")
            return 128 - failure.exitcode
        return failure.exitcode
    except RendezvousError as error:
        reason = " ".join(str(error).partition(" See inner")[0].split())[:200]
        print_error(
            f"the launchers lost each other: {escape_controls(reason)}\n"
            "start the same command on all machines again, first where they meet"
        )
        return ExitCode.TERMINATED
    except SignalException as stopped:
        number = int(stopped.sigval)
        return SIGNAL_CODES.get(number, 128 + number)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
