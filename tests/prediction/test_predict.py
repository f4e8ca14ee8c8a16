"""What `mnist-predict` shows and saves of what the network saw."""

import re
from pathlib import Path

import pytest
from PIL import Image

from mnist_cli.data.datasets import Dataset
from mnist_cli.output.predict_display import half_blocks
from tests.helpers.calling import Caller
from tests.helpers.shell import Shell


def test_what_was_seen_is_saved_and_no_file_is_replaced(
    call: Caller, trained: Path, files: list[str], mnist: Dataset
) -> None:
    seen = call.folder / "seen"
    long = "\N{PILE OF POO}" * 60 + ".png"
    inputs = ["one/a.png", "two/a.jpg", "seen/b.png", "c.png", "d.png", long, "-"]
    images = [(call.folder / name).read_bytes() for name in files[: len(inputs)]]
    for name, image in zip(inputs[:-1], images, strict=False):
        (call.folder / name).parent.mkdir(exist_ok=True)
        (call.folder / name).write_bytes(image)
    mine = {"a.png": images[5], "c.png": b"mine", "a-3.jpg": b""}
    for name, content in mine.items():
        (seen / name).write_bytes(content)
    (seen / "d.png").symlink_to("../elsewhere.png")
    names = ["a-2.png", "a-3.png", "b.png", "c-2.png", "d-2.png", f"{long[:50]}.png", "stdin.png"]
    for _ in range(2):  # the second time, it is all there
        done = call(
            "mnist-predict", "--save-seen", "seen", "-q", str(trained), *inputs, stdin=images[-1]
        )
        assert (done.code, done.err) == (0, "")
        assert {path.name for path in seen.iterdir()} == {*names, *mine, "d.png"}
    for name, pixels in zip(names, mnist.test.images, strict=False):
        with Image.open(seen / name) as image:
            assert (image.mode, image.size) == ("L", (28, 28))
            assert image.tobytes() == bytes(pixels.flatten().tolist())
    assert {name: (seen / name).read_bytes() for name in mine} == mine
    assert not (call.folder / "elsewhere.png").exists()


@pytest.mark.parametrize(
    ("folder", "checkpoint", "code", "words"),
    [
        ("0.png/a b", "{}", 7, "--save-seen '0.png/a b': cannot be made"),
        ("a b", "{}", 7, "a b/seen.png is a folder"),
        ("a\nb", "{}", 2, r"'a\nb' has a control character"),
        ("", "{}", 2, "--save-seen '': it is empty"),
        ("new", "missing.pt", 4, "missing.pt"),
    ],
)
def test_a_folder_that_cannot_be_used_is_told_in_a_line(
    folder: str,
    checkpoint: str,
    code: int,
    words: str,
    call: Caller,
    trained: Path,
    files: list[str],
) -> None:
    (call.folder / "a b").mkdir()
    (call.folder / "a b" / "seen.png").mkdir()
    given = checkpoint.format(trained)
    done = call("mnist-predict", "--save-seen", folder, given, files[0])
    assert (done.code, done.out, len(done.err.splitlines())) == (code, "", 1)
    assert words in done.err
    assert not (call.folder / "new").exists()


def test_a_link_to_itself_is_no_image(call: Caller, trained: Path) -> None:
    (call.folder / "loop").symlink_to("loop")
    done = call("mnist-predict", "--save-seen", "seen", str(trained), "loop/a.png", "loop")
    assert (done.code, len(done.err.splitlines())) == (3, 2)


@pytest.mark.parametrize("columns", [60, 20])
def test_it_draws_what_was_seen_within_the_terminal(
    columns: int, call: Caller, trained: Path, files: list[str], mnist: Dataset
) -> None:
    env = {"COLUMNS": str(columns)}
    options = ["--show", "--uncertain-below", "0", str(trained)]
    done = call("mnist-predict", *options, *files[:2], env=env)
    assert len(done.out.splitlines()) == 2
    lines = done.err.splitlines()
    assert max(map(len, lines)) <= columns
    assert "\x1b" not in done.err
    assert len(lines) == 2 * (14 if columns >= 40 else 26)
    if columns >= 40:
        assert "0.png" in done.err
    drawn = half_blocks(mnist.test.images[0].numpy(), colour=False)
    for line, picture in zip(lines, drawn, strict=False):
        assert line[:28].rstrip() == picture.plain[:columns].rstrip()
    coloured = call("mnist-predict", *options, files[0], env={**env, "FORCE_COLOR": "1"})
    assert "▀" in coloured.err
    assert "\x1b" not in coloured.out
    env |= {"FORCE_COLOR": "1", "NO_COLOR": "1"}
    plain = call("mnist-predict", *options, files[0], env=env).err
    assert re.sub(r"\x1b\[\d*m", "", plain).splitlines() == lines[: len(lines) // 2]


def test_what_cannot_be_drawn_does_not_keep_the_data_back(
    shell: Shell, trained: Path, files: list[str]
) -> None:
    done = shell.bash(f"mnist-predict --show {trained} {' '.join(files[:3])} 2>/dev/full")
    assert (done.code, len(done.out.splitlines())) == (0, 3)
    done = shell("mnist-predict", "--show", "-q", str(trained), files[0])
    assert (done.code, done.err) == (0, "")
