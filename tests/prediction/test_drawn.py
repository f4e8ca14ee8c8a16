"""The drawn test set, with a network that is trained fast, and with that of `mnist-train`."""

import subprocess
from pathlib import Path

import pytest

from benchmarks.pictures import PictureResult, predict_pictures
from tests.helpers.shell import BIN

IMAGES = Path(__file__).parents[1] / "drawn" / "images"


@pytest.fixture(
    scope="module", params=["fast", pytest.param("default", marks=[pytest.mark.torture])]
)
def results(request: pytest.FixtureRequest, skilled: Path, mnist_dir: Path) -> list[PictureResult]:
    path = skilled
    if request.param == "default":
        path = skilled.with_name("default.pt")
        command = [BIN / "mnist-train", "-q", "--data-dir", mnist_dir, "-o", path]
        subprocess.run(command, check=True, capture_output=True, timeout=550)
    return list(predict_pictures(str(path), IMAGES))


def test_nine_of_ten_drawn_digits_are_predicted_correctly(results: list[PictureResult]) -> None:
    digits = [result for result in results if result.digit is not None]
    assert len(digits) >= 80
    mistakes = [
        f"{result.path.name}: {result.digit} as {result.event.digit}"
        for result in digits
        if not result.is_correct
    ]
    assert len(mistakes) <= 0.1 * len(digits), mistakes


def test_nine_of_ten_images_without_a_digit_are_uncertain(results: list[PictureResult]) -> None:
    empty = [result for result in results if result.digit is None]
    assert len(empty) >= 20
    certain = [result.path.name for result in empty if not result.event.uncertain]
    assert len(certain) <= 0.1 * len(empty), certain


def test_most_predictions_of_drawn_digits_are_certain(results: list[PictureResult]) -> None:
    digits = [result for result in results if result.digit is not None]
    # Otherwise uncertainty would mean nothing. 1 % of the correct ones of MNIST are uncertain.
    assert sum(result.event.uncertain for result in digits) <= 0.2 * len(digits)


def test_the_set_is_as_labelled_and_small() -> None:
    files = {path.name for path in IMAGES.iterdir()} - {"labels.csv"}
    rows = [line.split(",") for line in (IMAGES / "labels.csv").read_text().splitlines()[1:]]
    assert sorted(files) == sorted(name for name, *_ in rows)
    assert sum(path.stat().st_size for path in IMAGES.iterdir()) < 650_000
    assert {digit for _, digit, *_ in rows} == {*"0123456789", "-"}
    assert {path.suffix for path in map(Path, files)} >= {
        *(".png", ".jpg", ".webp", ".gif", ".tif", ".bmp", ".pgm"),
    }
