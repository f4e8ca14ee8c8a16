"""The pickle of a checkpoint, followed without running it.

A pickle is a program for a small machine that makes values. This machine makes only values like
those of a checkpoint, with stand-ins for its tensors, and stops at everything else.
"""

import io
import math
import pickletools
import re
import warnings
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

_MAX_BYTES, _MAX_DEPTH = 1 << 20, 8  # four times a checkpoint's with a long history
_MAX_REPEATED = 1 << 22  # characters, of texts that are used again
_PROTOCOL = 2  # of torch.save
_WIDTHS = {
    "torch DoubleStorage": 8,
    "torch FloatStorage": 4,
    "torch HalfStorage": 2,
    "torch BFloat16Storage": 2,
    "torch LongStorage": 8,
    "torch IntStorage": 4,
    "torch ShortStorage": 2,
    "torch CharStorage": 1,
    "torch ByteStorage": 1,
    "torch BoolStorage": 1,
}
_REBUILD, _ORDERED = "torch._utils _rebuild_tensor_v2", "collections OrderedDict"


class UnsafeError(ValueError):
    """A pickle that would call something, or change what it made."""


class UnsupportedFileError(ValueError):
    """A pickle that does no harm, and what no checkpoint's does."""


@dataclass(frozen=True, slots=True)
class _Name:
    """A function or class that the pickle names."""

    name: str


@dataclass(frozen=True, slots=True)
class _Storage:
    """Stands for the values of a tensor: so many, as checked against the bytes that are there."""

    count: int


@dataclass(frozen=True, slots=True)
class _Tensor:
    """Stands for a tensor."""


class _Ordered(dict[str, Any]):
    """Stands for an OrderedDict: the hooks of a tensor, which are empty, or a state dict."""


_MARK = object()


def follow(program: bytes, sizes: dict[str, int]) -> None:
    """Follow a pickle to its end; `sizes` has the bytes of the archive's members.

    Raises:
        UnsafeError: it would call something, or change what it made.
        UnsupportedFileError: it does what a checkpoint's never does.
        ValueError: it is damaged.

    """
    if len(program) > _MAX_BYTES:
        raise UnsupportedFileError("its pickle is too large")
    machine = _Machine(sizes)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of strange escapes in a text
            for code, argument, _ in pickletools.genops(program):
                if code.name == "PROTO" and argument != _PROTOCOL:
                    raise UnsupportedFileError(f"its pickle has protocol {argument}")
                machine.step(code.name, argument)
        (value,) = machine.stack
    except (IndexError, KeyError, TypeError, AttributeError) as error:
        raise ValueError("its pickle is malformed") from error
    _check_depth([value])


class _Machine:
    """Follows a pickle's instructions, one by one.

    Only texts and names are looked up again, so that values are trees; only texts are keys; no
    tree is deep. So whatever is done with it takes time and memory in proportion to the file.
    """

    def __init__(self, sizes: dict[str, int]) -> None:
        self._sizes = sizes
        self.stack: list[Any] = []
        self._memo: dict[int, Any] = {}
        self._repeated = 0

    def step(self, code: str, argument: Any) -> None:  # noqa: ANN401
        """Follow one instruction."""
        if code in _PUSHED:
            self.stack.append(_PUSHED[code](argument))
        elif code == "GLOBAL":
            self.stack.append(_known(argument))
        elif code in {"BINPUT", "LONG_BINPUT"}:
            self._memo[argument] = self.stack[-1]
        elif code in {"BINGET", "LONG_BINGET"}:
            self.stack.append(self._again(self._memo[argument]))
        elif code in _TUPLES:
            self.stack.append(_tuple(self._pop(_TUPLES[code])))
        elif code in _FILLED:
            values = self._pop(_FILLED[code])
            _fill(self.stack[-1], values, pairs=code.startswith("SET"))
        elif code == "BINPERSID":
            self.stack.append(self._storage(*self.stack.pop()))
        elif code == "REDUCE":
            name, arguments = self._pop(2)
            self.stack.append(_call(name, arguments))
        elif code == "BUILD":
            self._attach(self.stack.pop(), to=self.stack[-1])
        elif code not in {"PROTO", "STOP"}:
            raise UnsupportedFileError(f"its pickle has the instruction {code}")

    def _again(self, value: object) -> object:
        """Return a value that was made before: a name, or a text while that is not too much."""
        if not isinstance(value, str | _Name):
            raise UnsupportedFileError("its pickle uses a value twice")
        self._repeated += len(value) if isinstance(value, str) else 0
        if self._repeated > _MAX_REPEATED:
            raise UnsupportedFileError("its pickle repeats long texts")
        return value

    def _pop(self, count: int | None) -> list[Any]:
        """Take so many values off the stack, or all above the last mark."""
        if count is None:
            places = (n for n in reversed(range(len(self.stack))) if self.stack[n] is _MARK)
            place = next(places, None)
            if place is None:
                raise IndexError
            values = self.stack[place + 1 :]
            del self.stack[place:]
            return values
        if len(self.stack) < count:
            raise IndexError
        values = self.stack[-count:]
        del self.stack[-count:]
        return values

    def _attach(self, attributes: object, *, to: object) -> None:
        """Take the one attribute that a plain state dict has, and other programs do without."""
        if type(to) is not _Ordered or not isinstance(attributes, dict):
            raise UnsafeError("its pickle sets attributes")
        if set(attributes) != {"_metadata"}:
            raise UnsafeError("its pickle sets attributes")
        _check_depth([attributes])

    def _storage(self, *what: object) -> _Storage:
        if len(what) != 5:
            raise ValueError("its pickle names something else than tensors")
        kind, name, key, place, count = what
        if kind != "storage" or not isinstance(name, _Name) or type(count) is not int:
            raise ValueError("its pickle names something else than tensors")
        if not isinstance(key, str) or place != "cpu":
            raise ValueError("a tensor is not on the CPU")
        if count < 0 or count * _WIDTHS[name.name] != self._sizes[f"data/{key}"]:
            raise ValueError("a tensor has more or fewer values than bytes")
        return _Storage(count)


_PUSHED: dict[str, Callable[[Any], object]] = {
    "MARK": lambda _: _MARK,
    "NONE": lambda _: None,
    "NEWTRUE": lambda _: True,
    "NEWFALSE": lambda _: False,
    "EMPTY_DICT": lambda _: {},
    "EMPTY_LIST": lambda _: [],
    "EMPTY_TUPLE": lambda _: (),
    **dict.fromkeys(
        ("BINUNICODE", "BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT"), lambda value: value
    ),
}
_TUPLES = {"TUPLE": None, "TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_FILLED = {"SETITEM": 2, "SETITEMS": None, "APPEND": 1, "APPENDS": None}


def _known(name: str) -> _Name:
    if name not in {*_WIDTHS, _REBUILD, _ORDERED}:
        raise UnsafeError(f"it holds the Python object {ascii(name.replace(' ', '.'))[:80]}")
    return _Name(name)


def _tuple(values: list[Any]) -> tuple[Any, ...]:
    """Return a tuple: of a size, of a storage, or of a call, and so never deep."""
    for value in values:
        hooks = type(value) is _Ordered and not value
        deep = isinstance(value, tuple) and any(isinstance(part, tuple) for part in value)
        if deep or (isinstance(value, dict | list) and not hooks):
            raise UnsupportedFileError("its pickle has nested tuples")
    return tuple(values)


def _fill(container: object, values: list[Any], *, pairs: bool) -> None:
    if pairs and isinstance(container, dict) and len(values) % 2 == 0:
        if not all(type(key) is str for key in values[::2]):
            raise UnsupportedFileError("a key in its pickle is not a text")
        container.update(zip(values[::2], values[1::2], strict=True))
    elif not pairs and isinstance(container, list):
        container.extend(values)
    else:
        raise TypeError


def _call(called: object, arguments: tuple[Any, ...]) -> _Tensor | _Ordered:
    """Return what stands for the result of the only two calls that there are."""
    if called == _Name(_ORDERED) and arguments == ():
        return _Ordered()
    if called != _Name(_REBUILD):
        raise UnsafeError("its pickle calls something that it made itself")
    storage, offset, size, stride, _, hooks = arguments
    if (
        not isinstance(storage, _Storage)
        or type(hooks) is not _Ordered
        or hooks
        or len(size) != len(stride)
    ):
        raise ValueError("a tensor is malformed")
    if any(type(number) is not int or number < 0 for number in (offset, *size, *stride)):
        raise ValueError("a tensor is malformed")
    last = offset + sum((count - 1) * step for count, step in zip(size, stride, strict=True))
    if math.prod(size) > storage.count or (math.prod(size) and last >= storage.count):
        raise ValueError("a tensor is larger than its values")
    return _Tensor()


def _check_depth(level: list[Any]) -> None:
    for _ in range(_MAX_DEPTH):
        containers = [value for value in level if isinstance(value, dict | list | tuple)]
        level = [part for v in containers for part in (v.values() if isinstance(v, dict) else v)]
    if level:
        raise UnsupportedFileError("its values are nested too deeply")


MAX_MEMBERS = 256
_ENTRY = b"PK\1\2"  # begins each entry of an archive's directory
_MEMBER = re.compile(
    r"data\.pkl|version|byteorder|\.format_version|\.storage_alignment|"
    r"\.data/serialization_id|data/\d{1,9}",
    re.ASCII,
)


def members_of(data: bytes) -> int:
    """Return how many members an archive has, at most: chance may make values look like one."""
    return data.count(_ENTRY)


def screen(data: bytes) -> bytes:
    """Return a file of `torch.save` packed anew, if it holds only tensors and plain values.

    Raises:
        UnsafeError: its pickle would call something.
        UnsupportedFileError: it is not like a checkpoint.
        ValueError: it is damaged.

    """
    try:
        members = _members(data)
    except (zipfile.BadZipFile, NotImplementedError, OSError, EOFError, zlib.error) as error:
        raise ValueError("its archive is not whole") from error
    follow(members["data.pkl"], {name: len(contents) for name, contents in members.items()})
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, contents in members.items():
            archive.writestr(zipfile.ZipInfo(f"checkpoint/{name}"), contents)
    return buffer.getvalue()


def _members(data: bytes) -> dict[str, bytes]:
    """Return the members of an archive, without the name of the folder that they are all in."""
    if members_of(data) > MAX_MEMBERS:
        raise UnsupportedFileError(f"it has more than {MAX_MEMBERS} members")
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        infos = archive.infolist()
        if any(info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 1 for info in infos):
            raise UnsupportedFileError("its members are compressed or encrypted")
        if sum(info.file_size for info in infos) > len(data):
            raise UnsupportedFileError("its members overlap")
        names = [info.filename.partition("/")[2] for info in infos]
        if len(set(names)) < len(names) or "data.pkl" not in names:
            raise UnsupportedFileError("a member is missing or there twice")
        if unknown := [name for name in names if not _MEMBER.fullmatch(name)]:
            raise UnsupportedFileError(f"it has a member {ascii(unknown[0])[:80]}")
        return {name: archive.read(info) for name, info in zip(names, infos, strict=True)}
