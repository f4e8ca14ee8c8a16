"""Archives and pickles that ask for more than they should."""

import io
import struct
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from mnist_cli.config.options import names_where
from mnist_cli.config.train import TrainConfig
from mnist_cli.errors import CheckpointError
from mnist_cli.models import pickle_screening
from mnist_cli.models.checkpoint import load_checkpoint
from mnist_cli.models.networks import weights_sha256
from mnist_cli.models.pickle_screening import UnsafeError, UnsupportedFileError, screen
from mnist_cli.training.state import MAX_EPOCHS, TrainingState
from tests.helpers.checkpoints import save_checkpoint

Members = dict[str, bytes]


def members_of(data: bytes) -> Members:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def packed(members: Members, method: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, contents in members.items():
            archive.writestr(name, contents)
    return buffer.getvalue()


def program(instructions: bytes) -> bytes:
    """Return an archive with a pickle, and the values of four numbers."""
    values = {"a/data.pkl": b"\x80\x02" + instructions, "a/version": b"3", "a/data/0": bytes(16)}
    return packed(values)


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def tensor(count: int, offset: int, size: tuple[int, ...], stride: tuple[int, ...]) -> bytes:
    def numbers(values: tuple[int, ...]) -> bytes:
        return b"(" + b"".join(b"J" + struct.pack("<i", value) for value in values) + b"t"

    storage = text("storage") + b"ctorch\nFloatStorage\n" + text("0") + text("cpu")
    return (
        b"ctorch._utils\n_rebuild_tensor_v2\n(("
        + storage
        + b"J"
        + struct.pack("<i", count)
        + b"tQJ"
        + struct.pack("<i", offset)
        + numbers(size)
        + numbers(stride)
        + b"\x89ccollections\nOrderedDict\n)RtR"
    )


def test_what_this_program_and_others_write_passes(trained: Path) -> None:
    screen(trained.read_bytes())
    buffer = io.BytesIO()
    torch.save({"a": torch.ones(3, 4).t(), "b": [1, 2**40, 0.5, None, True, "x", ()]}, buffer)
    screen(buffer.getvalue())
    screen(program(b"}" + text("a") + tensor(4, 0, (2, 2), (2, 1)) + b"s."))


@pytest.mark.parametrize(
    "instructions",
    [
        b"cposix\nsystem\n" + text("true") + b"\x85R.",
        b"cbuiltins\nbytearray\nJ\x00\x00\x00\x7f\x85R.",  # two gigabytes
        b"ctorch._utils\n_rebuild_parameter\n.",
        b"ccollections\nOrderedDict\n)R}b.",  # sets attributes
        b"(i__builtin__\neval\n.",
        b"}q\x00" + text("a") + b"h\x00s.",  # in itself
        b"]q\x00]q\x01(h\x00h\x00h\x00e.",  # one list three times: in 30 levels 10**14 of them
        b"}K\x01K\x02s.",  # a key that is not a text
        b"K\x01" + b"\x85" * 100_000 + b".",  # deep
        b"]" * 100_000 + b"a" * 99_999 + b".",
        b"]" * 9 + b"a" * 8 + b".",
        text("a") + b")R.",  # calls a text
        b"\x8c\x01a.",  # of a later protocol
        b"S'\\h'\n.",  # at which Python would warn
    ],
    ids=lambda value: repr(value[:30]),
)
def test_a_pickle_that_does_anything_else_is_refused(instructions: bytes) -> None:
    with pytest.raises((UnsafeError, UnsupportedFileError)):
        screen(program(instructions))


@pytest.mark.parametrize(
    "instructions",
    [
        b"}" + text("a") + tensor(5, 0, (2, 2), (2, 1)) + b"s.",  # more values than bytes
        b"}" + text("a") + tensor(3, 0, (1,), (1,)) + b"s.",
        b"}" + text("a") + tensor(4, 1, (2, 2), (2, 1)) + b"s.",  # past the end
        b"}" + text("a") + tensor(4, 0, (2**30, 2**30), (0, 0)) + b"s.",  # one value, many times
        b"}" + text("a") + tensor(4, 0, (2, 2), (2,)) + b"s.",
        b"}" + text("a") + tensor(4, -1, (1,), (1,)) + b"s.",
        b"}" + text("a") + tensor(-4, 0, (1,), (1,)) + b"s.",
        b"",
        b".",
        b"K\x01K\x01.",
        b"h\x05.",
        b"t.",
        b"s.",
        b"Q.",
        b"K\x01Q.",
        b"X\xff\xff\xff\x7fabc.",
        b"\x8a\xff.",
        b"L" + b"9" * 10_000 + b"L\n.",
        b"r\xff\xff\xff\xff.",
    ],
    ids=lambda value: repr(value[-40:]),
)
def test_a_malformed_pickle_is_damage(instructions: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 (each in its own words)
        screen(program(instructions))


def renamed(old: str, new: str) -> Callable[[bytes], bytes]:
    return lambda data: packed(
        {name.replace(old, new): value for name, value in members_of(data).items()}
    )


def with_a_member(name: str) -> Callable[[bytes], bytes]:
    return lambda data: packed(members_of(data) | {name: b"x"})


def with_a_second_pickle(data: bytes) -> bytes:
    buffer = io.BytesIO(data)
    with zipfile.ZipFile(buffer, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr(archive.namelist()[0], b"\x80\x02}.")
    return buffer.getvalue()


def overlapping(data: bytes) -> bytes:
    """Let a second name point to the largest member."""
    buffer = io.BytesIO(packed(members_of(data)))
    with zipfile.ZipFile(buffer, "a") as archive:
        large = max(archive.infolist(), key=lambda info: info.file_size)
        for number in range(1000, 1010):
            twin = zipfile.ZipInfo(f"checkpoint/data/{number}")
            twin.header_offset, twin.CRC = large.header_offset, large.CRC
            twin.file_size = twin.compress_size = large.file_size
            archive.filelist.append(twin)
        archive._didModify = True
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (renamed("data/1", "../../evil"), "it has a member"),
        (renamed("data/1", "data/../1"), "it has a member"),
        (with_a_member("elsewhere/../9"), "it has a member"),
        (with_a_member("/etc/passwd"), "it has a member"),
        (with_a_member("archive/constants.pkl"), "it has a member"),
        (renamed("data.pkl", "data/99"), "missing or duplicated"),
        (with_a_second_pickle, "duplicated"),
        (overlapping, "overlap"),
        (lambda data: packed(members_of(data), zipfile.ZIP_DEFLATED), "compressed"),
        (lambda data: packed({f"a/data/{n}": b"" for n in range(5000)}), "more than 4096 members"),
        (lambda data: packed({}), "missing"),
        (lambda data: data[:-30], "its archive is not whole"),
    ],
)
def test_an_archive_that_is_not_plain_is_refused(
    change: Callable[[bytes], bytes], message: str, trained: Path
) -> None:
    with pytest.raises(ValueError, match=message):
        screen(change(trained.read_bytes()))


def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "bomb.pt"
    path.write_bytes(packed({"archive/data.pkl": bytes(100_000_000)}, zipfile.ZIP_DEFLATED))
    assert path.stat().st_size < 200_000
    with pytest.raises(CheckpointError, match="compressed"):
        load_checkpoint(path)


def hidden(data: bytes, evil: bytes) -> bytes:
    """Return an archive in which some readers see another one.

    Where the directory ends, a locator points to a directory inside a member that is not used.
    Python's zipfile looks for it in another place, and sees the harmless members only.
    """
    with zipfile.ZipFile(io.BytesIO(evil)) as archive:
        entries = len(archive.infolist())
    place = evil.rindex(b"PK\5\6")
    size, offset = struct.unpack_from("<II", evil, place + 12)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        first = zipfile.ZipInfo("checkpoint/data/99")
        start = 30 + len(first.filename)  # of its contents
        shift = evil[:offset]
        directory = bytearray(evil[offset : offset + size])
        at = 0
        while at < size:
            (there,) = struct.unpack_from("<I", directory, at + 42)
            struct.pack_into("<I", directory, at + 42, there + start)
            lengths = struct.unpack_from("<HHH", directory, at + 28)
            at += 46 + sum(lengths)
        record = struct.pack(
            "<4sQHHIIQQQQ", b"PK\6\6", 44, 45, 45, 0, 0, entries, entries, size, start + offset
        )
        archive.writestr(first, shift + bytes(directory) + record)
        for name, contents in members_of(data).items():
            archive.writestr(name.replace("archive", "checkpoint"), contents)
        last = archive.filelist[-1]
        last.comment = struct.pack("<4sIQI", b"PK\6\7", 0, start + offset + size, 1)
    return buffer.getvalue()


def test_pytorch_gets_what_was_screened_and_nothing_else(trained: Path, tmp_path: Path) -> None:
    good = trained.read_bytes()
    evil = packed({"evil/data.pkl": b"\x80\x02X\x04\x00\x00\x00evil.", "evil/version": b"3\n"})
    both = hidden(good, evil)
    assert torch.load(io.BytesIO(both), weights_only=True) == "evil"  # the trick works on it alone
    path = tmp_path / "both.pt"
    path.write_bytes(both)
    found = load_checkpoint(path)
    assert found.config == load_checkpoint(trained).config


def test_repeated_texts_do_not_add_up_to_gigabytes() -> None:
    """3,000 times a text of a megabyte are a small file, until somebody prints it."""
    once = b"(" + text("x" * 1_000_000) + b"q\x00" + b"h\x00" * 3000 + b"e"
    with pytest.raises(UnsupportedFileError, match="repeats long strings"):
        screen(program(b"]" + once.replace(b"q\x00", b"q\x01").replace(b"h\x00", b"h\x01") + b"."))


@pytest.mark.slow
def test_a_history_never_grows_too_long_to_be_read(trained: Path, tmp_path: Path) -> None:
    checkpoint = load_checkpoint(trained)
    state = TrainingState(checkpoint.config, torch.device("cpu"))
    names = [*names_where(TrainConfig, lambda about: about.changeable), *checkpoint.versions]
    for number in range(150):
        changes = {name: [f"{number:0101}", "é" * (101 - number % 2)] for name in names}
        state.remember({"event": "resume", "update": number, "changes": changes})
    epoch = next(e for e in checkpoint.history if e["event"] == "epoch")
    for number in range(3000):
        floats = {k: v + number / 7 if type(v) is float else v for k, v in epoch.items()}
        state.remember({**floats, "epoch": number, "val_loss": 0.1, "val_accuracy": 0.3})
    kept = [e["epoch"] for e in state.history if e["event"] == "epoch"]
    assert 1000 < len(kept) <= MAX_EPOCHS
    assert (kept[0], kept[-1]) != (0, 0)
    assert kept == sorted(set(kept))
    save_checkpoint(replace(checkpoint, history=state.history), str(tmp_path / "long.pt"))
    assert load_checkpoint(tmp_path / "long.pt").history == state.history


def test_a_large_pickle_is_followed_up_to_a_limit() -> None:
    screen(program(b"](" + b"K\x01" * 200_000 + b"e."))
    with pytest.raises(UnsupportedFileError, match="too large"):
        screen(program(b"](" + b"K\x01" * (1 << 20) + b"e."))


def test_a_tensor_of_thousands_of_huge_dimensions_is_refused_without_computing_with_them() -> None:
    storage, hooks = pickle_screening._Storage(1), pickle_screening._OrderedDict()
    for size in ((1,) * 9, (2**2000,)):
        arguments = (storage, 0, size, (1,) * len(size), False, hooks)
        with pytest.raises(ValueError, match="a tensor is malformed"):
            pickle_screening._check_call(
                pickle_screening._Global(pickle_screening._REBUILD), arguments
            )


def on_device(source: Path, device: bytes, target: Path) -> Path:
    """Write a copy of a checkpoint whose tensors were saved on another device."""
    members = members_of(source.read_bytes())
    (name,) = (name for name in members if name.endswith("data.pkl"))
    given = b"X" + struct.pack("<I", len(device)) + device
    members[name] = members[name].replace(b"X\x03\0\0\0cpu", given)
    target.write_bytes(packed(members))
    return target


@pytest.mark.parametrize("device", [b"cpu", b"cuda:0", b"mps:0", b"cuda"])
def test_a_file_that_was_saved_on_a_gpu_is_read(
    device: bytes, trained: Path, tmp_path: Path
) -> None:
    again = load_checkpoint(on_device(trained, device, tmp_path / "x.pt"))
    expected = load_checkpoint(trained)
    assert weights_sha256(again.weights) == weights_sha256(expected.weights)
    assert all(value.device.type == "cpu" for value in again.weights.values())


def test_a_file_of_an_unknown_device_says_what_to_do(trained: Path, tmp_path: Path) -> None:
    path = on_device(trained, b"abacus", tmp_path / "x.pt")
    with pytest.raises(CheckpointError, match="unknown device; save it on the CPU"):
        load_checkpoint(path)
