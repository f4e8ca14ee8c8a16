"""Tests of `--serve`: whom a page is open to, and how the program ends."""

import json
import os
import shutil
import signal
import socket
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mnist_cli.cli import serving
from mnist_cli.runtime.serve import PageServer
from tests.helpers.calling import Caller
from tests.helpers.shell import BIN, Shell

IP = shutil.which("ip", path="/usr/sbin:/sbin:/usr/bin:/bin")


@contextmanager
def started(shell: Shell, *command: str) -> Iterator[tuple["subprocess.Popen[bytes]", str]]:
    """Start a program with `--serve`, and yield it with the address that it tells."""
    process = subprocess.Popen(
        [*command, "--serve", "--port", "0", "--json"],
        cwd=shell.folder,
        env=shell.env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        written, told = (json.loads(process.stdout.readline()) for _ in range(2))
        assert (written["output"], told["event"]) == ("page.html", "serving")
        yield process, told["address"]
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("program", ["mnist-lesson", "mnist-export"])
def test_the_page_that_was_written_is_served_until_a_signal_comes(
    program: str, number: signal.Signals, code: int, shell: Shell, trained: Path
) -> None:
    checkpoint = [str(trained)] if program == "mnist-export" else []
    with started(shell, program, *checkpoint, "page.html") as (process, address):
        page = shell.folder / "page.html"
        contents = page.read_bytes()
        page.unlink()  # what is served lies in memory
        with urllib.request.urlopen(address) as answer:
            assert answer.read() == contents
        with pytest.raises(urllib.error.HTTPError, match="404"):
            urllib.request.urlopen(f"{address}page.html")
        host, port = address.removeprefix("http://").rstrip("/").split(":")
        with socket.create_connection((host, int(port))) as idle:
            idle.sendall(b"GET / HT")
            process.send_signal(number)
            _, err = process.communicate(timeout=60)
        assert process.returncode == code
        assert "Traceback" not in err.decode()
        assert len(err.decode().splitlines()) == 2, "what was written, and where it is served"
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((host, int(port)))
        assert not list(shell.folder.iterdir())


def test_a_port_in_use_is_an_error_before_any_work(call: Caller) -> None:
    server = PageServer("127.0.0.1", 0)
    done = call("mnist-lesson", "--serve", "--port", str(server.port))
    server.close()
    assert (done.code, done.out) == (7, "")
    assert done.err.startswith(f"error: --port {server.port} is in use; choose another one")
    assert not list(call.folder.iterdir())


def test_only_pages_are_served(call: Caller, trained: Path) -> None:
    done = call("mnist-export", str(trained), "model.onnx", "--serve")
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("error: --serve serves a page; model.onnx is onnx: name a .html")


@pytest.mark.parametrize(
    ("host", "whom", "is_for_phones"),
    [
        ("127.0.0.1", "open to this machine alone; --host 0.0.0.0 opens it to its networks", False),
        ("0.0.0.0", "open, read only, to everyone on the networks of this machine", True),
    ],
)
@pytest.mark.parametrize("is_terminal", [True, False])
def test_it_is_told_to_whom_the_page_is_open_and_a_phone_gets_a_code(
    host: str,
    whom: str,
    is_for_phones: bool,
    is_terminal: bool,
    call: Caller,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(PageServer, "serve", lambda _self, _page: None)
    monkeypatch.setattr(serving, "is_terminal", lambda _stream: is_terminal)
    done = call("mnist-lesson", "--serve", "--host", host, "--port", "0")
    assert done.code == 0
    _, told, *code = done.err.splitlines()
    assert told.startswith("Serving the page at http://")
    assert whom in told
    assert bool(code) == (is_for_phones and is_terminal)
    if code:
        assert {len(line) for line in code} == {len(code[0])}
        assert set("".join(code)) <= set("█▀▄ ")
        assert len(code[0]) - 1 <= 2 * len(code) <= len(code[0]) + 1, "a square"


@pytest.fixture
def networks() -> Iterator[tuple[list[str], list[str], str]]:
    """Yield commands that run others in two network namespaces, and the first one's address."""
    if IP is None or os.geteuid() != 0:
        pytest.skip("needs root and the command ip")
    server, client = (f"mnist-{os.getpid()}-{end}" for end in "ab")
    commands = (
        f"netns add {server}",
        f"netns add {client}",
        f"-n {server} link add va type veth peer name vb netns {client}",
        f"-n {server} address add 198.51.100.1/24 dev va",
        f"-n {client} address add 198.51.100.2/24 dev vb",
        f"-n {server} link set lo up",
        f"-n {server} link set va up",
        f"-n {client} link set vb up",
        f"-n {server} route add default via 198.51.100.2",
    )
    try:
        for command in commands:
            made = subprocess.run([IP, *command.split()], capture_output=True, check=False)
            if made.returncode:
                pytest.skip(f"no network namespaces here: {made.stderr.decode()}")
        inside = [[IP, "netns", "exec", name] for name in (server, client)]
        yield inside[0], inside[1], "198.51.100.1"
    finally:
        for name in (server, client):
            subprocess.run([IP, "netns", "delete", name], capture_output=True, check=False)


@pytest.mark.slow
@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_another_machine_gets_the_page_only_if_it_is_open_to_it(
    host: str, networks: tuple[list[str], list[str], str], shell: Shell
) -> None:
    in_server, in_client, ip = networks
    program = (*in_server, str(BIN / "mnist-lesson"), "page.html", "--host", host)
    code = (
        "import sys, urllib.request, urllib.error\n"
        "try: print(urllib.request.urlopen(sys.argv[1], timeout=20).read().decode(), end='')\n"
        "except urllib.error.HTTPError as error: print(error.code, end='')\n"
        "except urllib.error.URLError as error: print(type(error.reason).__name__, end='')\n"
    )

    def ask(url: str) -> str:
        command = [*in_client, str(BIN / "python"), "-c", code, url]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    with started(shell, *program) as (process, address):
        port = address.rstrip("/").rpartition(":")[2]
        url = f"http://{ip}:{port}/"
        if host == "127.0.0.1":
            assert ask(url) == "ConnectionRefusedError"
        else:
            assert address == url, "the one that a phone can reach"
            assert ask(url) == (shell.folder / "page.html").read_text()
            assert ask(f"{url}page.html") == "404"
            assert ask(f"{url}../../etc/passwd") == "404"
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
        assert (process.returncode, b"Traceback" in err) == (130, False)
    assert [path.name for path in shell.folder.iterdir()] == ["page.html"]
