"""Image files: what they show, and what hostile ones can do."""

import contextlib
import io
import json
import subprocess
import sys
import warnings

import pytest
import torch
from PIL import Image, ImageChops, ImageDraw, ImageOps
from rich.style import Style
from torch import Tensor

from mnist_cli.data.datasets import Dataset
from mnist_cli.errors import DataError
from mnist_cli.output.terminal_image import half_blocks
from mnist_cli.prediction.decode import read_image
from tests.helpers.hostile import HOSTILE, encoded, jpeg_with, tiff

# Reads the files named on the command line; prints what came of each, and its own memory.
READER = """
import json, re, sys
from pathlib import Path
from mnist_cli.errors import DataError
from mnist_cli.images import read_image

def peak():
    return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) / 1024

def outcome(source):
    try:
        return read(source)
    except DataError as error:
        return str(error)

def read(source):
    return list(read_image(source, "it").shape)

first, *rest = sys.argv[1:]
outcome(Path(first).read_bytes())  # torch and Pillow have what they keep
before, found = peak(), []
for name in rest:
    found.append(outcome(Path(name).read_bytes()))
    print(json.dumps({"outcome": found[-1], "growth": peak() - before}))
"""


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, object]]:
    """Return what a process of its own made of each hostile file."""
    folder = tmp_path_factory.mktemp("hostile")
    (folder / "first.png").write_bytes(encoded(Image.new("L", (300, 300)), "PNG"))
    for number, (make, _) in enumerate(HOSTILE.values()):
        (folder / str(number)).write_bytes(make())
    done = subprocess.run(
        [sys.executable, "-c", READER, "first.png", *map(str, range(len(HOSTILE)))],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert done.stderr == ""
    return dict(zip(HOSTILE, map(json.loads, done.stdout.splitlines()), strict=True))


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_is_refused_in_one_line_or_read(
    name: str, hostile: dict[str, dict[str, object]]
) -> None:
    words, outcome = HOSTILE[name][1], hostile[name]["outcome"]
    if words:
        assert isinstance(outcome, str)
        assert outcome.startswith("cannot read it: ")
        assert words in outcome
        assert "\n" not in outcome
    else:
        assert outcome == [28, 28]


@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
def test_no_file_takes_more_than_300_mb(hostile: dict[str, dict[str, object]]) -> None:
    growths = [float(str(result["growth"])) for result in hostile.values()]
    assert growths == sorted(growths), "it is a peak"
    assert 100 < growths[-1] < 300  # the largest PNG has 200 MB of pixels: less was not measured


def noisy(mode: str, size: tuple[int, int] = (90, 70)) -> Image.Image:
    return Image.effect_noise(size, 90).convert("RGB").convert(mode)


SAMPLES: dict[str, bytes] = {
    "png": encoded(noisy("RGBA"), "PNG"),
    "palette png": encoded(noisy("P"), "PNG"),
    "jpeg": encoded(noisy("RGB"), "JPEG"),
    "progressive jpeg": encoded(noisy("CMYK"), "JPEG", progressive=True),
    "bmp": encoded(noisy("L"), "BMP"),
    "gif": encoded(noisy("P"), "GIF"),
    "animated gif": encoded(
        noisy("P"), "GIF", save_all=True, append_images=[Image.new("P", (90, 70))]
    ),
    **{
        f"tiff {kind}": encoded(noisy("L"), "TIFF", compression=kind)
        for kind in ("raw", "packbits", "tiff_lzw", "tiff_adobe_deflate", "jpeg")
    },
    "tiff group4": encoded(noisy("1"), "TIFF", compression="group4"),
    "webp": encoded(noisy("RGB"), "WEBP"),
    "lossless webp": encoded(noisy("RGBA"), "WEBP", lossless=True),
    "pgm": encoded(noisy("L"), "PPM"),
    "pbm": encoded(noisy("1"), "PPM"),
}


@pytest.mark.parametrize("name", SAMPLES)
def test_a_truncated_file_is_refused(
    name: str, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    source = SAMPLES[name]
    assert read_image(source, "x").shape == (28, 28)
    # What comes after the picture may be missing: IEND, a second frame, the end of a GIF.
    ends = len(source) // 2 if name == "animated gif" else len(source) - 40
    for end in [*range(0, 60), *range(60, ends, max(1, ends // 150)), ends]:
        with pytest.raises(DataError, match="cannot read x: ") as raised:
            read_image(source[:end], "x")
        assert "\n" not in str(raised.value)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("name", SAMPLES)
def test_damage_is_a_data_error_at_most(name: str, capfd: pytest.CaptureFixture[str]) -> None:
    generator = torch.Generator().manual_seed(3)
    read = 0
    for _ in range(150):
        source = bytearray(SAMPLES[name])
        for place in torch.randint(0, 200, (3,), generator=generator).tolist():
            source[place] = int(torch.randint(0, 256, (1,), generator=generator))
        with contextlib.suppress(DataError):
            read += read_image(bytes(source), "x").shape == (28, 28)
    assert read < 150, "none was damaged"
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (b"", "it is empty"),
        (b"hello\n", "not a sound PNG"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not a sound PNG"),
        (encoded(Image.new("RGB", (9, 9)), "ICO"), "not a sound PNG"),
        (tiff((256, 3, 1, 0)), "cannot read"),
        (tiff((273, 4, 1, 99999)), "cannot read"),
    ],
)
def test_what_is_no_image_is_a_data_error(source: bytes, words: str) -> None:
    with pytest.raises(DataError, match=words):
        read_image(source, "x")


def test_pillow_is_left_as_it_was() -> None:
    limit, filters = Image.MAX_IMAGE_PIXELS, list(warnings.filters)
    for source in (SAMPLES["png"], b"hello"):
        try:
            read_image(source, "x")
        except DataError:
            assert source == b"hello"
    assert (limit, filters) == (Image.MAX_IMAGE_PIXELS, list(warnings.filters))


def test_an_image_of_mnist_comes_back_as_it_is(mnist: Dataset) -> None:
    for pixels in mnist.test.images[:200]:
        image = picture(pixels)
        assert read_image(encoded(image, "PNG"), "x").equal(pixels)
        assert read_image(encoded(ImageOps.invert(image), "PNG"), "x").equal(pixels)


def picture(pixels: Tensor) -> Image.Image:
    height, width = pixels.shape
    return Image.frombytes("L", (width, height), bytes(pixels.flatten().tolist()))


@pytest.fixture(scope="module")
def seven(mnist: Dataset) -> Image.Image:
    """Return a large seven, dark on light, off the centre of its page."""
    page = Image.new("L", (300, 200), 255)
    page.paste(ImageOps.invert(picture(mnist.test.images[0])).resize((150, 150)), (20, 40))
    return page


def close(found: Tensor, expected: Tensor) -> bool:
    """Tell whether two pictures are alike, be it a pixel apart: centres are rounded to pixels."""
    shifts = [(down, across) for down in (-1, 0, 1) for across in (-1, 0, 1)]
    moved = (found.float().roll(shift, (0, 1)) for shift in shifts)
    return min(float((picture - expected.float()).abs().mean()) for picture in moved) < 6


def rotated(image: Image.Image, orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encoded(image, "JPEG", exif=exif, quality=95)


def cut_out(image: Image.Image, ink: int, mode: str) -> Image.Image:
    """Return ink on a transparent page."""
    page = Image.new("LA", image.size, (ink, 0))
    page.putalpha(ImageOps.invert(image))
    return page.convert(mode)


def deep(image: Image.Image, factor: float, mode: str) -> Image.Image:
    return image.convert("I" if mode != "F" else "F").point(lambda v: v * factor + 0).convert(mode)


def test_kinds_of_pictures_are_read_alike(seven: Image.Image, mnist: Dataset) -> None:
    expected = read_image(encoded(seven, "PNG"), "x")
    assert close(expected, mnist.test.images[0]), "centred and scaled as in MNIST"
    keyed = ImageOps.invert(seven).point(lambda v: 255 * (v > 128)).convert("P")
    kinds = {
        "light on dark": encoded(ImageOps.invert(seven), "PNG"),
        "grey on grey": encoded(seven.point(lambda v: 60 + v // 5), "PNG"),
        "huge": encoded(seven.resize((4500, 3000)), "JPEG"),
        "colour": encoded(seven.convert("RGB"), "WEBP"),
        "palette": encoded(seven.convert("P"), "GIF"),
        "cmyk": encoded(seven.convert("CMYK"), "JPEG"),
        "cmyk tiff": encoded(seven.convert("CMYK"), "TIFF"),
        "black and white": encoded(seven.convert("1"), "PNG"),
        "transparent": encoded(cut_out(seven, 0, "LA"), "PNG"),
        "transparent, colour": encoded(cut_out(seven, 0, "RGBA"), "WEBP", lossless=True),
        "transparent, white ink": encoded(cut_out(seven, 255, "RGBA"), "PNG"),
        "transparent, by key": encoded(
            ImageOps.invert(keyed.convert("L")), "PNG", transparency=255
        ),
        "16 bits": encoded(deep(seven, 257, "I;16"), "PNG"),
        "12 of 16 bits": encoded(deep(seven, 16, "I;16"), "TIFF"),
        "32 bits": encoded(deep(seven, 1_000_000, "I"), "TIFF"),
        "floats": encoded(deep(seven, 0.001, "F"), "TIFF"),
        "animated": encoded(
            seven.convert("RGB"),
            "WEBP",
            save_all=True,
            append_images=[Image.new("RGB", seven.size)],
            lossless=True,
        ),
    }
    wrong = [
        name for name, source in kinds.items() if not close(read_image(source, name), expected)
    ]
    assert wrong == []


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_camera_s_note_on_its_orientation_is_heeded(orientation: int, seven: Image.Image) -> None:
    source = rotated(seven, orientation)
    with Image.open(io.BytesIO(source)) as image:
        upright = ImageOps.exif_transpose(image)
    assert close(read_image(source, "x"), read_image(encoded(upright, "PNG"), "x"))
    assert orientation == 1 or not close(
        read_image(source, "x"), read_image(encoded(seven, "PNG"), "x")
    )


@pytest.mark.parametrize("size", [(1, 1), (1, 500), (500, 1), (28, 28), (2, 2), (3000, 3)])
@pytest.mark.parametrize(("mode", "colour"), [("L", 0), ("L", 255), ("1", 1), ("I;16", 700)])
def test_without_ink_all_is_0(size: tuple[int, int], mode: str, colour: int) -> None:
    assert read_image(encoded(Image.new(mode, size, colour), "PNG"), "x").count_nonzero() == 0


def test_a_transparent_page_without_ink_is_blank() -> None:
    assert read_image(encoded(Image.new("RGBA", (50, 50)), "PNG"), "x").count_nonzero() == 0


def test_a_single_pixel_of_ink_is_a_square_in_the_centre() -> None:
    page = Image.new("L", (51, 40), 255)
    page.putpixel((3, 30), 0)
    found = read_image(encoded(page, "PNG"), "x")
    assert found[4:24, 4:24].eq(255).all()
    assert found.count_nonzero() == 400


@pytest.mark.parametrize("size", [(3000, 2), (5, 9000)])
def test_a_long_thin_jpeg_is_read(size: tuple[int, int]) -> None:
    assert read_image(encoded(Image.new("L", size), "JPEG"), "x").shape == (28, 28)


def test_floats_that_are_not_numbers_are_blank() -> None:
    values = torch.full((30, 30), float("nan"))
    values[0, 0] = float("inf")
    page = Image.frombytes("F", (30, 30), values.numpy().tobytes())
    assert read_image(encoded(page, "TIFF"), "x").count_nonzero() == 0


def test_a_harmless_jpeg_with_a_few_notes_is_read() -> None:
    note = b"\xff\xe1" + (8 + 20).to_bytes(2, "big") + b"Exif\0\0" + bytes(20)
    assert read_image(jpeg_with(note, note), "x").shape == (28, 28)


def lit_from_the_left(image: Image.Image) -> Image.Image:
    """Return a picture as in light that falls to a third on the right."""
    light = Image.linear_gradient("L").rotate(90).resize(image.size)
    light = light.point(lambda v: 85 + v * 2 // 3)
    return Image.merge("RGB", [ImageChops.multiply(b, light) for b in image.convert("RGB").split()])


def test_ink_is_found_by_colour_in_uneven_light_and_on_a_table(seven: Image.Image) -> None:
    expected = read_image(encoded(seven, "PNG"), "x")
    # As bright as each other in grey, or nearly.
    pairs = [("white", "#fff02c"), ("#2850d2", "#c82828"), ("#3c9646", "#d75a46")]
    pictures = {f"{ink} on {paper}": ImageOps.colorize(seven, ink, paper) for paper, ink in pairs}
    pictures["uneven light"] = lit_from_the_left(seven.point(lambda v: 30 + v * 4 // 5))
    table = Image.new("RGB", (420, 300), "#5a3c28")
    table.paste(seven, (60, 50))
    pictures["on a table"] = table
    specked = seven.copy()
    for place in ((7, 9), (280, 30), (250, 180)):
        specked.paste(0, (*place, place[0] + 3, place[1] + 3))
    pictures["specks"] = specked
    wrong = [
        name
        for name, image in pictures.items()
        if not close(read_image(encoded(image, "PNG"), name), expected)
    ]
    assert wrong == []


@pytest.mark.parametrize("pen", [1, 3, 8])
def test_thin_strokes_are_made_as_wide_as_those_of_mnist(pen: int) -> None:
    page = Image.new("L", (300, 300), 255)
    ImageDraw.Draw(page).line([(80, 60), (220, 60), (120, 240)], 0, pen)
    found = read_image(encoded(page, "PNG"), "x").float() / 255
    across = found[16].sum()  # of a slanted stroke, by how much ink a row has
    assert 1.3 < across < 4  # 1.5 to 3.7 are 90 % of MNIST's, across the stroke


def test_half_blocks_have_two_pixels_in_each_cell(mnist: Dataset) -> None:
    pixels = mnist.test.images[0]
    lines = half_blocks(pixels)
    assert [line.cell_len for line in lines] == [28] * 14
    for y, line in enumerate(lines):
        for x, span in enumerate(line.spans):
            assert isinstance(span.style, Style)
            assert span.style.color
            assert span.style.bgcolor
            shown = [colour.get_truecolor() for colour in (span.style.color, span.style.bgcolor)]
            assert shown == [(v, v, v) for v in pixels[2 * y : 2 * y + 2, x].tolist()]
    plain = half_blocks(pixels, colour=False)
    assert [line.cell_len for line in plain] == [28] * 14
    assert set("".join(line.plain for line in plain)) <= set(" ░▒▓█")
    assert not any(line.spans for line in plain)
