"""Fitting to 28 by 28: exact where nothing is scaled, and as the makers of MNIST did."""

from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from mnist_cli.data.own.fitting import Scale, fit
from mnist_cli.data.pictures.preprocess import prepare_digit
from tests.data.own.conftest import Few
from tests.helpers.own_data import Array


def moved(image: Array, down: int, right: int) -> Array:
    return np.roll(image, (down, right), (0, 1))


def test_images_of_28_by_28_are_as_they_are(some: Few) -> None:
    assert fit(some.images) is some.images


@pytest.mark.parametrize("margin", [1, 3, 10])
def test_a_prepared_digit_with_another_margin_is_the_same_again(some: Few, margin: int) -> None:
    """Its box has 20 pixels already: it is cut out, and centred as it was."""
    sides = [max(np.ptp(np.nonzero(i > 85), axis=1) + 1) for i in some.images]
    images = some.images[np.array(sides) == 20]
    assert len(images) > 100
    padded = np.pad(images, ((0, 0), (margin, 2), (0, margin + 5)))
    found = fit(padded).astype(int)
    # The least ink, a tenth, becomes 0, and the strongest pixel 255.
    most = images.max(axis=(1, 2), keepdims=True)
    ink = ((images / most - 0.1) / 0.9).clip(0, 1)
    expected = np.round(ink * 255).astype(int)
    for image, other in zip(found, expected, strict=True):
        shifts = [moved(other, down, right) for down in (-1, 0, 1) for right in (-1, 0, 1)]
        # Of the box, what is fainter than a third of the ink around it is cut off.
        assert min(np.count_nonzero(abs(image - shift) > 2) for shift in shifts) <= 25


def naive(image: Array) -> Array:
    """Return one image fitted with Pillow, one step after the other."""
    values = image.astype(np.float32)  # the box of a digit is decided by the same numbers
    border = np.concatenate([values[0], values[-1], values[:, 0], values[:, -1]])
    ink = values - np.median(border)
    ink = ((ink / ink.max() - 0.1) / 0.9).clip(0, 1)
    ((rows, columns),) = ndimage.find_objects((ink > 1 / 3).astype(int))
    cut = ink[rows, columns]
    scale = 20 / max(cut.shape)
    height, width = (max(1, round(length * scale)) for length in cut.shape)
    resized = Image.fromarray(cut.astype(np.float32)).resize(
        (width, height), Image.Resampling.BILINEAR
    )
    scaled = np.asarray(resized, dtype=np.float64)
    scaled = scaled / scaled.max()
    top, left = (
        min(max(round(14 - centre), 0), 28 - length)
        for centre, length in zip(ndimage.center_of_mass(scaled), scaled.shape, strict=True)
    )
    result = np.zeros((28, 28))
    result[top : top + height, left : left + width] = scaled
    return (result * 255).round()


@pytest.mark.parametrize(
    "size", [(8, 8), (16, 16), (20, 20), (32, 32), (64, 64), (20, 40), (40, 21)]
)
def test_fitting_many_is_as_fitting_one_with_pillow(some: Few, size: tuple[int, int]) -> None:
    resized = [np.asarray(Image.fromarray(i).resize(size)) for i in some.images]
    images = np.stack(resized)
    found = fit(images).astype(int)
    for image, result in zip(images, found, strict=True):
        assert np.abs(result - naive(image)).max() <= 1  # rounding of float32


@pytest.mark.parametrize(
    "make",
    [np.zeros, np.ones, lambda shape, dtype: np.full(shape, 250, dtype)],
    ids=["0", "1", "250"],
)
def test_images_without_contrast_are_black(make: Callable[..., Array]) -> None:
    assert not fit(make((3, 20, 20), dtype=np.uint8)).any()


def test_one_pixel_of_ink_is_a_box_of_it() -> None:
    image = np.zeros((1, 9, 9), dtype=np.uint8)
    image[0, 7, 2] = 200
    found = fit(image)[0]
    assert found.max() == 255
    assert (found > 0).sum() == 400


def test_pictures_are_fitted_as_mnist_predict_does_and_with_one_polarity(some: Few) -> None:
    near = 0.0
    for image in some.images[:20]:
        large = np.asarray(Image.fromarray(image).resize((112, 112)))
        dark = prepare_digit(large[:, :, None], is_light_ground=False)
        light = prepare_digit(255 - large[:, :, None], is_light_ground=True)
        assert dark is not None
        assert light is not None
        assert (dark == light).all()
        near += np.abs(dark.astype(int) - fit(large[None])[0]).mean() / 20
        # What is dark on a dark set is no ink.
        inverted = prepare_digit(255 - large[:, :, None], is_light_ground=False)
        assert inverted is None or (inverted != dark).any()
    assert near < 12, "the quick way and the thorough one hardly differ"


@pytest.mark.parametrize(
    ("scale", "values", "expected"),
    [
        (Scale(0, 1, ""), [0, 0.5, 1], [0, 128, 255]),
        (Scale(-1, 2, ""), [-1, 0, 1], [0, 128, 255]),
        (Scale(0, 16, ""), [0, 1, 15, 16], [0, 16, 239, 255]),
        (Scale(0, 255, ""), [0.4, 0.6, 254.5, 255], [0, 1, 254, 255]),
        (Scale(0, 65535, ""), [0, 257, 65535], [0, 1, 255]),
    ],
)
def test_values_become_bytes(scale: Scale, values: list[float], expected: list[int]) -> None:
    assert scale.apply(np.array(values)).tolist() == expected
