"""Values that came from outside, quoted so that they are harmless in a message."""

MAX_QUOTED = 60  # characters of a value in a message
_CONTROLS = (
    *(*range(0x20), *range(0x7F, 0xA0)),
    *(0x2028, 0x2029),  # line separators
    *(0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A)),  # of direction
)
_ESCAPES = {code: repr(chr(code))[1:-1] for code in _CONTROLS}
_ESCAPES_IN_LINES = {code: escape for code, escape in _ESCAPES.items() if code != ord("\n")}


def escape_controls(text: str, *, keep_lines: bool = False) -> str:
    r"""Return a text whose control characters are written as `\t`, `\n` or `\x1b`.

    If `keep_lines`, its lines stay.
    """
    return text.translate(_ESCAPES_IN_LINES if keep_lines else _ESCAPES)


def printable(text: object) -> str:
    """Return a path or another text; in quotes and escaped if it has control characters."""
    return str(text) if str(text).isprintable() else repr(str(text))


def quote(value: object) -> str:
    """Return the `repr` of a value for a message, shortened if it is long."""
    text = repr(value)
    return text if len(text) <= MAX_QUOTED else f"{text[: MAX_QUOTED - 1]}…"
