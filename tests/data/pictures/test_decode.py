"""Decoding of damaged and malicious image files."""

import contextlib
import io
import json
import subprocess
import sys
import warnings
from pathlib import Path
from random import Random

import pytest
from PIL import Image, ImageDraw

from mnist_cli.errors import DataError
from tests.helpers.hostile import HOSTILE, encoded, jpeg_with, tiff
from tests.helpers.images import read_image
from tests.torture.amount import count

# Reads the files named on the command line; prints the outcome of each and the memory it takes.
READER = """
import json, re, sys
from pathlib import Path
from mnist_cli.errors import DataError
from mnist_cli.data.pictures.decode import pillow_silenced, read_image

def peak():
    return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) / 1024

def outcome(name):
    try:
        with pillow_silenced():
            return list(read_image(Path(name).read_bytes(), "it").digit.pixels.shape)
    except DataError as error:
        return str(error)

first, *rest = sys.argv[1:]
outcome(first)  # torch and Pillow allocate what they keep
before = peak()
for name in rest:
    print(json.dumps({"outcome": outcome(name), "growth": peak() - before}))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
def test_a_malicious_file_is_refused_in_one_line_or_read_and_none_takes_300_mb(
    tmp_path: Path,
) -> None:
    (tmp_path / "first.png").write_bytes(encoded(Image.new("L", (300, 300)), "PNG"))
    for number, (make, _) in enumerate(HOSTILE.values()):
        (tmp_path / str(number)).write_bytes(make())
    done = subprocess.run(
        [sys.executable, "-c", READER, "first.png", *map(str, range(len(HOSTILE)))],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert done.stderr == ""
    results = [json.loads(line) for line in done.stdout.splitlines()]
    for (name, (_, message)), result in zip(HOSTILE.items(), results, strict=True):
        outcome = result["outcome"]
        if message:
            assert str(outcome).startswith("cannot read it: "), name
            assert message in outcome, name
            assert "\n" not in outcome, name
        else:
            assert outcome == [28, 28], name
    growths = [result["growth"] for result in results]
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
    # Data after the image may be missing: IEND, a second frame, the end of a GIF.
    ends = len(source) // 2 if name == "animated gif" else len(source) - 40
    starts, places = count(7, 1), count(12, 50)
    for end in [*range(0, 60, starts), *range(60, ends, max(1, ends // places)), ends]:
        with pytest.raises(DataError, match="cannot read x: ") as raised:
            read_image(source[:end], "x")
        assert "\n" not in str(raised.value)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("name", SAMPLES)
def test_damage_is_a_data_error_at_most(name: str, capfd: pytest.CaptureFixture[str]) -> None:
    random = Random(3)
    cases, read = count(6, 60), 0
    for _ in range(cases):
        source = bytearray(SAMPLES[name])
        for _ in range(9):
            source[random.randrange(200)] = random.randrange(256)
        with contextlib.suppress(DataError):
            read += read_image(bytes(source), "x").shape == (28, 28)
    assert read < cases, "none was damaged"
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (b"", "it is empty"),
        (b"hello\n", "not a valid PNG"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not a valid PNG"),
        (encoded(Image.new("RGB", (9, 9)), "ICO"), "not a valid PNG"),
        (tiff((256, 3, 1, 0)), "cannot read"),
        (tiff((273, 4, 1, 99999)), "cannot read"),
    ],
)
def test_a_file_that_is_no_image_is_a_data_error(source: bytes, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_image(source, "x")


def test_the_settings_of_pillow_and_warnings_are_restored() -> None:
    limit, filters = Image.MAX_IMAGE_PIXELS, list(warnings.filters)
    for source in (SAMPLES["png"], b"hello"):
        try:
            read_image(source, "x")
        except DataError:
            assert source == b"hello"
    assert (limit, filters) == (Image.MAX_IMAGE_PIXELS, list(warnings.filters))


@pytest.mark.parametrize("size", [(3000, 2), (5, 9000)])
def test_a_long_thin_jpeg_is_read(size: tuple[int, int]) -> None:
    assert read_image(encoded(Image.new("L", size), "JPEG"), "x").shape == (28, 28)


def test_a_jpeg_with_a_few_exif_segments_is_read() -> None:
    note = b"\xff\xe1" + (8 + 20).to_bytes(2, "big") + b"Exif\0\0" + bytes(20)
    assert read_image(jpeg_with(note, note), "x").shape == (28, 28)


def heic(image: Image.Image) -> bytes:
    import pillow_heif

    buffer = io.BytesIO()
    pillow_heif.from_pillow(image.convert("RGB")).save(buffer, quality=90)
    return buffer.getvalue()


def test_a_heic_picture_is_read_with_its_extra_and_named_without(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    page = Image.new("L", (300, 200), 255)
    ImageDraw.Draw(page).line([(150, 40), (130, 160)], 0, 12)
    source = heic(page)
    difference = read_image(source, "x").astype(float) - read_image(encoded(page, "PNG"), "x")
    assert abs(difference).mean() < 2
    with pytest.raises(DataError, match="damaged or of a rare kind"):
        read_image(source[:500], "x")
    with pytest.raises(DataError, match="too large to decode"):
        read_image(heic(Image.new("L", (6000, 4000))), "x")
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(DataError, match=r"HEIC picture.*pip install 'mnist_cli\[heic\]'"):
        read_image(source, "x")
