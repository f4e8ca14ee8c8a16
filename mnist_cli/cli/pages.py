"""Write pages and figures, and open pages in a browser."""

import logging
import webbrowser
from pathlib import Path

from mnist_cli.config.quoting import printable
from mnist_cli.errors import OutputError, UsageError
from mnist_cli.runtime.files import check_writable, write_output

_FIGURE_ENDINGS = (".png", ".svg", ".pdf")

_log = logging.getLogger(__name__)


def check_figure(path: str) -> None:
    """Check that the file of `--plot` could be written.

    Raises:
        OutputError: it could not.
        UsageError: its name has another ending than that of a figure.

    """
    if Path(path).suffix.lower() not in _FIGURE_ENDINGS:
        raise UsageError(
            f"--plot {path}: its ending is not one of {', '.join(_FIGURE_ENDINGS)}; "
            "name it figure.svg, for one"
        )
    check_writable(Path(path))


def check_open(page: str | None, how: str) -> None:
    """Raise UsageError unless `--open` has a page in a file; `how` says how to name one."""
    if page is None or page == "-":
        raise UsageError(f"--open shows a page in a browser: name one with {how}")


def write_file(path: str, data: bytes) -> None:
    """Write a page or figure, and say so; make its folder if there is none.

    Raises:
        OutputError: it cannot be written.

    """
    try:
        if path != "-":
            Path(path).parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"cannot make the folder of {path}: {error.strerror}; name another"
        ) from error
    write_output(path, data)
    if path != "-":
        _log.info("Wrote %s", printable(path))


def open_page(path: str) -> None:
    """Open a page in the browser, or warn that there is none."""
    open_address(Path(path).absolute().as_uri(), path)


def open_address(address: str, name: str = "") -> None:
    """Open an address in the browser, or warn that there is none; `name` stands in the warning."""
    if not webbrowser.open(address):
        shown = printable(name or address)
        _log.warning("warning: no browser could be started; open %s yourself", shown)
