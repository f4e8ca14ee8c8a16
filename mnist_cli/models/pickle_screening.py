"""Screening of the archive and the pickle in a checkpoint, before PyTorch reads it.

A pickle is a program for a stack machine, whose opcodes build values. The checker interprets only
the opcodes and calls that `torch.save` writes for a checkpoint, with placeholders for tensors, and
rejects all others. Nothing in the file is executed.
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

_MAX_BYTES, _MAX_DEPTH = 1 << 20, 8  # four times the pickle of a checkpoint with a long history
_MAX_REPEATED = 1 << 22  # characters of strings that are used again
_MAX_DIMENSIONS = 8  # of a tensor; convolutions have 4
_PROTOCOL = 2  # of torch.save
_DEVICE = re.compile(r"cpu|(cuda|mps|xpu)(:\d{1,3})?")
_ITEM_SIZES = {
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
    """A pickle would call a function or change an object."""


class UnsupportedFileError(ValueError):
    """A file is harmless, but not one that `encode` in `checkpoint.py` makes."""


@dataclass(frozen=True, slots=True)
class _Global:
    """Placeholder of a function or class."""

    name: str


@dataclass(frozen=True, slots=True)
class _Storage:
    """Placeholder of a tensor's storage of `count` values, whose size was checked."""

    count: int


@dataclass(frozen=True, slots=True)
class _Tensor:
    """Placeholder of a tensor."""


class _OrderedDict(dict[str, Any]):
    """Placeholder of an OrderedDict: the empty hooks of a tensor, or a state dict."""


_MARK = object()


def _check_pickle(data: bytes, sizes: dict[str, int]) -> None:
    """Check the opcodes of a pickle; `sizes` are the bytes of the archive's members by name.

    Raises:
        UnsafeError: it would call a function or change an object.
        UnsupportedFileError: it has opcodes or values that no checkpoint has.
        ValueError: it is damaged.

    """
    if len(data) > _MAX_BYTES:
        raise UnsupportedFileError("its pickle is too large")
    checker = _PickleChecker(sizes)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about invalid escapes in a string
            for opcode, argument, _ in pickletools.genops(data):
                if opcode.name == "PROTO" and argument != _PROTOCOL:
                    raise UnsupportedFileError(f"its pickle has protocol {argument}")
                checker.check_opcode(opcode.name, argument)
        (value,) = checker.stack
    except (IndexError, KeyError, TypeError, AttributeError) as error:
        raise ValueError("its pickle is malformed") from error
    _check_depth([value])


class _PickleChecker:
    """Stack machine that checks the opcodes of a pickle one by one.

    Only strings and globals may be used again, so values are trees; only strings are keys; trees
    are not deep. So reading the pickle takes time and memory in proportion to its size.
    """

    def __init__(self, sizes: dict[str, int]) -> None:
        self._sizes = sizes
        self.stack: list[Any] = []
        self._memo: dict[int, Any] = {}
        self._repeated = 0

    def check_opcode(self, opcode: str, argument: Any) -> None:  # noqa: ANN401
        """Check one opcode, and apply it to the stack."""
        if opcode in _PUSHED:
            self.stack.append(_PUSHED[opcode](argument))
        elif opcode == "GLOBAL":
            self.stack.append(_check_global(argument))
        elif opcode in {"BINPUT", "LONG_BINPUT"}:
            self._memo[argument] = self.stack[-1]
        elif opcode in {"BINGET", "LONG_BINGET"}:
            self.stack.append(self._check_reuse(self._memo[argument]))
        elif opcode in _TUPLES:
            self.stack.append(_check_tuple(self._pop(_TUPLES[opcode])))
        elif opcode in _FILLED:
            values = self._pop(_FILLED[opcode])
            _fill(self.stack[-1], values, pairs=opcode.startswith("SET"))
        elif opcode == "BINPERSID":
            self.stack.append(self._check_storage(self.stack.pop()))
        elif opcode == "REDUCE":
            function, arguments = self._pop(2)
            self.stack.append(_check_call(function, arguments))
        elif opcode == "BUILD":
            _check_attributes(self.stack[-2], self.stack.pop())
        elif opcode not in {"PROTO", "STOP"}:
            raise UnsupportedFileError(f"its pickle has the opcode {opcode}")

    def _check_reuse(self, value: object) -> object:
        """Return a value from the memo, if it is a global, or a string within the limit."""
        if not isinstance(value, str | _Global):
            raise UnsupportedFileError("its pickle uses a value twice")
        self._repeated += len(value) if isinstance(value, str) else 0
        if self._repeated > _MAX_REPEATED:
            raise UnsupportedFileError("its pickle repeats long strings")
        return value

    def _pop(self, count: int | None) -> list[Any]:
        """Pop `count` values, or all above the last mark if it is None, together with the mark."""
        if count is None:
            marks = (n for n in reversed(range(len(self.stack))) if self.stack[n] is _MARK)
            mark = next(marks, None)
            if mark is None:
                raise IndexError
            values = self.stack[mark + 1 :]
            del self.stack[mark:]
            return values
        if len(self.stack) < count:
            raise IndexError
        values = self.stack[-count:]
        del self.stack[-count:]
        return values

    def _check_storage(self, identifier: tuple[object, ...]) -> _Storage:
        """Check the persistent identifier of a storage: it has its bytes, and a known device.

        `torch.load` maps all devices to the CPU.
        """
        kind, name, key, device, count = identifier if len(identifier) == 5 else (None,) * 5
        if kind != "storage" or not isinstance(name, _Global) or type(count) is not int:
            raise ValueError("its pickle refers to something else than tensors")
        if not isinstance(key, str) or not isinstance(device, str):
            raise ValueError("a tensor is malformed")
        if not _DEVICE.fullmatch(device):
            raise UnsupportedFileError("a tensor is on an unknown device; save it on the CPU")
        if count < 0 or count * _ITEM_SIZES[name.name] != self._sizes[f"data/{key}"]:
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


def _check_global(name: str) -> _Global:
    if name not in {*_ITEM_SIZES, _REBUILD, _ORDERED}:
        raise UnsafeError(f"it holds the Python object {ascii(name.replace(' ', '.'))[:80]}")
    return _Global(name)


def _check_attributes(target: object, attributes: object) -> None:
    """Check that only the metadata of a state dict is set, as in those of other programs."""
    is_metadata = isinstance(attributes, dict) and set(attributes) == {"_metadata"}
    if type(target) is not _OrderedDict or not is_metadata:
        raise UnsafeError("its pickle sets attributes")
    _check_depth([attributes])


def _check_tuple(values: list[Any]) -> tuple[Any, ...]:
    """Return a tuple if it may be a size, a storage or the arguments of a call."""
    for value in values:
        hooks = type(value) is _OrderedDict and not value
        deep = isinstance(value, tuple) and any(isinstance(item, tuple) for item in value)
        if deep or (isinstance(value, dict | list) and not hooks):
            raise UnsupportedFileError("its pickle has nested tuples")
    return tuple(values)


def _fill(container: object, values: list[Any], *, pairs: bool) -> None:
    if pairs and isinstance(container, dict) and len(values) % 2 == 0:
        if not all(type(key) is str for key in values[::2]):
            raise UnsupportedFileError("a key in its pickle is not a string")
        container.update(zip(values[::2], values[1::2], strict=True))
    elif not pairs and isinstance(container, list):
        container.extend(values)
    else:
        raise TypeError


def _check_call(function: object, arguments: tuple[Any, ...]) -> _Tensor | _OrderedDict:
    """Return the placeholder of the result of a call; only two functions may be called."""
    if function == _Global(_ORDERED) and arguments == ():
        return _OrderedDict()
    if function != _Global(_REBUILD):
        raise UnsafeError("its pickle calls a function other than those of tensors")
    storage, offset, size, stride, _, hooks = arguments
    has_hooks = type(hooks) is not _OrderedDict or hooks
    if not isinstance(storage, _Storage) or has_hooks or len(size) != len(stride):
        raise ValueError("a tensor is malformed")
    if len(size) > _MAX_DIMENSIONS or any(
        type(number) is not int or not 0 <= number < 2**63 for number in (offset, *size, *stride)
    ):
        raise ValueError("a tensor is malformed")
    last = offset + sum((count - 1) * step for count, step in zip(size, stride, strict=True))
    if math.prod(size) > storage.count or (math.prod(size) and last >= storage.count):
        raise ValueError("a tensor is larger than its values")
    return _Tensor()


def _check_depth(level: list[Any]) -> None:
    for _ in range(_MAX_DEPTH):
        containers = [value for value in level if isinstance(value, dict | list | tuple)]
        level = [item for v in containers for item in (v.values() if isinstance(v, dict) else v)]
    if level:
        raise UnsupportedFileError("its values are nested too deeply")


MAX_MEMBERS = 4096  # the largest ensemble has fewer tensors
_ENTRY = b"PK\1\2"  # the start of each entry in the directory of a zip archive
_MEMBER = re.compile(
    r"data\.pkl|version|byteorder|\.format_version|\.storage_alignment|"
    r"\.data/serialization_id|data/\d{1,9}",
    re.ASCII,
)


def count_members(data: bytes) -> int:
    """Return an upper bound of the number of members of a zip archive, without parsing it."""
    return data.count(_ENTRY)


def screen(data: bytes) -> bytes:
    """Return a file of `torch.save`, packed again, if it has only tensors and plain values.

    Raises:
        UnsafeError: its pickle would call a function or change an object.
        UnsupportedFileError: it has members, opcodes or values that no checkpoint has.
        ValueError: it is damaged.

    """
    try:
        members = _members(data)
    except (zipfile.BadZipFile, NotImplementedError, OSError, EOFError, zlib.error) as error:
        raise ValueError("its archive is not whole") from error
    _check_pickle(members["data.pkl"], {name: len(contents) for name, contents in members.items()})
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, contents in members.items():
            archive.writestr(zipfile.ZipInfo(f"checkpoint/{name}"), contents)
    return buffer.getvalue()


def _members(data: bytes) -> dict[str, bytes]:
    """Return the members of an archive by their names inside its top folder."""
    if count_members(data) > MAX_MEMBERS:
        raise UnsupportedFileError(f"it has more than {MAX_MEMBERS} members")
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        infos = archive.infolist()
        if any(info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 1 for info in infos):
            raise UnsupportedFileError("its members are compressed or encrypted")
        if sum(info.file_size for info in infos) > len(data):
            raise UnsupportedFileError("its members overlap")
        names = [info.filename.partition("/")[2] for info in infos]
        if len(set(names)) < len(names) or "data.pkl" not in names:
            raise UnsupportedFileError("a member is missing or duplicated")
        if unknown := [name for name in names if not _MEMBER.fullmatch(name)]:
            raise UnsupportedFileError(f"it has a member {ascii(unknown[0])[:80]}")
        return {name: archive.read(info) for name, info in zip(names, infos, strict=True)}
