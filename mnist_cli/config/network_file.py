"""A network of one's own: `--model my_net.py:Net` names a Python file, and what builds it there.

Reading the file does not run it; its default options are read from its text, too. A training that
has begun, and its checkpoint, have `Net@DIGEST` instead of the path. Such a network is built only
from a file that was named in this process, so that nothing in a checkpoint decides what is run.
"""

import ast
import difflib
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from mnist_cli.config.options import AUGMENTATIONS
from mnist_cli.config.quoting import printable, quote
from mnist_cli.config.reading import expand_home, read_input
from mnist_cli.errors import UsageError

OPTIONS = "OPTIONS"  # the name of the dictionary of default options in a file
_LARGEST = {"lr": 1e6, "weight_decay": 1e6, "label_smoothing": 1.0, "augment_strength": 4.0}
# What it may set. A network cannot choose its data, and not the length of its training.
ALLOWED = ("optimizer", "augment", *_LARGEST, "normalized")
MAX_BYTES = 1 << 20
_PATH = re.compile(r"(?P<path>.+\.py)(?::(?P<name>.*))?", re.DOTALL)
_BEGUN = re.compile(r"(?P<name>[^\W\d]\w*)@(?P<sha256>[0-9a-f]{64})")

_named: "dict[str, NetworkFile]" = {}  # that were read in this process, by their name once begun


@dataclass(frozen=True)
class NetworkFile:
    """A Python file with a network: where it was, what builds the network in it, and its text."""

    path: str
    name: str
    text: str

    @property
    def model(self) -> str:
        """The value of `--model` that names it."""
        return f"{self.path}:{self.name}"

    @property
    def begun(self) -> str:
        """The name of the network in a training that has begun."""
        return f"{self.name}@{self.sha256}"

    @cached_property
    def sha256(self) -> str:
        """The SHA-256 of the text in UTF-8."""
        return hashlib.sha256(self.text.encode()).hexdigest()

    @cached_property
    def options(self) -> Mapping[str, Any]:
        """The file's default options, such as `{"lr": 2e-3}`; none if it sets none.

        Raises:
            UsageError: they are not a dictionary of values with known names.

        """
        return _options(self.path, self.text)

    @property
    def takes_normalized(self) -> bool:
        """True if the network takes images of mean 0 and standard deviation 1."""
        return bool(self.options.get("normalized", False))

    def differences(self, other: "NetworkFile") -> str:
        """Return how many lines another text has more and less, such as `+3 -1 lines`."""
        lines = difflib.unified_diff(self.text.splitlines(), other.text.splitlines(), n=0)
        signs = [line[:1] for line in lines if not line.startswith(("+++", "---"))]
        return f"+{signs.count('+')} -{signs.count('-')} lines"


def is_network_file(model: str) -> bool:
    """Return True if a value of `--model` names a Python file."""
    return _PATH.fullmatch(model) is not None


def is_begun(model: str) -> bool:
    """Return True if this is the name of a network in a file, in a training that has begun."""
    return _BEGUN.fullmatch(model) is not None


def is_named(begun: str) -> bool:
    """Return True if the file of this network was named in this process."""
    return begun in _named


def named_file(begun: str) -> NetworkFile:
    """Return the file of a network that was named in this process.

    Raises:
        UsageError: none was.

    """
    if begun not in _named:
        name = begun.partition("@")[0]
        raise UsageError(
            f"the network {name} is in a Python file, which is run only if you name it: "
            f"--model FILE.py:{name}"
        )
    return _named[begun]


def begun(model: str) -> str:
    """Return the name of a network in a training that has begun; a file is read, and not run.

    Raises:
        UsageError: see `read_network_file`.

    """
    return read_network_file(model).begun if is_network_file(model) else model


def shown_name(model: str) -> str:
    """Return the name of a network for people: without the digest of its file."""
    return model.partition("@")[0] if is_begun(model) else model


def split_name(model: str) -> tuple[str, str]:
    """Return the path and the name in a value of `--model` that names a file.

    Raises:
        ValueError: the name is missing, or none that Python has.

    """
    found = _PATH.fullmatch(model)
    if found is None:
        raise ValueError(f"{quote(model)} is not the name of a Python file")
    path, name = found["path"], found["name"]
    if not name or not name.isidentifier():
        what = f"{quote(name)} is not a name" if name else "what builds the network is missing"
        raise ValueError(f"{what}; name the class or function, as in {printable(path)}:Net")
    return path, name


def read_network_file(model: str) -> NetworkFile:
    """Return the file that a value of `--model` names; it is not run.

    Raises:
        UsageError: it cannot be read, or is not Python.

    """
    try:
        path, name = split_name(model)
    except ValueError as error:
        raise UsageError(f"--model {printable(model)}: {error}") from error
    where = f"--model {printable(model)}"
    try:
        content, _ = read_input(expand_home(path), MAX_BYTES + 1)
    except FileNotFoundError as error:
        raise UsageError(f"{where}: there is no file {printable(path)}") from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UsageError(f"{where}: {printable(path)} cannot be read: {reason}") from error
    if len(content) > MAX_BYTES:
        raise UsageError(f"{where}: {printable(path)} is larger than 1 MiB; is it a network?")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise UsageError(f"{where}: a character in line {line} is not UTF-8") from error
    file = NetworkFile(path, name, text)
    _parsed(path, text)
    _named[file.begun] = file
    return file


def _parsed(path: str, text: str) -> ast.Module:
    try:
        return ast.parse(text)
    except SyntaxError as error:
        line = "" if error.lineno is None else f", line {error.lineno}"
        raise UsageError(f"{printable(path)}{line}: {error.msg}; it is not valid Python") from error
    except (ValueError, RecursionError, MemoryError) as error:
        raise UsageError(f"{printable(path)} is not Python: {error}") from error


def _options(path: str, text: str) -> dict[str, Any]:
    """Return the dictionary that a file assigns to OPTIONS at its top level."""
    found: dict[str, Any] = {}
    for statement in _parsed(path, text).body:
        match statement:
            case (
                ast.Assign(targets=[ast.Name(id=name)], value=value)
                | ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value)
            ) if name == OPTIONS:
                where = f"{printable(path)}, line {statement.lineno}: {OPTIONS}"
                try:
                    found = ast.literal_eval(value)
                except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
                    found = None  # type: ignore[assignment]
                if not isinstance(found, dict):
                    raise UsageError(
                        f'{where} has to be a dictionary of plain values, as {{"lr": 2e-3}}'
                    )
                for key, given in found.items():
                    if key not in ALLOWED:
                        raise UsageError(
                            f"{where} has {quote(key)}; it may set {', '.join(ALLOWED)}"
                        )
                    if problem := _problem(key, given):
                        raise UsageError(f"{where} has {quote(key)}: {quote(given)}; {problem}")
    return found


def _problem(key: str, value: object) -> str:
    """Return what is wrong with the value of an option, or an empty string."""
    if key == "normalized":
        return "" if type(value) is bool else "it is True or False"
    if key == "augment":
        return "" if value in AUGMENTATIONS else f"it is one of {', '.join(AUGMENTATIONS)}"
    if key == "optimizer":  # `network_entry` knows them
        return "" if isinstance(value, str) else "it is the name of an optimizer"
    most = _LARGEST[key]
    is_number = type(value) in (int, float) and 0 <= float(str(value)) <= most
    return "" if is_number else f"it is a number from 0 to {most:g}"
