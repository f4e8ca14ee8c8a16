"""EMNIST: the names of its files, and of its classes.

Its images are stored with rows and columns exchanged, which no pixel tells, but the names do.
Source: Cohen, Afshar, Tapson and van Schaik, "EMNIST: an extension of MNIST to handwritten
letters" (2017), and the mapping files of its distribution.
"""

import re
import string

_DIGITS, _CAPITALS, _SMALL = string.digits, string.ascii_uppercase, string.ascii_lowercase
_MERGED = _DIGITS + _CAPITALS + "abdefghnqrt"  # the other small letters count as capitals


def _numbered(characters: str, first: int = 0) -> dict[str, str]:
    return {str(number): c for number, c in enumerate(characters, start=first)}


# The character of each label, by the name of the split.
EMNIST_CLASSES = {
    "balanced": _numbered(_MERGED),
    "byclass": _numbered(_DIGITS + _CAPITALS + _SMALL),
    "bymerge": _numbered(_MERGED),
    "digits": _numbered(_DIGITS),
    "letters": _numbered(_CAPITALS, 1),
    "mnist": _numbered(_DIGITS),
}
_NAME = re.compile(rf"emnist-({'|'.join(EMNIST_CLASSES)})-(?:train|test)")


def emnist_split(name: str) -> str | None:
    """Return the split of EMNIST whose file has this name or path; None for others."""
    found = _NAME.search(re.split(r"[/\\]", name.lower())[-1])
    return found[1] if found else None
