"""An HTTP server of one page, which it holds in memory.

It answers `GET /` and `HEAD /`, and nothing else. A connection has one request and a limited time
for it, so that slow or idle clients do not keep others out. No file is read.
"""

import asyncio
import contextlib
import errno
import ipaddress
import re
import socket
import sys
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor, wait
from http import HTTPStatus
from typing import Any

from mnist_cli.config.quoting import quote
from mnist_cli.errors import OutputError, UsageError

if sys.platform != "win32":  # which sets no such limit
    import resource

MAX_HEAD = 8192  # bytes of a request
# A browser may open two connections, and a whole class may come from one address.
MAX_CONNECTIONS, MAX_PER_CLIENT = 256, 64
_SPARE_FILES = 64
_HEAD_TIMEOUT = 10.0  # seconds for a request
_CHUNK, _CHUNK_TIMEOUT = 1 << 16, 20.0  # bytes of the page, and seconds for them
_CLOSE_TIMEOUT = 2.0  # seconds for the client to close
_POLL_EVERY = 0.5  # seconds; on Windows no signal interrupts a wait
_HEADERS = (
    "Cache-Control: no-store",
    "X-Content-Type-Options: nosniff",
    "X-Frame-Options: DENY",
    "Referrer-Policy: no-referrer",
    "Cross-Origin-Resource-Policy: same-origin",
    "Connection: close",
)
_LOCAL_HOST = re.compile(rb"localhost|127(?:\.\d{1,3}){3}|\[::1\]", re.IGNORECASE)
# An address outside, to which nothing is sent: the socket that names it tells the network to it.
# https://www.rfc-editor.org/rfc/rfc5737 reserves it for documentation.
_OUTSIDE = ("192.0.2.1", 9)


class PageServer:
    """A server that listens at a host and port; port 0 stands for a free one."""

    def __init__(self, host: str, port: int) -> None:
        """Listen; connections wait until `serve` is called.

        Raises:
            OutputError: the port is in use, or needs more rights.
            UsageError: the host is not an address of this machine.

        """
        try:
            if not host:
                raise OSError(errno.EADDRNOTAVAIL, "it is empty")
            family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
            self._socket = socket.create_server(
                address[:2],
                family=family,
                backlog=128,
                dualstack_ipv6=address[0] == "::" and socket.has_dualstack_ipv6(),
            )
        except (OSError, UnicodeError) as error:
            raise _error(host, port, error) from error
        self._ip = ipaddress.ip_address(self._socket.getsockname()[0].partition("%")[0])
        self.port: int = self._socket.getsockname()[1]
        self._connections: Counter[str] = Counter()
        self._max_connections = _max_connections()

    @property
    def is_local(self) -> bool:
        """True if only programs on this machine can connect."""
        return self._ip.is_loopback

    @property
    def is_everywhere(self) -> bool:
        """True if it listens at all addresses of this machine."""
        return self._ip.is_unspecified

    @property
    def address(self) -> str:
        """The address to open in a browser."""
        host = _network_address() if self._ip.is_unspecified else str(self._ip)
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}/"

    def close(self) -> None:
        """Listen no longer."""
        self._socket.close()

    def serve(self, page: bytes) -> None:
        """Serve the page until a signal's exception ends it."""
        task: asyncio.Task[None]
        started = threading.Event()

        async def run() -> None:
            nonlocal task
            task = asyncio.create_task(self._serve(page))
            started.set()
            with contextlib.suppress(asyncio.CancelledError):
                await task

        # In another thread, since the exception of a signal may come anywhere in this one.
        with ThreadPoolExecutor(1) as executor:
            running = executor.submit(asyncio.run, run())
            try:
                while not running.done():
                    wait([running], timeout=_POLL_EVERY)
                running.result()
            finally:
                started.wait()
                with contextlib.suppress(RuntimeError):  # the loop has ended
                    task.get_loop().call_soon_threadsafe(task.cancel)

    async def _serve(self, page: bytes) -> None:
        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await self._answer(reader, writer, page)

        asyncio.get_running_loop().set_exception_handler(_log_bug)
        server = await asyncio.start_server(answer, sock=self._socket, limit=MAX_HEAD)
        await server.serve_forever()

    async def _answer(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, page: bytes
    ) -> None:
        """Answer one request, and close the connection."""
        client = str((writer.get_extra_info("peername") or [""])[0])
        self._connections[client] += 1
        try:
            is_allowed = self._connections.total() <= self._max_connections
            if is_allowed and self._connections[client] <= MAX_PER_CLIENT:
                # Clients that leave, are too slow or send something else than HTTP get no answer.
                with contextlib.suppress(OSError, EOFError):
                    await _exchange(reader, writer, page, is_local=self.is_local)
        finally:
            writer.transport.abort()
            self._connections[client] -= 1
            if not self._connections[client]:
                del self._connections[client]


def _log_bug(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Log an exception, unless the end of the program or a lack of open files caused it.

    When the program ends, asyncio cancels the exchanges, and Python 3.11 logs each.
    """
    if not isinstance(context.get("exception"), asyncio.CancelledError | OSError):
        loop.default_exception_handler(context)


async def _exchange(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, page: bytes, *, is_local: bool
) -> None:
    """Read a request, write the response, and wait a moment for the client to close.

    If the page is for this machine alone, a request for a host of another name gets no page: it is
    a script of a web site whose name points here.

    Raises:
        OSError, EOFError: the client left, was too slow, or sent something else than HTTP.

    """
    async with asyncio.timeout(_HEAD_TIMEOUT):
        request = await _read_head(reader)
        head, body = _response(request, page)
        if is_local and request is not None and _is_for_another_host(request):
            head, body = _message(HTTPStatus.NOT_FOUND)
    writer.transport.set_write_buffer_limits(high=0)
    view = memoryview(body)  # all connections share the page, whatever its size
    parts: list[bytes | memoryview] = [head]
    parts += (view[start : start + _CHUNK] for start in range(0, len(body), _CHUNK))
    for part in parts:
        writer.write(part)
        async with asyncio.timeout(_CHUNK_TIMEOUT):
            await writer.drain()
    # A connection that is closed while more requests are unread is reset, and the client may lose
    # the end of the response.
    writer.write_eof()
    async with asyncio.timeout(_CLOSE_TIMEOUT):
        for _ in range(_CHUNK // MAX_HEAD):
            if not await reader.read(MAX_HEAD):
                return


async def _read_head(reader: asyncio.StreamReader) -> bytes | None:
    """Return the head of a request, or None if it is too large.

    Raises:
        EOFError: it is not HTTP, as where a browser tries TLS first.

    """
    first = await reader.readexactly(1)
    if not first.isupper():
        raise EOFError
    try:
        return first + await reader.readuntil(b"\r\n\r\n")
    except asyncio.LimitOverrunError:
        return None


def _is_for_another_host(head: bytes) -> bool:
    """Return True if a request names a host that is not this machine itself."""
    hosts = re.findall(rb"(?im)^host:[ \t]*(.*?)(?::\d+)?[ \t]*\r$", head)
    return not all(_LOCAL_HOST.fullmatch(host) for host in hosts)


def _response(head: bytes | None, page: bytes) -> tuple[bytes, bytes]:
    """Return the head and the body of the response to a request."""
    if head is None:
        return _message(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
    line = re.fullmatch(rb"([A-Z]+) (\S+) HTTP/1\.[01]", head.partition(b"\r\n")[0])
    if line is None:
        return _message(HTTPStatus.BAD_REQUEST)
    method, target = line.groups()
    has_body = method != b"HEAD"
    if target != b"/":
        return _message(HTTPStatus.NOT_FOUND, has_body=has_body)
    if method not in (b"GET", b"HEAD"):
        return _message(HTTPStatus.METHOD_NOT_ALLOWED, more=("Allow: GET, HEAD",))
    return _message(HTTPStatus.OK, page, kind="text/html", has_body=has_body)


def _message(
    status: HTTPStatus,
    body: bytes | None = None,
    *,
    kind: str = "text/plain",
    more: tuple[str, ...] = (),
    has_body: bool = True,
) -> tuple[bytes, bytes]:
    if body is None:
        body = f"{status.value} {status.phrase}\n".encode()
    lines = (
        f"HTTP/1.1 {status.value} {status.phrase}",
        f"Content-Type: {kind}; charset=utf-8",
        f"Content-Length: {len(body)}",
        *_HEADERS,
        *more,
    )
    return "\r\n".join((*lines, "", "")).encode(), body if has_body else b""


def _error(host: str, port: int, error: Exception) -> OutputError | UsageError:
    number = getattr(error, "errno", None)
    if number == errno.EADDRINUSE:
        return OutputError(
            f"--port {port} is in use; choose another one, or 0 for one that is free"
        )
    if number in (errno.EACCES, errno.EPERM):
        return OutputError(f"--port {port} needs more rights; choose one from 1024 on")
    return UsageError(
        f"--host {quote(host)} is not an address of this machine; leave it out, or take 0.0.0.0 "
        "to listen at all of them"
    )


def _max_connections() -> int:
    """Return how many connections there may be, by the limit of open files."""
    if sys.platform == "win32":
        return MAX_CONNECTIONS
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if limit == resource.RLIM_INFINITY:
        return MAX_CONNECTIONS
    return max(1, min(MAX_CONNECTIONS, limit - _SPARE_FILES))


def _network_address() -> str:
    """Return the address of this machine in its network, or its name if it is in none."""
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(_OUTSIDE)
        return str(probe.getsockname()[0])
    return socket.gethostname()
