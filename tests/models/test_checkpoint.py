import hashlib
import math
import os
import pickle
import random
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from mnist_cli.config.train import TrainConfig
from mnist_cli.errors import CheckpointError, UsageError
from mnist_cli.models import checkpoint, networks
from mnist_cli.models.checkpoint import HISTORY_BYTES, encode, load_checkpoint
from mnist_cli.models.networks import weights_sha256
from mnist_cli.training.train import train
from tests.helpers.trainings import Configure, end_of
from tests.torture.amount import count

OLD = Path(__file__).parent / "data"  # written by an earlier program, in checkpoint format 2


def test_it_is_all_that_is_needed_to_rebuild_the_model(trained: Path) -> None:
    parts = torch.load(trained, weights_only=True)  # as any other program would read it
    keys = "format format_version model weights weights_sha256 config optimizer position history"
    assert set(parts) == {*keys.split(), "versions"}
    assert parts["model"] == {"name": "linear", "arguments": {}}
    assert parts["versions"]["torch"] == torch.__version__
    assert [epoch["epoch"] for epoch in parts["history"]] == [1, 2]
    model = load_checkpoint(trained).build_model()
    assert weights_sha256(model.state_dict()) == parts["weights_sha256"]


def test_the_digest_is_the_one_that_the_contract_describes() -> None:
    weights = {"b": torch.tensor([[1.0, 2.0], [3.0, 4.0]]).t(), "a": torch.tensor(7)}
    plain = hashlib.sha256()
    plain.update(b"a" + (7).to_bytes(8, "little"))
    # The transposed matrix in C order: 1 3 2 4, as little-endian float32.
    plain.update(b"b" + bytes.fromhex("0000803f 00004040 00000040 00008040"))
    assert weights_sha256(weights) == plain.hexdigest()


def rewritten(trained: Path, folder: Path, **changes: Any) -> Path:
    parts = torch.load(trained, weights_only=True)
    parts.update(changes)
    path = folder / "changed.pt"
    torch.save({k: v for k, v in parts.items() if v is not None}, path)
    return path


def test_a_missing_file_a_text_and_an_empty_file_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"none\.pt: No such file"):
        load_checkpoint(tmp_path / "none.pt")
    with pytest.raises(CheckpointError, match="is a folder; name a checkpoint in it"):
        load_checkpoint(tmp_path)
    path = tmp_path / "x.pt"
    path.write_text("hello\n")
    with pytest.raises(CheckpointError, match="is not a checkpoint"):
        load_checkpoint(path)
    path.write_bytes(b"")
    with pytest.raises(CheckpointError, match="is empty"):
        load_checkpoint(path)


@pytest.mark.parametrize("share", [0.01, 0.3, 0.9, 0.999])
def test_a_truncated_file_is_damaged(share: float, trained: Path, tmp_path: Path) -> None:
    data = trained.read_bytes()
    path = tmp_path / "x.pt"
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(CheckpointError, match="damaged"):
        load_checkpoint(path)


def test_a_flipped_bit_is_found_or_harmless(trained: Path, tmp_path: Path) -> None:
    """Never a different result: the archive's checksums and the digest see every value."""
    data = trained.read_bytes()
    good = load_checkpoint(trained)
    draw = random.Random(0)
    cases, found = count(100, 300), 0
    for _ in range(cases):
        at, bit = draw.randrange(len(data)), draw.randrange(8)
        damaged = bytearray(data)
        damaged[at] ^= 1 << bit
        path = tmp_path / "x.pt"
        path.write_bytes(damaged)
        try:
            read = load_checkpoint(path)
        except CheckpointError:
            found += 1
        else:
            assert read.config == good.config
            assert read.position == good.position
            assert str(read.optimizer) == str(good.optimizer)
            assert weights_sha256(read.weights) == weights_sha256(good.weights)
    assert found > 0.8 * cases, "most of the file is data"


def test_a_file_that_is_larger_than_any_checkpoint_is_not_read(tmp_path: Path) -> None:
    for size, message in ((1 << 26, "is not a checkpoint"), ((1 << 26) + 1, "is larger than any")):
        with (tmp_path / "x.pt").open("wb") as file:
            file.truncate(size)
        with pytest.raises(CheckpointError, match=message):
            load_checkpoint(tmp_path / "x.pt")


@pytest.mark.parametrize("version", [1, 99])
def test_other_versions_are_named(version: int, trained: Path, tmp_path: Path) -> None:
    message = f"has checkpoint format {version}; this version reads format 2: use the mnist_cli"
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(rewritten(trained, tmp_path, format_version=version))


def safetensors(path: Path) -> None:
    header = b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(4))


MODEL = torch.nn.Sequential(torch.nn.Linear(3, 2))


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda path: torch.save(MODEL.state_dict(), path), "is a plain state dict"),
        (lambda path: torch.save(dict(MODEL.state_dict()), path), "is a plain state dict"),
        (lambda path: torch.save(torch.ones(3), path), "is a PyTorch file of another program"),
        (
            lambda path: torch.save({"epoch": 3, "model_state_dict": MODEL.state_dict()}, path),
            "is a PyTorch file of another program",
        ),
        (lambda path: torch.save(MODEL, path), r"'torch\.nn\.modules\.container\.Sequential'"),
        (
            lambda path: torch.save(MODEL, path, _use_new_zipfile_serialization=False),
            "is a pickle, or of an old PyTorch; it could run commands",
        ),
        (safetensors, "is a safetensors file"),
    ],
)
def test_other_programs_files_are_named(
    write: Callable[[Path], None], message: str, tmp_path: Path
) -> None:
    write(tmp_path / "other.pt")
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(tmp_path / "other.pt")


@pytest.mark.parametrize(
    "changes",
    [
        {"weights": {}},
        {"weights": {"2.weight": torch.zeros(10, 784)}},
        {"weights": None},
        {"weights_sha256": "0" * 64},
        {"weights_sha256": 3},
        {"model": {"name": "cnn", "arguments": {}}},
        {"model": {"name": "linear", "arguments": {"width": 3}}},
        {"config": {"model": "no such"}},
        {"config": {"epochs": -1}},
        {"position": {}},
        {"position": {"update": -1}},
        {"position": {"update": "1", "loss_sum": 0.0, "correct": 0}},
        {"position": {"update": 10**400, "loss_sum": 0.0, "correct": 0}},
        {"position": {"update": 1, "loss_sum": -1e300, "correct": 0}},
        {"position": {"update": 1, "loss_sum": float("nan"), "correct": 0}},
        {"history": {}},
        {"history": [{"event": "epoch", "x": 1}]},
        {"history": [{"epoch": torch.ones(2)}]},
        {"history": [3]},
        {"versions": {"torch": 2}},
        {"versions": {"torch": "\x1b[2J"}},
        {"versions": {"x" * 1000: "1"}},
        {"history": [{"event": "resume", "changes": {"epochs": [torch.ones(2)]}}]},
        {"history": [{"event": "resume", "changes": [1]}]},
    ],
    ids=str,
)
def test_parts_that_do_not_fit_together_are_damage(
    changes: dict[str, Any], trained: Path, tmp_path: Path
) -> None:
    with pytest.raises(CheckpointError, match="is damaged"):
        load_checkpoint(rewritten(trained, tmp_path, **changes))


@pytest.mark.parametrize("version", [True, 1.0, torch.ones(2), None, "1", 10**400])
def test_a_format_version_is_a_number_that_is_known(
    version: Any, trained: Path, tmp_path: Path
) -> None:
    with pytest.raises(CheckpointError, match="checkpoint format"):
        load_checkpoint(rewritten(trained, tmp_path, format_version=version))


def test_options_left_open_are_damage(trained: Path, tmp_path: Path) -> None:
    config = torch.load(trained, weights_only=True)["config"] | {"lr": None}
    with pytest.raises(CheckpointError, match="an option is left open"):
        load_checkpoint(rewritten(trained, tmp_path, config=config))


@pytest.mark.parametrize(("name", "update"), [("format2", 2), ("format2-mid-epoch", 7)])
def test_a_checkpoint_of_an_earlier_program_still_loads(name: str, update: int) -> None:
    checkpoint = load_checkpoint(OLD / f"{name}.pt")
    assert (checkpoint.config.model, checkpoint.config.optimizer) == ("linear", "sgd")
    assert checkpoint.position.update == update


@pytest.mark.slow
def test_a_checkpoint_of_an_earlier_program_can_be_resumed(mnist_dir: Path, tmp_path: Path) -> None:
    old = load_checkpoint(OLD / "format2-mid-epoch.pt")
    config = replace(old.config, max_updates=None, data_dir=str(mnist_dir))
    paths = [str(tmp_path / name) for name in ("resumed.pt", "whole.pt")]
    for path, resume in zip(paths, (old, None), strict=True):
        list(train(replace(config, output=path), resume))
    resumed, whole = (load_checkpoint(path) for path in paths)
    assert resumed.position.update == 10
    for key, value in whole.weights.items():  # up to rounding: it was written with two threads
        torch.testing.assert_close(resumed.weights[key], value, rtol=0, atol=1e-7)


def test_an_option_that_was_added_later_has_its_default(trained: Path, tmp_path: Path) -> None:
    config = dict(torch.load(trained, weights_only=True)["config"])
    del config["save_every"], config["probe_samples"]
    again = load_checkpoint(rewritten(trained, tmp_path, config=config))
    assert again.config.probe_samples == TrainConfig.probe_samples
    assert again.config == load_checkpoint(trained).config


@pytest.mark.parametrize(("part", "what"), [("config", "option"), ("position", "position")])
def test_what_a_newer_version_added_names_that_version(
    part: str, what: str, trained: Path, tmp_path: Path
) -> None:
    parts = torch.load(trained, weights_only=True)
    changes = {
        part: {**parts[part], "rotate": True},
        "versions": {**parts["versions"], "mnist_cli": "7.1"},
    }
    with pytest.raises(CheckpointError, match=rf"mnist_cli 7\.1, whose {what} 'rotate'"):
        load_checkpoint(rewritten(trained, tmp_path, **changes))


def test_a_network_whose_checkpoint_could_not_be_read_is_not_trained(
    small: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    def deep(classes: int) -> nn.Module:
        return nn.Sequential(*networks.linear(), *[nn.Linear(10, classes) for _ in range(1100)])

    monkeypatch.setattr(networks, "mlp", deep)
    for output in ("checkpoint.pt", "-"):
        with pytest.raises(UsageError, match="mlp is too large: its checkpoint would have"):
            next(train(small(model="mlp", output=output)))


def test_so_is_an_ensemble_of_too_many(small: Configure) -> None:
    with pytest.raises(UsageError, match="an ensemble of 64 quick is too large"):
        next(train(small(model="quick", members=64)))


def test_an_ensemble_of_many_tensors_is_read_again(small: Configure) -> None:
    """More than a thousand: weights, averages, and the optimizer's state."""
    config = small(model="lenet", members=26, ema=0.9, max_updates=1, subset=20, batch_size=20)
    digest = end_of(config).weights_sha256
    assert weights_sha256(load_checkpoint(config.output).weights) == digest


def test_a_checkpoint_of_too_many_bytes_is_refused_before_it_is_written(trained: Path) -> None:
    huge = {"weight": torch.zeros(1 << 24)}
    with pytest.raises(UsageError, match="67,.* bytes"):
        encode(replace(load_checkpoint(trained), weights=huge))


def test_a_training_begins_only_if_its_history_has_room_to_grow(trained: Path) -> None:
    large = replace(load_checkpoint(trained), weights={"weight": torch.zeros(63 << 18)})
    assert len(encode(large)) > 63 << 20
    with pytest.raises(UsageError, match="too large"):
        encode(large, spare=HISTORY_BYTES)


def test_weights_that_are_not_finite_are_damage(trained: Path, tmp_path: Path) -> None:
    weights = {**load_checkpoint(trained).weights, "0.offset": torch.tensor(math.nan)}
    path = rewritten(trained, tmp_path, weights=weights, weights_sha256=weights_sha256(weights))
    with pytest.raises(CheckpointError, match="not finite"):
        load_checkpoint(path)


class Evil:
    """A pickle that would leave a trace if it were run."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.trace),)


def test_a_pickle_that_would_run_a_command_is_refused_and_not_run(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    torch.save({"format": "mnist_cli checkpoint", "x": Evil(trace)}, tmp_path / "evil.pt")
    with pytest.raises(CheckpointError, match="unsafe to load"):
        load_checkpoint(tmp_path / "evil.pt")
    with (tmp_path / "plain.pt").open("wb") as file:
        pickle.dump(Evil(trace), file)
    with pytest.raises(CheckpointError, match="is a pickle"):
        load_checkpoint(tmp_path / "plain.pt")
    assert not trace.exists()


def test_a_pickle_that_the_screening_overlooked_is_not_run_either(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint, "screen", lambda data: data)
    torch.save({"x": Evil(tmp_path / "trace")}, tmp_path / "evil.pt")
    with pytest.raises(CheckpointError, match="PyTorch cannot read it"):
        load_checkpoint(tmp_path / "evil.pt")
    assert not (tmp_path / "trace").exists()


def test_no_words_of_a_file_are_repeated(trained: Path, tmp_path: Path) -> None:
    """PyTorch's own error would print what stands in the file for the order of bytes."""
    path = tmp_path / "x.pt"
    with zipfile.ZipFile(trained) as old, zipfile.ZipFile(path, "w") as new:
        for name in old.namelist():
            evil = name.endswith("byteorder")
            new.writestr(name, "\x1b[2J\nfree beer" if evil else old.read(name))
    with pytest.raises(CheckpointError, match="is damaged: PyTorch cannot read it$"):
        load_checkpoint(path)
