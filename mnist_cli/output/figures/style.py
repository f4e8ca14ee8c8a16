"""Style of the figures, drawn by matplotlib, an optional extra; output is reproducible."""

import io
import logging
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from mnist_cli.errors import UsageError


@contextmanager
def _without_home() -> Iterator[None]:
    """Keep matplotlib from reading its settings and from leaving its list of fonts at home.

    Its warnings are left out, such as that it makes the list, which takes half a second. Where
    MPLCONFIGDIR names a folder, that is used.
    """
    logger = logging.getLogger("matplotlib")
    level = logger.level
    logger.setLevel(logging.ERROR)
    with ExitStack() as stack:
        stack.callback(logger.setLevel, level)
        if not os.environ.get("MPLCONFIGDIR"):
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="mnist_cli-"))
            os.environ["MPLCONFIGDIR"] = folder
            stack.callback(os.environ.pop, "MPLCONFIGDIR")
        yield


try:
    with _without_home():
        import matplotlib as mpl
        from matplotlib.figure import Figure
        from matplotlib.gridspec import SubplotSpec
        from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter
except ImportError as error:
    raise UsageError(
        "--plot needs matplotlib, which is not installed: pip install 'mnist_cli[plot]'; "
        "--report needs nothing more"
    ) from error

__all__ = ["Figure", "LogLocator", "MaxNLocator", "NullFormatter", "SubplotSpec", "drawn"]

# With a fixed salt the ids in an SVG file do not change with every run.
_STYLE: Any = {
    "svg.hashsalt": "mnist_cli",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "legend.frameon": False,
}


def drawn(fill: Callable[[Figure], None], path: str) -> bytes:
    """Return the file of a figure that `fill` draws, in the format of the path's ending."""
    kind = Path(path).suffix[1:].lower() or "svg"
    with mpl.rc_context(_STYLE):
        figure = Figure(layout="constrained", dpi=150)
        fill(figure)
        buffer = io.BytesIO()
        metadata = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(kind)
        figure.savefig(buffer, format=kind, metadata=metadata)
    return buffer.getvalue()
