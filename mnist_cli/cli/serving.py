"""`--serve`: the page that a program wrote, for the browsers of others."""

import contextlib
import io
import logging
import sys
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, TextIO

from mnist_cli.cli.pages import open_address, open_page
from mnist_cli.config.programs import Display, Serving
from mnist_cli.config.sources import flag
from mnist_cli.errors import UsageError
from mnist_cli.runtime.files import write_standard_output

if TYPE_CHECKING:
    from mnist_cli.events import Event
    from mnist_cli.runtime.serve import PageServer

_log = logging.getLogger(__name__)


@contextlib.contextmanager
def page_server(given: Mapping[str, Any], serving: Serving) -> Iterator["PageServer | None"]:
    """Yield a server that listens already, or None without `--serve`.

    A port that is in use is an error before any work.

    Raises:
        OutputError: see `PageServer`.
        UsageError: likewise; or `--host` or `--port` is given without `--serve`.

    """
    if not serving.serve:
        if name := next((name for name in ("host", "port") if name in given), None):
            raise UsageError(f"{flag(name)} says where --serve listens; add --serve")
        yield None
        return
    from mnist_cli.runtime.serve import PageServer  # noqa: PLC0415 (asyncio)

    server = PageServer(serving.host, serving.port)
    try:
        yield server
    finally:
        server.close()


def hand_over(event: "Event", output: str, display: Display) -> None:
    """Write to standard output what was written to OUTPUT: the event as JSON, or else its name."""
    if display.json:
        from mnist_cli.output.renderers import JsonLines  # noqa: PLC0415 (--help is quick)

        JsonLines().show(event)
    elif output != "-":
        write_standard_output(f"{output}\n")


def show_page(
    server: "PageServer | None",
    event: "Event",
    output: str,
    page: bytes,
    display: Display,
    *,
    opened: bool,
) -> None:
    """Serve a page that was written until a signal comes, if there is a server.

    If `opened`, a browser of this machine shows the page, in any case.
    """
    if server is None:
        if opened:
            open_page(output)
        return
    from mnist_cli.events import ServingStarted  # noqa: PLC0415 (--help is quick)

    if not display.quiet:
        _log.info(_announcement(server))
        if not server.is_local and is_terminal(sys.stderr):
            _print_qr_code(server.address)
    if display.json:
        hand_over(ServingStarted(event.seconds, server.address, server.port), output, display)
    if opened:
        open_address(server.address)
    server.serve(page)


def is_terminal(stream: TextIO) -> bool:
    """Return True if a stream is a terminal."""
    return stream.isatty()


def _announcement(server: "PageServer") -> str:
    """Return where the page is, and one sentence that says to whom it is open."""
    if server.is_local:
        whom = "it is open to this machine alone; --host 0.0.0.0 opens it to its networks"
    elif server.is_everywhere:
        whom = "it is open, read only, to everyone on the networks of this machine"
    else:
        whom = "it is open, read only, to everyone who can reach this address"
    return f"Serving the page at {server.address} until Ctrl-C: {whom}"


def _print_qr_code(address: str) -> None:
    """Print a QR code of the address on the terminal, where that has room for it."""
    import segno  # noqa: PLC0415 (--help is quick)
    from rich.console import Console  # noqa: PLC0415 (likewise)

    drawing = io.StringIO()
    segno.make(address, micro=False).terminal(drawing, border=2, compact=True)
    lines = drawing.getvalue().splitlines()
    console = Console(stderr=True, highlight=False)
    if console.width >= len(lines[0]) and not console.options.ascii_only:
        for line in lines:
            console.print(line, style="bright_white on black")
