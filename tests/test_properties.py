"""Whatever the values: properties of the parsers, searched for counterexamples by Hypothesis."""

import io
import math
import struct
from contextlib import suppress
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from mnist_cli.config import sources as options
from mnist_cli.config.options import Option
from mnist_cli.config.train import TrainConfig
from mnist_cli.data.datasets import parse_idx
from mnist_cli.errors import DataError, UsageError
from mnist_cli.models.checkpoint import load_checkpoint
from mnist_cli.models.networks import weights_sha256
from mnist_cli.models.pickle_screening import _check_pickle, screen
from mnist_cli.runtime.files import write_atomic
from tests.helpers.checkpoints import save_checkpoint
from tests.helpers.images import read_image
from tests.torture.amount import count

pytestmark = pytest.mark.slow

quick = settings(
    max_examples=count(50, 500),
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
SHAPES = st.lists(st.integers(1, 6), min_size=1, max_size=3)


@quick
@given(SHAPES, st.booleans(), st.data())
def test_an_idx_file_is_read_as_it_was_written(
    shape: list[int], wide: bool, data: st.DataObject
) -> None:
    code, kind, low, high = (0x0C, "i", -(2**31), 2**31 - 1) if wide else (0x08, "B", 0, 255)
    size = math.prod(shape)
    values = data.draw(st.lists(st.integers(low, high), min_size=size, max_size=size))
    header = struct.pack(f">HBB{len(shape)}I", 0, code, len(shape), *shape)
    found = parse_idx(bytearray(header + struct.pack(f">{size}{kind}", *values)), "here")
    assert list(found.shape) == shape
    assert found.flatten().tolist() == values


@quick
@given(
    st.binary(max_size=40)
    | st.builds(lambda head, rest: head + rest, st.just(b"\0\0\x08"), st.binary(max_size=40))
)
def test_any_bytes_are_an_idx_file_or_a_data_error(data: bytes) -> None:
    try:
        values = parse_idx(bytearray(data), "here")
    except DataError:
        return
    assert 4 + 4 * values.ndim + values.numel() * values.element_size() == len(data)


NAMES = st.sampled_from([field.name for field in fields(TrainConfig)])
PLAIN = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
NESTED = st.recursive(PLAIN, lambda inner: st.lists(inner, max_size=3), max_leaves=5)


@quick
@given(st.dictionaries(NAMES, NESTED, max_size=3))
def test_options_of_any_value_make_a_config_or_a_usage_error(values: dict[str, object]) -> None:
    try:
        config = options.build_config(TrainConfig, [options.Source(values, options.flag)])
        options.check_consistency(config)
    except UsageError as error:
        refusal = str(error)
    else:
        refusal = ""
    assert len(refusal.splitlines()) <= 2
    if refusal:
        return
    for field in fields(TrainConfig):
        value, about = getattr(config, field.name), field.metadata["option"]
        assert isinstance(about, Option)
        if isinstance(value, int | float):
            assert math.isfinite(value)
            assert about.minimum is None or value >= about.minimum
            assert about.maximum is None or value <= about.maximum
    assert config.resolve(60_000).resolve(60_000) == config.resolve(60_000)


@quick
@given(
    st.dictionaries(
        st.text(),
        st.recursive(
            st.none()
            | st.booleans()
            | st.integers(-(2**62), 2**62)
            | st.floats()
            | st.text()
            | st.builds(torch.ones, st.lists(st.integers(0, 3), max_size=3).map(tuple)),
            lambda inner: (
                st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3)
            ),
            max_leaves=10,
        ),
        max_size=5,
    )
)
def test_plain_values_and_tensors_pass_the_screen(values: dict[str, Any]) -> None:
    buffer = io.BytesIO()
    torch.save(values, buffer)
    screen(buffer.getvalue())


@quick
@given(st.binary(max_size=60))
def test_any_pickle_is_followed_or_refused(program: bytes) -> None:
    with suppress(ValueError):
        _check_pickle(b"\x80\x02" + program + b".", {"data/0": 4})


@quick
@given(
    st.lists(
        st.fixed_dictionaries({"event": st.just("epoch"), "epoch": st.integers(0, 2**40)}),
        max_size=4,
    ),
    st.integers(0, 2**52),
    st.floats(0, 1e300),
)
def test_a_checkpoint_survives_the_round_trip(
    trained: Path, tmp_path: Path, history: list[dict[str, Any]], update: int, loss: float
) -> None:
    good = load_checkpoint(trained)
    position = replace(good.position, update=update, loss_sum=loss)
    save_checkpoint(replace(good, history=history, position=position), str(tmp_path / "x.pt"))
    found = load_checkpoint(tmp_path / "x.pt")
    assert (found.history, found.position, found.config) == (history, position, good.config)
    assert weights_sha256(found.weights) == weights_sha256(good.weights)
    assert str(found.optimizer) == str(good.optimizer)


@quick
@given(st.binary(max_size=10_000))
def test_what_is_written_is_read(tmp_path: Path, data: bytes) -> None:
    write_atomic(tmp_path / "file", data)
    assert (tmp_path / "file").read_bytes() == data
    assert len(list(tmp_path.iterdir())) == 1


@quick
@given(
    st.integers(1, 40),
    st.integers(1, 40),
    st.sampled_from(["L", "RGB", "RGBA", "1", "LA", "I;16"]),
    st.randoms(use_true_random=False),
)
def test_any_picture_gives_a_digit(width: int, height: int, mode: str, draw: Any) -> None:
    row = {"1": (width + 7) // 8, "I;16": 2 * width}.get(mode, width * len(mode))
    picture = Image.frombytes(mode, (width, height), draw.randbytes(row * height))
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    digit = read_image(buffer.getvalue(), "here")
    assert (tuple(digit.shape), str(digit.dtype)) == ((28, 28), "uint8")
