"""`mnist-predict` as a process."""

import json
import re
from pathlib import Path

import pytest
import torch
from conftest import Shell
from hostile import HOSTILE, encoded
from PIL import Image

from mnist_cli.checkpoint import load_checkpoint
from mnist_cli.data import Dataset


@pytest.fixture
def files(shell: Shell, mnist: Dataset) -> list[str]:
    """Return the names of the first 300 test images, which are more than one batch."""
    names = [f"{number}.png" for number in range(300)]
    for name, pixels in zip(names, mnist.test.images, strict=False):
        image = Image.frombytes("L", (28, 28), bytes(pixels.flatten().tolist()))
        (shell.folder / name).write_bytes(encoded(image, "PNG"))
    return names


def test_it_prints_a_line_for_each_image(shell: Shell, trained: Path, files: list[str]) -> None:
    done = shell("mnist-predict", str(trained), *files[:3])
    assert (done.code, done.err) == (0, "")
    for line, name in zip(done.out.splitlines(), files[:3], strict=True):
        assert re.fullmatch(rf"{re.escape(name)}\t\d\t(0\.\d{{4}}|1\.0000)", line)


def test_the_digits_are_those_of_the_network(
    shell: Shell, trained: Path, files: list[str], mnist: Dataset
) -> None:
    done = shell("mnist-predict", "--json", str(trained), *files)
    events = [json.loads(line) for line in done.out.splitlines()]
    assert [event["path"] for event in events] == files
    with torch.inference_mode():
        logits = load_checkpoint(trained).build_model()(mnist.test.images[:300])
    expected = logits.double().softmax(1)
    assert torch.tensor([event["probabilities"] for event in events]).allclose(
        expected.float(), atol=1e-5
    )
    for event in events:
        assert set(event) == {
            "event",
            "seconds",
            "path",
            "digit",
            "probability",
            "probabilities",
        }
        assert event["event"] == "prediction"
        assert event["probability"] == max(event["probabilities"])
        assert event["digit"] == event["probabilities"].index(event["probability"])
        assert sum(event["probabilities"]) == pytest.approx(1)


def test_an_unreadable_image_is_reported_and_the_others_are_read(
    shell: Shell, trained: Path, files: list[str]
) -> None:
    (shell.folder / "text").write_bytes(b"hello\n")
    (shell.folder / "bomb").write_bytes(HOSTILE["png, 400 million pixels"][0]())
    (shell.folder / "cut").write_bytes((shell.folder / files[0]).read_bytes()[:100])
    noise = encoded(Image.effect_noise((90, 70), 90), "TIFF", compression="tiff_lzw")
    (shell.folder / "cut.tif").write_bytes(noise[:-2000])  # of which libtiff would complain, too
    names = [files[0], "text", "missing", files[1], "bomb", "cut", "cut.tif", ".", "", files[2]]
    unreadable = [name for name in names if name not in files]
    for options in (["--json"], ["-q"]):
        done = shell("mnist-predict", *options, str(trained), *names)
        assert done.code == 3
        assert len(done.out.splitlines()) == 3
        errors = done.err.splitlines()
        for line, name in zip(errors, unreadable, strict=True):
            assert line.startswith(f"error: cannot read {name!r}: ")
    assert "No such file or directory" in errors[1]


def test_an_image_or_the_checkpoint_on_stdin(shell: Shell, trained: Path, files: list[str]) -> None:
    image = (shell.folder / files[0]).read_bytes()
    done = shell("mnist-predict", str(trained), files[0], "-", stdin=image)
    expected, piped = done.out.splitlines(keepends=True)
    assert (done.code, piped) == (0, expected.replace(files[0], "-"))
    done = shell("mnist-predict", "-", files[0], stdin=trained.read_bytes())
    assert (done.code, done.out) == (0, expected)
    done = shell("mnist-predict", str(trained), "-")
    assert (done.code, done.out) == (3, "")
    assert done.err == "error: cannot read standard input: it is empty; give an image\n"
    assert shell.bash(f"mnist-predict {trained} - <&-").code == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{}"], "Missing argument 'IMAGE"),
        ([], "Missing argument 'CHECKPOINT'"),
        (["-", "-"], "which can be read once"),
        (["{}", "-", "0.png", "-"], "which can be read once"),
        (["{}", "0.png", "--device", "tpu"], "--device: 'tpu' is not one of auto, cpu, cuda, mps"),
        (["{}", "0.png", "--jsn"], "did you mean --json?"),
    ],
)
def test_usage_errors_exit_with_2(
    arguments: list[str], message: str, shell: Shell, trained: Path
) -> None:
    done = shell("mnist-predict", *(argument.format(trained) for argument in arguments))
    assert (done.code, done.out) == (2, "")
    assert message in done.err
    assert len(done.err.splitlines()) == 1


@pytest.mark.parametrize("content", [b"PK\x03\x04", None])
def test_what_is_not_a_checkpoint_exits_with_4(
    content: bytes | None, shell: Shell, files: list[str]
) -> None:
    if content is not None:
        (shell.folder / "x.pt").write_bytes(content)
    done = shell("mnist-predict", "x.pt", files[0])
    assert (done.code, done.out) == (4, "")
    assert len(done.err.splitlines()) == 1


def test_a_path_cannot_break_its_line(shell: Shell, trained: Path, files: list[str]) -> None:
    image = (shell.folder / files[0]).read_bytes()
    name = "a\tb\nc\rd\\e ü.png"
    (shell.folder / name).write_bytes(image)
    done = shell("mnist-predict", str(trained), name, name + "\x1b[31m")
    assert done.out.count("\n") == 1
    assert done.out.startswith("a\\tb\\nc\\rd\\e ü.png\t")
    assert (done.code, len(done.err.splitlines())) == (3, 1)
    assert "\x1b" not in done.err
    done = shell("mnist-predict", "--json", str(trained), name)
    assert json.loads(done.out)["path"] == name


def test_a_path_of_any_bytes(shell: Shell, trained: Path, files: list[str]) -> None:
    script = (
        rf"cp {files[0]} $'\xff.png' && mnist-predict {trained} $'\xff.png' $'\xfe'"
        r" | grep -caP '^\xff.png\t\d\t'; exit ${PIPESTATUS[0]}"
    )
    done = shell.bash(script, env={"LC_ALL": "C"})
    assert (done.code, done.out) == (3, "1\n"), done.err
    assert len(done.err.splitlines()) == 1


def test_a_reader_that_goes_away_ends_it_quietly(
    shell: Shell, trained: Path, files: list[str]
) -> None:
    done = shell.bash(f"mnist-predict {trained} *.png *.png *.png *.png | head -1")
    assert (done.code, done.err) == (141, "")
    done = shell.bash(f"mnist-predict {trained} {files[0]} >/dev/full")
    assert done.code == 7
    assert "No space left" in done.err


def test_it_is_a_subcommand_too(shell: Shell, trained: Path, files: list[str]) -> None:
    done = shell("python", "-m", "mnist_cli", "predict", str(trained), files[0])
    assert done.code == 0
    assert re.fullmatch(r"0\.png\t\d\t\d\.\d{4}\n", done.out)


def test_help_teaches(shell: Shell) -> None:
    done = shell("mnist-predict", "--help")
    assert done.code == 0
    for words in ("CHECKPOINT", "IMAGE", "Exit codes", "--json", "mnist-predict"):
        assert words in done.out
