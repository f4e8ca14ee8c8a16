"""What `mnist-predict` shows and saves of what the network saw."""

import json
import re
from pathlib import Path

import pytest
from PIL import Image, ImageOps

from mnist_cli.config.programs import PredictConfig
from mnist_cli.data.splits import Dataset
from mnist_cli.output.predict_display import half_blocks
from mnist_cli.prediction.predict import ImagePrediction, predict
from tests.helpers.calling import Caller
from tests.helpers.hostile import encoded
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


# Left and top of digits of MNIST's test set on a page: two lines, one falling, one rising.
PLACES = [(80, 60), (240, 70), (400, 80), (80, 260), (260, 250)]
DIGITS = [7, 2, 1, 0, 4]  # the labels of the first images


def page_of(mnist: Dataset) -> tuple[Image.Image, list[tuple[int, int, int, int]]]:
    """Return a page with the first digits of MNIST's test set, and the boxes of their ink."""
    page = Image.new("L", (600, 460))
    boxes = []
    for pixels, (left, top) in zip(mnist.test.images.numpy(), PLACES, strict=False):
        digit = Image.fromarray(pixels).resize((168, 168), Image.Resampling.BICUBIC)
        x, y, right, bottom = digit.point(lambda value: 255 * (value > 85)).getbbox() or (0,) * 4
        page.paste(255, (left, top), digit)
        boxes.append((left + x, top + y, left + right, top + bottom))
    return ImageOps.invert(page), boxes


def near(box: tuple[int, ...] | list[int] | None, expected: tuple[int, ...], pixels: float) -> bool:
    return box is not None and max(abs(a - b) for a, b in zip(box, expected, strict=True)) <= pixels


@pytest.mark.parametrize(("scale", "orientation"), [(1, 1), (0.4, 1), (1, 6), (5, 8)])
def test_all_digits_have_boxes_in_the_upright_picture(
    scale: float, orientation: int, mnist: Dataset, skilled: Path, tmp_path: Path
) -> None:
    page, boxes = page_of(mnist)
    turns = {1: 0, 6: 90, 8: 270}
    exif = Image.Exif()
    exif[0x0112] = orientation
    size = (round(page.width * scale), round(page.height * scale))
    stored = page.resize(size).rotate(turns[orientation], expand=True)
    stored.save(tmp_path / "page.jpg", exif=exif, quality=95)
    results = list(predict(str(skilled), [str(tmp_path / "page.jpg")], PredictConfig(all=True)))
    assert len(results) == len(boxes)
    for result, digit, expected in zip(results, DIGITS, boxes, strict=True):
        assert isinstance(result, ImagePrediction)
        scaled = tuple(round(at * scale) for at in expected)
        assert result.event.digit == digit
        assert near(result.event.box, scaled, 3 + 3 * scale), (result.event.box, scaled)


def test_all_adds_a_column_and_a_line_for_each_digit(
    call: Caller, skilled: Path, mnist: Dataset
) -> None:
    page, boxes = page_of(mnist)
    image = encoded(page, "PNG")
    (call.folder / "page.png").write_bytes(image)
    (call.folder / "blank.png").write_bytes(encoded(Image.new("L", (60, 60), 255), "PNG"))
    options = ["--all", "--save-seen", "seen", "-q", str(skilled), "blank.png", "-"]
    done = call("mnist-predict", *options, stdin=image)
    blank, *lines = done.out.splitlines()
    assert (done.code, done.err, blank) == (0, "", "blank.png\t-\t0.0000")
    for line, digit, box in zip(lines, DIGITS, boxes, strict=True):
        path, shown, probability, corners = line.split("\t")
        assert (path, shown) == ("-", str(digit))
        assert 0.5 < float(probability) <= 1
        assert near([int(at) for at in corners.split(",")], box, 4)
    names = ["blank", "stdin", *(f"stdin-{number}" for number in range(2, 6))]
    assert {file.stem for file in (call.folder / "seen").iterdir()} == {*names}
    done = call("mnist-predict", "--all", "--json", "-q", str(skilled), "page.png", "blank.png")
    *events, blank_event = map(json.loads, done.out.splitlines())
    assert [event["digit"] for event in events] == DIGITS
    assert all(near(event["box"], box, 4) for event, box in zip(events, boxes, strict=True))
    assert blank_event["box"] is None


def test_several_digits_are_told_in_a_warning(call: Caller, skilled: Path, mnist: Dataset) -> None:
    page, _ = page_of(mnist)
    (call.folder / "page.png").write_bytes(encoded(page, "PNG"))
    one = page.crop((80, 60, 240, 230))
    (call.folder / "one.png").write_bytes(encoded(one, "PNG"))
    # Without -q there is no note, either, that no digit was found in it.
    done = call("mnist-predict", str(skilled), "one.png", "page.png")
    assert [line.count("\t") for line in done.out.splitlines()] == [2, 2]
    assert done.err == "warning: 'page.png' shows 5 digits; --all predicts each of them\n"
    done = call("mnist-predict", "-q", "--all", str(skilled), "one.png", "page.png")
    assert (len(done.out.splitlines()), done.err) == (6, "")
