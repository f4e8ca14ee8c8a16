"""Two machines on one: network namespaces with a link between them, or else loopback."""

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field

_LINK = "veth0"  # its name at both ends


@dataclass(frozen=True)
class Room:
    """Where a node runs.

    `address` is its own, `prefix` starts a command in it, and `env` has what gloo must be told:
    it would take the address that the host name stands for, which may be one of loopback.
    """

    address: str
    prefix: tuple[str, ...] = ()
    env: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Rooms:
    """Two rooms, and the port of the first where both can meet."""

    rooms: tuple[Room, Room]
    port: int
    separate: bool

    @property
    def about(self) -> str:
        """Say in one line what they are."""
        if self.separate:
            addresses = " and ".join(room.address for room in self.rooms)
            return f"Two network namespaces, {addresses}."
        return "Network namespaces cannot be made here: two launchers on loopback instead."


@contextmanager
def two_rooms() -> Iterator[Rooms]:
    """Make two network namespaces with a link, and remove them; or have both nodes on loopback.

    The addresses are of TEST-NET-1 (RFC 5737), which nobody has.
    """
    with ExitStack() as stack:
        rooms = None
        with suppress(OSError, subprocess.SubprocessError):
            rooms = _linked(stack)
        # Ranks are given out in the order of addresses, so that these have to differ here, too.
        on_loopback = (Room("127.0.0.1"), Room("127.0.0.2"))
        yield Rooms(rooms or on_loopback, 29400 if rooms else _free_port(), rooms is not None)


def _linked(stack: ExitStack) -> tuple[Room, Room] | None:
    """Return two namespaces that the stack removes; `None` if there is no way to make them.

    Raises:
        OSError, SubprocessError: that failed; the stack removes what was made.

    """
    if os.geteuid() != 0 or not shutil.which("ip"):
        return None
    names = [f"mnist{os.getpid()}{side}" for side in "ab"]
    rooms = [
        Room(f"192.0.2.{place}", ("ip", "netns", "exec", name), {"GLOO_SOCKET_IFNAME": _LINK})
        for place, name in enumerate(names, 1)
    ]
    for name in names:
        stack.callback(_remove, name)
        _ip("netns", "add", name)
    one, other = names
    _ip(*f"link add name {_LINK} netns {one} type veth peer name {_LINK} netns {other}".split())
    for name, room in zip(names, rooms, strict=True):
        _ip("-n", name, "addr", "add", f"{room.address}/24", "dev", _LINK)
        for device in ("lo", _LINK):
            _ip("-n", name, "link", "set", device, "up")
    return rooms[0], rooms[1]


def _remove(name: str) -> None:
    """Delete a namespace; its end of the link goes with it, and so the other end."""
    with suppress(OSError, subprocess.SubprocessError):
        _ip("netns", "delete", name)


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, timeout=10)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
    return port
