"""Exports: the same network in other formats, written whole, by the installed program."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from mnist_cli.config.programs import ExportConfig
from mnist_cli.config.registry import NETWORKS
from mnist_cli.config.train import TrainConfig
from mnist_cli.data.splits import Dataset
from mnist_cli.errors import CheckpointError, UsageError
from mnist_cli.export import export
from mnist_cli.export.export import export_checkpoint
from mnist_cli.export.graph import layers_of
from mnist_cli.models.checkpoint import Checkpoint, Position, load_checkpoint
from mnist_cli.models.networks import Ensemble, build_model, weights_sha256
from tests.helpers.calling import Caller
from tests.helpers.checkpoints import save_checkpoint
from tests.helpers.shell import Shell

ENDINGS = ("html", "onnx", "safetensors")


EACH_AND_ENSEMBLES = [*((name, 1) for name in NETWORKS), ("quick", 2), ("linear", 3)]


def checkpoint_of(name: str, folder: Path, members: int = 1, std: float = 0.1) -> Path:
    """Return a checkpoint of a network as it begins, with biases: none of its sums is simple."""
    model = build_model(name, seed=1, members=members)
    with torch.random.fork_rng():
        torch.manual_seed(2)
        for parameter in model.parameters():
            if parameter.dim() == 1 or name == "linear":
                nn.init.normal_(parameter, std=std)
    path = folder / f"{name}.pt"
    config = TrainConfig(model=name, members=members).resolve(60_000)
    save_checkpoint(Checkpoint(config, model.state_dict(), {}, Position(0), [], {}), str(path))
    return path


def odd_images() -> Tensor:
    """Return images `uint8 [N, 28, 28]` at which layers that look at the ink reach their limits."""
    images = torch.zeros(6, 28, 28, dtype=torch.uint8)
    for row in range(8, 20):
        images[1, row, 2 * row - 14 : 2 * row - 11] = 100  # steeper than 45 degrees
        images[2, row, 39 - 2 * row : 42 - 2 * row] = 100
    images[3] = 100
    images[4, 9] = 100  # a row
    images[5, 0, 27] = 100  # a dot in a corner
    return images


@pytest.mark.parametrize(("name", "members"), EACH_AND_ENSEMBLES)
def test_onnx_runtime_reads_the_same_digits(
    call: Caller, mnist: Dataset, tmp_path: Path, name: str, members: int
) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    path = checkpoint_of(name, tmp_path, members)
    done = call("mnist-export", str(path), "model.onnx", "--json")
    assert done.code == 0, done.err
    session = onnxruntime.InferenceSession(
        tmp_path / "model.onnx", providers=["CPUExecutionProvider"]
    )
    images = mnist.test.images[: 10_000 if name == "cnn" else 1000].view(-1, 28, 28)
    images = torch.cat([images, odd_images()])
    with torch.inference_mode():
        expected = load_checkpoint(path).build_model().eval()(images)
    found = [
        torch.from_numpy(session.run(["logits"], {"pixels": part.float().numpy()})[0])
        for part in (*images.split(777), images[:0])  # batches of three sizes
    ]
    logits = torch.cat(found)
    difference = float((logits - expected).abs().max())
    print(f"{name}: ONNX logits differ by at most {difference:.2g}")
    assert difference < 1e-4
    assert torch.equal(logits.argmax(1), expected.argmax(1))
    assert json.loads(done.out)["largest_difference"] < 1e-4


def test_members_that_are_certain_of_different_digits_lose_no_probability_in_onnx(
    call: Caller, mnist: Dataset, tmp_path: Path
) -> None:
    """Their probabilities are too small for 32-bit floats, their logarithms are not."""
    onnxruntime = pytest.importorskip("onnxruntime")
    path = checkpoint_of("linear", tmp_path, members=2, std=100)
    assert call("mnist-export", str(path), "model.onnx").code == 0
    images = mnist.test.images[:100]
    with torch.inference_mode():
        expected = load_checkpoint(path).build_model().double().eval()(images)
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    found = torch.from_numpy(session.run(["logits"], {"pixels": images.float().numpy()})[0])
    assert expected.min() < -1000
    torch.testing.assert_close(found.double(), expected, rtol=1e-4, atol=1e-2)


def test_an_onnx_model_tells_where_it_comes_from(call: Caller, trained: Path) -> None:
    onnx = pytest.importorskip("onnx")
    assert call("mnist-export", "-q", str(trained), "model.onnx").err == ""
    model = onnx.load(call.folder / "model.onnx")
    about = {entry.key: entry.value for entry in model.metadata_props}
    assert about["model"] == "linear"
    assert about["weights_sha256"] == weights_sha256(load_checkpoint(trained).weights)
    assert model.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "N"


@pytest.mark.parametrize(("name", "members"), EACH_AND_ENSEMBLES)
def test_the_safetensors_library_reads_the_same_weights(
    call: Caller, tmp_path: Path, name: str, members: int
) -> None:
    safetensors = pytest.importorskip("safetensors")
    from safetensors.torch import load_file

    path = checkpoint_of(name, tmp_path, members)
    done = call("mnist-export", str(path), "model.safetensors", "--json")
    assert done.code == 0, done.err
    event = json.loads(done.out)
    model = build_model(name, members=members)
    model.load_state_dict(load_file(tmp_path / "model.safetensors"))
    assert weights_sha256(model.state_dict()) == event["weights_sha256"]
    with safetensors.safe_open(tmp_path / "model.safetensors", "pt") as file:
        about = file.metadata()
    assert about["format"] == "pt"
    assert (about["model"], about.get("members", "1")) == (name, str(members))
    assert about["weights_sha256"] == event["weights_sha256"]
    header = int.from_bytes((tmp_path / "model.safetensors").read_bytes()[:8], "little")
    assert header % 8 == 0  # the tensors are aligned


@pytest.mark.parametrize("dtype", export._SAFETENSORS_TYPES, ids=str)
def test_the_safetensors_library_reads_every_type(dtype: torch.dtype) -> None:
    from safetensors.torch import load

    tensors = {"a": torch.tensor([[0, 1], [1, 0]], dtype=dtype)}
    found = load(export.encode_safetensors(tensors, {}))["a"]
    assert found.dtype == dtype
    assert torch.equal(found, tensors["a"])


@pytest.mark.parametrize("ending", ENDINGS)
def test_stdout_has_the_path_or_a_description_and_stderr_the_next_step(
    call: Caller, trained: Path, ending: str
) -> None:
    done = call("mnist-export", str(trained), f"a.{ending}")
    assert (done.code, done.out) == (0, f"a.{ending}\n")
    assert done.err.startswith(f"Wrote a.{ending} (")
    assert done.err.count("\n") == 1
    quiet = call("mnist-export", "-q", "--json", str(trained), f"b.{ending}")
    assert quiet.err == ""
    one, two = ((call.folder / f"{n}.{ending}").read_bytes() for n in "ab")
    assert one == two
    event = json.loads(quiet.out)
    assert {key: event[key] for key in ("event", "schema", "format", "output", "bytes")} == {
        "event": "export",
        "schema": 1,
        "format": ending,
        "output": f"b.{ending}",
        "bytes": len(two),
    }
    assert event["parameters"] == 7850
    assert event["weights_sha256"] == weights_sha256(load_checkpoint(trained).weights)


@pytest.mark.parametrize("ending", ENDINGS)
def test_dashes_are_the_standard_streams(shell: Shell, trained: Path, ending: str) -> None:
    shell("mnist-export", str(trained), f"a.{ending}")
    for output in ("-", "/dev/stdout"):
        piped = subprocess.run(
            ["mnist-export", "-", output, "--format", ending],
            input=trained.read_bytes(),
            capture_output=True,
            env=shell.env,
            timeout=120,
            check=True,
        )
        assert piped.stdout == (shell.folder / f"a.{ending}").read_bytes()
        assert piped.stderr == b""


def test_the_format_asked_for_comes_before_the_ending(call: Caller, trained: Path) -> None:
    assert call("mnist-export", str(trained), "page", "--format", "html").code == 0
    assert (call.folder / "page").read_text().startswith("<!doctype html>")
    asked = {"MNIST_FORMAT": "safetensors"}
    assert call("mnist-export", str(trained), "w.html", env=asked).code == 0
    assert (call.folder / "w.html").read_bytes()[8:9] == b"{"
    assert call("mnist-export", str(trained), "BIG.HTML").code == 0


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["a.pth"], 2, "does not end in .html, .onnx or .safetensors"),
        (["a.safetensor"], 2, "did you mean '.safetensors'?"),
        (["a"], 2, "does not end in"),
        (["-"], 2, "--format html|onnx|safetensors"),
        (["-", "--json", "--format", "html"], 2, "both want standard output"),
        (["a.html", "--format", "pdf"], 2, "--format"),
        (["nowhere/a.html"], 7, "make the folder first"),
        (["folder.html"], 7, "folder.html"),
        (["folder.html/", "--format", "html"], 7, "not the name of a file"),
        (["", "--format", "html"], 7, "not the name of a file"),
        (["there.html", "--no-clobber"], 7, "--no-clobber keeps it"),
    ],
)
def test_what_cannot_be_written_is_said_in_a_line_and_leaves_nothing(
    call: Caller, trained: Path, arguments: list[str], code: int, words: str
) -> None:
    (call.folder / "folder.html").mkdir()
    (call.folder / "there.html").write_text("mine")
    before = sorted(call.folder.iterdir())
    done = call("mnist-export", str(trained), *arguments)
    assert done.code == code, done.err
    assert words in done.err
    assert done.err.count("\n") <= 2
    assert done.out == ""
    assert sorted(call.folder.iterdir()) == before
    assert (call.folder / "there.html").read_text() == "mine"


def test_a_damaged_checkpoint_leaves_the_earlier_output(call: Caller, trained: Path) -> None:
    (call.folder / "bad.pt").write_bytes(trained.read_bytes()[:-3000])
    (call.folder / "a.html").write_text("mine")
    for checkpoint in ("bad.pt", "none.pt"):
        done = call("mnist-export", checkpoint, "a.html")
        assert done.code == 4
        assert checkpoint in done.err
        assert (call.folder / "a.html").read_text() == "mine"
    assert {path.name for path in call.folder.iterdir()} == {"bad.pt", "a.html"}


def test_the_checkpoint_itself_is_never_overwritten(call: Caller, trained: Path) -> None:
    (call.folder / "model.onnx").write_bytes(trained.read_bytes())
    done = call("mnist-export", "./model.onnx", "model.onnx")
    assert done.code == 2
    assert "is the checkpoint itself" in done.err
    assert (call.folder / "model.onnx").read_bytes() == trained.read_bytes()


def test_a_missing_extra_is_told_with_its_command_before_anything_is_loaded(
    call: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnx.checker", None)
    done = call("mnist-export", "none.pt", "a.onnx")
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)
    assert "pip install 'mnist_cli[onnx]'" in done.err
    assert call("mnist-export", "none.pt", "a.html").code == 4


@pytest.mark.parametrize("name", ["onnx", "onnxruntime"])
def test_a_broken_extra_is_told_as_a_missing_one_is(
    call: Caller, trained: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (call.folder / f"{name}.py").write_text("raise ImportError('a library\\nis missing')")
    monkeypatch.syspath_prepend(call.folder)
    for module in [*sys.modules]:
        if module.partition(".")[0] == name:
            monkeypatch.delitem(sys.modules, module)
    done = call("mnist-export", str(trained), "a.onnx")
    assert "a library is missing" in done.err
    if name == "onnx":
        assert (done.code, done.out) == (2, "")
        assert done.err.startswith("error: ONNX needs the package onnx (a library")
        assert done.err.count("\n") == 1
    else:
        assert (done.code, done.out) == (0, "a.onnx\n")
        assert done.err.startswith("Not verified: onnxruntime is not installed (")


def test_nothing_binary_goes_to_a_terminal(shell: Shell, trained: Path) -> None:
    leader, follower = os.openpty()
    done = subprocess.run(
        ["mnist-export", trained, "-", "--format", "onnx"],
        stdout=follower,
        stderr=subprocess.PIPE,
        env=shell.env,
        timeout=120,
        check=False,
    )
    os.close(follower)
    os.close(leader)
    assert done.returncode == 2
    assert b"terminal" in done.stderr


def test_a_checkpoint_without_plausible_accuracy_shows_none(tmp_path: Path) -> None:
    from mnist_cli.export import playground

    loaded = load_checkpoint(checkpoint_of("linear", tmp_path))
    model = loaded.build_model()

    def shown(accuracy: Any, update: int = 0) -> bool:
        history = [{"event": "epoch", "update": update, "test_accuracy": accuracy}]
        page = playground.render(replace(loaded, history=history), model, "0" * 64)
        return "test images" in page

    assert shown(0.99)
    for wrong in (1.5, -1.0, float("nan"), float("inf"), True, "<script>", None, 10**400):
        assert not shown(wrong)
    assert not shown(0.99, update=1)  # of other weights


def test_a_page_cannot_run_what_is_not_its_own(tmp_path: Path) -> None:
    from mnist_cli.export import playground

    loaded = load_checkpoint(checkpoint_of("linear", tmp_path))
    hostile = replace(loaded, config=replace(loaded.config, model="</script><b>{{ data }}"))
    page = playground.render(hostile, loaded.build_model(), "0" * 64)
    assert "<b>{{ data }}" not in page
    assert "&lt;/script&gt;&lt;b&gt;{{ data }}" in page
    assert page.count("</script>") == 2
    assert "default-src 'none'" in page
    assert "unsafe-" not in page


@pytest.mark.parametrize(
    "model",
    [
        nn.Sequential(nn.GELU()),
        nn.Sequential(nn.Conv2d(2, 2, 1, groups=2)),
        nn.Sequential(nn.Conv2d(2, 2, 3, padding="same")),
        nn.Sequential(nn.Conv2d(2, 2, 3, padding=1, padding_mode="reflect")),
        nn.Sequential(nn.MaxPool2d(2, padding=1)),
        nn.Sequential(nn.MaxPool2d((2, 1))),
        nn.Sequential(nn.Sequential(nn.ReLU())),
        nn.ModuleList([nn.ReLU()]),
        Ensemble([nn.Sequential(nn.GELU())]),
    ],
    ids=str,
)
def test_an_unsupported_network_is_a_usage_error_of_one_line(model: nn.Module) -> None:
    with pytest.raises(UsageError, match="do not support .*; a .safetensors file") as caught:
        layers_of(model)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["x.onnx", "x.html", "x.safetensors"])
def test_a_network_that_computes_no_finite_numbers_is_not_exported(
    name: str, tmp_path: Path
) -> None:
    path = checkpoint_of("mlp", tmp_path)
    loaded = load_checkpoint(path)
    huge = {key: 1e30 * value for key, value in loaded.weights.items()}  # squares are infinite
    save_checkpoint(replace(loaded, weights=huge), path)
    with pytest.raises(CheckpointError, match="no finite numbers"):
        export_checkpoint(str(path), str(tmp_path / name), ExportConfig())
    assert not (tmp_path / name).exists()


def test_an_onnx_export_that_computes_otherwise_is_not_written(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    from mnist_cli.errors import OutputError
    from mnist_cli.export import onnx

    model = load_checkpoint(checkpoint_of("mlp", tmp_path)).build_model()
    data, _ = onnx.encode(model, {})
    with torch.no_grad():
        model[-1].bias += 0.01  # type: ignore[index]
    with pytest.raises(OutputError, match="nothing was written"):
        onnx._largest_difference(model, data)
    assert np.isfinite(onnx.encode(model, {})[1])
