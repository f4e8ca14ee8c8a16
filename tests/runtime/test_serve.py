"""Tests of the server of one page: what it answers, and that no client keeps others out."""

import asyncio
import socket
import threading
import tracemalloc
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

import pytest

from mnist_cli.errors import OutputError, UsageError
from mnist_cli.runtime import serve
from mnist_cli.runtime.serve import PageServer
from tests.helpers.launching import wait_until

PAGE = b"<!doctype html><title>t</title>" + b"x" * 5000
GET = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"


@contextmanager
def serving(page: bytes = PAGE) -> Iterator[PageServer]:
    """Serve a page in another thread."""
    server = PageServer("127.0.0.1", 0)
    started = threading.Event()
    running: list[tuple[asyncio.AbstractEventLoop, asyncio.Task[None]]] = []

    async def main() -> None:
        task = asyncio.current_task()
        assert task is not None
        running.append((asyncio.get_running_loop(), task))
        started.set()
        await server._serve(page)

    def run() -> None:
        with suppress(asyncio.CancelledError):
            asyncio.run(main())

    thread = threading.Thread(target=run)
    thread.start()
    started.wait()
    try:
        yield server
    finally:
        loop, task = running[0]
        loop.call_soon_threadsafe(task.cancel)
        thread.join()
        server.close()


def connect(server: PageServer) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.port), timeout=30)


def received(connection: socket.socket) -> bytes:
    """Return all that comes until the server closes the connection; b"" if it resets it."""
    data = bytearray()
    with connection, suppress(ConnectionError):
        while part := connection.recv(1 << 16):
            data += part
    return bytes(data)


def ask(server: PageServer, request: bytes) -> bytes:
    connection = connect(server)
    with suppress(ConnectionError):  # it may be closed before all is sent
        connection.sendall(request)
    return received(connection)


def test_the_page_is_served_with_its_length_and_nothing_about_the_server() -> None:
    with serving() as server:
        head, _, body = ask(server, GET).partition(b"\r\n\r\n")
        only_head = ask(server, GET.replace(b"GET", b"HEAD"))
    lines = head.decode().split("\r\n")
    assert body == PAGE
    assert lines[0] == "HTTP/1.1 200 OK"
    assert {f"Content-Length: {len(PAGE)}", "Content-Type: text/html; charset=utf-8"} < {*lines}
    assert {"X-Content-Type-Options: nosniff", "Cache-Control: no-store"} < {*lines}
    assert not any(line.lower().startswith("server") for line in lines)
    assert only_head == head + b"\r\n\r\n"


@pytest.mark.parametrize(
    ("request_line", "status"),
    [
        (b"GET /../../../../etc/passwd HTTP/1.1", 404),
        (b"GET /%2e%2e/%2e%2e/etc/passwd HTTP/1.1", 404),
        (b"GET //etc/passwd HTTP/1.1", 404),
        (b"GET /index.html HTTP/1.1", 404),
        (b"GET /favicon.ico HTTP/1.1", 404),
        (b"GET /?page HTTP/1.1", 404),
        (b"GET http://example.org/ HTTP/1.1", 404),
        (b"CONNECT example.org:443 HTTP/1.1", 404),
        (b"OPTIONS * HTTP/1.1", 404),
        (b"POST /x HTTP/1.1\r\nContent-Length: 4", 404),
        (b"GET / HTTP/1.1\r\nHost: example.org:8000", 404),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nhost: localhost.example.org", 404),
        (b"POST / HTTP/1.1\r\nContent-Length: 4", 405),
        (b"PUT / HTTP/1.1", 405),
        (b"PRI * HTTP/2.0", 400),
        (b"GET  / HTTP/1.1", 400),
        (b"GET / HTTP/1.1 HTTP/1.1", 400),
        (b"GET /\0 HTTP/1.1", 404),
        (b"GET /\xff HTTP/1.1", 404),
        (b"GET", 400),
        (b"GET /" + b"a" * 100_000 + b" HTTP/1.1", 431),
        (b"GET / HTTP/1.1" + b"\r\nA: b" * 20_000, 431),
        (b"GET / HTTP/1.1\r\nA: " + b"b" * 3_000_000, 431),
    ],
    ids=lambda value: str(value[:30]) if isinstance(value, bytes) else None,
)
def test_any_other_request_gets_an_error_and_never_the_page(
    request_line: bytes, status: int
) -> None:
    with serving() as server:
        answer = ask(server, request_line + b"\r\n\r\n")
        assert PAGE not in answer
        # What is sent after the limit may reset the connection before the answer is read.
        assert answer.startswith(b"HTTP/1.1 %d " % status) or (status == 431 and not answer)
        assert len(answer) < 500
        assert ask(server, GET).endswith(PAGE)


@pytest.mark.parametrize("data", [b"\x16\x03\x01\x02\x00\x01", b"\r\n\r\n", b"\0" * 9, b"get"])
def test_what_is_not_http_is_closed_at_once(data: bytes) -> None:
    """A browser that tries TLS first need not wait before it tries HTTP."""
    with serving() as server:
        assert ask(server, data) == b""


@pytest.mark.parametrize("host", [b"localhost:8000", b"127.0.0.1", b"[::1]:8000", b"LOCALHOST"])
def test_a_page_for_this_machine_is_there_under_its_own_names(host: bytes) -> None:
    with serving() as server:
        assert ask(server, GET.replace(b"localhost", host)).endswith(PAGE)


def test_requests_in_a_row_get_one_whole_answer() -> None:
    with serving() as server:
        answer = ask(server, GET * 20)
    assert answer.count(b"HTTP/1.1 200 OK") == 1
    assert answer.endswith(PAGE)


def test_a_client_that_sends_slowly_or_reads_nothing_is_dropped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(serve, "_HEAD_TIMEOUT", 0.5)
    monkeypatch.setattr(serve, "_CHUNK_TIMEOUT", 0.5)
    with serving(bytes(1 << 25)) as server:
        slow, idle, deaf = connect(server), connect(server), connect(server)
        slow.sendall(b"GET / HT")
        deaf.sendall(GET)
        assert len(ask(server, GET)) > 1 << 25, "meanwhile others are served"
        assert (received(slow), received(idle)) == (b"", b"")
        wait_until(lambda: not server._connections)
        assert len(received(deaf)) < 1 << 25


def test_clients_that_do_not_read_share_the_page_in_memory() -> None:
    page = bytes(1 << 24)
    with serving(page) as server, ExitStack() as clients:
        tracemalloc.start()
        try:
            for _ in range(8):
                client = clients.enter_context(connect(server))
                client.sendall(GET)
                assert client.recv(1) == b"H"
            assert tracemalloc.get_traced_memory()[1] < len(page)
        finally:
            tracemalloc.stop()


@pytest.mark.parametrize("limit", ["MAX_PER_CLIENT", "MAX_CONNECTIONS"])
def test_connections_are_limited_and_free_again_when_clients_leave(
    limit: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serve, limit, 3)
    with serving() as server:
        waiting = [connect(server) for _ in range(3)]
        for connection in waiting:
            connection.sendall(b"G")
        wait_until(lambda: server._connections.total() == 3)
        assert ask(server, GET) == b""
        for connection in waiting:
            connection.close()
        wait_until(lambda: not server._connections)
        assert ask(server, GET).endswith(PAGE)


def test_hundreds_of_connections_at_once_leave_nothing_behind() -> None:
    with serving() as server:
        connections = [connect(server) for _ in range(300)]
        for connection in connections:
            with suppress(ConnectionError):
                connection.sendall(GET)
        answers = [received(connection) for connection in connections]
        assert ask(server, GET).endswith(PAGE)
        wait_until(lambda: not server._connections)
    served = [answer for answer in answers if answer]
    assert len(served) >= serve.MAX_PER_CLIENT
    assert all(answer.endswith(PAGE) for answer in served), "whole or not at all"


@pytest.mark.parametrize(
    ("error", "is_logged"),
    [(asyncio.CancelledError, False), (OSError, False), (ValueError, True)],
)
def test_an_exchange_that_the_end_of_the_program_cancels_is_not_logged(
    error: type[BaseException],
    is_logged: bool,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def fail(_reader: object, writer: asyncio.StreamWriter, _page: bytes) -> None:
        writer.transport.abort()
        raise error

    with serving() as server:
        monkeypatch.setattr(server, "_answer", fail)
        assert ask(server, GET) == b""
    assert bool(caplog.records) == is_logged


def test_a_server_says_where_it_is_and_to_whom_it_is_open() -> None:
    for host, is_local, is_everywhere in (
        ("127.0.0.1", True, False),
        ("localhost", True, False),
        ("0.0.0.0", False, True),
    ):
        server = PageServer(host, 0)
        assert (server.is_local, server.is_everywhere) == (is_local, is_everywhere)
        assert server.address.endswith(f":{server.port}/")
        assert "0.0.0.0" not in server.address
        server.close()


@pytest.mark.skipif(not socket.has_ipv6, reason="needs IPv6")
@pytest.mark.parametrize("host", ["::1", "::"])
def test_ipv6_has_brackets_and_all_addresses_include_those_of_ipv4(host: str) -> None:
    try:
        server = PageServer(host, 0)
    except UsageError:
        pytest.skip("this machine has no IPv6 address")
    if host == "::1":
        assert server.address == f"http://[::1]:{server.port}/"
    else:
        socket.create_connection(("127.0.0.1", server.port)).close()
    server.close()


def test_a_port_in_use_is_an_error_in_one_line() -> None:
    server = PageServer("127.0.0.1", 0)
    with pytest.raises(OutputError, match=f"^--port {server.port} is in use; choose another one"):
        PageServer("127.0.0.1", server.port)
    server.close()


@pytest.mark.parametrize("host", ["", "no such host", "203.0.113.9", "a" * 300, "x..y", "\udc80"])
def test_a_host_that_is_no_address_of_this_machine_is_an_error_in_one_line(host: str) -> None:
    with pytest.raises(UsageError, match="^--host .* is not an address of this machine; .*$"):
        PageServer(host, 0)
