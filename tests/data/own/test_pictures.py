"""Pictures of all kinds become images like MNIST's, with one polarity for the whole set."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mnist_cli.data.own.fitting import fit
from mnist_cli.data.own.reading import ReadOptions, read_own
from mnist_cli.errors import DataError
from tests.data.own.conftest import Few
from tests.helpers.own_data import Array, class_folders, png, write


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def folders(folder: Path, some: Few, pictures: list[bytes], ending: str = "png") -> Path:
    for number, (picture, label) in enumerate(zip(pictures, some.labels, strict=True)):
        write(folder / str(label) / f"{number:05}.{ending}", picture)
    return folder


def in_order(some: Few) -> Array:
    """Return the order in which the pictures are read: by class."""
    return np.argsort(some.labels, kind="stable")


def test_transparent_pictures_are_laid_on_white_whatever_their_hidden_colour(
    some: Few, tmp_path: Path
) -> None:
    """Strokes are black on transparent pixels, whose colours are black, too."""
    pictures = []
    for image in some.images:
        layers = np.zeros((28, 28, 4), dtype=np.uint8)
        layers[:, :, 3] = image
        pictures.append(encoded(Image.fromarray(layers), "PNG"))
    own = read_own(folders(tmp_path, some, pictures))
    assert own.light_ground
    assert some.is_in(own.train, own.classes)


@pytest.mark.parametrize("mode", ["RGB", "P", "LA", "RGBA"])
def test_pictures_of_all_modes_are_gray(mode: str, some: Few, tmp_path: Path) -> None:
    pictures = [encoded(Image.fromarray(i).convert(mode), "PNG") for i in some.images]
    own = read_own(folders(tmp_path, some, pictures))
    assert some.is_in(own.train, own.classes)
    assert not own.light_ground


def test_one_picture_of_the_other_polarity_does_not_change_the_set(
    some: Few, tmp_path: Path
) -> None:
    images = some.images.copy()
    images[7] = 255 - images[7]
    own = read_own(class_folders(tmp_path, images, some.labels))
    assert not own.light_ground
    assert (own.train.images == images[in_order(some)]).all(), "each is as it is"


def test_mixed_sizes_are_all_fitted_and_that_is_told(some: Few, tmp_path: Path) -> None:
    sizes = [(28, 28), (20, 20), (40, 30), (64, 64)]
    pictures = [
        encoded(Image.fromarray(255 - i).resize(sizes[n % 4]), "PNG")
        for n, i in enumerate(some.images)
    ]
    own = read_own(folders(tmp_path, some, pictures))
    assert any("4 sizes, 20 by 20 to 64 by 64, fitted" in line for line in own.summary)
    expected = some.images.copy()
    for number in range(200):
        if number % 4:
            small = np.asarray(Image.fromarray(255 - some.images[number]).resize(sizes[number % 4]))
            expected[number] = fit(255 - small[None])[0]
    assert (own.train.images == expected[in_order(some)]).all()


def test_large_pictures_are_read_as_mnist_predict_reads_them(some: Few, tmp_path: Path) -> None:
    few = some[:20]
    pictures = [
        encoded(Image.fromarray(255 - i).resize((150, 150)), "JPEG", quality=95) for i in few.images
    ]
    own = read_own(folders(tmp_path, few, pictures, "jpg"))
    assert own.light_ground
    images = few.images[in_order(few)]
    difference = np.abs(own.train.images.astype(int) - images).mean(axis=(1, 2))
    assert np.median(difference) < 12, "of 255: about a fifth of a pixel along the strokes"


def test_pictures_that_show_nothing_are_told_or_refused(some: Few, tmp_path: Path) -> None:
    folder = class_folders(tmp_path / "d", some.images, some.labels)
    blank = png(np.zeros((100, 100), dtype=np.uint8))
    write(folder / "3" / "z.png", blank)
    own = read_own(folder)
    assert not own.train.images.any(axis=(1, 2)).all()
    told = f"pictures that show nothing, and are black: 1, such as {folder}/3/z.png"
    assert told in own.summary
    for number in range(300):
        write(folder / "3" / f"z{number}.png", blank)
    with pytest.raises(DataError, match="300 more of 501 pictures show nothing"):
        read_own(folder)


def test_rows_and_columns_are_exchanged_on_request(some: Few, tmp_path: Path) -> None:
    folder = class_folders(tmp_path, some.images.swapaxes(1, 2).copy(), some.labels)
    own = read_own(folder, ReadOptions(transposed=True))
    assert some.is_in(own.train, own.classes)
