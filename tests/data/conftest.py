"""Fixtures: the files of the real MNIST, and mirrors that serve them."""

import gc
import gzip
import hashlib
import struct
import threading
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from mnist_cli.data.catalogue import MNIST_SHA256


@pytest.fixture(scope="session")
def mnist_raw(mnist_dir: Path) -> dict[str, bytes]:
    """Return the four real files, under their names."""
    return {name: (mnist_dir / "MNIST" / "raw" / name).read_bytes() for name in MNIST_SHA256}


@pytest.fixture(scope="session")
def few_raw(mnist_raw: dict[str, bytes]) -> dict[str, bytes]:
    """Return files as the real ones, of the first 2,000 training and 1,000 test samples."""
    return {
        name: first(contents, 2_000 if name.startswith("train") else 1_000)
        for name, contents in mnist_raw.items()
    }


def first(contents: bytes, count: int) -> bytes:
    """Return an IDX file of unsigned bytes cut to its first `count` entries, header included."""
    sizes = struct.unpack_from(f">{contents[3]}I", contents, 4)
    header = 4 + 4 * len(sizes)
    per_entry = (len(contents) - header) // sizes[0]
    return (
        contents[:4]
        + struct.pack(">I", count)
        + contents[8:header]
        + contents[header : header + count * per_entry]
    )


@dataclass(frozen=True)
class Answer:
    """What a mirror says: `cut` bytes of the promised body never come."""

    status: int = 200
    body: bytes = b""
    cut: int = 0


@dataclass
class Mirrors:
    """A server on the loopback. An address without an answer is one that is 503."""

    url: str
    answers: dict[str, Answer] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    hang: threading.Event | None = None  # answers wait for it, where there is one

    def publish(self, folder: str, files: dict[str, bytes]) -> list[tuple[str, str]]:
        """Serve files as .gz below a folder; return torchvision's list: names and MD5."""
        resources = []
        for name, contents in files.items():
            body = gzip.compress(contents, compresslevel=1)
            self.answers[f"/{folder}/{name}.gz"] = Answer(body=body)
            resources.append((f"{name}.gz", hashlib.md5(body).hexdigest()))
        return resources


@pytest.fixture
def mirrors(monkeypatch: pytest.MonkeyPatch) -> Iterator[Mirrors]:
    monkeypatch.setenv("no_proxy", "*")  # the loopback, also where there is a proxy
    # torchvision never closes the answer of a mirror that failed; see the end, too.
    warnings.simplefilter("ignore", ResourceWarning)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            served.requests.append(self.path)
            if served.hang is not None:
                served.hang.wait()
            answer = served.answers.get(self.path, Answer(503))
            self.send_response(answer.status)
            self.send_header("Content-Length", str(len(answer.body)))
            self.end_headers()
            self.wfile.write(answer.body[: len(answer.body) - answer.cut])

        def log_message(self, *_: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        def handle_error(self, *_: object) -> None:
            pass  # torchvision asks twice, and hangs up on the first answer

    server = Server(("127.0.0.1", 0), Handler)
    served = Mirrors(f"http://127.0.0.1:{server.server_address[1]}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield served
    if served.hang is not None:
        served.hang.set()
    server.shutdown()
    server.server_close()
    thread.join()
    gc.collect()  # now, and not in a later test, where warnings are errors
