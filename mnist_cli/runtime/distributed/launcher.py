"""The rendezvous of torchrun on one machine, on the loopback interface.

torchrun's own rendezvous listens on all interfaces, and unpickles what it reads from there.
"""

import logging
import os
import socket
from argparse import Namespace
from typing import Any

import torch.distributed as dist
from torch.distributed.elastic.rendezvous import (
    RendezvousHandler,
    RendezvousInfo,
    RendezvousParameters,
    RendezvousStoreInfo,
    rendezvous_handler_registry,
)

from mnist_cli.config.quoting import quote
from mnist_cli.errors import UsageError
from mnist_cli.runtime.distributed.store import LOOPBACK, loopback_store

_NAME = "loopback"
_log = logging.getLogger(__name__)


class LoopbackRendezvous(RendezvousHandler):
    """The rendezvous of a single launcher, whose store its ranks use as well."""

    def __init__(self, port: int, run_id: str) -> None:
        self._store = loopback_store(port)
        self._run_id = run_id

    @property
    def use_agent_store(self) -> bool:
        """True: the ranks use the launcher's store."""
        return True

    def next_rendezvous(self) -> RendezvousInfo:
        """Return at once: nobody else comes."""
        prefixed: Any = dist.PrefixStore  # type: ignore[attr-defined]
        store_info = RendezvousStoreInfo(LOOPBACK, self._store.port)
        return RendezvousInfo(prefixed("launcher", self._store), 0, 1, store_info)

    def get_backend(self) -> str:
        """Return the name of the backend."""
        return _NAME

    def is_closed(self) -> bool:
        """Return False: it is open as long as the launcher runs."""
        return False

    def set_closed(self) -> None:
        """Do nothing: no other launcher needs to know."""

    def num_nodes_waiting(self) -> int:
        """Return 0: no other launcher can come."""
        return 0

    def get_run_id(self) -> str:
        """Return the name of the run."""
        return self._run_id

    def shutdown(self) -> bool:
        """Return True: there is nothing to close."""
        return True


def use_loopback(options: Namespace) -> None:
    """Change torchrun's options so that its rendezvous is on the loopback interface.

    A port that is taken raises UsageError when the rendezvous begins.
    """
    options.standalone = False
    options.rdzv_backend = _NAME
    options.rdzv_endpoint = f"{LOOPBACK}:{options.master_port or 0}"
    rendezvous_handler_registry.register(_NAME, _create)


def check_endpoint(endpoint: str) -> None:
    """Warn if the name of the host in an endpoint does not resolve.

    torchrun would try again for minutes without a word. It may resolve later, such as that of a
    pod that is not there yet.
    """
    host = endpoint.partition("://")[2] or endpoint
    host = host.rpartition(":")[0] or host
    try:
        socket.getaddrinfo(host.strip("[]"), None)
    except (OSError, UnicodeError):
        _log.warning(
            "--rdzv-endpoint %s does not resolve to an address: waiting until it does; if the name "
            "is wrong, press Ctrl-C and give the address of the first machine",
            quote(endpoint),
        )


def _create(parameters: RendezvousParameters) -> RendezvousHandler:
    port = parameters.endpoint.rpartition(":")[2]
    try:
        return LoopbackRendezvous(int(port), parameters.run_id)
    except (OSError, OverflowError) as error:
        reason = os.strerror(error.errno or 0) if isinstance(error, OSError) else error
        raise UsageError(
            f"--master-port {port} cannot be used: {reason}; leave it out, and a free one is chosen"
        ) from error
