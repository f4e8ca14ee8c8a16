"""What the streams of this process can show."""

import os
from typing import TextIO


def can_animate(stream: TextIO, *, plain: bool = False) -> bool:
    """Return True if a stream is a terminal that can move its cursor, and `plain` is false.

    A program that a notebook's cell starts with `!` has a pseudo-terminal, but the cell shows every
    drawing of a bar on a line of its own.
    """
    is_capable = os.environ.get("TERM") != "dumb" and not _is_started_by_notebook()
    return stream.isatty() and is_capable and not plain


def _is_started_by_notebook() -> bool:
    """Return True if a parent is the kernel of a notebook, as Jupyter, Colab and VS Code start it.

    `jupyter_client` sets the first variable for its kernels, `ipykernel` the second one.
    """
    inline_plots = "inline" in os.environ.get("MPLBACKEND", "")
    return "JPY_PARENT_PID" in os.environ or inline_plots
