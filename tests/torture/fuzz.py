"""Thousands of damaged and hostile inputs for every parser, each made from its number alone.

As a program, `fuzz.py KIND FIRST LAST FOLDER` tries the cases FIRST to LAST - 1 of a kind and
prints counts as JSON: how many were read, how many refused in a word, the slowest in seconds, and
how much the memory grew. Anything else than these two outcomes ends it with the case's number:
`fuzz.py KIND N N+1 FOLDER` tries it again. FOLDER has `checkpoint.pt`, a valid one.
"""

import gzip
import io
import json
import random
import signal
import struct
import sys
import time
import traceback
import warnings
import zipfile
import zlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from mnist_cli.config.programs import Display
from mnist_cli.errors import CheckpointError, DataError, MnistError, UsageError
from tests.torture import own_data
from tests.torture.damage import NUMBERS, damaged

SECONDS, MEGABYTES = 5, 1024


class TooSlow(BaseException):
    pass


# ---------------------------------------------------------------- checkpoints


def checkpoint(draw: random.Random, folder: Path) -> Callable[[], object]:
    """Damage to the file; to its pickle or a tensor, checksums right; or to the values in it."""
    from mnist_cli.models.checkpoint import load_checkpoint

    data = (folder / "checkpoint.pt").read_bytes()
    how = draw.choice([_whole, _member, _member, _values, _values])
    path = folder / "case.pt"
    path.write_bytes(how(data, draw))

    def read() -> object:
        from mnist_cli.data.batches import training_shape
        from mnist_cli.runtime.device import pick_device
        from mnist_cli.training.state import TrainingState

        found = load_checkpoint(path)
        # What a resumed training does with it, too.
        state = TrainingState(found.config, pick_device("cpu"))
        state.restore(found, training_shape(found.config, 500))
        state.check_finite()
        return found

    return read


def _whole(data: bytes, draw: random.Random) -> bytes:
    return damaged(data, draw)


def _member(data: bytes, draw: random.Random) -> bytes:
    """Return the archive with a damaged member, its name or contents, packed again."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(buffer, "w") as new:
        names = old.namelist()
        chosen = draw.choice([names[0], names[0], draw.choice(names)])
        for name in names:
            contents = old.read(name)
            if name == chosen and draw.random() < 0.1:
                name = "x" + damaged(name.encode(), draw).decode("latin-1")  # noqa: PLW2901
            elif name == chosen:
                contents = damaged(contents, draw)
            new.writestr(name, contents)
    return buffer.getvalue()


def _values(data: bytes, draw: random.Random) -> bytes:
    """Return a checkpoint with other values somewhere, saved again."""
    import torch

    parts = torch.load(io.BytesIO(data), weights_only=True)
    for _ in range(draw.choice([1, 1, 2, 5])):
        place: Any = parts
        while True:
            keys = list(place) if isinstance(place, dict) else list(range(len(place)))
            key = draw.choice(keys) if keys else None
            deeper = key is not None and isinstance(place[key], dict | list) and place[key]
            if not deeper or draw.random() < 0.2:
                break
            place = place[key]
        if key is not None:
            place[key] = _strange(place[key], draw)
    buffer = io.BytesIO()
    torch.save(parts, buffer)
    return buffer.getvalue()


def _strange(value: object, draw: random.Random) -> object:
    import torch

    deep: object = 0
    for _ in range(draw.choice([2, 20, 200])):
        deep = [deep] if draw.random() < 0.5 else {"a": deep}
    if isinstance(value, torch.Tensor) and 0 < value.numel() < 10**6 and not value.is_meta:
        flat = value.double().view(-1).float()
        flat[draw.randrange(len(flat))] = draw.choice([float("nan"), float("inf"), 1e38, 0.0])
        wide = value.reshape(-1)[:1].expand(10**9)  # a small storage, a huge shape
        return draw.choice([flat.view(value.shape), flat, value.double(), value.to("meta"), wide])
    return draw.choice(
        [
            *(None, True, "", "x" * 5000, "\0", "é\ud800", float("nan"), float("inf"), -1, 0, 0.5),
            *(10**400, 2**63, -(2**70), (), (1, (2, 3)), [], {}, {1: 2}, b"bytes", deep, 1j),
            *(torch.ones(2), torch.ones(0), torch.tensor(3), {"event": "epoch", "epoch": "x"}),
            draw.choice(NUMBERS),
        ]
    )


# ---------------------------------------------------------------- data files


def idx(draw: random.Random, folder: Path) -> Callable[[], object]:
    """A small data set in IDX files or .gz, one of them damaged."""
    from mnist_cli.data import datasets
    from mnist_cli.data.catalogue import CATALOGUE

    source = CATALOGUE[draw.choice(["kmnist", "qmnist"])]  # MNIST's are held to their SHA-256
    raw = source.raw(folder / "data")
    raw.mkdir(parents=True, exist_ok=True)
    for old in raw.iterdir():
        old.unlink()
    victim = draw.choice(source.files)
    for name in source.files:
        contents = _idx_file(name)
        packed = draw.random() < 0.5
        if name == victim and draw.random() < 0.6:
            contents = (
                _idx_header(contents, draw) if draw.random() < 0.5 else damaged(contents, draw)
            )
        if packed:
            contents = gzip.compress(contents, 1)
            if name == victim and draw.random() < 0.6:
                contents = damaged(contents, draw)
            if name == victim and draw.random() < 0.05:
                contents = bomb(draw.choice([10**7, 3 * 10**8]))
        (raw / (name + (".gz" if packed else ""))).write_bytes(contents)
    wanted = {file for file in CATALOGUE if CATALOGUE[file] is source}.pop()
    return lambda: datasets.load_dataset(wanted, folder / "data")


@cache
def bomb(size: int) -> bytes:
    buffer = io.BytesIO()
    with gzip.open(buffer, "wb", 1) as file:
        for _ in range(size // 10**6):
            file.write(bytes(10**6))
    return buffer.getvalue()


def _idx_file(name: str) -> bytes:
    count = 12
    if "images" in name:
        return struct.pack(">IIII", 0x803, count, 28, 28) + bytes(range(256)) * 36 + bytes(192)
    if name.endswith("int"):
        return struct.pack(">III", 0xC02, count, 8) + struct.pack(">I", 3) * 8 * count
    return struct.pack(">II", 0x801, count) + bytes(range(10)) + bytes(2)


def _idx_header(contents: bytes, draw: random.Random) -> bytes:
    out = bytearray(contents)
    at = draw.choice([0, 4, 8, 12])
    out[at : at + 4] = struct.pack(">I", draw.choice(NUMBERS) % 2**32)
    if draw.random() < 0.5:
        out[draw.randrange(len(out))] = draw.randrange(256)
    return bytes(out)


# ---------------------------------------------------------------- options


def toml(draw: random.Random, folder: Path) -> Callable[[], object]:
    """A TOML file: of strange values, of bits of syntax, or a damaged one; and as a variable."""
    from mnist_cli.cli.parameters import PRESETS
    from mnist_cli.config import sources
    from mnist_cli.config.compare import CompareConfig
    from mnist_cli.config.compare import resolve as resolve_comparison
    from mnist_cli.config.train import TrainConfig

    compare = draw.random() < 0.3
    kind: type = CompareConfig if compare else TrainConfig
    names = [*sources._names([kind]), "no_such_key"]
    how = draw.choice([_toml_mostly_right, _toml_values, _toml_syntax, _toml_damaged])
    text = how(names, draw)
    path = folder / "case.toml"
    path.write_bytes(text)
    variables = {f"MNIST_{draw.choice(names).upper()}": draw.choice(TEXTS)}

    def read() -> object:
        layers = [
            sources.environment(variables, kind, Display),
            sources.toml_file(str(path), PRESETS, kind, Display),
        ]
        config = sources.build_config(kind, layers)
        if isinstance(config, TrainConfig):
            sources.check_consistency(config)
            return config.resolve(60_000)
        return resolve_comparison(config)

    return read


TEXTS = ["", "1", "0", "-1", "nan", "inf", "1e400", "9" * 5000, "true", "x" * 9999, "\ud800", "½"]
VALUES = [
    *("0", "1", "-1", "3.5", "nan", "-inf", "1e400", "1e-400", "true", "false", '"1"', '"x"', '""'),
    *("9" * 400, "9" * 5000, "0x" + "f" * 900, "9223372036854775808", "1979-05-27", "07:32:00"),
    *('"\\u0000"', '"cnn"', '"auto"', '"64,full"', "[]", "[1]", "{}", "{a = 1}", "[[[[1]]]]"),
    "[" * 500 + "]" * 500,
    "{a=" * 300 + "1" + "}" * 300,
    '"' + "x" * 60_000 + '"',
]


def _toml_values(names: list[str], draw: random.Random) -> bytes:
    count = draw.choice([1, 1, 2, 5, len(names)])
    return "\n".join(
        f"{name} = {draw.choice(VALUES)}" for name in draw.sample(names, count)
    ).encode()


def _toml_mostly_right(_names: list[str], draw: random.Random) -> bytes:
    lines = [
        f"seed = {draw.randrange(2**63)}",
        f"epochs = {draw.choice([1, 3, 10**6])}",
        f"lr = {draw.choice(['0.1', '3', '1e-30', 'nan'])}",
        f"model = '{draw.choice(['cnn', 'mlp', 'linear', 'cn'])}'",
        f"micro_batch_size = {draw.choice(NUMBERS)}",
    ]
    return "\n".join(draw.sample(lines, draw.randrange(1, 6))).encode()


def _toml_syntax(names: list[str], draw: random.Random) -> bytes:
    bits = [
        *names,
        *VALUES,
        "=",
        ".",
        "[",
        "]",
        "[[",
        "]]",
        "{",
        "}",
        "\n",
        "#",
        '"',
        "'''",
        "\\",
        ",",
    ]
    text = " ".join(draw.choice(bits) for _ in range(draw.choice([3, 10, 100])))
    dotted = ".".join("a" * draw.choice([1, 20_000])) + " = 1\n"
    tables = "".join(f"[a{n}.b]\n" for n in range(draw.choice([1, 5000])))
    return draw.choice([text, text, dotted, tables, dotted + text]).encode()


def _toml_damaged(names: list[str], draw: random.Random) -> bytes:
    return damaged(_toml_values(names, draw), draw)


# ---------------------------------------------------------------- images


def image(draw: random.Random, folder: Path) -> Callable[[], object]:
    """An image file of a known format, damaged, with the checksums of a PNG made right."""
    from PIL import Image

    from tests.helpers.images import read_image

    mode = draw.choice(["1", "L", "P", "RGB", "RGBA", "LA", "CMYK", "I;16", "F"])
    kind = draw.choice(KINDS[mode])
    size = (draw.choice([1, 28, 50]), draw.choice([1, 28, 60]))
    picture = Image.new(mode, size)
    picture.paste(1, (0, 0, 1 + size[0] // 2, 1 + size[1] // 2)) if mode in "1LPF" else None
    buffer = io.BytesIO()
    picture.save(buffer, kind)
    data = damaged(buffer.getvalue(), draw)
    if kind == "PNG" and draw.random() < 0.7:
        data = _png_with_checksums(data)
    (folder / "case.img").write_bytes(data)
    return lambda: read_image(data, "the image")


KINDS = {
    "1": ["PNG", "TIFF", "BMP", "PPM", "GIF"],
    "L": ["PNG", "JPEG", "TIFF", "BMP", "PPM", "GIF", "WEBP"],
    "P": ["PNG", "GIF", "BMP", "TIFF"],
    "RGB": ["PNG", "JPEG", "TIFF", "BMP", "PPM", "WEBP"],
    "RGBA": ["PNG", "TIFF", "WEBP", "BMP"],
    "LA": ["PNG", "TIFF"],
    "CMYK": ["JPEG", "TIFF"],
    "I;16": ["PNG", "TIFF"],
    "F": ["TIFF"],
}


def _png_with_checksums(data: bytes) -> bytes:
    out, start = bytearray(data), 8
    while start + 12 <= len(out):
        (length,) = struct.unpack_from(">I", out, start)
        end = start + 8 + length
        if end + 4 > len(out):
            break
        struct.pack_into(">I", out, end, zlib.crc32(out[start + 4 : end]))
        start = end + 4
    return bytes(out)


# ---------------------------------------------------------------- the rule

KIND: dict[str, tuple[Callable[..., Callable[[], object]], type[MnistError]]] = {
    "checkpoint": (checkpoint, CheckpointError),
    "idx": (idx, DataError),
    "toml": (toml, UsageError),
    "image": (image, DataError),
    "table": (own_data.table, DataError),
    "array": (own_data.array, DataError),
    "folder": (own_data.folder, DataError),
}


def attempt(kind: str, case: int, folder: Path) -> tuple[str, float]:
    """Return how a case ended, `read` or `refused`, and the seconds that took.

    Raises whatever breaks the rule: a clean error of the contract, or a result, in bounded time.
    """
    make, refusal = KIND[kind]
    read = make(random.Random(f"{kind}/{case}"), folder)
    began = time.perf_counter()
    signal.alarm(SECONDS)
    try:
        read()
        outcome = "read"
    except refusal as error:
        lines = str(error).splitlines()
        assert 1 <= len(lines) <= 2, lines
        assert all(len(line) < 5000 for line in lines), lines  # a path may be long
        outcome = "refused"
    finally:
        signal.alarm(0)
    return outcome, time.perf_counter() - began


def _too_slow(*_: object) -> None:
    raise TooSlow


def main() -> None:
    kind, first, last, place = sys.argv[1:]
    folder = Path(place)
    signal.signal(signal.SIGALRM, _too_slow)
    for case in (-1, -2, -3):  # imports and pools are not what is measured
        attempt(kind, case, folder)
    warnings.simplefilter("error")  # they would be seen by users
    Path("/proc/self/clear_refs").write_text("5")  # the most from now on
    before = most_memory()
    counts = {"read": 0, "refused": 0}
    slowest = 0.0
    for case in range(int(first), int(last)):
        try:
            outcome, took = attempt(kind, case, folder)
        except BaseException:
            print(f"{kind} case {case}:", file=sys.stderr)
            traceback.print_exc(limit=-8)
            sys.exit(1)
        counts[outcome] += 1
        slowest = max(slowest, took)
    grown = most_memory() - before
    print(json.dumps({**counts, "slowest_s": round(slowest, 3), "grown_MB": grown}))


def most_memory() -> int:
    """Return the most memory that this process has had, in MB (`ru_maxrss` is its parent's)."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) // 1024


if __name__ == "__main__":
    main()
