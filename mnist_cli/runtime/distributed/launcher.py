"""The rendezvous of torchrun: on one machine on the loopback interface, on several screened.

torchrun's own rendezvous listens on all interfaces, and unpickles what it reads from there.
"""

import io
import logging
import os
import pickle
import socket
from argparse import Namespace
from importlib import import_module
from typing import Any

from torch.distributed.elastic.rendezvous import (
    RendezvousHandler,
    RendezvousInfo,
    RendezvousParameters,
    RendezvousStateError,
    RendezvousStoreInfo,
    c10d_rendezvous_backend,
    dynamic_rendezvous,
    rendezvous_handler_registry,
)
from torch.distributed.elastic.rendezvous.dynamic_rendezvous import RendezvousBackend

from mnist_cli.config.quoting import escape_controls, quote
from mnist_cli.errors import UsageError
from mnist_cli.runtime.distributed.store import LOOPBACK, loopback_store, with_prefix

_LOOPBACK, _SCREENED = "loopback", "screened"  # names of rendezvous backends
# The types in the state of a rendezvous.
_STATE_TYPES = {
    *((dynamic_rendezvous.__name__, name) for name in ("_RendezvousState", "_NodeDesc")),
    *(("datetime", name) for name in ("datetime", "timedelta", "timezone")),
}
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
        store_info = RendezvousStoreInfo(LOOPBACK, self._store.port)
        return RendezvousInfo(with_prefix("launcher", self._store), 0, 1, store_info)

    def get_backend(self) -> str:
        """Return the name of the backend."""
        return _LOOPBACK

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


class ScreenedBackend(RendezvousBackend):
    """A backend whose state is screened before torchrun unpickles it."""

    def __init__(self, backend: RendezvousBackend) -> None:
        self._backend = backend

    @property
    def name(self) -> str:
        """The name of the backend."""
        return _SCREENED

    def get_state(self) -> tuple[bytes, Any] | None:
        """Return the state and its token.

        Raises:
            RendezvousStateError: the state has other types than those of a rendezvous.

        """
        found = self._backend.get_state()
        if found is not None:
            screen_state(found[0])
        return found

    def set_state(self, state: bytes, token: Any = None) -> tuple[bytes, Any, bool] | None:  # noqa: ANN401
        """Set the state if it still has this token; return the state that is there now."""
        found = self._backend.set_state(state, token)
        if found is not None:
            screen_state(found[0])
        return found


class _StateUnpickler(pickle.Unpickler):
    """An unpickler that makes the state of a rendezvous, and calls nothing else."""

    def find_class(self, module: str, name: str) -> Any:  # noqa: ANN401
        if (module, name) not in _STATE_TYPES:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}")
        return super().find_class(module, name)


def screen_state(data: bytes) -> None:
    """Raise RendezvousStateError if the pickle of a state could run a command."""
    try:
        _StateUnpickler(io.BytesIO(data)).load()
    except Exception as error:  # a damaged pickle raises errors of any type
        raise RendezvousStateError(
            f"somebody else wrote to their store: {quote(str(error))}; its port must be reachable "
            "from these machines only"
        ) from error


def screen_rendezvous(options: Namespace) -> None:
    """Change torchrun's options so that the state of its rendezvous is screened."""
    options.rdzv_backend = _SCREENED
    rendezvous_handler_registry.register(_SCREENED, _create_screened)


def _create_screened(parameters: RendezvousParameters) -> RendezvousHandler:
    backend, store = c10d_rendezvous_backend.create_backend(parameters)
    return dynamic_rendezvous.create_handler(store, ScreenedBackend(backend), parameters)


def nodes_of(options: Namespace) -> int:
    """Return the largest number of launchers that torchrun's options ask for.

    Raises:
        UsageError: torchrun, which would end in a traceback, cannot use the options.

    """
    torchrun: Any = import_module("torch.distributed.run")  # its functions have no types
    try:
        config = torchrun.config_from_args(options)[0]
        if config.nproc_per_node < 1:
            raise ValueError(f"--nproc-per-node must be at least 1, not {config.nproc_per_node}")
    except (AssertionError, OSError, RuntimeError, ValueError) as error:
        reason = escape_controls(" ".join(str(error).split())[:200])
        raise UsageError(f"torchrun cannot use its options: {reason}; see --help") from error
    return int(config.max_nodes)


def use_loopback(options: Namespace) -> None:
    """Change torchrun's options so that its rendezvous is on the loopback interface.

    A port that is taken raises UsageError when the rendezvous begins.
    """
    options.standalone = False
    options.rdzv_backend = _LOOPBACK
    options.rdzv_endpoint = f"{LOOPBACK}:{options.master_port or 0}"
    rendezvous_handler_registry.register(_LOOPBACK, _create_loopback)


def check_endpoint(endpoint: str) -> None:
    """Warn if the name of the host in an endpoint does not resolve.

    torchrun would try again for minutes without a word. It may resolve later, such as that of a
    pod that is not there yet.
    """
    host = endpoint.partition("://")[2] or endpoint
    host = (host.rpartition(":")[0] or host).strip("[]")
    try:
        socket.getaddrinfo(host, None)
    except (OSError, UnicodeError):
        _log.warning(
            "the host %s, where the launchers meet, does not resolve to an address: waiting until "
            "it does; if the name is wrong, press Ctrl-C and give the address of that machine",
            quote(host),
        )


def _create_loopback(parameters: RendezvousParameters) -> RendezvousHandler:
    port = parameters.endpoint.rpartition(":")[2]
    try:
        return LoopbackRendezvous(int(port), parameters.run_id)
    except (OSError, OverflowError) as error:
        reason = os.strerror(error.errno or 0) if isinstance(error, OSError) else error
        raise UsageError(
            f"--master-port {port} cannot be used: {reason}; leave it out, and a free one is chosen"
        ) from error
